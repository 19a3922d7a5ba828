//! Enriched events to frames.
//!
//! Owns: the order in which a source partition's records reach its mapper, and where steps are
//! cut. Never: judging an event.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use engine::frame::{Frame, Owner};
use engine::map::{Input, LateRow, MapSettings, Mapped, Mapper, Start};
use engine::watermark::Guard;
use runtime::CancellationToken;
use runtime::metrics::{Counters, Metrics, Unit};
use runtime::ready::Condition;
use schemas::{CodecError, DeadLetter, DeadLetterCodec, EventReader, EventTime, Origin, Reason};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use transport::{
    Admission, Attempt, DROP_HEADER, Given, Log, NewRecord, NextOffset, OriginGate, Output,
    Partition, ReadLimits, Receipt, Record, Share,
};

use super::marker::Folded;
use super::takeover::{Taken, frame_origin, gate_origin, owner_of, take_over};
use super::{Exchange, ExchangeError};
use crate::Source;

/// Steps that were sent and are not acknowledged yet.
const STEPS_IN_FLIGHT_MAX: usize = 16;
/// How often an owner looks whether there is a higher one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What map counts.
#[derive(Debug, Clone)]
pub struct MapperMetrics {
    events: Counters<1>,
    late: Counters<1>,
    unreadable: Counters<1>,
    failures: Counters<1>,
}

/// Maps the source partitions that the group gives to this process.
#[derive(Debug)]
pub struct MapStage {
    /// `access.enriched`.
    pub input: Log,
    /// Between map and reduce.
    pub exchange: Exchange,
    /// Of every source partition, in order.
    pub settings: Vec<Source>,
    /// Reads the records of the input.
    pub reader: EventReader,
    /// Where late events go, and records that are none.
    pub dead_letters: Log,
    /// Writes them.
    pub letters: Arc<DeadLetterCodec>,
    /// The group that shares the source partitions.
    pub group: String,
    /// What is counted.
    pub metrics: MapperMetrics,
    /// Told when the stage runs and what it waits for.
    pub condition: Option<Condition>,
}

/// One session, and the partitions that are mapped with it.
struct Session<'s> {
    stage: &'s MapStage,
    session: Output,
    dead_letters: Output,
}

/// One source partition.
struct Task {
    input: Log,
    exchange: Exchange,
    source: Source,
    reader: EventReader,
    partition: Partition,
    session: Output,
    dead_letters: Output,
    letters: Arc<DeadLetterCodec>,
    metrics: MapperMetrics,
}

/// A partition while it is mapped.
struct Mapping {
    task: Task,
    mapper: Mapper,
    gate: OriginGate,
    owner: Owner,
    /// The number of the rules that it maps by.
    rules: i64,
    /// By exchange partition: what it had applied when this owner began.
    applied: Vec<i64>,
    /// Where steps must end on the way to the greatest of `applied`, descending.
    cuts: Vec<i64>,
    in_flight: VecDeque<(Vec<Receipt>, NextOffset)>,
    progress: watch::Sender<NextOffset>,
}

/// Why a partition is not mapped on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It was told to stop.
    Stopped,
    /// There is a higher owner.
    Replaced,
    /// Other rules are to run, which takes a new owner.
    OtherRules,
}

/// What stands next to each other in the log and is mapped at once.
#[derive(Default)]
struct Run {
    rows: Vec<Bytes>,
    /// Of each row: when it was taken, and its offset.
    places: Vec<(i64, i64)>,
    letters: Vec<DeadLetter>,
    next: i64,
}

impl MapperMetrics {
    /// Declares them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counters = |name, unit, help| metrics.counters(name, unit, help, ["partition"]);
        Self {
            events: counters(
                "mapped",
                Unit::Events,
                "Events that rules saw; late ones are dropped",
            ),
            late: counters("late", Unit::Events, "Events that came too late, or without a time"),
            unreadable: counters(
                "unreadable",
                Unit::Of("records"),
                "Records of the enriched topic that are no events, or of an unknown schema",
            ),
            failures: metrics.counters(
                "map_failed",
                Unit::Of("judgements"),
                "Events that a rule could not judge",
                ["rule"],
            ),
        }
    }
}

impl MapStage {
    /// Runs until `stop` is cancelled and everything sent is acknowledged.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), ExchangeError> {
        let (log, group) = (self.input.clone(), self.group.clone());
        let share = Share { log, group, condition: self.condition.clone() };
        let attempt = || {
            Ok(Session {
                stage: self,
                session: self.exchange.frames.output()?,
                dead_letters: self.dead_letters.output()?,
            })
        };
        share.run(attempt, |reason, wait| warn!(reason, ?wait, "map begins anew"), stop).await
    }
}

impl Attempt for Session<'_> {
    type Error = ExchangeError;

    fn begin(
        &mut self,
        given: Given,
    ) -> impl Future<Output = Result<(), ExchangeError>> + Send + 'static {
        let stage = self.stage;
        let place = usize::try_from(given.partition.0).unwrap_or(usize::MAX);
        let task = Task {
            input: stage.input.clone(),
            exchange: stage.exchange.clone(),
            source: stage.settings.get(place).copied().unwrap_or_default(),
            reader: stage.reader.clone(),
            partition: given.partition,
            session: self.session.clone(),
            dead_letters: self.dead_letters.clone(),
            letters: Arc::clone(&stage.letters),
            metrics: stage.metrics.clone(),
        };
        task.run(given)
    }
}

impl Task {
    async fn run(self, given: Given) -> Result<(), ExchangeError> {
        #[cfg(test)]
        let committed = given.committed;
        let Given { partition, progress, stop, .. } = given;
        let mut task = self;
        loop {
            let start = task.input.bounds(partition).await?.start;
            let taken = take_over(&task.exchange, &task.session, partition.0, start).await?;
            #[cfg(test)]
            let taken = task.exchange.by_commits(taken, committed);
            let mut mapping = Mapping::begin(task, taken, progress.clone());
            match mapping.run(&stop).await? {
                Ended::Stopped => return Ok(()),
                Ended::OtherRules => task = mapping.task,
                Ended::Replaced => {
                    info!(%partition, "somebody else took the source partition over; trying again");
                    task = mapping.task;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}

impl Mapping {
    fn begin(task: Task, taken: Taken, progress: watch::Sender<NextOffset>) -> Self {
        let settings = MapSettings {
            lateness_ms: task.source.lateness_ms,
            guard: task.source.guard,
            exchange_partitions: task.exchange.partitions(),
        };
        let gate = OriginGate::after(taken.origin.as_ref().map(gate_origin));
        let Taken { owner, applied, position, watermark, origin, rules } = taken;
        let start = Start { owner, position, watermark, origin };
        let mapper = Mapper::new(rules.ruleset, task.partition.0, settings, start);
        let mut cuts: Vec<i64> = applied.iter().copied().filter(|at| *at > position).collect();
        cuts.sort_unstable_by(|a, b| b.cmp(a));
        cuts.dedup();
        #[cfg(test)]
        task.exchange.without_cuts(&mut cuts);
        let (rules, in_flight) = (rules.number, VecDeque::new());
        Self { task, mapper, gate, owner, rules, applied, cuts, in_flight, progress }
    }

    /// Maps until there is a reason not to.
    async fn run(&mut self, stop: &CancellationToken) -> Result<Ended, ExchangeError> {
        let from = NextOffset(self.mapper.position());
        let mut reader = self.task.input.reader(self.task.partition, from).await?;
        let (mut looked, mut place) = (Instant::now(), 0);
        loop {
            let fetched = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                fetched = reader.next(ReadLimits::default()) => fetched?,
            };
            self.take(&fetched.records).await?;
            self.settle(STEPS_IN_FLIGHT_MAX).await?;
            if self.task.exchange.rules.latest().number > self.rules {
                self.settle(0).await?;
                return Ok(Ended::OtherRules);
            }
            #[cfg(test)]
            if self.task.exchange.never_looks() {
                continue;
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                place = (place + 1) % self.task.exchange.partitions();
                if self.is_replaced(place).await? {
                    return Ok(Ended::Replaced);
                }
            }
        }
        self.settle(0).await?;
        Ok(Ended::Stopped)
    }

    async fn is_replaced(&self, place: u32) -> Result<bool, ExchangeError> {
        let folded = Folded::of(&self.task.exchange, Partition(place)).await?;
        Ok(owner_of(&folded, self.task.partition.0).is_some_and(|owner| owner > self.owner))
    }

    async fn take(&mut self, records: &[Record]) -> Result<(), ExchangeError> {
        let mut run = Run::default();
        for record in records {
            if self.cuts.last().is_some_and(|cut| record.offset.0 >= *cut) {
                self.cuts.pop();
                self.flush(&mut run).await?;
            }
            let before = self.gate.clone();
            let admitted = self.gate.admit(record).map_err(|source| ExchangeError::Gate {
                topic: Arc::clone(self.task.input.topic()),
                source,
            })?;
            let letter =
                record.header(DROP_HEADER).and_then(|json| serde_json::from_slice(json).ok());
            let is_other = match &admitted {
                Admission::Payload(_) => !run.letters.is_empty(),
                Admission::Void(..) => letter.is_some() && !run.rows.is_empty(),
                Admission::Mark(_) => self.is_live(),
                Admission::Repeat => false,
            };
            if is_other {
                let now = std::mem::replace(&mut self.gate, before);
                self.flush(&mut run).await?;
                self.gate = now;
            }
            match (admitted, letter) {
                (Admission::Payload(_), _) => {
                    run.rows.push(record.value.clone());
                    let taken = record.timestamp_ms.unwrap_or_default();
                    run.places.push((taken, record.offset.0));
                    run.next = record.next().0;
                }
                (Admission::Void(..), Some(letter)) => {
                    run.letters.push(letter);
                    run.next = record.next().0;
                }
                (Admission::Mark(now_ms), _) if self.is_live() => {
                    let mapped = self.mapper.quiet(EventTime(now_ms))?;
                    self.send(mapped, &[]).await?;
                }
                (Admission::Mark(_) | Admission::Void(..) | Admission::Repeat, _) => {}
            }
        }
        self.flush(&mut run).await
    }

    /// Whether time passes with the clock, and not with a recording's events.
    fn is_live(&self) -> bool {
        self.task.source.guard != Guard::Off
    }

    async fn flush(&mut self, run: &mut Run) -> Result<(), ExchangeError> {
        let Run { rows, places, letters, next } = std::mem::take(run);
        if !letters.is_empty() {
            let mapped = self.mapper.dropped(&letters, next)?;
            return self.send(mapped, &[]).await;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let read = self.task.reader.read(rows.iter().map(|row| &**row));
        let (mut times, mut offsets, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for ((time, offset), failure) in places.into_iter().zip(read.failures) {
            match failure {
                None => {
                    times.push(time);
                    offsets.push(offset);
                }
                Some(failure) => unreadable.push(self.unreadable(offset, &failure)),
            }
        }
        self.bury(&unreadable).await?;
        let batch = joined(&read.batches)?;
        let input = Input { batch: &batch, append_times: Some(&times), next, origin: None };
        let mapped = self.mapper.map(input)?;
        // Late ones are counted as such.
        let seen = batch.num_rows().saturating_sub(mapped.late.len());
        let seen = u64::try_from(seen).unwrap_or(u64::MAX);
        self.task.metrics.events.with([&self.task.partition.to_string()]).inc_by(seen);
        self.send(mapped, &offsets).await
    }

    /// Sends what a step gave; `offsets` are those of the rows that it was given.
    async fn send(&mut self, mapped: Mapped, offsets: &[i64]) -> Result<(), ExchangeError> {
        let partition = self.task.partition;
        if !mapped.late.is_empty() {
            let late = u64::try_from(mapped.late.len()).unwrap_or(u64::MAX);
            self.task.metrics.late.with([&partition.to_string()]).inc_by(late);
            let letter = |row: LateRow| {
                let offset = row.row.and_then(|row| offsets.get(row));
                let origin = offset.map(|offset| self.place(*offset));
                DeadLetter { origin, ..row.letter }
            };
            let letters: Vec<DeadLetter> = mapped.late.into_iter().map(letter).collect();
            self.bury(&letters).await?;
        }
        for failure in &mapped.failures {
            self.task.metrics.failures.with([&failure.rule]).inc_by(failure.count);
            warn!(rule = %failure.rule, detail = %failure.detail, "a rule could not judge");
        }
        let origin = self.gate.last();
        let origin =
            origin.map(|origin| frame_origin(self.task.input.topic(), partition.0, origin));
        let mut receipts = Vec::with_capacity(mapped.frames.len());
        for (place, mut frame) in (0..).zip(mapped.frames) {
            if self.is_there(place, &frame) {
                continue;
            }
            frame.origin.clone_from(&origin);
            let record = NewRecord::new(frame.encode());
            receipts.push(self.task.session.send(Partition(place), vec![record]).await?);
        }
        self.in_flight.push_back((receipts, NextOffset(self.mapper.position())));
        Ok(())
    }

    /// Writes dead letters, before anything that goes past them is sent.
    async fn bury(&self, letters: &[DeadLetter]) -> Result<(), ExchangeError> {
        if letters.is_empty() {
            return Ok(());
        }
        let record = |letter| {
            let (key, value) = self.task.letters.record(letter);
            NewRecord { key: key.map(Bytes::from), ..NewRecord::new(value) }
        };
        let records = letters.iter().map(record).collect();
        self.task.dead_letters.append(Partition(0), records).await?;
        Ok(())
    }

    /// The letter of a record that is no event. Nothing in it is known to be free of secrets.
    fn unreadable(&self, offset: i64, failure: &CodecError) -> DeadLetter {
        self.task.metrics.unreadable.with([&self.task.partition.to_string()]).inc();
        warn!(offset, %failure, "a record of the enriched topic cannot be read");
        let reason = match failure {
            CodecError::UnknownSchema { .. } => Reason::UnknownSchema,
            _ => Reason::BadValue,
        };
        DeadLetter {
            reason,
            detail: failure.to_string(),
            origin: Some(self.place(offset)),
            sensor: None,
            client_ip: None,
            event_time: None,
            line: String::new(),
        }
    }

    fn place(&self, offset: i64) -> Origin {
        let (topic, partition) = (self.task.input.topic().to_string(), self.task.partition.0);
        Origin { topic, partition, offset, index: 0 }
    }

    /// Whether an exchange partition had applied this frame's records before this owner began.
    fn is_there(&self, place: u32, frame: &Frame) -> bool {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let applied = self.applied.get(place).copied().unwrap_or(i64::MIN);
        frame.to < applied || (frame.to == applied && frame.from < frame.to)
    }

    /// Waits until no more than `most` steps are not acknowledged.
    async fn settle(&mut self, most: usize) -> Result<(), ExchangeError> {
        while self.in_flight.len() > most {
            let Some((receipts, next)) = self.in_flight.pop_front() else { break };
            for receipt in receipts {
                receipt.durable().await?;
            }
            self.progress.send_replace(next);
        }
        Ok(())
    }
}

fn joined(batches: &[RecordBatch]) -> Result<RecordBatch, ExchangeError> {
    match batches {
        [only] => Ok(only.clone()),
        all => {
            let schema = schemas::arrow_schema();
            let joined = arrow::compute::concat_batches(&schema, all);
            joined.map_err(|error| ExchangeError::Map(error.into()))
        }
    }
}
