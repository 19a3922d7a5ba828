//! Deploys that others tell of on a topic of theirs.
//!
//! Owns: reading all of it at each start, and going on. Never: what a record means; `enrich` says.
//!
//! Nothing is committed: a deploy that is known is told from a new one, and what is new goes to
//! `context.deploys` as if it had been posted. So the topic may forget what is older than a restart.

use std::time::Duration;

use enrich::DeploysEndpoint;
use runtime::CancellationToken;
use runtime::error::{Class, Classified, chain};
use runtime::retry::Backoff;
use schemas::EventTime;
use tracing::warn;
use transport::{Log, LogError, NextOffset, Partition, ReadLimits, Record};

/// Takes what stands on a partition from its start on.
pub(super) async fn follow(
    log: Log,
    partition: Partition,
    endpoint: DeploysEndpoint,
    stop: CancellationToken,
) -> Result<(), LogError> {
    let mut backoff = Backoff::network();
    let mut next: Option<NextOffset> = None;
    while !stop.is_cancelled() {
        let failure = match read(&log, partition, &endpoint, &stop, &mut next).await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.class() == Class::Dependency => failure,
            Err(failure) => return Err(failure),
        };
        let wait: Duration = backoff.next_wait(None);
        warn!(topic = %log.topic(), failure = chain(&failure), ?wait, "deploys cannot be read");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    Ok(())
}

async fn read(
    log: &Log,
    partition: Partition,
    endpoint: &DeploysEndpoint,
    stop: &CancellationToken,
    next: &mut Option<NextOffset>,
) -> Result<(), LogError> {
    let bounds = log.bounds(partition).await?;
    // What the topic has forgotten in the meantime cannot be told any more.
    let from = next.map_or(bounds.start, |next| next.max(bounds.start));
    let mut reader = log.reader(partition, from).await?;
    loop {
        let fetched = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            fetched = reader.next(ReadLimits::default()) => fetched?,
        };
        for record in &fetched.records {
            if !record.value.is_empty() && !take(record, endpoint, stop).await {
                return Ok(());
            }
            *next = Some(record.next());
        }
    }
}

/// Tells until it is stored; false where the process ends first.
async fn take(record: &Record, endpoint: &DeploysEndpoint, stop: &CancellationToken) -> bool {
    let mut backoff = Backoff::network();
    let received_at = EventTime(record.timestamp_ms.unwrap_or_default());
    while let Err(why) = endpoint.told(&record.value, received_at).await {
        warn!(why, "a deploy waits to be stored");
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(backoff.next_wait(None)) => {}
        }
    }
    true
}
