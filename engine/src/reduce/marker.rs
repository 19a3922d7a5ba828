//! Markers: the whole state of a reducer as bytes.
//!
//! Owns: writing and reading them. Never: where they are kept.
//!
//! A marker is a function of the log up to it, so anybody's is right, only older or newer. Rules
//! are found again by id and episode version: an edit of text, severity or threshold keeps its
//! state, a new filter, key or window starts anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::error::ArrowError;

use super::state::Kept;
use super::{ReduceSettings, Reducer};
use crate::accept::Sources;
use crate::ruleset::{Prepared, Ruleset};
use crate::wire::{self, Kind, Reader, WireError, Writer};

const MARKER: Kind = Kind { name: "marker", tag: b'm', version: 5 };

/// A marker that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its bytes cannot be read.
    #[error("read a marker")]
    Wire(#[from] WireError),
    /// It is of another exchange.
    #[error("a marker of exchange partition {theirs:?} (place, number), this one is {ours:?}")]
    Exchange {
        /// The marker's place and number of exchange partitions.
        theirs: (u32, u32),
        /// Ours.
        ours: (u32, u32),
    },
    /// It knows other source partitions.
    #[error("a marker over source partitions {theirs:?}, here are {ours:?}")]
    Sources {
        /// The marker's.
        theirs: Vec<u32>,
        /// Ours.
        ours: Vec<u32>,
    },
}

/// A reducer as of a marker.
#[derive(Debug)]
pub struct Restored {
    /// The reducer.
    pub reducer: Reducer,
    /// Rules of the marker that do not run any more, or keep other rows now.
    pub forgotten: Vec<String>,
    /// Rules that begin without state.
    pub fresh: Vec<String>,
}

impl Reducer {
    /// The whole state as bytes: versioned, checksummed, compressed.
    ///
    /// # Errors
    /// Where Arrow refuses to join rows, which is a bug.
    pub fn snapshot(&self) -> Result<Vec<u8>, ArrowError> {
        let mut out = Writer::default();
        out.put(&self.settings.exchange_partition);
        out.put(&self.settings.exchange_partitions);
        out.put(&self.sources);
        out.put(&self.watermark);
        self.pressure.write(&mut out);
        out.len(self.rules.len());
        for state in &self.rules {
            let mut inner = Writer::default();
            state.episodes.write(&mut inner);
            inner.put(&state.fired);
            match &state.kept {
                Kept::Nothing => {}
                Kept::Rows(store) => store.write(&mut inner)?,
                Kept::Panes(groups) => groups.write(&mut inner),
            }
            if let Some(past) = &state.past {
                past.write(&mut inner);
            }
            out.put(&state.rule.id);
            out.put(&state.rule.version);
            out.text(state.rule.rule.rule_version());
            out.put(&shape(&state.rule));
            out.len(inner.bytes.len());
            out.raw(&inner.bytes);
        }
        Ok(wire::seal(MARKER, &out.bytes))
    }

    /// A reducer as of a marker.
    ///
    /// # Errors
    /// Where the bytes cannot be read, or are of another exchange.
    pub fn restore(
        ruleset: Arc<Ruleset>,
        settings: ReduceSettings,
        marker: &[u8],
    ) -> Result<Restored, RestoreError> {
        let body = wire::unseal(MARKER, marker)?;
        let mut from = Reader::new(&body);
        let theirs = (from.get()?, from.get()?);
        let ours = (settings.exchange_partition, settings.exchange_partitions);
        if theirs != ours {
            return Err(RestoreError::Exchange { theirs, ours });
        }
        let mut reducer = Self::new(ruleset, settings);
        let sources: Sources = from.get()?;
        same_partitions(&sources, &reducer.sources)?;
        reducer.sources = sources;
        reducer.watermark = from.get()?;
        reducer.pressure.read(&mut from)?;
        let mut forgotten = Vec::new();
        let mut fresh: BTreeSet<String> =
            reducer.rules.iter().map(|state| state.rule.id.to_string()).collect();
        let rules = from.count("rules")?;
        for _rule in 0..rules {
            let (id, known) = reducer.read_rule(&mut from)?;
            if known {
                fresh.remove(&id);
            } else {
                forgotten.push(id);
            }
        }
        from.end("a marker")?;
        Ok(Restored { reducer, forgotten, fresh: fresh.into_iter().collect() })
    }

    /// The rule's id, and whether its state could be taken.
    fn read_rule(&mut self, from: &mut Reader<'_>) -> Result<(String, bool), WireError> {
        let (id, version): (Arc<str>, Arc<str>) = (from.get()?, from.get()?);
        let (rule_version, their_shape): (String, String) = (from.get()?, from.get()?);
        let length = from.len("the state of a rule")?;
        let mut inner = Reader::new(from.take(length, "the state of a rule")?);
        let place = self.ruleset.find(&id, &version);
        let state = place.and_then(|place| self.rules.get_mut(place));
        let Some(state) = state.filter(|state| shape(&state.rule) == their_shape) else {
            return Ok((id.to_string(), false));
        };
        state.episodes.read(&mut inner)?;
        state.fired = inner.get()?;
        match (&mut state.kept, state.rule.folded()) {
            (Kept::Rows(store), _) => store.read(&mut inner, &state.rule.rule.input)?,
            (Kept::Panes(groups), Some(panes)) => groups.read(&mut inner, panes)?,
            (Kept::Nothing | Kept::Panes(_), _) => {}
        }
        let rows = match state.kept {
            Kept::Nothing => &state.rule.rule.output,
            Kept::Rows(_) | Kept::Panes(_) => &state.rule.rule.input,
        };
        if let Some(past) = &mut state.past {
            past.read(&mut inner, rows)?;
        }
        inner.end("the state of a rule")?;
        if rule_version != state.rule.rule.rule_version() {
            // Another threshold: who fired last is no longer known, the next window says.
            state.fired.clear();
            match &mut state.kept {
                Kept::Nothing => {}
                Kept::Rows(store) => store.touch(),
                Kept::Panes(groups) => groups.touch(),
            }
        }
        Ok((id.to_string(), true))
    }
}

fn same_partitions(theirs: &Sources, ours: &Sources) -> Result<(), RestoreError> {
    let names = |sources: &Sources| -> Vec<u32> {
        sources.progress().map(|(partition, _)| partition).collect()
    };
    let (theirs, ours) = (names(theirs), names(ours));
    if theirs == ours { Ok(()) } else { Err(RestoreError::Sources { theirs, ours }) }
}

/// What the rule's state looks like, as text: folds, or columns and types of retained rows.
fn shape(rule: &Prepared) -> String {
    if let Some(panes) = rule.folded() {
        return format!("panes: {}", panes.shape());
    }
    // Rows that wait for the watermark are those of the answer.
    let columns = match (rule.windows, &rule.rule.past) {
        (None, Some(_)) => rule.rule.output.fields().iter(),
        _ => rule.rule.input.fields().iter(),
    };
    columns.map(|field| format!("{}:{} ", field.name(), field.data_type())).collect()
}
