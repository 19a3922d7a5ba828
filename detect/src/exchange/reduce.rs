//! Frames to verdicts.
//!
//! Owns: the order of verdicts, markers and checkpoints. Never: windows and episodes.
//!
//! Verdicts carry the offset of the exchange that they came from. After a crash the exchange is
//! folded again from a checkpoint; what the last verdict on the topic shows to be there is not sent
//! again, but for those of that very offset, whose ids and revisions tell them to be the same.

use std::collections::VecDeque;
use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::frame::Entry;
use engine::reduce::{ReduceError, Reducer};
use runtime::CancellationToken;
use runtime::files::replace;
use runtime::metrics::{Counters, Metrics, Unit};
use runtime::ready::Condition;
use schemas::{Origin, Verdict, VerdictCodec, VerdictKind};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use transport::{
    Attempt, Given, Log, NewRecord, NextOffset, Output, Partition, ReadLimits, Receipt, Record,
    Share, TopicId,
};

use super::marker::{self, Checkpoint, entry};
use super::memory::{Telling, Told};
use super::restore::{Restored, restored};
use super::state::Shelf;
use super::{Exchange, ExchangeError, Numbered};
use crate::held::{Held, StateMetrics};
use crate::learning::Learning;

/// Batches of verdicts that were sent and are not acknowledged yet.
const BATCHES_IN_FLIGHT_MAX: usize = 64;
/// Between two markers.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Between two checkpoints; so much of the exchange is folded again after a crash.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// The header with the offset of the exchange, big-endian.
const AT_HEADER: &str = "tidegate-exchange-offset";
/// The header with the incarnation of the exchange topic that the offset is of.
const OF_HEADER: &str = "tidegate-exchange-id";

/// What reduce counts.
#[derive(Debug, Clone)]
pub struct ReducerMetrics {
    verdicts: Counters<2>,
    failures: Counters<1>,
    stragglers: Counters<1>,
}

/// Reduces the exchange partitions that the group gives to this process.
#[derive(Debug)]
pub struct ReduceStage {
    /// Between map and reduce.
    pub exchange: Exchange,
    /// Where verdicts go; as many partitions as the exchange.
    pub verdicts: Log,
    /// Writes them.
    pub codec: Arc<VerdictCodec>,
    /// Where this process keeps its checkpoints.
    pub folder: PathBuf,
    /// Where checkpoints are for whoever takes over; as many partitions as the exchange.
    pub state: Log,
    /// The group that shares the exchange partitions.
    pub group: String,
    /// What is counted.
    pub metrics: ReducerMetrics,
    /// What rules hold.
    pub held: StateMetrics,
    /// Told when the stage runs and what it waits for.
    pub condition: Option<Condition>,
    /// Told which rules have forgotten the past.
    pub memory: Option<Condition>,
}

/// The sessions of all partitions.
struct Sessions<'s> {
    stage: &'s ReduceStage,
    verdicts: Output,
    markers: Output,
    state: Output,
    told: Told,
}

/// One exchange partition.
pub(super) struct Task {
    pub(super) exchange: Exchange,
    pub(super) partition: Partition,
    verdicts: Log,
    verdicts_session: Output,
    markers: Output,
    codec: Arc<VerdictCodec>,
    pub(super) checkpoint: PathBuf,
    pub(super) state: Log,
    state_session: Output,
    metrics: ReducerMetrics,
    held: StateMetrics,
    telling: Telling,
}

/// A partition while it is reduced.
struct Reducing {
    task: Task,
    reducer: Reducer,
    /// The rules that it reduces by.
    rules: Numbered,
    /// The next offset of the exchange.
    next: NextOffset,
    /// Up to here verdicts are on the topic.
    said: i64,
    in_flight: VecDeque<Receipt>,
    marked: Option<(NextOffset, Instant)>,
    held: Held,
    kept: Instant,
    shelf: Shelf,
    learning: Learning,
    progress: watch::Sender<NextOffset>,
}

impl ReducerMetrics {
    /// Declares them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            verdicts: metrics.counters(
                "said",
                Unit::Of("verdicts"),
                "Verdicts by rule and kind",
                ["rule", "kind"],
            ),
            failures: metrics.counters(
                "reduce_failed",
                Unit::Of("judgements"),
                "Windows that a rule could not judge",
                ["rule"],
            ),
            stragglers: metrics.counters(
                "stragglers",
                Unit::Of("partitions"),
                "Times that a source partition fell too far behind",
                ["partition"],
            ),
        }
    }
}

impl ReduceStage {
    /// Runs until `stop` is cancelled and everything sent is acknowledged.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), ExchangeError> {
        fs::create_dir_all(&self.folder).map_err(|source| ExchangeError::File {
            doing: "make the folder",
            path: self.folder.display().to_string(),
            source,
        })?;
        let (log, group) = (self.exchange.frames.clone(), self.group.clone());
        let share = Share { log, group, condition: self.condition.clone() };
        let told = Told::new(self.memory.clone());
        let attempt = || {
            Ok(Sessions {
                stage: self,
                verdicts: self.verdicts.output()?,
                markers: self.exchange.markers.output()?,
                state: self.state.output()?,
                told: told.clone(),
            })
        };
        share.run(attempt, |reason, wait| warn!(reason, ?wait, "reduce begins anew"), stop).await
    }
}

impl Attempt for Sessions<'_> {
    type Error = ExchangeError;

    fn begin(
        &mut self,
        given: Given,
    ) -> impl Future<Output = Result<(), ExchangeError>> + Send + 'static {
        let stage = self.stage;
        let task = Task {
            exchange: stage.exchange.clone(),
            partition: given.partition,
            verdicts: stage.verdicts.clone(),
            verdicts_session: self.verdicts.clone(),
            markers: self.markers.clone(),
            codec: Arc::clone(&stage.codec),
            checkpoint: stage.folder.join(format!("exchange-{}", given.partition)),
            state: stage.state.clone(),
            state_session: self.state.clone(),
            metrics: stage.metrics.clone(),
            held: stage.held.clone(),
            telling: self.told.of(given.partition),
        };
        async move {
            let reducing = Reducing::begin(task, given.progress).await?;
            reducing.run(&given.stop).await
        }
    }
}

impl Reducing {
    async fn begin(task: Task, progress: watch::Sender<NextOffset>) -> Result<Self, ExchangeError> {
        let bounds = task.exchange.frames.bounds(task.partition).await?;
        let Restored { reducer, rules, next, learning, found } =
            restored(&task, bounds.start).await?;
        let last = task.verdicts.last(task.partition).await?;
        let of = task.exchange.frames.topic_id();
        let said = last.as_ref().and_then(|last| at(last, of)).unwrap_or(-1);
        let partition = task.partition;
        info!(%partition, from = %next, end = %bounds.end, said, "reducing an exchange partition");
        let in_flight = VecDeque::new();
        let kept = Instant::now();
        let shelf = Shelf::new(task.state_session.clone(), partition, found);
        task.telling.tell(learning.told());
        let held = task.held.of(partition.0);
        Ok(Self {
            task,
            reducer,
            rules,
            next,
            said,
            in_flight,
            marked: None,
            held,
            kept,
            shelf,
            learning,
            progress,
        })
    }

    async fn run(mut self, stop: &CancellationToken) -> Result<(), ExchangeError> {
        let frames = self.task.exchange.frames.clone();
        let mut reader = frames.reader(self.task.partition, self.next).await?;
        loop {
            let fetched = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                fetched = reader.next(ReadLimits::default()) => fetched?,
            };
            for record in &fetched.records {
                self.take(record).await?;
                self.next = record.next();
            }
            self.keep().await?;
        }
        self.settle(0).await?;
        self.mark().await?;
        self.checkpoint().await
    }

    async fn take(&mut self, record: &Record) -> Result<(), ExchangeError> {
        let entry = entry(&self.task.exchange, record, &self.rules.ruleset)?;
        let (verdicts, failures) = match entry {
            Entry::Open(open) => {
                let is_highest = self.reducer.open(&open)?;
                if !is_highest || open.rules <= self.rules.number {
                    return Ok(());
                }
                (self.switch(open.rules).await?, Vec::new())
            }
            Entry::Frame(frame) => {
                #[cfg(test)]
                let frame = self.task.exchange.forced(frame, self.reducer.sources());
                let source = frame.partition;
                self.learning.see(&frame);
                let reduced =
                    self.reducer.reduce(frame).map_err(|error| self.refused(record, error))?;
                if reduced.straggler.is_some() {
                    self.task.metrics.stragglers.with([&source.to_string()]).inc();
                    warn!(
                        source,
                        "a source partition fell too far behind; its watermark is raised"
                    );
                }
                (reduced.verdicts, reduced.failures)
            }
        };
        for failure in failures {
            self.task.metrics.failures.with([&failure.rule]).inc_by(failure.count);
            warn!(rule = %failure.rule, detail = %failure.detail, "a rule could not judge");
        }
        if verdicts.is_empty() || record.offset.0 < self.said {
            return Ok(());
        }
        let records: Result<Vec<NewRecord>, ExchangeError> =
            verdicts.into_iter().map(|verdict| self.record(verdict, record)).collect();
        let receipt = self.task.verdicts_session.send(self.task.partition, records?).await?;
        self.in_flight.push_back(receipt);
        self.settle(BATCHES_IN_FLIGHT_MAX).await
    }

    fn refused(&self, record: &Record, error: ReduceError) -> ExchangeError {
        match error {
            ReduceError::Accept { source, .. } => ExchangeError::Accept {
                topic: Arc::clone(self.task.exchange.frames.topic()),
                partition: record.partition.0,
                offset: record.offset.0,
                source,
            },
            other => other.into(),
        }
    }

    /// The first owner that maps by other rules has opened: they run from here on.
    async fn switch(&mut self, number: i64) -> Result<Vec<Verdict>, ExchangeError> {
        let rules = self.task.exchange.rules.get(number).await?;
        let switched = self.reducer.switch(&rules.ruleset)?;
        info!(
            partition = %self.task.partition,
            rules = number,
            fresh = switched.fresh.join(", "),
            forgotten = switched.forgotten.join(", "),
            "other rules run from here on"
        );
        self.rules = rules;
        Ok(switched.verdicts)
    }

    fn record(&self, mut verdict: Verdict, from: &Record) -> Result<NewRecord, ExchangeError> {
        self.task.metrics.verdicts.with([&verdict.rule, verdict.kind.name()]).inc();
        if verdict.kind == VerdictKind::Opened {
            let key = serde_json::to_string(&verdict.key).unwrap_or_default();
            let severity = format!("{:?}", verdict.severity).to_lowercase();
            info!(
                rule = %verdict.rule, title = verdict.title, severity, key,
                fired_at = %verdict.fired_at, id = %verdict.id, "verdict"
            );
        }
        verdict.origin = Some(Origin {
            topic: self.task.exchange.frames.topic().to_string(),
            partition: from.partition.0,
            offset: from.offset.0,
            index: 0,
        });
        let at = Bytes::copy_from_slice(&from.offset.0.to_be_bytes());
        let of = Bytes::from(self.task.exchange.frames.topic_id().to_string());
        let value = self.task.codec.encode(&verdict)?;
        Ok(NewRecord {
            key: Some(Bytes::from(verdict.id.clone().into_bytes())),
            headers: vec![(AT_HEADER.to_owned(), at), (OF_HEADER.to_owned(), of)],
            ..NewRecord::new(value)
        })
    }

    /// Writes what is due: first verdicts, then the word that they are there.
    async fn keep(&mut self) -> Result<(), ExchangeError> {
        let due = self
            .marked
            .is_none_or(|(next, since)| next < self.next && since.elapsed() >= MARK_EVERY);
        if due {
            self.settle(0).await?;
            self.mark().await?;
            self.learning.pass(self.reducer.watermark());
            self.task.telling.tell(self.learning.told());
        }
        if self.kept.elapsed() >= CHECKPOINT_EVERY {
            self.kept = Instant::now();
            self.settle(0).await?;
            self.checkpoint().await?;
        }
        Ok(self.shelf.turn().await?)
    }

    async fn mark(&mut self) -> Result<(), ExchangeError> {
        self.held.show(self.reducer.load());
        let next = self.next;
        #[cfg(test)]
        let next = self.task.exchange.ahead(next);
        let marker = marker::record(next, self.rules.number, self.reducer.sources());
        self.task.markers.append(self.task.partition, vec![marker]).await?;
        self.marked = Some((self.next, Instant::now()));
        self.progress.send_replace(self.next);
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<(), ExchangeError> {
        let checkpoint = Checkpoint {
            topic: self.task.exchange.frames.topic_id().to_string(),
            next: self.next,
            rules: self.rules.number,
            key: self.rules.ruleset.hash_key().check(),
            learning: self.learning.clone(),
            state: self.reducer.snapshot().map_err(ExchangeError::Snapshot)?,
        };
        let checkpoint = Bytes::from(checkpoint.to_bytes());
        if self.shelf.is_due(self.next) {
            self.shelf.put(self.next, &checkpoint);
        }
        let path = self.task.checkpoint.clone();
        let shown = path.display().to_string();
        let write = move || replace(&path, |file| file.write_all(&checkpoint));
        let written = tokio::task::spawn_blocking(write).await;
        if let Err(error) = written.unwrap_or_else(|gone| Err(io::Error::other(gone))) {
            // The older one holds; more of the exchange is folded again after a crash.
            warn!(path = shown, %error, "cannot write the checkpoint");
        }
        Ok(())
    }

    async fn settle(&mut self, most: usize) -> Result<(), ExchangeError> {
        while self.in_flight.len() > most {
            let Some(receipt) = self.in_flight.pop_front() else { break };
            receipt.durable().await?;
        }
        Ok(())
    }
}

/// The offset of the exchange that a verdict on the topic came from; none where it was another
/// exchange, whose offsets say nothing about this one. Earlier builds do not say which it was.
fn at(verdict: &Record, exchange: TopicId) -> Option<i64> {
    let is_this = |of: &Bytes| **of == *exchange.to_string().as_bytes();
    verdict.header(OF_HEADER).is_none_or(is_this).then_some(())?;
    let bytes = <[u8; 8]>::try_from(verdict.header(AT_HEADER)?.as_ref()).ok()?;
    Some(i64::from_be_bytes(bytes))
}

/// A file failed.
pub(super) fn file_error(doing: &'static str, path: &Path, source: io::Error) -> ExchangeError {
    ExchangeError::File { doing, path: path.display().to_string(), source }
}
