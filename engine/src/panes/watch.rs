//! How far one rule has come with the groups of its unit.
//!
//! Owns: which of its windows have closed, and which keys have fired in those that have not.
//! Never: groups, episodes.

use std::collections::BTreeMap;

use schemas::EventTime;

use super::{Groups, Link, Touched, View};
use crate::plan::{Passes, RunError};
use crate::window::Windows;
use crate::wire::{Reader, Wire, WireError, Writer};

/// One rule over the groups of its unit.
#[derive(Debug)]
pub(crate) struct Watch {
    windows: Windows,
    /// First window that has not closed.
    next: i64,
    /// Every group is to be asked at the next close.
    all: bool,
    /// Keys that have fired at an event in some window that has not closed, and in which.
    hot: BTreeMap<u128, Spans>,
    /// Up to this window it is not known who fired.
    unsure_until: i64,
    /// Windows that begin before are not the rule's: its unit did not keep all that it reads.
    since: i64,
    /// Before this moment none of its windows ends that could have rows and has not closed.
    quiet_until: i64,
}

/// What comes of asking about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crossing {
    /// This window fires now and had not fired before.
    Fires(i64),
    /// None does, and none can before so many more rows have come.
    After(u64),
    /// None does; more is not known.
    None,
}

impl Watch {
    pub(crate) fn new(windows: Windows) -> Self {
        Self {
            windows,
            next: i64::MIN,
            all: false,
            hot: BTreeMap::new(),
            unsure_until: i64::MIN,
            since: i64::MIN,
            quiet_until: i64::MIN,
        }
    }

    pub(crate) fn windows(&self) -> Windows {
        self.windows
    }

    /// The first window that is to close: none holds a pane before.
    pub(crate) fn next(&self) -> i64 {
        self.next.max(self.since)
    }

    /// The rule begins with this window.
    pub(crate) fn begin(&mut self, k: i64) {
        (self.since, self.quiet_until) = (k, i64::MIN);
    }

    /// Before this moment no window can be due, whatever has rows.
    pub(crate) fn quiet_until(&self) -> i64 {
        self.quiet_until
    }

    /// No window is due at this watermark. Windows end where panes do, and a row that is still to
    /// come lies in no pane that is over.
    pub(crate) fn settle(&mut self, watermark: EventTime) {
        let pane = self.windows.pane_of(watermark.millis());
        self.quiet_until = self.windows.start(pane.saturating_add(1));
    }

    /// The next window that has rows and that the watermark has passed.
    pub(crate) fn due(&self, groups: &Groups, watermark: EventTime) -> Option<i64> {
        let from = self.next.max(self.since);
        let first = groups.first_from(from)?;
        let k = first.saturating_sub(self.windows.panes() - 1).max(from);
        (self.windows.end(k) <= watermark.millis()).then_some(k)
    }

    /// Window `k` is done, and all before it.
    pub(crate) fn close(&mut self, k: i64) {
        self.next = k.saturating_add(1);
        self.all = false;
        let next = self.next;
        self.hot.retain(|_, fired| {
            fired.forget(next);
            !fired.is_empty()
        });
    }

    /// The next window is to be asked of every group, whatever fired before.
    pub(crate) fn touch(&mut self, groups: &Groups) {
        (self.all, self.quiet_until) = (true, i64::MIN);
        self.unsure_until = groups.last().unwrap_or(i64::MIN);
        self.hot.clear();
    }

    /// Nothing is left of the windows that have closed.
    pub(crate) fn start_over(&mut self) {
        self.all = true;
    }

    /// Whether nothing is left of the window that closed before window `k`.
    pub(crate) fn is_fresh(&self, k: i64) -> bool {
        self.all || k != self.next
    }

    /// The rows of a key were given up.
    pub(crate) fn forget(&mut self, key: u128) {
        self.hot.remove(&key);
    }

    /// The first window around a row just taken that fires now and had not fired before; `links`
    /// are the cells of its key.
    ///
    /// Only for rules whose HAVING stays true once it is. Of a key without rows after the pane
    /// each window holds all that the next one holds, so the first that does not fire ends the
    /// search, and until as many rows have come as it lacks nothing has to be asked again. Where
    /// windows are compared with what is usual, one may lack more than the next: all are asked, but
    /// for those of which it is not known yet. What these say, they say when they close.
    pub(crate) fn crossed(
        &mut self,
        view: View<'_>,
        groups: &Groups,
        touched: &Touched,
        links: &[Link],
    ) -> Result<Crossing, RunError> {
        let n = self.windows.panes();
        let fired = self.hot.get(&touched.key);
        // A window that begins later may hold what was given up of the key.
        let owed = groups.owed(touched.group, touched.pane.saturating_add(1));
        let mut lacks = view.rows_to_come(groups).saturating_sub(owed).max(1);
        for k in touched.pane.saturating_sub(n - 1).max(self.since)..=touched.pane {
            let is_known = view.baseline.is_none_or(|baseline| baseline.knows(k));
            if !is_known || fired.is_some_and(|fired| fired.contains(k)) {
                continue;
            }
            let cells = groups.within(links, view, (touched.group, k));
            let not_before = match view.passes(groups, cells) {
                Passes::Yes => None,
                Passes::After(rows) => Some(rows),
                Passes::Ask => {
                    let answer = view.ask(&[(groups.key_bytes(touched.group), cells)])?;
                    if answer.num_rows() > 0 { None } else { Some(1) }
                }
            };
            match not_before {
                None => {
                    self.hot.entry(touched.key).or_default().insert(k);
                    return Ok(Crossing::Fires(k));
                }
                Some(rows) if touched.nested && view.baseline.is_none() => {
                    return Ok(Crossing::After(rows));
                }
                Some(rows) => lacks = lacks.min(rows),
            }
        }
        Ok(if touched.nested { Crossing::After(lacks) } else { Crossing::None })
    }

    /// The keys that fired in window `k` at an event, ascending, each with whether its rows are
    /// others than in the window before. Only of rules whose HAVING stays true once it is; nothing
    /// where not all of them are known, since HAVING was another.
    pub(crate) fn announced(&self, groups: &Groups, k: i64) -> Option<Vec<(u128, bool)>> {
        if k <= self.unsure_until {
            return None;
        }
        let entering = k.saturating_add(self.windows.panes() - 1);
        let of = |(key, fired): (&u128, &Spans)| {
            let group = groups.find(*key).filter(|_group| fired.contains(k))?;
            let is_new =
                self.is_fresh(k) || groups.has(group, entering) || groups.has(group, k - 1);
            Some((*key, is_new))
        };
        Some(self.hot.iter().filter_map(of).collect())
    }

    /// The keys whose rows in window `k` are others than in the window before, ascending; all of
    /// them where it is `fresh`.
    pub(crate) fn changed(&self, groups: &Groups, k: i64, fresh: bool) -> Vec<u128> {
        let entering = k.saturating_add(self.windows.panes() - 1);
        let mut changed = Vec::new();
        if fresh {
            groups.keys_in(k..=entering, &mut changed);
        } else {
            groups.keys_in(entering..=entering, &mut changed);
            groups.keys_in(k - 1..=k - 1, &mut changed);
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.next);
        out.put(&self.all);
        out.put(&self.unsure_until);
        out.put(&self.since);
        out.len(self.hot.len());
        for (key, fired) in &self.hot {
            out.put(key);
            out.put(&fired.0);
        }
    }

    /// Reads what [`Watch::write`] wrote.
    pub(crate) fn read(&mut self, from: &mut Reader<'_>) -> Result<(), WireError> {
        self.next = Wire::read(from)?;
        self.all = from.get()?;
        self.unsure_until = from.get()?;
        self.since = from.get()?;
        for _key in 0..from.count("keys that fired")? {
            let key = from.get()?;
            self.hot.insert(key, Spans(from.get()?));
        }
        Ok(())
    }
}

/// A set of whole numbers, as ascending runs from first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(i64, i64)>);

impl Spans {
    pub(super) fn contains(&self, at: i64) -> bool {
        self.0.iter().rev().any(|(first, last)| (*first..=*last).contains(&at))
    }

    pub(super) fn insert(&mut self, at: i64) {
        if self.contains(at) {
            return;
        }
        let place = self.0.partition_point(|(_, last)| *last < at);
        self.0.insert(place, (at, at));
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(self.0.len());
        for (first, last) in self.0.drain(..) {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last,
                _ => joined.push((first, last)),
            }
        }
        self.0 = joined;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all before `from`.
    pub(super) fn forget(&mut self, from: i64) {
        self.0.retain(|(_, last)| *last >= from);
    }
}
