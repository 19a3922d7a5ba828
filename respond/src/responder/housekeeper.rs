//! What no target does: approvals that nobody gave, orders whose target is gone, the ledger's size.
//!
//! Owns: the housekeeping task. Never: acts on a caller.

use std::sync::Arc;
use std::time::Duration;

use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use schemas::{EventTime, Outcome, OutcomeState};
use tracing::{debug, info, warn};

use super::{Inner, NAP_MAX, Responder, locked};
use crate::ledger::{Entry, LedgerError, Phase, State};
use crate::target::Manner;

/// With a target that records behind, the ledger is written anew only at so many times the size at
/// which it is due; what was not recorded by then is only in the ledger.
const PATIENCE: u64 = 16;

/// How long verdicts wait for a target that records, so that the ledger can be written anew.
const RECORDING_MAX: Duration = Duration::from_secs(2);
const RECORDING_POLL: Duration = Duration::from_millis(5);

impl Responder {
    pub(super) async fn keep_house(&self, stop: CancellationToken) -> Result<(), LedgerError> {
        while !stop.is_cancelled() {
            match self.tidy().await {
                Ok(()) => {}
                Err(error) if error.class() == Class::Dependency => {
                    warn!(%error, "housekeeping waits");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(NAP_MAX) => {}
            }
        }
        Ok(())
    }

    /// Does once what is due.
    pub(super) async fn tidy(&self) -> Result<(), LedgerError> {
        let now = self.0.now();
        let outcomes = {
            let state = locked(&self.0.state);
            let waiting =
                state.open_entries().filter(|entry| entry.phase == Phase::Waiting).count();
            self.0.metrics.waiting(waiting);
            let mut outcomes = self.0.unanswered(&state, now);
            outcomes.extend(self.0.orphans(&state, now));
            outcomes
        };
        self.write_outcomes(outcomes).await?;
        if locked(&self.0.file).is_due() {
            self.compact().await?;
        }
        Ok(())
    }

    async fn compact(&self) -> Result<(), LedgerError> {
        let writing = Arc::clone(&self.0.writer).lock_owned().await;
        // Nothing is added meanwhile, so those who record come to the end.
        let recorded = async {
            while self.0.is_behind() {
                tokio::time::sleep(RECORDING_POLL).await;
            }
        };
        if tokio::time::timeout(RECORDING_MAX, recorded).await.is_err() {
            debug!("a target of type `file` has not recorded all yet");
        }
        let inner = Arc::clone(&self.0);
        let work = move || {
            let written = inner.compact();
            drop(writing);
            written
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(LedgerError::Lost))
    }
}

impl Inner {
    fn compact(&self) -> Result<(), LedgerError> {
        let behind = self.is_behind();
        let mut file = locked(&self.file);
        if behind {
            if !file.is_long_due(PATIENCE) {
                return Ok(());
            }
            warn!(
                "writing the ledger anew although a target of type `file` has not recorded it all"
            );
        }
        let before = file.bytes();
        let kept = file.kept(&mut locked(&self.state), self.now());
        file.rewrite(&kept)?;
        info!(before, after = file.bytes(), records = kept.len(), "wrote the ledger anew");
        Ok(())
    }

    /// Whether any target that records is behind the last line.
    fn is_behind(&self) -> bool {
        let last = locked(&self.file).last_seq();
        let recorded = locked(&self.recorded);
        self.targets
            .iter()
            .filter(|target| target.manner() == Manner::Records)
            .any(|target| recorded.get(&target.name).copied().unwrap_or(0) < last)
    }

    fn unanswered(&self, state: &State, now: EventTime) -> Vec<Outcome> {
        let expires = self.settings.policy.approval_expires;
        state
            .unanswered(now, expires.as_ms_i64())
            .iter()
            .filter_map(|id| state.entry(id))
            .map(|entry| {
                let detail = format!("nobody approved it within {expires}");
                ended(entry, OutcomeState::Refused, detail, now)
            })
            .collect()
    }

    /// Orders of targets that are no longer configured: nobody can carry them out or undo them.
    fn orphans(&self, state: &State, now: EventTime) -> Vec<Outcome> {
        state
            .open_entries()
            .filter(|entry| !self.targets.iter().any(|target| target.name == entry.order.target))
            .map(|entry| {
                let detail = format!(
                    "the target `{}` is no longer configured; configure it again and retry, or undo \
                     by hand what it did",
                    entry.order.target
                );
                self.metrics.parked(&entry.order.target, &entry.order.id, &detail);
                ended(entry, OutcomeState::Parked, detail, now)
            })
            .collect()
    }
}

fn ended(entry: &Entry, state: OutcomeState, detail: String, now: EventTime) -> Outcome {
    Outcome {
        order_id: entry.order.id.clone(),
        target: entry.order.target.clone(),
        state,
        at: now,
        attempt: entry.attempt,
        remote_id: None,
        detail: Some(detail),
        more: serde_json::Map::new(),
    }
}
