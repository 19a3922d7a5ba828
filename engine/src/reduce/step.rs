//! What the units of a frame share while they take its hits.
//!
//! Owns: the numbers of a step's circumstances, and where its events stand on the shelf. Never:
//! state.

use std::sync::Arc;

use crate::hits::Events;
use crate::panes::{Register, Shelf};

/// A step of map, as reduce reads it.
#[derive(Debug)]
pub(super) struct Step {
    events: Arc<Events>,
    /// By place in the step's table of circumstances: the number in the register.
    pub(super) entries: Vec<u32>,
    /// By row, once one was wanted: its place on the shelf, which the step holds to its end.
    pub(super) shelved: Vec<u32>,
    /// By run of the hits at hand: the place of its key. Kept for its room alone.
    pub(super) entered: Vec<u32>,
}

impl Step {
    /// That of some events: the same for all who name the same.
    pub(super) fn of<'s>(
        steps: &'s mut Vec<Self>,
        events: &Arc<Events>,
        register: &mut Register,
    ) -> Option<&'s mut Self> {
        let known = steps.iter().position(|step| Arc::ptr_eq(&step.events, events));
        let at = known.unwrap_or_else(|| {
            let entries = register.entries(&events.table);
            let (shelved, entered) = (Vec::new(), Vec::new());
            steps.push(Self { events: Arc::clone(events), entries, shelved, entered });
            steps.len() - 1
        });
        steps.get_mut(at)
    }

    /// What no cell shows leaves the shelf.
    pub(super) fn end(self, shelf: &mut Shelf) {
        self.shelved.into_iter().for_each(|at| shelf.release(at, true));
    }
}
