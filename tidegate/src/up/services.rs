//! Stages over Kafka topics: one a process, or all in one.
//!
//! Owns: which topics a stage gets. Never: what a stage does.

mod blocks;
mod heard;
mod known;
mod publish;
mod rules;
mod told;
mod verdicts;

use std::path::PathBuf;
use std::sync::Arc;

use detect::Source;
use detect::StateMetrics;
use detect::exchange::{Exchange, MapStage, MapperMetrics, ReduceStage, ReducerMetrics, Rules};
use engine::key::HashKey;
use engine::watermark::Guard;
use enrich::{
    AcceptedDeploys, ContextCell, DeploysEndpoint, EnrichMetrics, EventsToEnriched, JoinOptions,
    Joiner,
};
use ingest::{Keys, LinesToEvents, Parser};
use respond::{KnownGood, Responder};
use runtime::ready::Condition;
use schemas::{Deploy, RecordKind};
use tokio::sync::mpsc::Receiver;
use tracing::{info, warn};
use transport::hop::{HopInput, HopMetrics, HopStage};
use transport::{Log, LogError, NewRecord, Partition, ReadLimits, Record};

use super::rules::{InForce, RulesMetrics, Watched};
use super::topics::Topics;
use super::{Process, Shared, parser_settings, silence, storage};
use crate::config::Config;
use crate::fault::Fault;
use crate::pack::Texts;
use blocks::Standing;
use heard::Heard;
use known::{Learning, Students};
use publish::Published;
use rules::ByTopic;
use verdicts::VerdictStage;

/// A stage that can be a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Ingest,
    Enrich,
    Detect,
    Respond,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Ingest, Self::Enrich, Self::Detect, Self::Respond];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Enrich => "enrich",
            Self::Detect => "detect",
            Self::Respond => "respond",
        }
    }
}

/// What enriching begins with.
pub(super) struct Enriching {
    pub(super) context: ContextCell,
    pub(super) metrics: EnrichMetrics,
    pub(super) accepted: Receiver<AcceptedDeploys>,
    pub(super) endpoint: DeploysEndpoint,
}

/// Stages being started.
pub(super) struct Starting<'p> {
    pub(super) process: &'p Process,
    pub(super) shared: &'p Shared,
    pub(super) topics: &'p Topics,
    pub(super) key: [u8; 16],
    pub(super) detecting: Option<Detecting>,
}

/// What detecting begins with.
pub(super) struct Detecting {
    /// The folder of rules, and what is in it.
    pub(super) folder: Option<PathBuf>,
    pub(super) texts: Texts,
    pub(super) in_force: InForce,
    pub(super) metrics: RulesMetrics,
}

impl Starting<'_> {
    /// Starts these stages.
    pub(super) async fn start(
        &self,
        stages: &[Stage],
        enriching: Option<Enriching>,
        responder: Option<Responder>,
    ) -> Result<(), Fault> {
        let condition =
            |stage: Stage| self.shared.ready.condition(stage.name(), "waits for its partitions");
        // All are there from the start, so that a process is not ready while one is missing.
        let conditions: Vec<Condition> = stages.iter().map(|stage| condition(*stage)).collect();
        if let Some(responder) = responder {
            self.respond(responder, condition(Stage::Respond)).await?;
        }
        if let Some(detecting) = &self.detecting {
            self.detect(detecting, &condition(Stage::Detect)).await?;
        }
        if let Some(enriching) = enriching {
            self.enrich(enriching, condition(Stage::Enrich)).await?;
        }
        if stages.contains(&Stage::Ingest) {
            self.ingest(&condition(Stage::Ingest)).await?;
        }
        self.topics.forms().ready();
        info!(stages = conditions.len(), "started");
        Ok(())
    }

    async fn ingest(&self, condition: &Condition) -> Result<(), Fault> {
        let forms = self.topics.forms();
        let output = self.topics.events("access.events").await?;
        let framing = forms.events(&output, RecordKind::Access).await?;
        let dead_letters = self.topics.single("dead-letter").await?;
        let letters = Arc::new(forms.codec(&dead_letters).await?);
        let metrics = HopMetrics::new(&self.shared.metrics.component("ingest"));
        let silent = silence::declare(&self.shared.metrics);
        for raw in self.topics.raw().await? {
            let settings = parser_settings(&raw.input).map_err(|(_, why)| {
                Fault::Usage(format!("input `{}`: {why}", raw.input.sensor()))
            })?;
            let stage = HopStage {
                input: raw.log.clone(),
                kind: HopInput::Raw,
                output: output.clone(),
                output_base: raw.base,
                dead_letters: dead_letters.clone(),
                group: self.topics.group(&format!("ingest.{}", raw.log.topic())),
                limits: ReadLimits::default(),
                metrics: metrics.clone(),
                condition: Some(condition.clone()),
            };
            let (topic, clock) = (Arc::clone(raw.log.topic()), self.shared.clock.clone());
            let (keys, letters) = (Keys::new(self.key), Arc::clone(&letters));
            let heard = Heard::new(&raw.input.sensor(), &clock, &silent);
            let stop = self.shared.tasks.shutdown().token();
            let name = format!("ingest {}", raw.log.topic());
            if raw.input.live {
                let watch = heard.clone().watch(stop.clone());
                self.shared.tasks.spawn(&format!("{name} silence"), watch);
            }
            let make = move |_partition| {
                let parser = Parser::new(settings.clone(), keys.clone());
                let clock = clock.clone();
                heard.listening(LinesToEvents::new(&topic, parser, framing, &letters, clock))
            };
            self.shared.tasks.spawn(&name, async move { stage.run(make, &stop).await });
        }
        Ok(())
    }

    async fn enrich(&self, enriching: Enriching, condition: Condition) -> Result<(), Fault> {
        let Enriching { context, metrics, accepted, endpoint } = enriching;
        let forms = self.topics.forms().clone();
        let input = forms.readable(&self.topics.events("access.events").await?);
        let output = self.topics.events("access.enriched").await?;
        let framing = forms.events(&output, RecordKind::Enriched).await?;
        let dead_letters = self.topics.single("dead-letter").await?;
        let letters = Arc::new(forms.codec(&dead_letters).await?);
        let posted = self.topics.compacted("context.deploys").await?;
        self.follow_deploys(&posted, &context).await?;
        self.follow_blocks(&context).await?;
        self.shared.tasks.spawn("deploys", keep_deploys(posted, accepted));
        if let Some(topic) = &self.process.config.context.deploys_topic {
            let log = self.topics.of_others(topic).await?;
            for partition in (0..log.partitions()).map(Partition) {
                let name = format!("deploys of {topic}/{partition}");
                let stop = self.shared.tasks.shutdown().token();
                let follow = told::follow(log.clone(), partition, endpoint.clone(), stop);
                self.shared.tasks.spawn(&name, follow);
            }
        }
        let options = JoinOptions { object_key: self.key, learn_routes: true };
        let config = &self.process.config.context;
        let joiner = Joiner::new(context, options, metrics)
            .with_grace(config.deploy_grace.as_duration())
            .with_object_tenant(&config.object_tenant);
        let joiner = Arc::new(joiner);
        let stage = HopStage {
            kind: HopInput::Stamped,
            output,
            output_base: 0,
            dead_letters,
            group: self.topics.group("enrich"),
            limits: ReadLimits::default(),
            metrics: HopMetrics::new(&self.shared.metrics.component("enrich")),
            condition: Some(condition),
            input,
        };
        let topic = Arc::clone(stage.input.topic());
        let make = move |_partition| {
            let reader = forms.event_reader(RecordKind::Access);
            EventsToEnriched::new(&topic, &joiner, reader, framing, &letters)
        };
        let stop = self.shared.tasks.shutdown().token();
        self.shared.tasks.spawn("enrich", async move { stage.run(make, &stop).await });
        Ok(())
    }

    /// Takes what was posted anywhere; what was posted before this start is there when it returns.
    async fn follow_deploys(&self, log: &Log, context: &ContextCell) -> Result<(), Fault> {
        let context = context.clone();
        let take = move |records: &[Record]| {
            let read = |record: &Record| serde_json::from_slice::<Deploy>(&record.value);
            let (deploys, wrong): (Vec<_>, Vec<_>) =
                records.iter().map(read).partition(Result::is_ok);
            if !wrong.is_empty() {
                warn!(records = wrong.len(), "stored deploys cannot be read; they do not join");
            }
            context.add_deploys(deploys.into_iter().flatten().collect(), None);
        };
        self.follow(log.clone(), "posted deploys", take).await
    }

    /// Lets events say that our own block answered them.
    async fn follow_blocks(&self, context: &ContextCell) -> Result<(), Fault> {
        let forms = self.topics.forms();
        let standing = Standing::new(context.clone());
        let log = forms.readable(&self.topics.single("orders").await?);
        let mut orders = forms.reading().map_err(|error| Fault::bug(&error))?;
        let known = standing.clone();
        self.follow(log, "orders", move |records| known.orders(records, &mut orders)).await?;
        let log = forms.readable(&self.topics.single("outcomes").await?);
        let mut outcomes = forms.reading().map_err(|error| Fault::bug(&error))?;
        let take = move |records: &[Record]| standing.outcomes(records, &mut outcomes);
        self.follow(log, "outcomes", take).await
    }

    /// Gives every record of a topic of one partition to `take`; those that are there, before it
    /// returns.
    async fn follow(
        &self,
        log: Log,
        name: &str,
        mut take: impl FnMut(&[Record]) + Send + 'static,
    ) -> Result<(), Fault> {
        let bounds = log.bounds(Partition(0)).await.map_err(|error| Fault::of(&error))?;
        let reader = log.reader(Partition(0), bounds.start).await;
        let mut reader = reader.map_err(|error| Fault::of(&error))?;
        while reader.next_offset() < bounds.end {
            let fetched = reader.next(ReadLimits::default()).await;
            take(&fetched.map_err(|error| Fault::of(&error))?.records);
        }
        let stop = self.shared.tasks.shutdown().token();
        self.shared.tasks.spawn(name, async move {
            loop {
                let fetched = tokio::select! {
                    () = stop.cancelled() => return Ok::<(), LogError>(()),
                    fetched = reader.next(ReadLimits::default()) => fetched?,
                };
                take(&fetched.records);
            }
        });
        Ok(())
    }

    async fn detect(&self, detecting: &Detecting, condition: &Condition) -> Result<(), Fault> {
        let config = &self.process.config;
        let rules = self.follow_rules(detecting).await?;
        info!(rules = rules.latest().ruleset.len(), "rules are ready");
        let exchange = Exchange {
            frames: self.topics.exchange("detect.exchange").await?,
            markers: self.topics.exchange("detect.markers").await?,
            rules,
            sources: self.topics.sources().await?,
        };
        let metrics = self.shared.metrics.component("detect");
        let forms = self.topics.forms();
        let dead_letters = self.topics.single("dead-letter").await?;
        let verdicts = self.topics.exchange("verdicts").await?;
        let map = MapStage {
            input: forms.readable(&self.topics.events("access.enriched").await?),
            exchange: exchange.clone(),
            settings: self.sources().await?,
            reader: forms.event_reader(RecordKind::Enriched),
            letters: Arc::new(forms.codec(&dead_letters).await?),
            dead_letters,
            group: self.topics.group("map"),
            metrics: MapperMetrics::new(&metrics),
            condition: Some(condition.clone()),
        };
        let reduce = ReduceStage {
            exchange,
            codec: Arc::new(forms.codec(&verdicts).await?),
            verdicts,
            folder: self.process.base.join(&config.storage.folder).join("detect"),
            state: self.topics.state("detect.state").await?,
            group: self.topics.group("reduce"),
            metrics: ReducerMetrics::new(&metrics),
            held: StateMetrics::new(&self.shared.metrics),
            condition: Some(self.shared.ready.condition("reduce", "waits for its partitions")),
            memory: Some(self.shared.ready.condition("memory", "is being read")),
        };
        let stop = self.shared.tasks.shutdown().token();
        let map_stop = stop.clone();
        self.shared.tasks.spawn("map", async move { map.run(&map_stop).await });
        self.shared.tasks.spawn("reduce", async move { reduce.run(&stop).await });
        Ok(())
    }

    /// The rules of the topic, and whoever looks after the folder for changes.
    async fn follow_rules(&self, detecting: &Detecting) -> Result<Rules, Fault> {
        let Detecting { folder, texts, in_force, metrics } = detecting;
        let log = self.topics.compacted("detect.rules").await?;
        let hash_key = HashKey::derived(self.key);
        let (in_force, metrics) = (in_force.clone(), metrics.clone());
        let told = rules::begin(&log, texts, hash_key, (in_force.clone(), metrics.clone())).await?;
        let rules = told.rules.clone();
        self.follow(log.clone(), "rules of the topic", move |records| told.take(records)).await?;
        in_force.settled();
        let watched = Watched {
            folder: folder.clone(),
            in_force,
            metrics,
            condition: self.shared.ready.condition("rules", "are being looked at"),
            ask: ByTopic { log, hash_key },
        };
        let stop = self.shared.tasks.shutdown().token();
        self.shared.tasks.spawn("rules", watched.run(stop));
        Ok(rules)
    }

    /// Of every source partition, in order.
    async fn sources(&self) -> Result<Vec<Source>, Fault> {
        let raw = self.topics.raw().await?.iter();
        let sources = raw.flat_map(|topic| {
            let guard = if topic.input.live { Guard::LIVE } else { Guard::Off };
            let source = Source { lateness_ms: topic.input.lateness.as_ms_i64(), guard };
            (0..topic.log.partitions()).map(move |_partition| source)
        });
        Ok(sources.collect())
    }

    async fn respond(&self, responder: Responder, condition: Condition) -> Result<(), Fault> {
        let folder = self.process.base.join(&self.process.config.storage.folder);
        let listening = responder.start(&self.shared.tasks).await;
        listening.map_err(|error| Fault::of(&error))?;
        let forms = self.topics.forms();
        let (orders, outcomes) =
            (self.topics.single("orders").await?, self.topics.single("outcomes").await?);
        let published = Published {
            responder: responder.clone(),
            order: forms.codec(&orders).await?,
            outcome: forms.codec(&outcomes).await?,
            orders,
            outcomes,
            place: folder.join("published"),
        };
        let stop = self.shared.tasks.shutdown().token();
        self.shared.tasks.spawn("publish", published.run(stop.clone()));
        let events = forms.readable(&self.topics.events("access.enriched").await?);
        let told = self.shared.ready.condition("clients", "are not judged yet");
        let learning = Learning::begin(
            &self.shared.tasks,
            &events,
            &forms.event_reader(RecordKind::Enriched),
            &Students::new(&responder, &self.process.config.input, told),
            self.shared.clock.unix_ms() - KnownGood::SPAN_MS,
        );
        let stage = VerdictStage {
            learning,
            input: forms.readable(&self.topics.exchange("verdicts").await?),
            forms: forms.clone(),
            responder,
            group: self.topics.group("respond"),
            condition,
        };
        self.shared.tasks.spawn("respond", async move { stage.run(&stop).await });
        Ok(())
    }
}

/// Stores what is accepted, before the sender hears so.
async fn keep_deploys(log: Log, mut accepted: Receiver<AcceptedDeploys>) -> Result<(), LogError> {
    while let Some(request) = accepted.recv().await {
        let records = request.deploys.iter().filter_map(|deploy| {
            let key = Some(storage::deploy_key(deploy).into());
            Some(NewRecord { key, ..NewRecord::new(serde_json::to_vec(deploy).ok()?) })
        });
        match log.append(Partition(0), records.collect()).await {
            Ok(_offsets) => request.stored(),
            Err(error) => {
                warn!(%error, "deploys could not be stored");
                request.failed(&error.to_string());
            }
        }
    }
    Ok(())
}

impl Config {
    /// What this configuration lacks to run over topics.
    pub(super) fn over_topics(&self) -> Result<&super::topics::KafkaTable, Fault> {
        self.kafka.as_ref().ok_or_else(|| {
            Fault::Usage(
                "a stage on its own reads and writes Kafka topics, and the configuration has no \
                 [kafka]: add\n\n[kafka]\nbrokers = \"127.0.0.1:9092\"\n\nor run all stages in \
                 one process, without a broker: tidegate up"
                    .to_owned(),
            )
        })
    }
}
