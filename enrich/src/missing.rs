//! What could not be joined.
//!
//! Owns: the names in `context_missing`, and their counts. Never: decides that something is missing.

use arrow::error::ArrowError;
use schemas::Event;

use crate::columns::Columns;
use crate::facts::{Facts, Picks};

/// A table that had no row for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    Deploy,
    Identity,
    Route,
    Network,
}

impl Lack {
    pub(crate) const ALL: [Self; 4] = [Self::Deploy, Self::Identity, Self::Route, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Identity => "identity",
            Self::Route => "route",
            Self::Network => "network",
        }
    }

    fn bit(self) -> u32 {
        match self {
            Self::Deploy => 1,
            Self::Identity => 2,
            Self::Route => 4,
            Self::Network => 8,
        }
    }
}

/// What could not be joined, event by event.
#[derive(Debug)]
pub(crate) struct Missing {
    bits: Vec<u32>,
    counts: [u64; 4],
    rows: usize,
}

impl Missing {
    pub(crate) fn new(rows: usize) -> Self {
        Self { bits: Vec::new(), counts: [0; 4], rows }
    }

    pub(crate) fn note(&mut self, row: usize, lack: Lack) {
        if self.bits.is_empty() {
            self.bits = vec![0; self.rows];
        }
        if let Some(bits) = self.bits.get_mut(row) {
            *bits |= lack.bit();
        }
        for (count, of) in self.counts.iter_mut().zip(Lack::ALL) {
            *count += u64::from(of == lack);
        }
    }

    /// How many events lack each of [`Lack::ALL`].
    pub(crate) fn counts(&self) -> [u64; 4] {
        self.counts
    }

    /// Fills `context_missing`. `names` is [`Missing::names`].
    pub(crate) fn fill(self, names: &Facts, columns: &mut Columns) -> Result<(), ArrowError> {
        let mut picks = Picks::with_capacity(self.bits.len());
        for bits in self.bits {
            picks.push((bits > 0).then_some(bits));
        }
        names.fill(picks, columns)
    }

    /// The lists of names for every combination of bits.
    pub(crate) fn names() -> Facts {
        Facts::new((0..16).map(|bits| {
            Event {
                context_missing: Some(
                    Lack::ALL
                        .iter()
                        .filter(|lack| bits & lack.bit() != 0)
                        .map(|lack| lack.name().into())
                        .collect(),
                ),
                ..Event::default()
            }
        }))
    }
}
