//! Other rules in the place of those that run, without a restart.
//!
//! Owns: what is kept, what begins anew, and what is said of what ends. Never: when; that stands in
//! the log.
//!
//! A switch is a marker written and read: what a restart with other rules would keep, this keeps.

use std::sync::Arc;

use arrow::error::ArrowError;
use schemas::{EventTime, Verdict};

use super::{Reducer, RestoreError};
use crate::ruleset::Ruleset;

/// Why rules could not be switched. The reducer is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The state could not be written.
    #[error("write the state for other rules")]
    Snapshot(#[from] ArrowError),
    /// The state could not be read.
    #[error("read the state for other rules")]
    Restore(#[from] RestoreError),
}

/// What a switch came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Switched {
    /// The ends of episodes of rules that do not go on.
    pub verdicts: Vec<Verdict>,
    /// Rules that do not run any more, or whose state is of no use to the new text.
    pub forgotten: Vec<String>,
    /// Rules that begin without state.
    pub fresh: Vec<String>,
}

impl Reducer {
    /// Lets these rules take the place of those that run. Rules of the same filter, keys, window,
    /// slide and re-arm gap keep state and open episodes; the open episodes of all others end here.
    ///
    /// # Errors
    /// Where state cannot be moved, which is a bug.
    pub fn switch(&mut self, ruleset: &Arc<Ruleset>) -> Result<Switched, SwitchError> {
        let marker = self.snapshot()?;
        let restored = Self::restore(Arc::clone(ruleset), self.settings.clone(), &marker)?;
        let mut said = Vec::new();
        for rule in &mut self.rules {
            if restored.forgotten.iter().any(|forgotten| **forgotten == *rule.rule.id) {
                let closed = rule.episodes.close(EventTime::MAX).into_iter();
                said.extend(closed.map(|(over, change)| (over, rule.profile.verdict(change))));
            }
        }
        said.sort_by_key(|(over, _)| *over);
        *self = restored.reducer;
        Ok(Switched {
            verdicts: said.into_iter().map(|(_, verdict)| verdict).collect(),
            forgotten: restored.forgotten,
            fresh: restored.fresh,
        })
    }
}
