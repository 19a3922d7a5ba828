//! Hits as bytes on a log.
//!
//! Owns: cutting the events of a step down to those that a frame names, writing and reading.
//! Never: trusts what it reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::Exemplar;

use super::{Events, Exemplars, Hits, Run, StepKey, Taken, Values, pick};
use crate::rows::circumstances::Circumstances;
use crate::rows::{count, place};
use crate::window::is_moment;
use crate::wire::{Reader, Wire, WireError, Writer};

/// The steps whose events a frame's hits name, each cut down to these.
#[derive(Debug, Default)]
pub(crate) struct Steps<'a> {
    of: Vec<(&'a Arc<Events>, Vec<u32>, Events)>,
}

impl<'a> Steps<'a> {
    pub(crate) fn of(hits: &(impl Iterator<Item = &'a Hits> + Clone)) -> Self {
        let mut steps = Self::default();
        for one in hits.clone() {
            if steps.place(&one.events).is_some() {
                continue;
            }
            let same = || hits.clone().filter(|other| Arc::ptr_eq(&other.events, &one.events));
            let mut rows: Vec<u32> = same().flat_map(|hits| hits.rows.iter().copied()).collect();
            rows.sort_unstable();
            rows.dedup();
            let mut shown = BTreeSet::new();
            same().for_each(|hits| hits.shown(&mut shown));
            let events = one.events.cut(&rows, &shown);
            steps.of.push((&one.events, rows, events));
        }
        steps
    }

    fn place(&self, events: &Arc<Events>) -> Option<usize> {
        self.of.iter().position(|(of, ..)| Arc::ptr_eq(of, events))
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.len(self.of.len());
        for (_, _, events) in &self.of {
            out.put(events);
        }
    }

    /// Writes hits of one of the steps.
    pub(crate) fn write_hits(&self, hits: &Hits, out: &mut Writer) {
        let at = self.place(&hits.events).unwrap_or_default();
        let rows = self.of.get(at).map_or(&[] as &[u32], |(_, rows, _)| rows);
        let renamed = hits.rows.iter().filter_map(|row| rows.binary_search(row).ok().map(count));
        out.len(at);
        out.len(hits.runs.len());
        for (key, _, end) in hits.each_run() {
            out.put(&key.hash);
            out.len(key.bytes.len());
            out.raw(&key.bytes);
            out.put(&end);
        }
        out.put(&renamed.collect::<Vec<u32>>());
        out.len(hits.folds.len());
        for taken in &hits.folds {
            let of = if taken.by_row { taken.of_hits(&hits.rows) } else { taken.as_ref().clone() };
            out.put(&of);
        }
    }
}

impl Events {
    /// Only these rows, in their order; `shown` are those to show.
    fn cut(&self, rows: &[u32], shown: &BTreeSet<u32>) -> Self {
        let mut renamed = vec![u32::MAX; self.table.len()];
        let mut table = Vec::new();
        let mut circumstances = Vec::with_capacity(rows.len());
        for row in rows {
            let entry = self.circumstances.get(place(*row)).map_or(usize::MAX, |at| place(*at));
            let Some(new) = renamed.get_mut(entry) else { continue };
            if *new == u32::MAX {
                *new = count(table.len());
                table.extend(self.table.get(entry).map(Arc::clone));
            }
            circumstances.push(*new);
        }
        let new = |row: &u32| rows.binary_search(row).ok().map(count);
        let made = shown.iter().filter_map(|row| Some((new(row)?, self.exemplar(*row)?)));
        let stamps = self.stamps.iter().filter_map(|(row, stamp)| Some((new(row)?, *stamp)));
        let at = pick(&self.at, rows);
        Self {
            in_order: at.is_sorted(),
            at,
            circumstances,
            table,
            stamps: stamps.collect(),
            exemplars: Exemplars::Made(made.collect()),
            earliest: self.earliest,
        }
    }

    fn is_sound(&self) -> bool {
        let rows = self.at.len();
        let ascending = |places: &[u32]| {
            places.is_sorted_by(|a, b| a < b) && places.last().is_none_or(|at| place(*at) < rows)
        };
        let stamps: Vec<u32> = self.stamps.iter().map(|(row, _)| *row).collect();
        let made: Vec<u32> = match &self.exemplars {
            Exemplars::Columns { .. } => Vec::new(),
            Exemplars::Made(made) => made.iter().map(|(row, _)| *row).collect(),
        };
        self.at.iter().all(|at| is_moment(*at))
            && self.circumstances.len() == rows
            && self.circumstances.iter().all(|entry| place(*entry) < self.table.len())
            && ascending(&stamps)
            && ascending(&made)
    }
}

impl Wire for Events {
    fn write(&self, out: &mut Writer) {
        out.put(&self.at);
        out.put(&self.circumstances);
        out.put(&self.table);
        out.put(&self.stamps);
        match &self.exemplars {
            Exemplars::Columns { .. } => out.len(0),
            Exemplars::Made(made) => out.put(made),
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let at: Vec<i64> = from.get()?;
        let circumstances: Vec<u32> = from.get()?;
        let table: Vec<Arc<Circumstances>> = from.get()?;
        let stamps: Vec<(u32, i64)> = from.get()?;
        let made: Vec<(u32, Arc<Exemplar>)> = from.get()?;
        let earliest = at.iter().copied().min().unwrap_or(i64::MAX);
        let exemplars = Exemplars::Made(made);
        let in_order = at.is_sorted();
        let events = Self { at, in_order, circumstances, table, stamps, exemplars, earliest };
        if events.is_sound() { Ok(events) } else { Err(WireError::Malformed { what: "events" }) }
    }
}

/// Reads what [`Steps::write`] wrote.
pub(crate) fn read_steps(from: &mut Reader<'_>) -> Result<Vec<Arc<Events>>, WireError> {
    let steps = from.count("steps")?;
    (0..steps).map(|_step| from.get().map(Arc::new)).collect()
}

impl Hits {
    /// Reads what [`Steps::write_hits`] wrote, of a unit with panes this long.
    pub(crate) fn read(
        from: &mut Reader<'_>,
        steps: &[Arc<Events>],
        pane_ms: i64,
    ) -> Result<Self, WireError> {
        let malformed = || WireError::Malformed { what: "hits" };
        let events = Arc::clone(steps.get(from.len("the step of hits")?).ok_or_else(malformed)?);
        let (mut keys, mut runs) = (Vec::new(), Vec::new());
        for _run in 0..from.count("runs")? {
            let hash = from.get()?;
            let length = from.len("a key")?;
            keys.push(StepKey { hash, bytes: Arc::from(from.take(length, "a key")?) });
            runs.push(Run { key: count(runs.len()), end: from.get()? });
        }
        let rows: Vec<u32> = from.get()?;
        let mut folds = Vec::new();
        for _fold in 0..from.count("folds")? {
            folds.push(Arc::new(from.get()?));
        }
        let hits = Self { events, keys: Arc::new(keys), pane_ms, runs, rows, folds };
        if hits.is_sound() { Ok(hits) } else { Err(malformed()) }
    }

    /// Whether lengths and places agree.
    fn is_sound(&self) -> bool {
        let (hits, events) = (self.rows.len(), self.events.at.len());
        let ends: Vec<u32> = self.runs.iter().map(|run| run.end).collect();
        let ascending = |(_, from, to): (&StepKey, u32, u32)| {
            let rows = self.rows.get(place(from)..place(to));
            rows.is_some_and(|rows| rows.is_sorted_by(|a, b| a < b))
        };
        ends.is_sorted_by(|a, b| a < b)
            && ends.first().is_none_or(|first| *first > 0)
            && ends.last().map_or(0, |last| place(*last)) == hits
            && self.rows.iter().all(|row| place(*row) < events)
            && self.each_run().all(ascending)
            && self.folds.iter().all(|taken| taken.is_of(hits))
    }
}

impl Wire for Taken {
    fn write(&self, out: &mut Writer) {
        out.put(&self.takes);
        out.put(&self.values);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { by_row: false, takes: from.get()?, values: from.get()? })
    }
}

impl Wire for Values {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Nothing => out.put(&0_u8),
            Self::Hashes(values) => {
                out.put(&1_u8);
                out.put(values);
            }
            Self::Whole(values) => {
                out.put(&2_u8);
                out.put(values);
            }
            Self::Fractions(values) => {
                out.put(&3_u8);
                out.put(&values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>());
            }
            Self::Flags(values) => {
                out.put(&4_u8);
                out.put(values);
            }
            Self::Texts(texts) => {
                out.put(&5_u8);
                out.put(&texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>());
            }
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.get::<u8>()? {
            0 => Self::Nothing,
            1 => Self::Hashes(from.get()?),
            2 => Self::Whole(from.get()?),
            3 => {
                let bits: Vec<u64> = from.get()?;
                Self::Fractions(bits.into_iter().map(f64::from_bits).collect())
            }
            4 => Self::Flags(from.get()?),
            5 => Self::Texts(from.get::<Vec<Option<String>>>()?.into_iter().collect()),
            _ => return Err(WireError::Malformed { what: "values of a fold" }),
        })
    }
}
