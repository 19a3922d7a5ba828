//! A rule that asks of the past: what it has for that, and which rows go on to what it keeps.
//!
//! Owns: the way of a row from a frame through the gate. Never: the gate itself, what is usual.

use arrow::error::ArrowError;
use schemas::{EventTime, Verdict};

use super::state::RuleState;
use super::{Failure, ReduceSettings, Said, failed};
use crate::past::Mark;
use crate::past::baseline::Baseline;
use crate::past::gate::{Gate, Passed};
use crate::plan::RunError;
use crate::pressure::Pressure;
use crate::rows::Rows;
use crate::ruleset::Prepared;

/// What a rule has seen, for one that asks.
pub(super) fn gate(rule: &Prepared, settings: &ReduceSettings) -> Option<Gate> {
    let budget = rule.rule.rule.memory_bytes_max;
    let budget = if rule.windows.is_some() { budget / 2 } else { budget };
    rule.rule.past.as_ref().map(|past| Gate::new(past, settings.learned_at, budget))
}

/// What a rule has learned to be usual, for one that asks.
pub(super) fn baseline(rule: &Prepared, settings: &ReduceSettings) -> Option<Baseline> {
    let asks = rule.folded().is_some_and(|panes| panes.baselines.fold().is_some());
    let windows = rule.windows.filter(|_windows| asks)?;
    // The other half is for its panes.
    let budget = rule.rule.rule.memory_bytes_max / 2;
    Some(Baseline::new(windows, settings.learned_at, budget))
}

impl RuleState {
    /// Takes rows of a frame: at once, or once it is known that they are firsts.
    pub(super) fn admit(
        &mut self,
        rows: Rows,
        marks: &[Mark],
        pressure: &mut Pressure,
    ) -> Result<Vec<Verdict>, ArrowError> {
        let Some(gate) = &mut self.past else { return self.absorb(rows, pressure) };
        let at = rows.at.iter().copied().max().unwrap_or_default();
        let passed = gate.take(&rows, marks)?;
        let mut said = Vec::new();
        for rows in passed.firsts {
            said.extend(self.absorb(rows, pressure)?);
        }
        said.extend(self.note(passed.shed, at, pressure));
        Ok(said)
    }

    /// Takes the firsts that the watermark has passed.
    pub(super) fn settle(
        &mut self,
        watermark: EventTime,
        pressure: &mut Pressure,
        failures: &mut Vec<Failure>,
    ) -> Vec<Said> {
        let Some(gate) = &mut self.past else { return Vec::new() };
        let Passed { firsts, shed, last } = gate.settle(watermark);
        let mut said = Vec::new();
        for rows in firsts {
            let at = rows.at.first().copied().unwrap_or_default();
            match self.absorb(rows, pressure) {
                Ok(verdicts) => said.extend(verdicts.into_iter().map(|verdict| (at, verdict))),
                Err(error) => {
                    failures.push(failed(&self.rule.id, None, &RunError::from(error)));
                }
            }
        }
        let last = last.unwrap_or_default();
        let noted = self.note(shed, last, pressure);
        said.extend(noted.into_iter().map(|verdict| (last, verdict)));
        said
    }

    /// Whether a first of this moment may be none.
    pub(super) fn is_lossy_at(&self, at: i64) -> bool {
        self.past.as_ref().is_some_and(|gate| gate.is_lossy_at(at))
    }
}
