//! What cells name: circumstances, and events to show.
//!
//! Owns: each once, for all units. Never: which cell names which.

use std::collections::HashMap;
use std::sync::Arc;

use super::Groups;
use super::pane::NONE;
use super::shelf::Shelf;
use crate::keyed::ByText;
use crate::rows::circumstances::Circumstances;
use crate::rows::{count, place};
use crate::wire::{Reader, WireError, Writer};

/// Circumstances are sorted out once there are more than this, and twice as many as then.
const SORTED_OUT_MIN: usize = 1_024;

/// Circumstances by number, and the shelf of events.
#[derive(Debug)]
pub(crate) struct Register {
    pub(crate) shelf: Shelf,
    table: Vec<Arc<Circumstances>>,
    known: HashMap<Arc<Circumstances>, u32, ByText>,
    /// When to sort out `table`.
    most: usize,
}

impl Default for Register {
    fn default() -> Self {
        let (table, known) = (Vec::new(), HashMap::default());
        Self { shelf: Shelf::default(), table, known, most: SORTED_OUT_MIN }
    }
}

impl Register {
    pub(crate) fn table(&self) -> &[Arc<Circumstances>] {
        &self.table
    }

    /// The numbers of a step's circumstances.
    pub(crate) fn entries(&mut self, table: &[Arc<Circumstances>]) -> Vec<u32> {
        table.iter().map(|one| self.entry(one)).collect()
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

    /// Keeps only what a cell of some unit still names, once there is much of it.
    pub(crate) fn sort_out<'a>(&mut self, units: impl Iterator<Item = &'a mut Groups>) {
        if self.table.len() <= self.most {
            return;
        }
        let old = std::mem::take(&mut self.table);
        self.known.clear();
        let mut renamed = vec![NONE; old.len()];
        for groups in units {
            groups.rename_entries(&mut |entry: &mut u32| {
                let Some(new) = renamed.get_mut(place(*entry)) else { return };
                if *new == NONE
                    && let Some(named) = old.get(place(*entry))
                {
                    *new = self.entry(named);
                }
                *entry = *new;
            });
        }
        self.most = (self.table.len() * 2).max(SORTED_OUT_MIN);
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.table);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let table: Vec<Arc<Circumstances>> = from.get()?;
        let named = |(at, entry): (usize, &Arc<Circumstances>)| (Arc::clone(entry), count(at));
        let known = table.iter().enumerate().map(named).collect();
        let most = (table.len() * 2).max(SORTED_OUT_MIN);
        Ok(Self { shelf: Shelf::default(), table, known, most })
    }
}
