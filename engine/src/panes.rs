//! Folds by key and pane: what a rule over aggregates keeps instead of rows.
//!
//! Owns: the groups of one rule, which windows they fill, what is given up when the rule's budget
//! of bytes is used up. Never: episodes, verdicts, SQL.
//!
//! A row goes to the pane of its key and is gone. A window is its panes joined. A group whose rows
//! cannot yet be enough is not asked (`Group::patience`), so that most rows cost a look-up and an
//! addition.

mod group;
mod slot;
mod snapshot;
mod steps;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use schemas::EventTime;

pub(crate) use group::Seen;

use crate::cell;
use crate::episode::Evidence;
use crate::hits::{Hits, Run, Taken};
use crate::key::HashKey;
use crate::plan::{Panes, Passes, RunError};
use crate::rows::circumstances::Circumstances;
use crate::rows::firing::{self, Firing};
use crate::rows::store::Shed;
use crate::rows::{count, place};
use crate::ruleset::Prepared;
use crate::window::Windows;
use group::{GiveUp, Group, Pane, signed};
pub(crate) use slot::ByHash;

/// Groups whose answer is asked for at once.
const ASKED_MAX: usize = 4_096;
/// Circumstances are sorted out once there are more than this, and twice as many as then.
const CIRCUMSTANCES_MIN: usize = 1_024;
/// Of a full budget so much is left when groups have been given up: three quarters.
const LEFT: (usize, usize) = (3, 4);

/// The groups of one rule.
#[derive(Debug)]
pub(crate) struct Groups {
    windows: Windows,
    bytes_max: usize,
    bytes: usize,
    groups: HashMap<u128, Group, ByHash>,
    /// By pane: the groups that have rows in it.
    panes: BTreeMap<i64, Vec<u128>>,
    table: Vec<Arc<Circumstances>>,
    known: HashMap<Arc<Circumstances>, u32>,
    /// When to sort out `table`.
    table_max: usize,
    /// First window that has not closed.
    next: i64,
    /// Groups that had rows in the pane that went last.
    left: Vec<u128>,
    /// Every group is to be asked at the next close.
    all: bool,
    /// Groups that have fired at an event in some window that has not closed.
    hot: BTreeSet<u128>,
    /// Up to this window it is not known who fired.
    unsure_until: i64,
    /// Windows that begin before this have lost rows.
    shed_until: i64,
    latest: i64,
}

/// Hits with what the rule's folds take of them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    hits: &'a Hits,
    folds: Vec<&'a Taken>,
    /// By place in the hits' table of circumstances: the place in ours.
    entries: Vec<u32>,
}

/// Where hits went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) key: u128,
    pub(crate) pane: i64,
    /// The first hit that was not taken.
    pub(crate) end: u32,
    /// Whether a window may fire that had not fired before.
    pub(crate) ripe: bool,
}

impl Groups {
    pub(crate) fn new(windows: Windows, bytes_max: usize) -> Self {
        Self {
            windows,
            bytes_max,
            bytes: 0,
            groups: HashMap::default(),
            panes: BTreeMap::new(),
            table: Vec::new(),
            known: HashMap::new(),
            table_max: CIRCUMSTANCES_MIN,
            next: i64::MIN,
            left: Vec::new(),
            all: false,
            hot: BTreeSet::new(),
            unsure_until: i64::MIN,
            shed_until: i64::MIN,
            latest: i64::MIN,
        }
    }

    pub(crate) fn windows(&self) -> Windows {
        self.windows
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The latest row so far.
    pub(crate) fn latest(&self) -> i64 {
        self.latest
    }

    /// Begins to take hits; `folds` are the places of the rule's folds among those of the hits.
    pub(crate) fn begin<'a>(&mut self, hits: &'a Hits, folds: &[usize]) -> Option<Reading<'a>> {
        let folds: Option<Vec<&Taken>> = folds.iter().map(|fold| hits.folds.get(*fold)).collect();
        let entries = hits.table.iter().map(|entry| self.entry(entry)).collect();
        Some(Reading { hits, folds: folds?, entries })
    }

    fn entry(&mut self, circumstances: &Arc<Circumstances>) -> u32 {
        if let Some(known) = self.known.get(circumstances) {
            return *known;
        }
        let next = count(self.table.len());
        self.table.push(Arc::clone(circumstances));
        self.known.insert(Arc::clone(circumstances), next);
        next
    }

    /// Takes hits of one key from the front of `span`: all of one pane as long as none of them can
    /// make a window fire, so that it need not be asked in between.
    pub(crate) fn take(
        &mut self,
        rule: &Prepared,
        reading: &Reading<'_>,
        run: &Run,
        span: &Range<u32>,
    ) -> Option<Touched> {
        let panes = rule.folded()?;
        let at = |hit: u32| reading.hits.at.get(place(hit)).copied();
        let pane = self.windows.pane_of(at(span.start)?);
        let mut end = span.start + 1;
        while end < span.end && at(end).is_some_and(|at| self.windows.pane_of(at) == pane) {
            end += 1;
        }
        let mut more = 0;
        let group = match self.groups.entry(run.hash) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => {
                let group = Group::new(&run.key, panes.bar.rows_min(&panes.folds));
                more += signed(group.own_bytes());
                free.insert(group)
            }
        };
        let nested = group.panes.last().is_none_or(|last| last.at <= pane);
        if rule.monotone {
            let most = if nested { u32::try_from(group.patience).unwrap_or(u32::MAX) } else { 1 };
            end = end.min(span.start.saturating_add(most.max(1)));
        }
        let took = span.start..end;
        let count = u64::from(end - span.start);
        group.patience = group.patience.saturating_sub(count);
        let ripe = rule.monotone && (!nested || group.patience == 0);
        let (held, is_new) = group.pane(pane, &panes.folds)?;
        if is_new {
            more += signed(Pane::empty_bytes(&panes.folds));
            self.panes.entry(pane).or_default().push(run.hash);
        }
        more += held.take(&panes.folds, reading, &took);
        for at in reading.hits.at.get(place(took.start)..place(end)).unwrap_or_default() {
            self.latest = self.latest.max(*at);
        }
        self.bytes = self.bytes.saturating_add_signed(more);
        Some(Touched { key: run.hash, pane, end, ripe })
    }

    /// The first window around a row just taken that fires now and had not fired before.
    ///
    /// Only for rules whose HAVING stays true once it is. Of a group without rows after the pane
    /// each window holds all that the next one holds, so the first that does not fire ends the
    /// search, and until as many rows have come as it lacks nothing has to be asked again.
    pub(crate) fn crossed(
        &mut self,
        rule: &Prepared,
        touched: Touched,
    ) -> Result<Option<i64>, RunError> {
        let Some(panes) = rule.folded() else { return Ok(None) };
        let Some(group) = self.groups.get_mut(&touched.key) else { return Ok(None) };
        let nested = group.panes.last().is_none_or(|last| last.at <= touched.pane);
        if nested && group.patience > 0 {
            return Ok(None);
        }
        let was_cold = group.fired.is_empty();
        let n = self.windows.panes();
        for k in touched.pane.saturating_sub(n - 1)..=touched.pane {
            if group.fired.contains(k) {
                continue;
            }
            let held = group.between(k, k.saturating_add(n));
            let fires = match passes(panes, held) {
                Passes::Yes => Ok(()),
                Passes::After(rows) => Err(rows),
                Passes::Ask => {
                    let answer = ask(panes, &[(&*group.key, held)])?;
                    if answer.num_rows() > 0 { Ok(()) } else { Err(1) }
                }
            };
            match fires {
                Ok(()) => {
                    group.fired.insert(k);
                    if was_cold {
                        self.hot.insert(touched.key);
                    }
                    return Ok(Some(k));
                }
                Err(rows) if nested => {
                    group.patience = rows;
                    return Ok(None);
                }
                Err(_rows) => {}
            }
        }
        if nested {
            group.patience = panes.bar.rows_min(&panes.folds);
        }
        Ok(None)
    }

    /// The canonical bytes of a group's key.
    pub(crate) fn key(&self, key: u128) -> Option<&[u8]> {
        self.groups.get(&key).map(|group| &*group.key)
    }

    /// The answer for one group in window `k`, as far as it is filled.
    pub(crate) fn answer(
        &self,
        rule: &Prepared,
        key: u128,
        k: i64,
        hash_key: HashKey,
    ) -> Result<Option<Firing>, RunError> {
        let Some((panes, group)) = rule.folded().zip(self.groups.get(&key)) else {
            return Ok(None);
        };
        let held = group.between(k, k.saturating_add(self.windows.panes()));
        let answer = ask(panes, &[(&*group.key, held)])?;
        Ok(firing::firings(rule, &[answer], hash_key).pop())
    }

    /// What the rows of a group in window `k` from a moment on say beside their values, and
    /// whether some are missing.
    pub(crate) fn evidence(&self, key: u128, k: i64, from: i64) -> (Evidence, bool) {
        let mut evidence = Evidence::default();
        let mut lossy = self.windows.start(k) < self.shed_until;
        let Some(group) = self.groups.get(&key) else { return (evidence, lossy) };
        for pane in group.between(k, k.saturating_add(self.windows.panes())) {
            lossy |= pane.lossy;
            if self.windows.start(pane.at) >= from {
                evidence.see_pane(pane.rows, &pane.seen, &self.table);
            }
        }
        (evidence, lossy)
    }

    /// The next window that has rows and that the watermark has passed.
    pub(crate) fn due(&self, watermark: EventTime) -> Option<i64> {
        let (first, _) = self.panes.first_key_value()?;
        let k = self.next.max(first.saturating_sub(self.windows.panes() - 1));
        (self.windows.end(k) <= watermark.millis()).then_some(k)
    }

    /// The next window is to be asked of every group.
    pub(crate) fn touch(&mut self) {
        self.all = true;
        self.unsure_until = self.panes.last_key_value().map_or(i64::MIN, |(last, _)| *last);
        self.hot.clear();
        self.groups.values_mut().for_each(Group::ask_again);
    }

    /// Whether nothing is left of the window that closed before window `k`.
    pub(crate) fn is_fresh(&self, k: i64) -> bool {
        self.all || k != self.next
    }

    /// The groups that fired in window `k` at an event, ascending, each with whether its rows are
    /// others than in the window before. Only of rules whose HAVING stays true once it is; nothing
    /// where not all of them are known, since HAVING was another.
    pub(crate) fn announced(&self, k: i64) -> Option<Vec<(u128, bool)>> {
        if k <= self.unsure_until {
            return None;
        }
        let entering = k.saturating_add(self.windows.panes() - 1);
        let of = |key: &u128| {
            let group = self.groups.get(key).filter(|group| group.fired.contains(k))?;
            let entered = group.panes.binary_search_by_key(&entering, |pane| pane.at).is_ok();
            Some((*key, self.is_fresh(k) || entered || group.left == k - 1))
        };
        Some(self.hot.iter().filter_map(of).collect())
    }

    /// The groups whose rows in window `k` are others than in the window before, sorted.
    pub(crate) fn changed(&self, k: i64) -> Vec<u128> {
        let entering = k.saturating_add(self.windows.panes() - 1);
        let mut changed: Vec<u128> = if self.is_fresh(k) {
            self.panes.range(k..=entering).flat_map(|(_, keys)| keys.iter().copied()).collect()
        } else {
            let entered = self.panes.get(&entering).into_iter().flatten();
            entered.chain(&self.left).copied().collect()
        };
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Who fires in window `k`, of some groups.
    pub(crate) fn fire(
        &self,
        rule: &Prepared,
        keys: &[u128],
        k: i64,
        hash_key: HashKey,
    ) -> Result<Vec<Firing>, RunError> {
        let Some(panes) = rule.folded() else { return Ok(Vec::new()) };
        let end = k.saturating_add(self.windows.panes());
        let mut asked: Vec<(&[u8], &[Pane])> = Vec::new();
        for group in keys.iter().filter_map(|key| self.groups.get(key)) {
            let held = group.between(k, end);
            if !held.is_empty() && !matches!(passes(panes, held), Passes::After(_)) {
                asked.push((&*group.key, held));
            }
        }
        let mut fired = Vec::new();
        for part in asked.chunks(ASKED_MAX) {
            fired.extend(firing::firings(rule, &[ask(panes, part)?], hash_key));
        }
        Ok(fired)
    }

    /// Window `k` is done, and all before it: panes that no later window holds go.
    pub(crate) fn close(&mut self, panes: &Panes, k: i64) {
        self.next = k.saturating_add(1);
        self.all = false;
        self.left = Vec::new();
        while let Some((at, keys)) = self.panes.pop_first() {
            if at >= self.next {
                self.panes.insert(at, keys);
                break;
            }
            for key in &keys {
                self.drop_pane(panes, *key, at);
            }
            if at == k {
                self.left = keys;
            }
        }
        if self.table.len() > self.table_max {
            self.sort_out();
        }
    }

    fn drop_pane(&mut self, panes: &Panes, key: u128, at: i64) {
        let Some(group) = self.groups.get_mut(&key) else { return };
        let Ok(gone) = group.panes.binary_search_by_key(&at, |pane| pane.at) else { return };
        let gone = group.panes.remove(gone);
        self.bytes = self.bytes.saturating_sub(gone.bytes(&panes.folds));
        group.fired.forget(at.saturating_add(1));
        group.left = at;
        if group.fired.is_empty() || group.panes.is_empty() {
            self.hot.remove(&key);
        }
        if group.panes.is_empty() {
            self.bytes = self.bytes.saturating_sub(group.own_bytes());
            self.groups.remove(&key);
        }
    }

    /// Keeps only circumstances that a pane still names.
    fn sort_out(&mut self) {
        let mut renamed = vec![u32::MAX; self.table.len()];
        let old = std::mem::take(&mut self.table);
        self.known.clear();
        let mut keys: Vec<u128> = self.groups.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            let Some(mut group) = self.groups.remove(&key) else { continue };
            for (entry, _) in group.panes.iter_mut().flat_map(|pane| &mut pane.seen.circumstances) {
                let Some(new) = renamed.get_mut(place(*entry)) else { continue };
                if *new == u32::MAX
                    && let Some(named) = old.get(place(*entry))
                {
                    *new = self.entry(named);
                }
                *entry = *new;
            }
            self.groups.insert(key, group);
        }
        self.table_max = (self.table.len() * 2).max(CIRCUMSTANCES_MIN);
    }

    /// Keeps to the budget: lines go first, then all exemplars, since no answer depends on them;
    /// then the groups with the fewest rows, which are the furthest from any threshold.
    pub(crate) fn shed(&mut self, panes: &Panes) -> Shed {
        let mut shed = Shed::default();
        for what in [GiveUp::Lines, GiveUp::Exemplars] {
            if self.bytes <= self.bytes_max {
                return shed;
            }
            self.give_up(what);
        }
        if self.bytes <= self.bytes_max {
            return shed;
        }
        let mut order: Vec<(u64, Option<i64>, u128)> = Vec::with_capacity(self.groups.len());
        order.extend(
            self.groups
                .iter()
                .map(|(key, group)| (group.rows(), group.panes.last().map(|pane| pane.at), *key)),
        );
        order.sort_unstable();
        let left = self.bytes_max / LEFT.1 * LEFT.0;
        for (rows, _, key) in order {
            if self.bytes <= left {
                break;
            }
            let Some(group) = self.groups.remove(&key) else { continue };
            let bytes = group.bytes(&panes.folds);
            self.bytes = self.bytes.saturating_sub(bytes);
            self.hot.remove(&key);
            shed.rows += rows;
            shed.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        }
        let groups = &self.groups;
        for keys in self.panes.values_mut() {
            keys.retain(|key| groups.contains_key(key));
        }
        self.panes.retain(|_, keys| !keys.is_empty());
        let after = self.windows.pane_of(self.latest).saturating_add(1);
        self.shed_until = self.shed_until.max(self.windows.start(after));
        shed
    }

    /// Of the oldest panes first.
    fn give_up(&mut self, what: GiveUp) {
        for (at, keys) in &self.panes {
            for key in keys {
                let Some(group) = self.groups.get_mut(key) else { continue };
                let pane = group.panes.iter_mut().find(|pane| pane.at == *at);
                let freed = pane.map_or(0, |pane| pane.seen.give_up(what));
                self.bytes = self.bytes.saturating_sub(freed);
            }
            if self.bytes <= self.bytes_max {
                return;
            }
        }
    }
}

fn passes(panes: &Panes, held: &[Pane]) -> Passes {
    let mut value = |place: usize| {
        let fold = panes.folds.get(place)?;
        slot::whole_of(fold.kind, place, held)
    };
    panes.bar.passes(&panes.folds, &mut value)
}

/// The query's answer for groups, each a key and its panes.
fn ask(panes: &Panes, groups: &[(&[u8], &[Pane])]) -> Result<arrow::array::RecordBatch, RunError> {
    let keys: Vec<&[u8]> = groups.iter().map(|(key, _)| *key).collect();
    let held: Vec<&[Pane]> = groups.iter().map(|(_, held)| *held).collect();
    let columns = cell::key_columns(&keys, &panes.key_types)?;
    let folds = panes.folds.iter().enumerate();
    let folded = folds.map(|(place, fold)| slot::folded(fold.kind, place, &held)).collect();
    panes.answer(&columns, folded, groups.len())
}

#[cfg(test)]
mod tests;
