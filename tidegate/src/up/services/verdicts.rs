//! Verdicts from their topic to the responder.
//!
//! Owns: reading on where the group stood. Never: acting once; that is the ledger's, which knows
//! every id and revision.

use std::future::Future;

use respond::{LedgerError, Responder};
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use schemas::Verdict;
use tracing::{error, warn};
use transport::{Attempt, Given, Log, LogError, ReadLimits, Record, Share};

/// Reads verdicts for one responder.
#[derive(Debug)]
pub(super) struct VerdictStage {
    pub(super) input: Log,
    pub(super) responder: Responder,
    pub(super) group: String,
    pub(super) condition: Condition,
}

/// Why verdicts are read no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerdictError {
    #[error("read verdicts")]
    Log(#[from] LogError),
    #[error("write orders to the ledger")]
    Ledger(#[from] LedgerError),
}

impl Classified for VerdictError {
    fn class(&self) -> Class {
        match self {
            Self::Log(error) => error.class(),
            Self::Ledger(error) => error.class(),
        }
    }
}

struct Reading {
    log: Log,
    responder: Responder,
}

impl VerdictStage {
    pub(super) async fn run(&self, stop: &CancellationToken) -> Result<(), VerdictError> {
        let share = Share {
            log: self.input.clone(),
            group: self.group.clone(),
            condition: Some(self.condition.clone()),
        };
        let attempt = || Ok(Reading { log: self.input.clone(), responder: self.responder.clone() });
        share.run(attempt, |reason, wait| warn!(reason, ?wait, "respond begins anew"), stop).await
    }
}

impl Attempt for Reading {
    type Error = VerdictError;

    fn begin(
        &mut self,
        given: Given,
    ) -> impl Future<Output = Result<(), VerdictError>> + Send + 'static {
        let (log, responder) = (self.log.clone(), self.responder.clone());
        async move {
            let bounds = log.bounds(given.partition).await?;
            let from = given.committed.unwrap_or(bounds.start).clamp(bounds.start, bounds.end);
            let mut reader = log.reader(given.partition, from).await?;
            loop {
                let fetched = tokio::select! {
                    biased;
                    () = given.stop.cancelled() => return Ok(()),
                    fetched = reader.next(ReadLimits::default()) => fetched?,
                };
                for record in &fetched.records {
                    take(&responder, record).await?;
                    given.progress.send_replace(record.next());
                }
            }
        }
    }
}

/// Waits while the ledger's disk is away: a verdict is never dropped.
async fn take(responder: &Responder, record: &Record) -> Result<(), VerdictError> {
    let verdict: Verdict = match serde_json::from_slice(&record.value) {
        Ok(verdict) => verdict,
        Err(failure) => {
            let (partition, offset) = (record.partition, record.offset);
            error!(%partition, %offset, %failure, "a record of the verdicts topic is no verdict");
            return Ok(());
        }
    };
    let mut backoff = Backoff::network();
    while let Err(failure) = responder.take(verdict.clone()).await {
        if failure.class() != Class::Dependency {
            return Err(failure.into());
        }
        warn!(error = %failure, "a verdict waits for the ledger");
        tokio::time::sleep(backoff.next_wait(None)).await;
    }
    Ok(())
}
