//! What one fold has come to in one pane of one key.
//!
//! Owns: taking a row, joining panes, the bytes of a slot. Never: which rows, which panes.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

use super::group::{Pane, signed};
use super::steps::{self, Steps};
use crate::hits::{Taken, Values};
use crate::key::low;
use crate::plan::{Held, Kind};
use crate::rows::circumstances::text_at;
use crate::wire::{Reader, WireError, Writer};

/// Distinct values counted exactly in one pane of one key: 1 MiB at 16 B each. Beyond that the
/// count is a lower bound, and the verdict says `degraded`.
pub(super) const DISTINCT_MAX: usize = 64 * 1024;
/// Sets up to this size are sorted lists.
const FEW_MAX: usize = 32;
/// Bytes that a distinct value is counted as.
const WITNESS_BYTES: usize = 16;

/// Takes hashes that are already keyed and mixed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.0 ^= u64::from_le_bytes(whole);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }
    fn write_u128(&mut self, hash: u128) {
        self.0 ^= low(hash);
    }
}

pub(crate) type ByHash = BuildHasherDefault<Mixed>;

/// A set of hashed values.
#[derive(Debug, Clone)]
pub(super) enum Witnesses {
    Few(Vec<u64>),
    #[expect(clippy::box_collection, reason = "few sets are large, and a slot stays small")]
    Many(Box<HashSet<u64, ByHash>>),
}

impl Witnesses {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Whether it was not there yet.
    fn insert(&mut self, hash: u64) -> bool {
        match self {
            Self::Few(few) => match few.binary_search(&hash) {
                Ok(_known) => false,
                Err(at) => {
                    few.insert(at, hash);
                    if few.len() > FEW_MAX {
                        *self = Self::Many(Box::new(few.iter().copied().collect()));
                    }
                    true
                }
            },
            Self::Many(many) => many.insert(hash),
        }
    }

    fn copy_to(&self, out: &mut Vec<u64>) {
        match self {
            Self::Few(few) => out.extend(few),
            Self::Many(many) => out.extend(many.iter()),
        }
    }
}

/// What a fold has come to.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Count(u64),
    Distinct(Witnesses),
    Sum(Option<i64>),
    Fractions { sum: f64, count: u64 },
    Whole(Option<i64>),
    Fraction(Option<f64>),
    Text(Option<Box<str>>),
    Flag(Option<bool>),
    Steps(Steps),
}

/// What a row did to a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Took {
    /// Bytes more than before, or less.
    pub(super) bytes: isize,
    /// Whether something was left out.
    pub(super) lossy: bool,
}

impl Slot {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Count => Self::Count(0),
            Kind::Distinct => Self::Distinct(Witnesses::Few(Vec::new())),
            Kind::Sum => Self::Sum(None),
            Kind::SumFraction | Kind::Average => Self::Fractions { sum: 0.0, count: 0 },
            Kind::Least(held) | Kind::Greatest(held) => match held {
                Held::Whole => Self::Whole(None),
                Held::Fraction => Self::Fraction(None),
                Held::Text => Self::Text(None),
                Held::Flag => Self::Flag(None),
            },
            Kind::All | Kind::Any => Self::Flag(None),
            Kind::Steps(_) => Self::Steps(Steps::default()),
        }
    }

    /// Bytes beyond the slot itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Distinct(witnesses) => witnesses.len() * WITNESS_BYTES,
            Self::Text(Some(text)) => text.len(),
            Self::Steps(steps) => steps.bytes(),
            _ => 0,
        }
    }

    /// Takes hits.
    pub(super) fn take(&mut self, kind: Kind, taken: &Taken, span: Range<usize>) -> Took {
        let mut took = Took::default();
        if let (Self::Count(count), None) = (&mut *self, &taken.takes) {
            *count += u64::try_from(span.len()).unwrap_or_default();
            return took;
        }
        for hit in span.filter(|hit| taken.takes(*hit)) {
            self.take_one(kind, &taken.values, hit, &mut took);
        }
        took
    }

    fn take_one(&mut self, kind: Kind, values: &Values, hit: usize, took: &mut Took) {
        match (self, values) {
            (Self::Count(count), _) => *count += 1,
            (Self::Distinct(witnesses), Values::Hashes(hashes)) => {
                let Some(hash) = hashes.get(hit) else { return };
                if witnesses.len() < DISTINCT_MAX {
                    if witnesses.insert(*hash) {
                        took.bytes += isize::try_from(WITNESS_BYTES).unwrap_or(0);
                    }
                } else {
                    took.lossy = true;
                }
            }
            (Self::Sum(sum), Values::Whole(values)) => {
                *sum = add(*sum, values.get(hit).copied());
            }
            (Self::Fractions { sum, count }, Values::Fractions(values)) => {
                if let Some(more) = values.get(hit) {
                    *sum += more;
                    *count += 1;
                }
            }
            (Self::Whole(held), Values::Whole(values)) => {
                *held = best(kind, *held, values.get(hit).copied(), Ord::cmp);
            }
            (Self::Fraction(held), Values::Fractions(values)) => {
                *held = best(kind, *held, values.get(hit).copied(), f64::total_cmp);
            }
            (Self::Flag(held), Values::Flags(values)) => {
                *held = best(kind, *held, values.get(hit).copied(), Ord::cmp);
            }
            (Self::Steps(steps), Values::Whole(values)) => {
                let (Kind::Steps(conditions), Some(event)) = (kind, values.get(hit)) else {
                    return;
                };
                let before = steps.bytes();
                took.lossy |= !steps.take(conditions, *event);
                took.bytes += signed(steps.bytes()) - signed(before);
            }
            (Self::Text(held), Values::Texts(texts)) => {
                let new = text_at(texts, hit);
                if best(kind, held.as_deref(), new, Ord::cmp) != held.as_deref() {
                    let length = |text: Option<&str>| {
                        text.map_or(0, |text| isize::try_from(text.len()).unwrap_or(0))
                    };
                    took.bytes += length(new) - length(held.as_deref());
                    *held = new.map(Box::from);
                }
            }
            // Values of another kind than the fold takes: nothing can be made of them.
            _ => took.lossy = true,
        }
    }
}

fn add(sum: Option<i64>, more: Option<i64>) -> Option<i64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.wrapping_add(more)),
        (one, other) => one.or(other),
    }
}

/// The least or the greatest of two. Of flags the least says whether all are true.
fn best<T: Copy>(
    kind: Kind,
    held: Option<T>,
    new: Option<T>,
    order: impl Fn(&T, &T) -> Ordering,
) -> Option<T> {
    let (Some(old), Some(fresh)) = (held, new) else { return held.or(new) };
    let wanted = match kind {
        Kind::Least(_) | Kind::All => Ordering::Less,
        _ => Ordering::Greater,
    };
    Some(if order(&fresh, &old) == wanted { fresh } else { old })
}

/// The slots of one fold in some panes.
fn slots(panes: &[Pane], place: usize) -> impl Iterator<Item = &Slot> {
    panes.iter().filter_map(move |pane| pane.slots.get(place))
}

/// What a fold comes to over panes, where that is a whole number.
pub(super) fn whole_of(kind: Kind, place: usize, panes: &[Pane]) -> Option<i64> {
    if let Kind::Steps(conditions) = kind {
        let steps = slots(panes, place).filter_map(|slot| match slot {
            Slot::Steps(steps) => Some(steps),
            _ => None,
        });
        return Some(steps::depth(conditions, steps));
    }
    let mut found = None;
    let mut witnesses = Vec::new();
    for slot in slots(panes, place) {
        match slot {
            Slot::Count(count) => {
                found = add(found, Some(i64::try_from(*count).unwrap_or(i64::MAX)));
            }
            Slot::Sum(sum) => found = add(found, *sum),
            Slot::Whole(held) => found = best(kind, found, *held, Ord::cmp),
            Slot::Distinct(one) if panes.len() == 1 => return i64::try_from(one.len()).ok(),
            Slot::Distinct(some) => some.copy_to(&mut witnesses),
            Slot::Fractions { .. }
            | Slot::Fraction(_)
            | Slot::Text(_)
            | Slot::Flag(_)
            | Slot::Steps(_) => {}
        }
    }
    if kind == Kind::Distinct {
        witnesses.sort_unstable();
        witnesses.dedup();
        return i64::try_from(witnesses.len()).ok();
    }
    if kind == Kind::Count { found.or(Some(0)) } else { found }
}

fn fraction_of(kind: Kind, place: usize, panes: &[Pane]) -> Option<f64> {
    let (mut all, mut rows, mut found) = (0.0, 0_u64, None);
    for slot in slots(panes, place) {
        match slot {
            Slot::Fractions { sum, count } => {
                all += sum;
                rows += count;
            }
            Slot::Fraction(held) => found = best(kind, found, *held, f64::total_cmp),
            _ => {}
        }
    }
    match kind {
        Kind::SumFraction if rows > 0 => Some(all),
        #[expect(clippy::cast_precision_loss, reason = "as a query's average does")]
        Kind::Average if rows > 0 => Some(all / rows as f64),
        Kind::SumFraction | Kind::Average => None,
        _ => found,
    }
}

fn text_of(kind: Kind, place: usize, panes: &[Pane]) -> Option<&str> {
    let texts = slots(panes, place).filter_map(|slot| match slot {
        Slot::Text(text) => text.as_deref(),
        _ => None,
    });
    texts.fold(None, |found, text| best(kind, found, Some(text), Ord::cmp))
}

fn flag_of(kind: Kind, place: usize, panes: &[Pane]) -> Option<bool> {
    let flags = slots(panes, place).filter_map(|slot| match slot {
        Slot::Flag(flag) => *flag,
        _ => None,
    });
    flags.fold(None, |found, flag| best(kind, found, Some(flag), Ord::cmp))
}

/// What a fold comes to for each of some groups.
pub(super) fn folded(kind: Kind, place: usize, groups: &[&[Pane]]) -> ArrayRef {
    let held = match kind {
        Kind::Count | Kind::Distinct | Kind::Sum | Kind::Steps(_) => Held::Whole,
        Kind::SumFraction | Kind::Average => Held::Fraction,
        Kind::All | Kind::Any => Held::Flag,
        Kind::Least(held) | Kind::Greatest(held) => held,
    };
    let groups = groups.iter();
    match held {
        Held::Whole => {
            Arc::new(groups.map(|panes| whole_of(kind, place, panes)).collect::<Int64Array>())
        }
        Held::Fraction => {
            Arc::new(groups.map(|panes| fraction_of(kind, place, panes)).collect::<Float64Array>())
        }
        Held::Text => {
            Arc::new(groups.map(|panes| text_of(kind, place, panes)).collect::<StringArray>())
        }
        Held::Flag => {
            Arc::new(groups.map(|panes| flag_of(kind, place, panes)).collect::<BooleanArray>())
        }
    }
}

impl Slot {
    pub(super) fn write(&self, out: &mut Writer) {
        match self {
            Self::Count(count) => out.put(count),
            Self::Distinct(witnesses) => {
                let mut sorted = Vec::with_capacity(witnesses.len());
                witnesses.copy_to(&mut sorted);
                sorted.sort_unstable();
                out.put(&sorted);
            }
            Self::Sum(held) | Self::Whole(held) => out.put(held),
            Self::Fractions { sum, count } => {
                out.put(&sum.to_bits());
                out.put(count);
            }
            Self::Fraction(held) => out.put(&held.map(f64::to_bits)),
            Self::Text(held) => out.put(&held.as_deref().map(str::to_owned)),
            Self::Flag(held) => out.put(held),
            Self::Steps(steps) => steps.write(out),
        }
    }

    /// Reads what was written of a slot of this kind.
    pub(super) fn read(kind: Kind, from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match Self::new(kind) {
            Self::Count(_) => Self::Count(from.get()?),
            Self::Distinct(_) => {
                let sorted: Vec<u64> = from.get()?;
                if !sorted.is_sorted_by(|a, b| a < b) || sorted.len() > DISTINCT_MAX {
                    return Err(WireError::Malformed { what: "distinct values" });
                }
                Self::Distinct(if sorted.len() > FEW_MAX {
                    Witnesses::Many(Box::new(sorted.into_iter().collect()))
                } else {
                    Witnesses::Few(sorted)
                })
            }
            Self::Sum(_) => Self::Sum(from.get()?),
            Self::Whole(_) => Self::Whole(from.get()?),
            Self::Fractions { .. } => {
                Self::Fractions { sum: f64::from_bits(from.get()?), count: from.get()? }
            }
            Self::Fraction(_) => Self::Fraction(from.get::<Option<u64>>()?.map(f64::from_bits)),
            Self::Text(_) => Self::Text(from.get::<Option<String>>()?.map(String::into_boxed_str)),
            Self::Flag(_) => Self::Flag(from.get()?),
            Self::Steps(_) => Self::Steps(Steps::read(from)?),
        })
    }
}
