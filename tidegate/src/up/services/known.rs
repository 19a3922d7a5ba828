//! Callers that succeed, from the topic of enriched events.
//!
//! Owns: reading what was stored in the last day at each start, and going on. Never: who is good;
//! `respond` says.
//!
//! Nothing is committed, and every `respond` reads all partitions: what it learns is in memory.

use std::time::Duration;

use respond::KnownGood;
use runtime::CancellationToken;
use runtime::error::{Class, Classified, chain};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use runtime::tasks::Tasks;
use schemas::{EventReader, event_at};
use tokio::sync::watch;
use tracing::{info, warn};
use transport::{Log, LogError, NextOffset, Partition, ReadLimits, Record};

/// For how long verdicts wait at a start until it is known who is good. Silence for longer would be
/// worse than what the other guardrails decide without it.
const LEARN_MAX: Duration = Duration::from_secs(30);

/// How the learning stands.
#[derive(Debug)]
pub(super) struct Learning(watch::Receiver<u32>);

impl Learning {
    /// Learns from all partitions of a topic, from what was stored since `since_ms` on.
    pub(super) fn begin(
        tasks: &Tasks,
        events: &Log,
        reader: &EventReader,
        known_good: &KnownGood,
        since_ms: i64,
    ) -> Self {
        let (behind, learning) = watch::channel(events.partitions());
        for partition in (0..events.partitions()).map(Partition) {
            let lesson = Lesson {
                log: events.clone(),
                partition,
                reader: reader.clone(),
                known_good: known_good.clone(),
                since_ms,
                next: None,
                is_there: false,
                behind: behind.clone(),
            };
            let stop = tasks.shutdown().token();
            tasks.spawn(&format!("known callers of {partition}"), lesson.run(stop));
        }
        Self(learning)
    }

    /// Waits until all was read that was there at the start, for [`LEARN_MAX`] at most.
    pub(super) async fn done(mut self, condition: &Condition) {
        condition.waiting("learns who is known good from the events of the last day");
        let learned = tokio::time::timeout(LEARN_MAX, self.0.wait_for(|behind| *behind == 0));
        if learned.await.is_ok() {
            info!("it is known who was good in the last day");
        } else {
            warn!(
                partitions = *self.0.borrow(), waited = ?LEARN_MAX,
                "verdicts are acted on while it is still being learned who was good in the last \
                 day: until then only the never-block list, the budget and the time limit of \
                 blocks protect callers"
            );
        }
    }
}

/// Whether reading can go on. What the topic forgot before it was read teaches nobody any more, and
/// is no reason to stop.
fn is_passing(failure: &LogError) -> bool {
    failure.class() == Class::Dependency || matches!(failure, LogError::OutOfRange { .. })
}

/// One partition.
struct Lesson {
    log: Log,
    partition: Partition,
    reader: EventReader,
    known_good: KnownGood,
    since_ms: i64,
    /// Where it goes on, once it has begun.
    next: Option<NextOffset>,
    /// The past was read.
    is_there: bool,
    behind: watch::Sender<u32>,
}

impl Lesson {
    async fn run(mut self, stop: CancellationToken) -> Result<(), LogError> {
        let mut backoff = Backoff::network();
        while !stop.is_cancelled() {
            let failure = match self.read(&stop).await {
                Ok(()) => return Ok(()),
                Err(failure) if is_passing(&failure) => failure,
                Err(failure) => return Err(failure),
            };
            let wait = backoff.next_wait(None);
            warn!(
                topic = %self.log.topic(), failure = chain(&failure), ?wait,
                "events cannot be read, so nobody new becomes known good"
            );
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn read(&mut self, stop: &CancellationToken) -> Result<(), LogError> {
        let bounds = self.log.bounds(self.partition).await?;
        let next = match self.next {
            // What the topic has forgotten in the meantime cannot be learned any more.
            Some(next) => next.max(bounds.start),
            None => self.log.first_since(self.partition, self.since_ms).await?.max(bounds.start),
        };
        let mut reader = self.log.reader(self.partition, next).await?;
        loop {
            self.next = Some(reader.next_offset());
            if !self.is_there && reader.next_offset() >= bounds.end {
                self.is_there = true;
                self.behind.send_modify(|behind| *behind = behind.saturating_sub(1));
            }
            let fetched = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                fetched = reader.next(ReadLimits::default()) => fetched?,
            };
            self.learn(&fetched.records);
        }
    }

    /// What cannot be read is `detect`'s to tell: it reads the same records.
    fn learn(&mut self, records: &[Record]) {
        let events = records.iter().map(|record| &*record.value).filter(|value| !value.is_empty());
        for batch in self.reader.read(events).batches {
            for row in 0..batch.num_rows() {
                self.known_good.saw_event(&event_at(&batch, row));
            }
        }
    }
}
