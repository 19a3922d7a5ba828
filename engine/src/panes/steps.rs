//! How far a key came through steps, as a fold.
//!
//! Owns: what `sequence` keeps of a pane, and the depth over panes. Never: conditions; an event
//! comes as a number that says when it happened and what it met (`plan::stepping`).
//!
//! A pane keeps the moments at which conditions were met. Where they are many, only those stay that
//! a way through the steps can take, whatever step it comes in with: with eight conditions at most
//! 36, and the last. Events that come in order lose nothing by that; one that comes out of order
//! into such a pane might, and makes its verdict `degraded`.

use crate::plan::stepping;
use crate::wire::{Reader, WireError, Writer};

/// Moments that a pane keeps at most.
const MOMENTS_MAX: usize = 64;
/// Bytes of one.
const MOMENT_BYTES: usize = 16;

/// The moments of one pane.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    /// Ascending, each with a bit for each condition.
    met: Vec<(i64, u8)>,
    /// Whether some have been left out.
    thinned: bool,
}

impl Steps {
    /// Bytes held, which follow from how many moments there are.
    pub(super) fn bytes(&self) -> usize {
        if self.met.is_empty() {
            return 0;
        }
        room(self.met.len()) * MOMENT_BYTES + super::ALLOCATION_BYTES
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.met.capacity() * MOMENT_BYTES
    }

    /// Takes an event. False where it may have come too late for what was left out.
    pub(super) fn take(&mut self, conditions: u8, event: i64) -> bool {
        let (time, met) = stepping::read(event);
        if met == 0 {
            return true;
        }
        let mut sure = true;
        match self.met.last_mut() {
            Some((last, bits)) if *last == time => *bits |= met,
            Some((last, _)) if *last > time => {
                sure = !self.thinned;
                match self.met.binary_search_by_key(&time, |(time, _)| *time) {
                    Ok(place) => {
                        if let Some((_, bits)) = self.met.get_mut(place) {
                            *bits |= met;
                        }
                    }
                    Err(place) => self.met.insert(place, (time, met)),
                }
            }
            _ => self.met.push((time, met)),
        }
        if self.met.len() > MOMENTS_MAX {
            self.thin(conditions);
        }
        sure
    }

    /// Keeps what a way takes from each step on, and the last moment, which may still meet more.
    fn thin(&mut self, conditions: u8) {
        let mut keep = vec![false; self.met.len()];
        for from in 0..conditions {
            let mut depth = from;
            for (keep, (_, met)) in keep.iter_mut().zip(&self.met) {
                let before = depth;
                depth = advance(depth, conditions, *met);
                *keep |= depth > before;
            }
        }
        if let Some(last) = keep.last_mut() {
            *last = true;
        }
        let mut keep = keep.into_iter();
        self.met.retain(|_| keep.next().unwrap_or(true));
        self.met.shrink_to(room(self.met.len()));
        self.thinned = true;
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.put(&self.met);
        out.put(&self.thinned);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (mut met, thinned): (Vec<(i64, u8)>, bool) = (from.get()?, from.get()?);
        if met.len() > MOMENTS_MAX || !met.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(WireError::Malformed { what: "steps" });
        }
        if !met.is_empty() {
            met.reserve_exact(room(met.len()) - met.len());
        }
        Ok(Self { met, thinned })
    }
}

/// Moments that there is room for when there are so many: as a vector grows.
fn room(moments: usize) -> usize {
    moments.next_power_of_two().max(4)
}

/// The depth after a moment.
fn advance(mut depth: u8, conditions: u8, met: u8) -> u8 {
    while depth < conditions && met >> depth & 1 == 1 {
        depth += 1;
    }
    depth
}

/// How many of the conditions were met in their order over panes.
pub(super) fn depth<'a>(conditions: u8, panes: impl Iterator<Item = &'a Steps>) -> i64 {
    let mut met: Vec<(i64, u8)> = panes.flat_map(|steps| steps.met.iter().copied()).collect();
    met.sort_unstable();
    let moments = met.chunk_by(|a, b| a.0 == b.0);
    let depth = moments.fold(0, |depth, moment| {
        advance(depth, conditions, moment.iter().fold(0, |bits, (_, met)| bits | met))
    });
    i64::from(depth)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::{MOMENTS_MAX, Steps, depth};
    use crate::plan::stepping;
    use crate::wire::{Reader, Writer};

    /// The definition: the best choice of a time for each condition.
    fn naive(conditions: u8, events: &[(i64, u8)]) -> i64 {
        let (mut depth, mut from) = (0, i64::MIN);
        while depth < conditions {
            let met = events.iter().filter(|(time, met)| *time >= from && met >> depth & 1 == 1);
            let Some(first) = met.map(|(time, _)| *time).min() else { break };
            (depth, from) = (depth + 1, first);
        }
        depth.into()
    }

    fn written(steps: &Steps) -> Vec<u8> {
        let mut out = Writer::default();
        steps.write(&mut out);
        out.bytes
    }

    proptest! {
        #[test]
        fn panes_joined_come_to_the_definition(
            conditions in 2_u8..=8,
            mut events in prop::collection::vec((0_i64..400, 0_u8..=255), 0..600),
            in_order in proptest::bool::ANY,
        ) {
            let bits = u8::MAX >> (8 - conditions);
            // Few conditions at a time, so that it takes long to come through.
            events.iter_mut().for_each(|(time, met)| *met &= bits & (1 << (*time % 8)));
            if in_order {
                events.sort_by_key(|(time, _)| *time);
            }
            let mut panes = vec![Steps::default(); 4];
            let mut sure = true;
            for (time, met) in &events {
                let pane = &mut panes[usize::try_from(time / 100).unwrap()];
                sure &= pane.take(conditions, stepping::event(*time, *met));
                prop_assert!(pane.met.len() <= MOMENTS_MAX);
            }
            prop_assert!(sure || !in_order, "in order nothing is lost");
            let found = depth(conditions, panes.iter());
            let wanted = naive(conditions, &events);
            prop_assert!(found <= wanted, "never more than there is");
            prop_assert!(!sure || found == wanted, "{} of {}", found, wanted);
            for steps in &panes {
                let read = Steps::read(&mut Reader::new(&written(steps))).unwrap();
                prop_assert_eq!(written(&read), written(steps));
            }
        }
    }

    #[test]
    fn a_flood_of_first_steps_does_not_hide_the_second() {
        let mut steps = Steps::default();
        for time in 0..10_000 {
            assert!(steps.take(2, stepping::event(time, 0b01)));
        }
        assert!(steps.take(2, stepping::event(10_000, 0b10)));
        assert_eq!(depth(2, [&steps].into_iter()), 2);
        assert!(
            !steps.take(2, stepping::event(5_000, 0b10)),
            "it may be too late for what is gone"
        );
    }
}
