//! Reading ahead of what is about to be changed.
//!
//! Owns: touching, in the order in which one names the other, where hits of many units will go.
//! Never: changes anything; nothing depends on what it finds.
//!
//! The state of many units is far more than a processor's cache holds. A hit waits for eight pieces
//! of it, each of which says where the next one is, and between hits of two units is too much work
//! for the processor to look beyond. Here the first piece is read for many hits, then the second:
//! it waits for all of them at once.

use super::pane::NONE;
use super::{Groups, Link, tag};
use crate::hits::StepKey;
use crate::key::low;
use crate::rows::place;

/// Room to find hits in.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Vec<Found>);

/// What is known so far of one hit.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Place of the unit.
    unit: usize,
    group: u32,
    last: Link,
}

impl Ahead {
    /// What is read of so many keys stays in the nearest cache.
    pub(crate) const KEYS_MAX: usize = 64;

    /// Reads where hits of these keys will go, each with the place of its unit.
    pub(crate) fn read<'k>(
        &mut self,
        keys: impl Iterator<Item = (usize, &'k StepKey)>,
        units: &[Groups],
    ) {
        self.0.clear();
        self.0.extend(keys.filter_map(|(unit, key)| {
            let group = units.get(unit)?.index.first(tag(low(key.hash))).unwrap_or(NONE);
            Some(Found { unit, group, last: Link::NONE })
        }));
        for found in &mut self.0 {
            let group = units.get(found.unit).and_then(|unit| unit.groups.get(place(found.group)));
            found.last = group.map_or(Link::NONE, |group| group.last);
        }
        let at = |found: &Found| units.get(found.unit).map_or(0, |unit| unit.at(found.last));
        std::hint::black_box(self.0.iter().map(at).fold(0, u32::wrapping_add));
    }
}

impl Groups {
    /// Something of a cell of the last pane, or of the one after which the next will be.
    fn at(&self, link: Link) -> u32 {
        let Some((_, last)) = self.order.last() else { return 0 };
        let Some(pane) = self.panes.get(place(*last)) else { return 0 };
        let cell = if link.pane == *last { place(link.cell) } else { pane.cells.len() };
        pane.reach(cell.min(pane.cells.len().saturating_sub(1)))
    }
}
