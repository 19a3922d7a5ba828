//! The raw log to verdicts, in one task.
//!
//! Owns: the order of the stages, and when state is marked. Never: what a stage does.
//!
//! Everything here is a function of the raw log's records in their order: inputs' lines, and the
//! marks that say how far time has come. After a crash the log is read again from the last marker;
//! the verdicts that come a second time carry the same ids and revisions, which the responder's
//! ledger knows. A batch holds lines of one input only, in the log's order.

mod counts;
mod resume;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use detect::{Held, Local, LocalError, LocalSettings, Source, StateMetrics, Step, Taken};
use engine::key::HashKey;
use engine::watermark::Guard;
use enrich::{Block, Blocks, ContextCell, JoinError, Joiner};
use ingest::input::{InputConfig, RawKind, RawLog, RawRecord};
use ingest::{Fed, Keys, Parser, Place};
use respond::{LedgerError, Responder};
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::error::{Class, Classified};
use runtime::metrics::Metrics;
use runtime::ready::Condition;
use runtime::retry::Backoff;
use schemas::{
    BATCH_ROWS_MAX, BatchBuilder, DeadLetter, EventTime, Reason, Verdict, VerdictKind, event_at,
};
use tokio::sync::watch;
use tracing::{error, info, warn};
use transport::embedded::Store;
use transport::{Log, LogError, NewRecord, NextOffset, Partition, ReadLimits, Reader, Record};

use super::clients::{self, Clients};
use super::marker::Marker;
use super::parser_settings;
use super::rules::{self, Ask, InForce, RulesMetrics};
use super::silence::{self, Habit};
use crate::pack::Texts;
pub(super) use counts::Counts;
use resume::{Resumed, resumed};

/// Between two markers; so much of the log is read again after a crash.
const MARK_EVERY: Duration = Duration::from_secs(10);

/// Between two looks for a deploy that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the pipeline is put together from.
pub(super) struct Wiring {
    pub(super) raw: RawLog,
    pub(super) joiner: Joiner,
    pub(super) context: ContextCell,
    pub(super) responder: Responder,
    pub(super) store: Store,
    pub(super) marker: PathBuf,
    pub(super) retention_ms: i64,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) rules_metrics: RulesMetrics,
    /// Told which rules have forgotten the past.
    pub(super) memory: Condition,
    /// Told which inputs hide their clients.
    pub(super) clients: Condition,
    /// What keys of rules are hashed under.
    pub(super) hash_key: HashKey,
}

/// Why the pipeline stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipelineError {
    #[error("read the raw log")]
    Log(#[from] LogError),
    #[error("detect")]
    Detect(#[from] LocalError),
    #[error("enrich a batch")]
    Join(#[from] JoinError),
    #[error("build a batch")]
    Batch(#[from] ArrowError),
    #[error("write orders to the ledger")]
    Ledger(#[from] LedgerError),
    #[error("input `{input}`: {why}")]
    Input { input: String, why: String },
    #[error("marker {path}")]
    Marker { path: String, source: std::io::Error },
    #[error("the rules cannot run:\n{0}")]
    Rules(String),
}

impl Classified for PipelineError {
    fn class(&self) -> Class {
        match self {
            Self::Log(error) => error.class(),
            Self::Ledger(error) => error.class(),
            Self::Marker { .. } => Class::Dependency,
            Self::Input { .. } | Self::Rules(_) => Class::Input,
            Self::Detect(_) | Self::Join(_) | Self::Batch(_) => Class::Bug,
        }
    }
}

/// One input as the pipeline sees it.
struct Lane {
    name: String,
    parser: Parser,
    habit: Habit,
}

/// Lines of one input that are not judged yet.
struct Run {
    lane: usize,
    builder: BatchBuilder,
    times: Vec<i64>,
    letters: Vec<DeadLetter>,
    next: i64,
}

/// The stages behind the raw log.
pub(super) struct Pipeline {
    wiring: Wiring,
    lanes: Vec<Lane>,
    by_name: BTreeMap<String, usize>,
    local: Local,
    /// The record of the rules that run.
    rules: Bytes,
    in_force: InForce,
    reader: Reader,
    dead: Log,
    blocks: watch::Receiver<u64>,
    clients: Clients,
    counts: Counts,
    held: Held,
    /// Lanes and reasons for which a dead letter was shown.
    told: BTreeSet<(usize, Reason)>,
    /// What was told of rules that have forgotten the past.
    forgotten: Option<String>,
    /// Moments and the raw log's end at them, oldest first, for trimming.
    ends: Vec<(i64, NextOffset)>,
}

impl Pipeline {
    /// Takes up where the last marker says, with the rules that ran there; with these where no
    /// marker knows any.
    pub(super) async fn open(
        inputs: &[InputConfig],
        keys: Keys,
        texts: &Texts,
        wiring: Wiring,
    ) -> Result<Self, PipelineError> {
        let mut lanes = Vec::with_capacity(inputs.len());
        for input in inputs {
            let name = input.sensor();
            let settings = parser_settings(input)
                .map_err(|(_, why)| PipelineError::Input { input: name.clone(), why })?;
            let parser = Parser::new(settings, keys.clone());
            lanes.push(Lane { name, parser, habit: Habit::default() });
        }
        let names: Vec<String> = lanes.iter().map(|lane| lane.name.clone()).collect();
        let settings = LocalSettings { sources: inputs.iter().map(source).collect() };
        let start = wiring.raw.log().bounds(RawLog::PARTITION).await?.start;
        let Resumed { local, from, rules, in_force, is_logged } =
            resumed(&wiring, (&names, start), texts, &settings)?;
        wiring.memory.ready();
        if !is_logged {
            // From here on the log says by itself which rules ran.
            wiring.raw.append(vec![wiring.raw.rules(rules.clone())]).await?;
        }
        let bounds = wiring.raw.log().bounds(RawLog::PARTITION).await?;
        let from = from.clamp(bounds.start, bounds.end);
        let reader = wiring.raw.log().reader(RawLog::PARTITION, from).await?;
        info!(from = %from, end = %bounds.end, "reading the raw log");
        let dead = Log::Embedded(wiring.store.log("dead-letter", 1)?);
        let mut blocks = wiring.responder.subscribe();
        blocks.mark_changed();
        let file = wiring.marker.with_file_name("clients.json");
        let (callers, told) = (wiring.responder.hidden_callers(), wiring.clients.clone());
        let clients = Clients::open(&names, callers, told, file);
        Ok(Self {
            by_name: names.into_iter().zip(0..).collect(),
            counts: Counts::new(&wiring.metrics),
            // All rules are in one place here.
            held: StateMetrics::new(&wiring.metrics).of(0),
            lanes,
            local,
            rules,
            in_force,
            reader,
            dead,
            blocks,
            clients,
            wiring,
            told: BTreeSet::new(),
            forgotten: None,
            ends: Vec::new(),
        })
    }

    /// What tells others which rules run.
    pub(super) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Runs until `stop`, then marks where it stands.
    pub(super) async fn run(
        mut self,
        ready: Condition,
        stop: CancellationToken,
    ) -> Result<(), PipelineError> {
        let target = self.wiring.raw.end().await?;
        let mut marked = tokio::time::Instant::now();
        while !stop.is_cancelled() {
            let fetched = tokio::select! {
                () = stop.cancelled() => break,
                fetched = self.reader.next(ReadLimits::default()) => fetched?,
            };
            // Set before the batch too: taking it waits where the ledger's disk is away.
            let first = fetched.records.first().map(|record| record.offset.0);
            self.behind(first).await?;
            Box::pin(self.take(&fetched.records)).await?;
            self.behind(None).await?;
            self.remember();
            if self.reader.next_offset() >= target {
                ready.ready();
                self.in_force.settled();
            }
            if marked.elapsed() >= MARK_EVERY {
                marked = tokio::time::Instant::now();
                self.mark().await?;
            }
        }
        self.mark().await
    }

    /// Shows how many records there are from this offset on, or from where reading goes on.
    async fn behind(&self, offset: Option<i64>) -> Result<(), PipelineError> {
        let end = self.wiring.raw.end().await?;
        let from = offset.unwrap_or_else(|| self.reader.next_offset().0);
        self.counts.waiting.set(end.0.saturating_sub(from));
        Ok(())
    }

    async fn take(&mut self, records: &[Record]) -> Result<(), PipelineError> {
        let mut run: Option<Run> = None;
        for record in records {
            let raw = RawRecord::of(record);
            if raw.kind == RawKind::Rules {
                Box::pin(self.judge(run.take())).await?;
                self.switch(raw.value).await?;
                continue;
            }
            let Some(lane) = self.by_name.get(raw.input).copied() else { continue };
            if run.as_ref().is_some_and(|run| run.lane != lane || run.times.len() >= BATCH_ROWS_MAX)
            {
                Box::pin(self.judge(run.take())).await?;
            }
            match raw.kind {
                RawKind::Line => {
                    let run = run.get_or_insert_with(|| Run::of(lane));
                    self.line(run, raw, record);
                }
                RawKind::Mark => {
                    Box::pin(self.judge(run.take())).await?;
                    self.quiet(lane, raw.taken_ms).await?;
                }
                RawKind::Deploy | RawKind::Rules => {}
            }
        }
        Box::pin(self.judge(run)).await
    }

    fn line(&mut self, run: &mut Run, raw: RawRecord<'_>, record: &Record) {
        let Some(lane) = self.lanes.get_mut(run.lane) else { return };
        self.counts.lines.with([&lane.name]).inc();
        if let Some(turn) = lane.habit.line(raw.taken_ms) {
            silence::say(turn, &lane.name, &self.counts.silent);
        }
        let place = Place { topic: "raw", partition: 0, offset: record.offset.0 };
        let observed = EventTime(raw.taken_ms);
        match lane.parser.feed(raw.value, place, observed, &mut run.builder) {
            Fed::Events(events) => run.times.extend(std::iter::repeat_n(raw.taken_ms, events)),
            Fed::DeadLetter(letter) => run.letters.push(*letter),
            Fed::Bundle { events, letters } => {
                run.times.extend(std::iter::repeat_n(raw.taken_ms, events));
                run.letters.extend(letters);
            }
            Fed::Directive(_) => {}
        }
        if let Some(advice) = lane.parser.news() {
            warn!(input = %lane.name, %advice, "clients are not who they seem");
        }
        run.next = record.next().0;
    }

    async fn judge(&mut self, run: Option<Run>) -> Result<(), PipelineError> {
        let Some(mut run) = run else { return Ok(()) };
        let partition = u32::try_from(run.lane).unwrap_or(u32::MAX);
        let batch = run.builder.finish()?;
        self.clients(run.lane).await?;
        // Dead letters stand before the events of their run, at one offset less.
        if !run.letters.is_empty() {
            let at = if batch.num_rows() > 0 { run.next - 1 } else { run.next };
            let step = self.local.dropped(partition, &run.letters, at)?;
            self.letters(run.lane, run.letters).await?;
            self.said(run.lane, step).await?;
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.await_deploys(&batch).await?;
        self.refresh_blocks();
        let batch = self.wiring.joiner.enrich(&batch)?;
        self.teach(&batch);
        let taken =
            Taken { partition, batch: &batch, append_times: Some(&run.times), next: run.next };
        let step = self.local.take(taken)?;
        if let Some(lane) = self.lanes.get(run.lane) {
            // Late ones are dead letters, counted as such.
            let judged = batch.num_rows().saturating_sub(step.late.len());
            self.counts.events.with([&lane.name]).inc_by(judged as u64);
        }
        self.said(run.lane, step).await
    }

    /// Tells what an input's clients look like by now, before anything is done about any of them.
    async fn clients(&mut self, lane: usize) -> Result<(), PipelineError> {
        let Some(lane) = self.lanes.get(lane) else { return Ok(()) };
        if !lane.parser.is_judged() {
            return Ok(());
        }
        let advice = lane.parser.advice();
        self.counts.hidden.with([&lane.name]).set(i64::from(advice.is_some()));
        if self.clients.judged(&lane.name, advice) {
            clients::spare(&self.wiring.responder).await?;
        }
        Ok(())
    }

    /// Gives news of a deploy the grace to come, where the batch names a version that is not known.
    async fn await_deploys(&self, batch: &RecordBatch) -> Result<(), PipelineError> {
        let Wiring { joiner, clock, .. } = &self.wiring;
        while let Some(left) = joiner.patience(batch, clock.unix_ms())? {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
        Ok(())
    }

    async fn quiet(&mut self, lane: usize, now_ms: i64) -> Result<(), PipelineError> {
        if let Some(lane) = self.lanes.get_mut(lane)
            && let Some(turn) = lane.habit.quiet(now_ms)
        {
            silence::say(turn, &lane.name, &self.counts.silent);
        }
        let partition = u32::try_from(lane).unwrap_or(u32::MAX);
        let step = self.local.quiet(partition, EventTime(now_ms))?;
        self.said(lane, step).await
    }

    /// Other rules are to run from here on: a place in the log, so that reading it again switches
    /// here.
    async fn switch(&mut self, record: &Bytes) -> Result<(), PipelineError> {
        if *record == self.rules {
            return Ok(());
        }
        let (texts, ruleset) = match rules::of_log(record, self.wiring.hash_key) {
            Ok(read) => read,
            Err(why) => {
                error!(why, "rules that ran cannot run in this build; those before them go on");
                return Ok(());
            }
        };
        let switched = self.local.switch(&ruleset)?;
        self.rules = record.clone();
        self.in_force.switched(texts.hash(), &ruleset);
        self.wiring.rules_metrics.switched();
        info!(
            ruleset = texts.hash(),
            rules = ruleset.len(),
            fresh = switched.fresh.join(", "),
            forgotten = switched.forgotten.join(", "),
            "other rules run from here on"
        );
        let step = Step { verdicts: switched.verdicts, ..Step::default() };
        self.said(0, step).await
    }

    async fn said(&mut self, lane: usize, step: Step) -> Result<(), PipelineError> {
        let late: Vec<DeadLetter> = step.late.into_iter().map(|row| row.letter).collect();
        self.letters(lane, late).await?;
        for failure in step.failures {
            self.counts.failures.with([&failure.rule]).inc_by(failure.count);
            warn!(rule = %failure.rule, detail = %failure.detail, "a rule could not judge");
        }
        for verdict in step.verdicts {
            self.counts.verdicts.with([&verdict.rule, verdict.kind.name()]).inc();
            if verdict.kind == VerdictKind::Opened {
                let key = serde_json::to_string(&verdict.key).unwrap_or_default();
                let severity = format!("{:?}", verdict.severity).to_lowercase();
                info!(
                    rule = %verdict.rule, title = verdict.title, severity, key,
                    fired_at = %verdict.fired_at, id = %verdict.id, "verdict"
                );
            }
            self.respond(verdict).await?;
        }
        Ok(())
    }

    /// Waits while the ledger's disk is away: a verdict is never dropped.
    async fn respond(&self, verdict: Verdict) -> Result<(), PipelineError> {
        let mut backoff = Backoff::network();
        while let Err(failure) = self.wiring.responder.take(verdict.clone()).await {
            if failure.class() != Class::Dependency {
                return Err(failure.into());
            }
            warn!(error = %failure, "a verdict waits for the ledger");
            tokio::time::sleep(backoff.next_wait(None)).await;
        }
        Ok(())
    }

    async fn letters(
        &mut self,
        lane: usize,
        letters: Vec<DeadLetter>,
    ) -> Result<(), PipelineError> {
        if letters.is_empty() {
            return Ok(());
        }
        let input = self.lanes.get(lane).map_or("", |lane| lane.name.as_str());
        let mut records = Vec::with_capacity(letters.len());
        for letter in &letters {
            if self.told.insert((lane, letter.reason)) {
                tell(input, letter);
            }
            self.counts.dropped.with([input, letter.reason.name()]).inc();
            records.push(NewRecord::new(serde_json::to_vec(letter).unwrap_or_default()));
        }
        let mut backoff = Backoff::network();
        while let Err(failure) = self.dead.append(Partition(0), records.clone()).await {
            if failure.class() != Class::Dependency {
                return Err(failure.into());
            }
            warn!(error = %failure, "dead letters wait for the disk");
            tokio::time::sleep(backoff.next_wait(None)).await;
        }
        Ok(())
    }

    /// Tells which rules have forgotten the past.
    fn remember(&mut self) {
        let told = self.local.learning().told();
        if told == self.forgotten {
            return;
        }
        match &told {
            Some(told) => self.wiring.memory.remark(told),
            None => self.wiring.memory.ready(),
        }
        self.forgotten = told;
    }

    /// Callers that succeed are known to be good later.
    fn teach(&self, batch: &RecordBatch) {
        let known_good = self.wiring.responder.known_good();
        for row in 0..batch.num_rows() {
            known_good.saw_event(&event_at(batch, row));
        }
    }

    /// Lets events say that our own block answered them.
    fn refresh_blocks(&mut self) {
        if !self.blocks.has_changed().unwrap_or(false) {
            return;
        }
        self.blocks.mark_unchanged();
        let standing = self.wiring.responder.blocks().into_iter().filter_map(|shown| {
            let order = shown.order;
            (!order.dry_run).then_some(Block {
                subject: order.subject?,
                order_id: order.id,
                from: order.decided_at,
                until: order.expires_at,
            })
        });
        let (blocks, unusable) = Blocks::new(standing);
        if unusable > 0 {
            warn!(unusable, "blocks whose subject cannot be told from events");
        }
        self.wiring.context.set_blocks(blocks);
    }

    async fn mark(&mut self) -> Result<(), PipelineError> {
        self.held.show(self.local.load());
        let next = self.reader.next_offset();
        let marker = Marker {
            next: next.0,
            inputs: self.lanes.iter().map(|lane| lane.name.clone()).collect(),
            learning: self.local.learning().clone(),
            key: self.wiring.hash_key.check(),
            rules: self.rules.to_vec(),
            state: self.local.snapshot()?,
        };
        let path = &self.wiring.marker;
        if let Err(source) = marker.write(path) {
            // The old marker holds; the log is kept until a newer one is written.
            error!(path = %path.display(), error = %source, "cannot write the marker");
            return Ok(());
        }
        let now = self.wiring.clock.unix_ms();
        self.ends.push((now, next));
        let old =
            self.ends.iter().take_while(|(at, _)| now - at > self.wiring.retention_ms).count();
        let trimmed = self.ends.drain(..old).next_back();
        if let Some((_, end)) = trimmed {
            self.wiring.raw.log().trim_before(RawLog::PARTITION, end).await?;
        }
        Ok(())
    }
}

impl Run {
    fn of(lane: usize) -> Self {
        let builder = BatchBuilder::default();
        Self { lane, builder, times: Vec::new(), letters: Vec::new(), next: 0 }
    }
}

fn source(input: &InputConfig) -> Source {
    let guard = if input.live { Guard::LIVE } else { Guard::Off };
    Source { lateness_ms: input.lateness.as_ms_i64(), guard }
}

/// Shows the first dead letter of an input and a reason; the others are counted.
fn tell(input: &str, letter: &DeadLetter) {
    let origin =
        letter.origin.as_ref().map(|at| format!("{}/{}/{}", at.topic, at.partition, at.offset));
    warn!(
        input,
        reason = letter.reason.name(),
        origin = origin.unwrap_or_default(),
        detail = letter.detail,
        next = letter.reason.next_step(),
        "a line cannot be used; further ones of this reason are only counted"
    );
}

/// A switch is a record of the raw log.
pub(super) struct ByRawLog(pub(super) RawLog);

impl Ask for ByRawLog {
    async fn ask(&self, texts: &Texts) -> Result<(), LogError> {
        let record = self.0.rules(Bytes::from(texts.encode()));
        self.0.append(vec![record]).await.map(drop)
    }
}
