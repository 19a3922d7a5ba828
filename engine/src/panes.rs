//! Folds by key and pane: what a rule over aggregates keeps instead of rows.
//!
//! Owns: the groups of one rule, which windows they fill, what is given up when the rule's budget
//! of bytes is used up. Never: episodes, verdicts, SQL.
//!
//! A row goes to the pane of its key and is gone. A window is its panes joined. A group whose rows
//! cannot yet be enough is not asked (`Group::patience`), so that most rows cost a look-up and an
//! addition.

mod group;
mod reading;
mod slot;
mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::ArrayRef;
use schemas::EventTime;

pub(crate) use group::Seen;

use crate::cell;
use crate::episode::Evidence;
use crate::key::{HashKey, write_key};
use crate::plan::{Argument, Panes, Passes, RunError};
use crate::rows::circumstances::Circumstances;
use crate::rows::firing::{self, Firing};
use crate::rows::store::Shed;
use crate::rows::{Rows, count, place};
use crate::ruleset::Prepared;
use crate::window::Windows;
use group::{GiveUp, Group, Pane, signed};
use slot::ByHash;

pub(crate) use reading::read;

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
    /// Windows that begin before this have lost rows.
    shed_until: i64,
    latest: i64,
}

/// Rows with what the folds take of them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) arguments: Vec<Argument>,
    key: Vec<&'a ArrayRef>,
    /// By place in the rows' table of circumstances: the place in ours.
    entries: Vec<u32>,
    scratch: Vec<u8>,
}

/// Where a row went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) key: u128,
    pub(crate) pane: i64,
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

    /// Begins to take rows.
    pub(crate) fn begin<'a>(
        &mut self,
        rule: &Prepared,
        rows: &'a Rows,
        arguments: Vec<Argument>,
    ) -> Reading<'a> {
        let columns = rows.batch.columns();
        let key = rule.keys_in.iter().flatten().filter_map(|place| columns.get(*place)).collect();
        let entries = rows.table.iter().map(|entry| self.entry(entry)).collect();
        Reading { rows, arguments, key, entries, scratch: Vec::new() }
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

    /// Takes a row. Nothing where its key is incomplete, so that it is nobody's.
    pub(crate) fn take(
        &mut self,
        panes: &Panes,
        reading: &mut Reading<'_>,
        row: u32,
        hash_key: HashKey,
    ) -> Option<Touched> {
        let rows = reading.rows;
        let at = rows.at.get(place(row)).copied()?;
        let key = rows.keys.get(place(row)).copied().filter(|key| *key != 0)?;
        let pane = self.windows.pane_of(at);
        self.latest = self.latest.max(at);
        let mut more = 0;
        let group = match self.groups.entry(key) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                if !write_key(&reading.key, place(row), &mut reading.scratch) {
                    return None;
                }
                let group = Group::new(&reading.scratch, panes.bar.rows_min(&panes.folds));
                more += signed(group.own_bytes());
                free.insert(group)
            }
        };
        group.patience = group.patience.saturating_sub(1);
        let (held, is_new) = group.pane(pane, &panes.folds)?;
        if is_new {
            more += signed(Pane::empty_bytes(&panes.folds));
            self.panes.entry(pane).or_default().push(key);
        }
        let entry = rows.circumstances.get(place(row)).map(|entry| place(*entry));
        let entry = entry.and_then(|entry| reading.entries.get(entry)).copied();
        more += held.see(rows, row, entry);
        let folds = panes.folds.iter().zip(&mut held.slots).zip(&reading.arguments);
        for ((fold, slot), argument) in folds {
            if argument.takes(place(row)) {
                let with = (hash_key, &mut reading.scratch);
                let took = slot.take(fold.kind, argument, place(row), with);
                more += took.bytes;
                held.lossy |= took.lossy;
            }
        }
        self.bytes = self.bytes.saturating_add_signed(more);
        Some(Touched { key, pane })
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
        self.groups.values_mut().for_each(Group::ask_again);
    }

    /// Whether nothing is left of the window that closed before window `k`.
    pub(crate) fn is_fresh(&self, k: i64) -> bool {
        self.all || k != self.next
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
