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
use schemas::EventTime;

use super::state::{Kept, RuleState};
use super::{ReduceSettings, Reducer};
use crate::accept::Sources;
use crate::panes::{Groups, Register};
use crate::ruleset::{Prepared, Ruleset};
use crate::wire::{self, Kind, Reader, WireError, Writer};

const MARKER: Kind = Kind { name: "marker", tag: b'm', version: 8 };

/// Events that others have seen are at most so much later than any watermark: the lateness.
const AHEAD_MS: i64 = 60_000;

/// Names of folds.
type Names = Vec<Arc<str>>;

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
        self.register.write(&mut out);
        out.len(self.units.len());
        for (unit, groups) in self.ruleset.index().units.iter().zip(&self.units) {
            let mut inner = Writer::default();
            groups.write(unit, &self.register.shelf, &mut inner);
            out.put(&unit.name);
            out.len(inner.bytes.len());
            out.raw(&inner.bytes);
        }
        out.len(self.rules.len());
        for state in &self.rules {
            let mut inner = Writer::default();
            state.episodes.write(&mut inner);
            inner.put(&state.fired);
            match &state.kept {
                Kept::Nothing => {}
                Kept::Rows(store) => store.write(&mut inner)?,
                Kept::Panes(watch) => watch.write(&mut inner),
            }
            if let Some(past) = &state.past {
                past.write(&mut inner);
            }
            if let Some(baseline) = &state.baseline {
                baseline.write(&mut inner);
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
        reducer.register = Register::read(&mut from)?;
        let known = reducer.read_units(&mut from)?;
        let mut forgotten = Vec::new();
        let mut fresh: BTreeSet<String> =
            reducer.rules.iter().map(|state| state.rule.id.to_string()).collect();
        let rules = from.count("rules")?;
        for _rule in 0..rules {
            let (id, known) = reducer.read_rule(&mut from, &known)?;
            if known {
                fresh.remove(&id);
            } else {
                forgotten.push(id);
            }
        }
        from.end("a marker")?;
        let seen = reducer.sources.fastest();
        for rule in reducer.rules.iter_mut().filter(|state| fresh.contains(&*state.rule.id)) {
            begin(rule, &reducer.ruleset, (&mut reducer.units, &known), seen);
        }
        Ok(Restored { reducer, forgotten, fresh: fresh.into_iter().collect() })
    }

    /// Reads the groups of units. By unit that runs here: the folds that it had, if it was there.
    fn read_units(&mut self, from: &mut Reader<'_>) -> Result<Vec<Option<Names>>, WireError> {
        let mut known = vec![None; self.units.len()];
        for _unit in 0..from.count("units")? {
            let name: Arc<str> = from.get()?;
            let length = from.len("the groups of a unit")?;
            let mut inner = Reader::new(from.take(length, "the groups of a unit")?);
            let index = self.ruleset.index();
            let Some(at) = index.place_of_unit(&name) else { continue };
            let of = index.units.get(at).zip(self.units.get_mut(at)).zip(known.get_mut(at));
            let Some(((unit, groups), known)) = of else { continue };
            *known = Some(groups.read(&mut inner, unit, &mut self.register)?);
            inner.end("the groups of a unit")?;
        }
        Ok(known)
    }

    /// The rule's id, and whether its state could be taken.
    fn read_rule(
        &mut self,
        from: &mut Reader<'_>,
        known: &[Option<Names>],
    ) -> Result<(String, bool), WireError> {
        let (id, version): (Arc<str>, Arc<str>) = (from.get()?, from.get()?);
        let (rule_version, their_shape): (String, String) = (from.get()?, from.get()?);
        let length = from.len("the state of a rule")?;
        let mut inner = Reader::new(from.take(length, "the state of a rule")?);
        let place = self.ruleset.find(&id, &version);
        let state = place.and_then(|place| self.rules.get_mut(place));
        let unit = place.and_then(|place| self.ruleset.index().unit_of_rule(place));
        let has_groups = unit.is_none_or(|(unit, _)| known.get(unit).is_some_and(Option::is_some));
        let same = |state: &&mut RuleState| has_groups && shape(&state.rule) == their_shape;
        let Some(state) = state.filter(same) else {
            return Ok((id.to_string(), false));
        };
        state.episodes.read(&mut inner)?;
        state.fired = inner.get()?;
        match &mut state.kept {
            Kept::Rows(store) => store.read(&mut inner, &state.rule.rule.input)?,
            Kept::Panes(watch) => watch.read(&mut inner)?,
            Kept::Nothing => {}
        }
        let rows = match state.kept {
            Kept::Nothing => &state.rule.rule.output,
            Kept::Rows(_) | Kept::Panes(_) => &state.rule.rule.input,
        };
        if let Some(past) = &mut state.past {
            past.read(&mut inner, rows)?;
        }
        if let Some(baseline) = &mut state.baseline {
            baseline.read(&mut inner)?;
        }
        inner.end("the state of a rule")?;
        if rule_version != state.rule.rule.rule_version() {
            // Another threshold: who fired last is no longer known, the next window says.
            state.fired.clear();
            match &mut state.kept {
                Kept::Nothing => {}
                Kept::Rows(store) => store.touch(),
                Kept::Panes(watch) => {
                    if let Some(groups) = unit.and_then(|(unit, _)| self.units.get_mut(unit)) {
                        watch.touch(groups);
                        groups.ask_again();
                    }
                }
            }
        }
        Ok((id.to_string(), true))
    }
}

/// A rule that is new among others. Where its unit kept all that it reads, it reads the past too;
/// otherwise it begins with the panes that are still to come. One that does not stay true once it
/// is must not judge a window of which it has seen a part only: it begins with those that are whole.
fn begin(
    state: &mut RuleState,
    ruleset: &Ruleset,
    (units, known): (&mut [Groups], &[Option<Names>]),
    seen: EventTime,
) {
    let whole = match state.rule.windows {
        Some(windows) if !state.rule.monotone && seen > EventTime::MIN => {
            windows.first_from(seen.millis().saturating_add(AHEAD_MS))
        }
        _ => i64::MIN,
    };
    let watch = match &mut state.kept {
        Kept::Nothing => return,
        Kept::Rows(store) => return store.begin(whole),
        Kept::Panes(watch) => watch,
    };
    let Some(panes) = state.rule.folded() else { return };
    let place = ruleset.find(&state.rule.id, &state.rule.version);
    let unit = place.and_then(|place| ruleset.index().unit_of_rule(place)).map(|(unit, _)| unit);
    let names = unit.and_then(|unit| known.get(unit)?.as_ref());
    let (Some(names), Some(groups)) = (names, unit.and_then(|unit| units.get_mut(unit))) else {
        return watch.begin(whole);
    };
    groups.ask_again();
    let kept = panes.folds.iter().all(|fold| names.contains(&fold.name));
    match groups.last() {
        Some(_) if kept => watch.touch(groups),
        Some(last) => watch.begin(whole.max(last.saturating_add(1))),
        None => watch.begin(whole),
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
    // Without a window, rows of frames and those that wait for the watermark are of the answer.
    let columns = match rule.windows {
        None => rule.rule.output.fields().iter(),
        Some(_) => rule.rule.input.fields().iter(),
    };
    columns.map(|field| format!("{}:{} ", field.name(), field.data_type())).collect()
}
