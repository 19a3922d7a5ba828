//! The loop around a hop.
//!
//! Owns: reading, writing and waiting for one partition, in the order that the rules ask for.
//! Never: deciding what to write; that is [`Hop`].

use std::collections::VecDeque;
use std::time::Duration;

use runtime::CancellationToken;
use tokio::sync::watch;
use tokio::time::Instant;

use super::HopError;
use super::core::{End, Hop, HopInput, Produced, Standing, Written};
use super::metrics::HopMetrics;
use crate::log::{Fetched, Log, ReadLimits};
use crate::output::{Output, Receipt};
use crate::record::{NewRecord, NextOffset, Partition, Record};

/// Batches that were sent and are not acknowledged yet. With 4 Ki records each, 64 Ki records; the
/// output's own queue is the tighter bound.
const BATCHES_IN_FLIGHT_MAX: usize = 16;
/// A quiet partition says so this often.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Between two looks whether a batch still waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Turns input records into output records.
pub trait Transform: Send {
    /// One answer for each record, in order. How many records an answer has must follow from the
    /// input's bytes alone.
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced>;

    /// For how long the batch may wait at most before it is applied, since what it needs may come
    /// any moment; asked again until there is nothing to wait for. Everything behind it in the
    /// partition waits too.
    fn patience(&mut self, _batch: &[Record]) -> Option<Duration> {
        None
    }
}

impl<F: FnMut(&[Record]) -> Vec<Produced> + Send> Transform for F {
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced> {
        self(batch)
    }
}

/// One partition of a hop, for as long as this process owns it.
#[derive(Debug)]
pub struct HopTask {
    /// What is read.
    pub input: Log,
    /// Which partition of it.
    pub partition: Partition,
    /// Who writes the input.
    pub kind: HopInput,
    /// What is written, to read its last record.
    pub output: Log,
    /// Which partition of it: the topic's base + `partition`.
    pub output_partition: Partition,
    /// The session that writes `output`. It belongs to this owner alone.
    pub session: Output,
    /// The session that writes dead letters, all to partition 0 unless there are more.
    pub dead_letters: Output,
    /// The offset committed for the partition; counts only when the output is empty.
    pub committed: Option<NextOffset>,
    /// How much is read at a time.
    pub limits: ReadLimits,
    /// What is counted.
    pub metrics: HopMetrics,
}

/// What goes on while a hop runs.
struct Running {
    task: HopTask,
    hop: Hop,
    /// What was sent, and how far the input is used once it is acknowledged.
    in_flight: VecDeque<(Receipt, NextOffset)>,
    progress: watch::Sender<NextOffset>,
    marked: Option<Instant>,
}

impl HopTask {
    /// Runs until `stop` is cancelled; then waits until everything sent is acknowledged. `progress`
    /// shows how far the input has been used, for commits that show the lag.
    ///
    /// Dropping the call is a crash: whoever owns the partition next goes on exactly.
    ///
    /// # Errors
    /// [`HopError`]. The session is of no further use after one; of class `Dependency` the
    /// partition can be taken up again with a new one.
    pub async fn run(
        self,
        transform: &mut dyn Transform,
        progress: watch::Sender<NextOffset>,
        stop: &CancellationToken,
    ) -> Result<(), HopError> {
        let hop = self.resume().await?;
        let mut reader = self.input.reader(self.partition, hop.next_offset()).await?;
        let limits = self.limits;
        let in_flight = VecDeque::new();
        let mut running = Running { task: self, hop, in_flight, progress, marked: None };
        loop {
            let fetched = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                fetched = reader.next(limits) => fetched?,
            };
            running.advance(fetched, transform).await?;
            running.settle(BATCHES_IN_FLIGHT_MAX).await?;
        }
        running.settle(0).await
    }

    pub(super) async fn resume(&self) -> Result<Hop, HopError> {
        let input = End { log: &self.input, partition: self.partition };
        let output = End { log: &self.output, partition: self.output_partition };
        let last = self.output.last(self.output_partition).await?;
        let bounds = self.input.bounds(self.partition).await?;
        let standing = Standing { last: last.as_ref(), committed: self.committed, bounds };
        let hop = Hop::resume(input, self.kind, output, standing)?;
        tracing::debug!(
            input = %self.input.topic(),
            partition = %self.partition,
            next = %hop.next_offset(),
            "hop takes over"
        );
        Ok(hop)
    }
}

impl Running {
    /// Writes what became of a batch, and that the partition is quiet.
    async fn advance(
        &mut self,
        fetched: Fetched,
        transform: &mut dyn Transform,
    ) -> Result<(), HopError> {
        let Fetched { records, end_at_ms } = fetched;
        let read = records.len();
        while let Some(left) = transform.patience(&records) {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
        let mut apply = |batch: &[Record]| transform.apply(batch);
        let written = self.hop.step(records, &mut apply)?;
        self.task.metrics.stepped(self.task.input.topic(), read, &written);
        let Written { dead_letters, mut records, .. } = written;
        if let Some(time_ms) = end_at_ms.filter(|_| self.may_mark(read == 0)) {
            records.push(self.hop.mark(time_ms));
        }
        self.acknowledge(dead_letters).await?;
        if !records.is_empty() {
            let receipt = self.task.session.send(self.task.output_partition, records).await?;
            self.in_flight.push_back((receipt, self.hop.next_offset()));
        }
        Ok(())
    }

    /// Waits until the dead letters are durable: nothing later may be sent before.
    async fn acknowledge(&self, dead_letters: Vec<NewRecord>) -> Result<(), HopError> {
        if !dead_letters.is_empty() {
            self.task.dead_letters.append(Partition(0), dead_letters).await?;
        }
        Ok(())
    }

    /// Only who reads the raw topic knows that it is quiet; the others pass on what they read.
    fn may_mark(&mut self, quiet: bool) -> bool {
        let due = self.marked.is_none_or(|at| at.elapsed() >= MARK_EVERY);
        let may = self.task.kind == HopInput::Raw && quiet && due;
        if may {
            self.marked = Some(Instant::now());
        }
        may
    }

    /// Takes the acknowledgements that are there, and waits for more while too many are open.
    async fn settle(&mut self, open_max: usize) -> Result<(), HopError> {
        while let Some((mut receipt, next)) = self.in_flight.pop_front() {
            if !receipt.is_durable()? {
                if self.in_flight.len() < open_max {
                    self.in_flight.push_front((receipt, next));
                    return Ok(());
                }
                receipt.durable().await?;
            }
            self.progress.send_replace(next);
        }
        Ok(())
    }
}
