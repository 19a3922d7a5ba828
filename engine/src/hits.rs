//! What rules over panes take of events: keys, moments, and values of folds.
//!
//! Owns: [`Hits`], made by map for all rules of a unit, and its bytes. Never: state, filters.
//!
//! An event itself goes no further than map. Its hits stand in runs of one key, so that reduce
//! looks each key up once a frame; `arrival` tells the order in which they came.

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use schemas::Exemplar;

use crate::rows::circumstances::Circumstances;
use crate::rows::place;
use crate::window::is_moment;
use crate::wire::{Reader, Wire, WireError, Writer, wire_struct};

/// Events of one step that pass a unit's filter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hits {
    pub(crate) runs: Vec<Run>,
    /// By hit: its place in the order of arrival.
    pub(crate) arrival: Vec<u32>,
    /// By hit: the moment that windows go by.
    pub(crate) at: Vec<i64>,
    /// By hit: its place in `table`.
    pub(crate) circumstances: Vec<u32>,
    pub(crate) table: Vec<Arc<Circumstances>>,
    /// Events to show, by hit, ascending: those among the first few of their key and pane.
    pub(crate) shown: Vec<(u32, Arc<Exemplar>)>,
    /// Hits whose own stamp lies in the future, ascending.
    pub(crate) future: Vec<u32>,
    /// By fold of the unit.
    pub(crate) folds: Vec<Taken>,
}

/// The hits of a key: those before `end` that no earlier run has.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) hash: u128,
    /// Canonical bytes of the key.
    pub(crate) key: Arc<[u8]>,
    pub(crate) end: u32,
}

/// What one fold takes of hits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// By hit: whether the fold takes it; absent where it takes all.
    pub(crate) takes: Option<Vec<bool>>,
    pub(crate) values: Values,
}

/// Values by hit; of hits that are not taken they mean nothing.
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

impl Taken {
    pub(crate) fn takes(&self, hit: usize) -> bool {
        self.takes.as_ref().is_none_or(|takes| takes.get(hit).copied().unwrap_or(false))
    }
}

impl Hits {
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// The hits of the keys that `wanted` says.
    pub(crate) fn of_keys(&self, wanted: impl Fn(u128) -> bool) -> Self {
        let mut picked = Self { table: self.table.clone(), ..Self::default() };
        let mut hits: Vec<u32> = Vec::new();
        let mut from = 0;
        for run in &self.runs {
            if wanted(run.hash) {
                hits.extend(from..run.end);
                let end = u32::try_from(hits.len()).unwrap_or(u32::MAX);
                picked.runs.push(Run { end, ..run.clone() });
            }
            from = run.end;
        }
        picked.arrival = pick(&self.arrival, &hits);
        picked.at = pick(&self.at, &hits);
        picked.circumstances = pick(&self.circumstances, &hits);
        for (new, old) in (0_u32..).zip(&hits) {
            if let Ok(found) = self.shown.binary_search_by_key(old, |(hit, _)| *hit) {
                picked
                    .shown
                    .extend(self.shown.get(found).map(|(_, shown)| (new, Arc::clone(shown))));
            }
            if self.future.binary_search(old).is_ok() {
                picked.future.push(new);
            }
        }
        picked.folds = self.folds.iter().map(|taken| taken.of_hits(&hits)).collect();
        picked
    }

    /// Whether lengths and places agree, for hits from elsewhere.
    fn is_sound(&self) -> bool {
        let hits = self.at.len();
        let ends: Vec<u32> = self.runs.iter().map(|run| run.end).collect();
        let ascending = |places: &[u32]| {
            places.is_sorted_by(|a, b| a < b)
                && places.last().is_none_or(|last| place(*last) < hits)
        };
        let shown: Vec<u32> = self.shown.iter().map(|(hit, _)| *hit).collect();
        self.at.iter().all(|at| is_moment(*at))
            && ends.is_sorted_by(|a, b| a < b)
            && ends.first().is_none_or(|first| *first > 0)
            && ends.last().map_or(0, |last| place(*last)) == hits
            && self.arrival.len() == hits
            && self.circumstances.len() == hits
            && self.circumstances.iter().all(|entry| place(*entry) < self.table.len())
            && ascending(&shown)
            && ascending(&self.future)
            && self.folds.iter().all(|taken| taken.is_of(hits))
    }
}

impl Taken {
    fn of_hits(&self, hits: &[u32]) -> Self {
        let values = match &self.values {
            Values::Nothing => Values::Nothing,
            Values::Hashes(values) => Values::Hashes(pick(values, hits)),
            Values::Whole(values) => Values::Whole(pick(values, hits)),
            Values::Fractions(values) => Values::Fractions(pick(values, hits)),
            Values::Flags(values) => Values::Flags(pick(values, hits)),
            Values::Texts(texts) => {
                let text = |hit: &u32| {
                    let hit = place(*hit);
                    (hit < texts.len() && texts.is_valid(hit)).then(|| texts.value(hit))
                };
                Values::Texts(hits.iter().map(text).collect())
            }
        };
        Self { takes: self.takes.as_ref().map(|takes| pick(takes, hits)), values }
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

wire_struct!(Run { hash, key, end });
wire_struct!(Taken { takes, values });

impl Wire for Arc<[u8]> {
    fn write(&self, out: &mut Writer) {
        out.len(self.len());
        out.raw(self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = from.len("a key")?;
        from.take(length, "a key").map(Self::from)
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

impl Wire for Hits {
    fn write(&self, out: &mut Writer) {
        out.put(&self.runs);
        out.put(&self.arrival);
        out.put(&self.at);
        out.put(&self.circumstances);
        out.put(&self.table);
        out.put(&self.shown);
        out.put(&self.future);
        out.put(&self.folds);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let hits = Self {
            runs: from.get()?,
            arrival: from.get()?,
            at: from.get()?,
            circumstances: from.get()?,
            table: from.get()?,
            shown: from.get()?,
            future: from.get()?,
            folds: from.get()?,
        };
        if hits.is_sound() { Ok(hits) } else { Err(WireError::Malformed { what: "hits" }) }
    }
}
