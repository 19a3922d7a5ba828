//! Verdicts from their topic to the responder.
//!
//! Owns: reading on where the group stood, once it is known who is good. Never: acting once; that is
//! the ledger's, which knows every id and revision.

use std::future::Future;

use respond::{LedgerError, Responder};
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use schemas::{CodecError, Verdict};
use tracing::{error, warn};
use transport::{Attempt, Given, Log, LogError, ReadLimits, Record, Share};

use super::known::Learning;
use crate::up::forms::{self, Forms};

/// Reads verdicts for one responder.
#[derive(Debug)]
pub(super) struct VerdictStage {
    pub(super) input: Log,
    pub(super) forms: Forms,
    pub(super) responder: Responder,
    pub(super) group: String,
    pub(super) condition: Condition,
    pub(super) learning: Learning,
}

/// Why verdicts are read no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerdictError {
    #[error("read verdicts")]
    Log(#[from] LogError),
    #[error("write orders to the ledger")]
    Ledger(#[from] LedgerError),
    #[error("read verdicts")]
    Codec(#[from] CodecError),
}

impl Classified for VerdictError {
    fn class(&self) -> Class {
        match self {
            Self::Log(error) => error.class(),
            Self::Ledger(error) => error.class(),
            Self::Codec(_) => Class::Bug,
        }
    }
}

struct Reading {
    log: Log,
    forms: Forms,
    responder: Responder,
}

impl VerdictStage {
    pub(super) async fn run(self, stop: &CancellationToken) -> Result<(), VerdictError> {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = self.learning.done(&self.condition) => {}
        }
        let share = Share {
            log: self.input.clone(),
            group: self.group.clone(),
            condition: Some(self.condition.clone()),
        };
        let attempt = || {
            let (log, forms) = (self.input.clone(), self.forms.clone());
            Ok(Reading { log, forms, responder: self.responder.clone() })
        };
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
        let reading = self.forms.reading();
        async move {
            let mut reading = reading?;
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
                    if let Some(verdict) = verdict(&mut reading, record) {
                        take(&responder, &verdict).await?;
                    }
                    given.progress.send_replace(record.next());
                }
            }
        }
    }
}

fn verdict(reading: &mut forms::Reading<Verdict>, record: &Record) -> Option<Verdict> {
    match reading.decode(&record.value) {
        Ok(verdict) => Some(verdict),
        Err(failure) => {
            let (partition, offset) = (record.partition, record.offset);
            error!(%partition, %offset, %failure, "a record of the verdicts topic is no verdict");
            None
        }
    }
}

/// Waits while the ledger's disk is away: a verdict is never dropped.
async fn take(responder: &Responder, verdict: &Verdict) -> Result<(), LedgerError> {
    let mut backoff = Backoff::network();
    while let Err(failure) = responder.take(verdict.clone()).await {
        if failure.class() != Class::Dependency {
            return Err(failure);
        }
        warn!(error = %failure, "a verdict waits for the ledger");
        tokio::time::sleep(backoff.next_wait(None)).await;
    }
    Ok(())
}
