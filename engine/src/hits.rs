//! What rules over panes take of events: keys, moments, and values of folds.
//!
//! Owns: [`Hits`], made by map for all rules of a unit, the [`Events`] that the units of a step
//! share, and the bytes of both. Never: state, filters.
//!
//! A unit names events by their row in the step. Its hits stand in runs of one key, each in order
//! of arrival, so that reduce looks a key up once a frame and adds up a run at a time. On a log
//! stands only what the units of a frame name.

mod bytes;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use schemas::{EventTime, Exemplar};

use crate::rows::circumstances::{Circumstances, text_at};
use crate::rows::{EXEMPLARS_MAX, place};

pub(crate) use bytes::{Steps, read_steps};

/// Events of one step, by row.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// The moment that windows go by.
    pub(crate) at: Vec<i64>,
    /// Whether no row is earlier than one before it, so that the ends of a run tell all.
    pub(crate) in_order: bool,
    /// Place in `table`. Of rows that no unit names it means nothing.
    pub(crate) circumstances: Vec<u32>,
    pub(crate) table: Vec<Arc<Circumstances>>,
    /// Rows whose own stamp lies in the future, ascending, and that stamp.
    pub(crate) stamps: Vec<(u32, i64)>,
    pub(crate) exemplars: Exemplars,
    /// The first moment of the rows that units name.
    pub(crate) earliest: i64,
}

/// Events to show.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a step")]
pub(crate) enum Exemplars {
    /// Made from columns when one is wanted.
    Columns { ids: Option<StringArray>, lines: Option<StringArray> },
    /// By row, ascending: those that may be wanted.
    Made(Vec<(u32, Arc<Exemplar>)>),
}

/// A key of a step.
#[derive(Debug, Clone)]
pub(crate) struct StepKey {
    pub(crate) hash: u128,
    /// Canonical bytes.
    pub(crate) bytes: Arc<[u8]>,
}

/// Events of one step that pass a unit's filter.
#[derive(Debug, Clone)]
pub(crate) struct Hits {
    pub(crate) events: Arc<Events>,
    /// The keys of the step, those of other units with the same key columns among them.
    pub(crate) keys: Arc<Vec<StepKey>>,
    pub(crate) pane_ms: i64,
    pub(crate) runs: Vec<Run>,
    /// By hit: its row. Within a run ascending, which is their order of arrival.
    pub(crate) rows: Vec<u32>,
    /// By fold of the unit.
    pub(crate) folds: Vec<Arc<Taken>>,
}

/// The hits of a key: those before `end` that no earlier run has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Place in `keys`.
    pub(crate) key: u32,
    pub(crate) end: u32,
}

/// What one fold takes of hits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// Whether it is told by row of the step, and not by hit.
    pub(crate) by_row: bool,
    /// Whether the fold takes it; absent where it takes all.
    pub(crate) takes: Option<Vec<bool>>,
    pub(crate) values: Values,
}

/// Values; where nothing is taken they mean nothing.
#[derive(Debug, Clone, Default)]
pub(crate) enum Values {
    /// Only the number of hits counts.
    #[default]
    Nothing,
    /// Keyed hashes.
    Hashes(Vec<u64>),
    Whole(Vec<i64>),
    Fractions(Vec<f64>),
    Flags(Vec<bool>),
    Texts(StringArray),
}

impl Default for Events {
    fn default() -> Self {
        Self {
            at: Vec::new(),
            in_order: true,
            circumstances: Vec::new(),
            table: Vec::new(),
            stamps: Vec::new(),
            exemplars: Exemplars::Made(Vec::new()),
            earliest: i64::MAX,
        }
    }
}

impl Events {
    /// The first and the last moment of rows, which ascend and are at least one.
    pub(crate) fn between(&self, rows: &[u32]) -> (i64, i64) {
        if let (true, [first, .., last]) = (self.in_order, rows) {
            return (self.at(*first), self.at(*last));
        }
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for row in rows {
            let at = self.at(*row);
            first = first.min(at);
            last = last.max(at);
        }
        (first, last)
    }

    pub(crate) fn at(&self, row: u32) -> i64 {
        self.at.get(place(row)).copied().unwrap_or(i64::MAX)
    }

    /// The id of an event that can be shown.
    pub(crate) fn id(&self, row: u32) -> Option<&str> {
        match &self.exemplars {
            Exemplars::Columns { ids, .. } => text_at(ids.as_ref()?, place(row)),
            Exemplars::Made(made) => {
                let found = made.binary_search_by_key(&row, |(of, _)| *of).ok()?;
                made.get(found).map(|(_, exemplar)| exemplar.event_id.as_str())
            }
        }
    }

    pub(crate) fn is_future(&self, row: u32) -> bool {
        !self.stamps.is_empty() && self.stamps.binary_search_by_key(&row, |(of, _)| *of).is_ok()
    }

    /// What is shown of an event: its own stamp, its id, and its line.
    pub(crate) fn shown(&self, row: u32) -> Option<(i64, &str, Option<&str>)> {
        match &self.exemplars {
            Exemplars::Columns { ids, lines } => {
                let stamp = match self.stamps.binary_search_by_key(&row, |(of, _)| *of) {
                    Ok(found) => self.stamps.get(found).map(|(_, stamp)| *stamp),
                    Err(_own) => self.at.get(place(row)).copied(),
                };
                let line = lines.as_ref().and_then(|lines| text_at(lines, place(row)));
                Some((stamp?, text_at(ids.as_ref()?, place(row))?, line))
            }
            Exemplars::Made(made) => {
                let found = made.binary_search_by_key(&row, |(of, _)| *of).ok()?;
                let (_, made) = made.get(found)?;
                Some((made.event_time.millis(), made.event_id.as_str(), made.line.as_deref()))
            }
        }
    }

    /// As it stands in a frame.
    fn exemplar(&self, row: u32) -> Option<Arc<Exemplar>> {
        let (stamp, id, line) = self.shown(row)?;
        Some(Arc::new(Exemplar {
            event_id: id.to_owned(),
            event_time: EventTime(stamp),
            line: line.map(str::to_owned),
        }))
    }
}

impl Taken {
    /// The greatest of its whole numbers in `rows`, where one is not negative; some of them may not
    /// be taken.
    pub(crate) fn greatest(&self, rows: &[u32]) -> Option<u64> {
        let Values::Whole(values) = &self.values else { return None };
        let most = if self.by_row {
            rows.iter().filter_map(|row| values.get(place(*row))).max()
        } else {
            values.iter().max()
        };
        most.and_then(|most| u64::try_from(*most).ok())
    }

    /// Where `takes` and `values` tell of a hit.
    pub(crate) fn place(&self, hit: usize, row: u32) -> usize {
        if self.by_row { place(row) } else { hit }
    }

    /// By where it tells of a hit: whether the fold takes it.
    pub(crate) fn takes(&self, at: usize) -> bool {
        self.takes.as_ref().is_none_or(|takes| takes.get(at).copied().unwrap_or(false))
    }
}

impl Hits {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The runs with their keys and where each begins.
    pub(crate) fn each_run(&self) -> impl Iterator<Item = (&StepKey, u32, u32)> {
        let mut from = 0;
        self.runs.iter().filter_map(move |run| {
            let begin = std::mem::replace(&mut from, run.end);
            Some((self.keys.get(place(run.key))?, begin, run.end))
        })
    }

    /// The hits of the keys that `wanted` says.
    pub(crate) fn of_keys(&self, wanted: impl Fn(u128) -> bool) -> Self {
        let mut runs = Vec::new();
        let mut hits: Vec<u32> = Vec::new();
        let mut from = 0;
        for run in &self.runs {
            if self.keys.get(place(run.key)).is_some_and(|key| wanted(key.hash)) {
                hits.extend(from..run.end);
                runs.push(Run { end: crate::rows::count(hits.len()), ..*run });
            }
            from = run.end;
        }
        let folds = self.folds.iter().map(|taken| {
            if taken.by_row { Arc::clone(taken) } else { Arc::new(taken.of_hits(&hits)) }
        });
        Self {
            folds: folds.collect(),
            rows: pick(&self.rows, &hits),
            runs,
            events: Arc::clone(&self.events),
            keys: Arc::clone(&self.keys),
            pane_ms: self.pane_ms,
        }
    }

    /// Adds every row that was among the first few of its key and pane when it came: by event time
    /// and id, so that whatever they join, the first few of all are there.
    fn shown(&self, out: &mut BTreeSet<u32>) {
        let order = |row: u32| (self.events.at(row), self.events.id(row));
        for (_, from, to) in self.each_run() {
            let mut panes: Vec<(i64, Vec<u32>)> = Vec::new();
            for row in self.rows.get(place(from)..place(to)).unwrap_or_default() {
                if self.events.id(*row).is_none() {
                    continue;
                }
                let pane = self.events.at(*row).div_euclid(self.pane_ms.max(1));
                let known = panes.iter().rposition(|(of, _)| *of == pane);
                let at = known.unwrap_or_else(|| {
                    panes.push((pane, Vec::new()));
                    panes.len() - 1
                });
                let Some((_, first)) = panes.get_mut(at) else { continue };
                let later = first.partition_point(|held| order(*held) <= order(*row));
                if later < EXEMPLARS_MAX {
                    first.insert(later, *row);
                    first.truncate(EXEMPLARS_MAX);
                    out.insert(*row);
                }
            }
        }
    }
}

impl Taken {
    /// Of some hits only, told by hit.
    fn of_hits(&self, hits: &[u32]) -> Self {
        let values = match &self.values {
            Values::Nothing => Values::Nothing,
            Values::Hashes(values) => Values::Hashes(pick(values, hits)),
            Values::Whole(values) => Values::Whole(pick(values, hits)),
            Values::Fractions(values) => Values::Fractions(pick(values, hits)),
            Values::Flags(values) => Values::Flags(pick(values, hits)),
            Values::Texts(texts) => {
                let text = |hit: &u32| text_at(texts, place(*hit));
                Values::Texts(hits.iter().map(text).collect())
            }
        };
        let takes = self.takes.as_ref().map(|takes| pick(takes, hits));
        Self { by_row: false, takes, values }
    }

    fn is_of(&self, hits: usize) -> bool {
        let values = match &self.values {
            Values::Nothing => hits,
            Values::Hashes(values) => values.len(),
            Values::Whole(values) => values.len(),
            Values::Fractions(values) => values.len(),
            Values::Flags(values) => values.len(),
            Values::Texts(texts) => texts.len(),
        };
        values == hits && self.takes.as_ref().is_none_or(|takes| takes.len() == hits)
    }
}

fn pick<T: Copy>(from: &[T], hits: &[u32]) -> Vec<T> {
    hits.iter().filter_map(|hit| from.get(place(*hit)).copied()).collect()
}
