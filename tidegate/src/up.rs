//! `tidegate up`: every stage in this process, over the embedded raw log.
//!
//! Owns: which parts there are and what each is given. Never: what a part does.

mod clients;
mod context;
mod disk;
mod forms;
mod marker;
#[cfg(test)]
mod metrics_page;
mod pipeline;
mod rules;
mod services;
mod silence;
mod storage;
mod topics;

use std::path::{Path, PathBuf};

use engine::key::HashKey;
use enrich::{DeploysEndpoint, JoinOptions, Joiner, KubernetesPull};
use ingest::input::{
    FileInput, HttpInput, InputConfig, InputType, RawLog, StdinInput, SyslogInput, keep_time,
    lines_router,
};
use ingest::{Keys, Mapping, Settings};
use respond::{Fingerprint, KnownGood, Ledger, Options, Parts, Responder};
use runtime::admin::{Access, Admin};
use runtime::clock::Clock;
use runtime::http::{HttpMetrics, Listening, PROTOCOLS, Serving, axum, listen, serve};
use runtime::metrics::Metrics;
use runtime::ready::Ready;
use runtime::shutdown::{DRAIN_MAX, Shutdown};
use runtime::tasks::Tasks;
use runtime::telemetry;
use runtime::tls::{Tls, TlsFiles};
use tracing::info;
use transport::embedded::{Store, StoreOptions};

use crate::cli::Configured;
use crate::config::{self, Config};
use crate::fault::Fault;
use crate::pack::Texts;
use disk::{Disk, DiskMetrics};
use pipeline::{ByRawLog, Pipeline, Wiring};
use rules::{InForce, RulesMetrics, Watched};
pub(crate) use services::Stage;
use services::{Detecting, Enriching, Starting};
use storage::Deploys;
use topics::Topics;
pub(crate) use topics::{KafkaTable, own_topic};

/// Runs all stages until told to stop.
pub(crate) fn run(configured: &Configured) -> Result<(), Fault> {
    run_stages(configured, None)
}

/// Runs one stage over Kafka topics until told to stop.
pub(crate) fn run_stage(configured: &Configured, stage: Stage) -> Result<(), Fault> {
    run_stages(configured, Some(stage))
}

fn run_stages(configured: &Configured, stage: Option<Stage>) -> Result<(), Fault> {
    let loaded =
        config::load(configured).map_err(|problems| Fault::Usage(problems.render(false)))?;
    let base = configured.config.parent().map(Path::to_owned).unwrap_or_default();
    if loaded.settings.input.is_empty() {
        let file = configured.config.display();
        return Err(Fault::Usage(format!("{file}: {}", config::NO_INPUT)));
    }
    telemetry::init(telemetry::Format::Auto, &configured.log).map_err(|error| Fault::of(&error))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Fault::bug(&error))?;
    let shown = loaded.in_force.show();
    let process = Process { config: loaded.settings, base, shown, stage };
    runtime.block_on(Box::pin(process.run()))
}

struct Process {
    config: Config,
    /// The folder of the configuration file; relative paths start there.
    base: PathBuf,
    /// The configuration in force, masked.
    shown: String,
    /// The only stage that runs here; absent: all.
    stage: Option<Stage>,
}

/// Who says that an input stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// The input, in the embedded raw log.
    ByInput,
    /// Who reads the topic.
    ByReader,
}

/// What all parts share.
#[derive(Clone)]
struct Shared {
    tasks: Tasks,
    metrics: Metrics,
    ready: Ready,
    clock: Clock,
}

impl Process {
    async fn run(self) -> Result<(), Fault> {
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| Fault::bug(&error))?;
        let shared = Shared {
            tasks: Tasks::new(shutdown),
            metrics: Metrics::new(),
            ready: Ready::new(),
            clock: Clock::system(),
        };
        let started = match (&self.config.kafka, self.stage) {
            (None, None) => Box::pin(self.start(&shared)).await,
            (Some(_), None) => Box::pin(self.start_services(&shared, &Stage::ALL)).await,
            (_, Some(stage)) => Box::pin(self.start_services(&shared, &[stage])).await,
        };
        if let Err(fault) = &started {
            shared.tasks.shutdown().request(&fault.to_string());
        }
        let ended = shared.tasks.join_all(DRAIN_MAX).await;
        started?;
        ended.map_err(|stop| match stop.exit() {
            runtime::error::Exit::Dependency => Fault::Dependency(stop.to_string()),
            _ => Fault::Bug(stop.to_string()),
        })
    }

    async fn start(&self, shared: &Shared) -> Result<(), Fault> {
        let taking = shared.ready.condition("inputs", "are being opened");
        let folder = self.base.join(&self.config.storage.folder);
        let key = storage::installation_key(&folder)?;
        let store = self.store(&folder, shared)?;
        let raw = RawLog::open(&store, shared.clock.clone()).map_err(|error| Fault::of(&error))?;
        let deploys = Deploys::open(&store).map_err(|error| Fault::of(&error))?;
        let rules = self.config.rules.folder.as_ref().map(|rules| self.base.join(rules));
        let texts = Texts::read(rules.as_deref())?;
        // Said in full where the folder cannot run, whatever ran before.
        let ruleset = texts.pack().ruleset()?;
        info!(rules = ruleset.len(), inputs = self.config.input.len(), "starting");
        let responder = self.responder(&folder, key, shared)?;
        let stored = deploys.all().await.map_err(|error| Fault::of(&error))?;
        let (context, enrich_metrics) =
            context::start(&self.config.context, &self.base, stored, shared)?;
        let joiner = Joiner::new(
            context.clone(),
            JoinOptions { object_key: key, learn_routes: true },
            enrich_metrics.clone(),
        );
        let joiner = joiner
            .with_grace(self.config.context.deploy_grace.as_duration())
            .with_object_tenant(&self.config.context.object_tenant);
        let (endpoint, accepted) =
            DeploysEndpoint::new(context.clone(), shared.clock.clone(), enrich_metrics);
        let deploys_routes = self.deploys(&endpoint, shared).await?;
        shared.tasks.spawn("deploys", deploys.keep(accepted));
        let listening = responder.start(&shared.tasks).await;
        listening.map_err(|error| Fault::of(&error))?;
        let routes = deploys_routes.merge(responder.api_router());
        let rules_metrics = RulesMetrics::new(&shared.metrics);
        let wiring = Wiring {
            raw: raw.clone(),
            joiner,
            context,
            responder,
            store,
            marker: folder.join("marker"),
            retention_ms: self.config.storage.retention.as_ms_i64(),
            clock: shared.clock.clone(),
            metrics: shared.metrics.clone(),
            rules_metrics: rules_metrics.clone(),
            memory: shared.ready.condition("memory", "is being read"),
            clients: shared.ready.condition("clients", "are not judged yet"),
            hash_key: HashKey::derived(key),
        };
        let pipeline = Pipeline::open(&self.config.input, Keys::new(key), &texts, wiring);
        let pipeline = Box::pin(pipeline).await.map_err(|error| Fault::of(&error))?;
        let in_force = pipeline.in_force().clone();
        self.admin(routes.merge(in_force.router()), shared).await?;
        let watched = Watched {
            folder: rules,
            in_force,
            metrics: rules_metrics,
            condition: shared.ready.condition("rules", "are being looked at"),
            ask: ByRawLog(raw.clone()),
        };
        let stop = shared.tasks.shutdown().token();
        shared.tasks.spawn("rules", watched.run(stop));
        let ready = shared.ready.condition("pipeline", "reads what was taken before");
        let stop = shared.tasks.shutdown().token();
        shared.tasks.spawn("pipeline", pipeline.run(ready, stop));
        for input in &self.config.input {
            self.input(input, raw.clone(), Marks::ByInput, shared).await?;
        }
        taking.ready();
        Ok(())
    }

    fn store(&self, folder: &Path, shared: &Shared) -> Result<Store, Fault> {
        let options = StoreOptions {
            free_bytes_min: self.config.storage.free_min.as_bytes(),
            ..StoreOptions::new(shared.clock.clone())
        };
        let (metrics, space) = (DiskMetrics::new(&shared.metrics), options.free_space.clone());
        let free_bytes_min = options.free_bytes_min;
        let store =
            Store::open(&folder.join("store"), options).map_err(|error| Fault::of(&error))?;
        let disk = Disk { folder: folder.to_owned(), space, free_bytes_min, metrics };
        shared.tasks.spawn("disk", disk.watch(shared.tasks.shutdown().token()));
        Ok(store)
    }

    fn responder(&self, folder: &Path, key: [u8; 16], shared: &Shared) -> Result<Responder, Fault> {
        let fault = |error: &respond::SettingsError| Fault::of(error);
        let keys = Keys::new(key);
        let fingerprint = move |secret: &[u8]| keys.hash(&String::from_utf8_lossy(secret));
        let fingerprint = Some(Fingerprint::new(fingerprint));
        let responding = self.config.responding(&self.base, fingerprint, shared.clock.clone());
        let (settings, targets) = responding.map_err(|error| fault(&error))?;
        let options = Options { history: self.config.respond.history, ..Options::default() };
        let ledger = Ledger::open(folder, options).map_err(|error| Fault::of(&error))?;
        let parts = Parts {
            ledger,
            targets,
            clock: shared.clock.clone(),
            metrics: shared.metrics.clone(),
            known_good: KnownGood::new(),
        };
        Responder::new(settings, parts).map_err(|error| fault(&error))
    }

    /// Starts stages over topics. The admin endpoint is there before the brokers are.
    async fn start_services(&self, shared: &Shared, stages: &[Stage]) -> Result<(), Fault> {
        let table = self.config.over_topics()?;
        let folder = self.base.join(&self.config.storage.folder);
        let key = storage::installation_key(&folder)?;
        let mut routes = axum::Router::new();
        let mut enriching = None;
        if stages.contains(&Stage::Enrich) {
            let (context, metrics) =
                context::start(&self.config.context, &self.base, Vec::new(), shared)?;
            let (endpoint, accepted) =
                DeploysEndpoint::new(context.clone(), shared.clock.clone(), metrics.clone());
            routes = routes.merge(self.deploys(&endpoint, shared).await?);
            enriching = Some(Enriching { context, metrics, accepted, endpoint });
        }
        let mut detecting = None;
        if stages.contains(&Stage::Detect) {
            let rules = self.config.rules.folder.as_ref().map(|rules| self.base.join(rules));
            let texts = Texts::read(rules.as_deref())?;
            // Said in full where the folder cannot run, whatever the topic says.
            let ruleset = texts.pack().ruleset()?;
            let in_force = InForce::new(texts.hash(), &ruleset);
            routes = routes.merge(in_force.router());
            let metrics = RulesMetrics::new(&shared.metrics);
            detecting = Some(Detecting { folder: rules, texts, in_force, metrics });
        }
        let mut responder = None;
        if stages.contains(&Stage::Respond) {
            let made = self.responder(&folder, key, shared)?;
            routes = routes.merge(made.api_router());
            responder = Some(made);
        }
        self.admin(routes, shared).await?;
        let condition = shared.ready.condition("kafka", "is being reached");
        let stop = shared.tasks.shutdown().token();
        let topics = Topics::new(table, &self.config.input, shared, condition.clone())?;
        let starting = Starting { process: self, shared, topics: &topics, key, detecting };
        let started = async {
            starting.start(stages, enriching, responder).await?;
            if stages.contains(&Stage::Ingest) {
                self.own_inputs(&topics, shared).await?;
            }
            Ok(())
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            started = Box::pin(started) => started.map(|()| condition.ready()),
        }
    }

    /// The routes for deploys of the admin endpoint; where the webhooks have an address of their
    /// own, they are served there as well.
    async fn deploys(
        &self,
        endpoint: &DeploysEndpoint,
        shared: &Shared,
    ) -> Result<axum::Router, Fault> {
        if let Some(kubernetes) = &self.config.context.kubernetes {
            let (endpoint, clock) = (endpoint.clone(), shared.clock.clone());
            let pull = KubernetesPull::new(kubernetes.clone(), &self.base, endpoint, clock);
            shared.tasks.spawn("kubernetes", pull.run(shared.tasks.shutdown().token()));
        }
        let config = &self.config.context.webhooks;
        let hooks = endpoint.webhooks(config);
        if let Some(address) = config.listen {
            let setting = "context.webhooks.listen";
            let listening = Listening { what: "endpoint for webhooks", address, setting };
            let listener = listen(listening).await.map_err(|error| Fault::of(&error))?;
            let serving = Serving::new(HttpMetrics::new(&shared.metrics, "webhooks"));
            let stop = shared.tasks.shutdown().token();
            shared.tasks.spawn("webhooks", serve(listener, hooks.clone(), serving, stop));
        }
        Ok(endpoint.router().merge(hooks))
    }

    async fn admin(&self, routes: axum::Router, shared: &Shared) -> Result<(), Fault> {
        let address = self.config.admin.listen;
        let access = Access::new(address, self.config.admin.token.clone());
        let access = access.map_err(|error| Fault::of(&error))?;
        let listening = Listening { what: "admin endpoint", address, setting: "admin.listen" };
        let listener = listen(listening).await.map_err(|error| Fault::of(&error))?;
        let stop = shared.tasks.shutdown().token();
        let admin = Admin {
            ready: shared.ready.clone(),
            metrics: shared.metrics.clone(),
            config: self.shown.clone(),
            shutdown: stop.clone(),
        };
        let router = admin.router(access, routes);
        let serving = Serving::new(HttpMetrics::new(&shared.metrics, "admin"));
        shared.tasks.spawn("admin", serve(listener, router, serving, stop));
        Ok(())
    }

    /// Inputs that are no topics append to topics of their own, which are read as any other.
    async fn own_inputs(&self, topics: &Topics, shared: &Shared) -> Result<(), Fault> {
        if self.config.input.iter().all(|input| input.r#type == InputType::Kafka) {
            return Ok(());
        }
        let taking = shared.ready.condition("inputs", "are being opened");
        let folder = self.base.join(&self.config.storage.folder);
        let (store, writer) = (self.store(&folder, shared)?, storage::writer_name(&folder)?);
        let own = topics.raw().await?.iter().filter(|raw| raw.input.r#type != InputType::Kafka);
        for topic in own {
            let clock = shared.clock.clone();
            let raw = RawLog::shared(topic.log.clone(), &store, clock, &writer);
            let raw = raw.map_err(|error| Fault::of(&error))?;
            self.input(&topic.input, raw, Marks::ByReader, shared).await?;
        }
        taking.ready();
        Ok(())
    }

    /// What an input shows its senders, where it has a certificate.
    fn tls(&self, input: &InputConfig) -> Result<Option<Tls>, Fault> {
        let (Some(certificate), Some(key)) = (&input.tls_certificate, &input.tls_key) else {
            return Ok(None);
        };
        let (certificate, key) = (self.base.join(certificate), self.base.join(key));
        let files = TlsFiles { certificate: &certificate, key: &key };
        Tls::open(files, PROTOCOLS).map(Some).map_err(|error| Fault::of(&error))
    }

    async fn input(
        &self,
        input: &InputConfig,
        raw: RawLog,
        marks: Marks,
        shared: &Shared,
    ) -> Result<(), Fault> {
        let name = format!("input {}", input.sensor());
        let stop = shared.tasks.shutdown().token();
        let marked = marks == Marks::ByInput;
        if marked && input.live && input.r#type != InputType::File {
            let time = keep_time(input.sensor(), raw.clone(), stop.clone());
            shared.tasks.spawn(&format!("{name} time"), time);
        }
        match input.r#type {
            InputType::File => {
                let path =
                    input.path.as_ref().map(|path| self.base.join(path).display().to_string());
                let live = input.live && marked;
                let sensor = Some(input.sensor());
                let input = InputConfig { path, name: sensor, live, ..input.clone() };
                let condition = shared.ready.condition(&name, "is being opened");
                let settings = parser_settings(&input).ok();
                let file = FileInput::open(&input, raw, condition, settings).await;
                let file = file.map_err(|error| Fault::of(&error))?;
                shared.tasks.spawn(&name, file.run(stop));
            }
            // Somebody else appends to it.
            InputType::Kafka => {}
            InputType::Stdin => {
                shared.tasks.spawn(&name, StdinInput::new(&input.sensor(), raw, marked).run(stop));
            }
            InputType::Syslog => {
                let path = |path: &Option<PathBuf>| path.as_ref().map(|path| self.base.join(path));
                let input = InputConfig {
                    tls_certificate: path(&input.tls_certificate),
                    tls_key: path(&input.tls_key),
                    ..input.clone()
                };
                let syslog =
                    SyslogInput::open(&input, raw).await.map_err(|error| Fault::of(&error))?;
                shared.tasks.spawn(&name, syslog.run(stop));
            }
            InputType::Http | InputType::Elasticsearch | InputType::Loki | InputType::Otlp => {
                let Some(address) = input.listen else { return Ok(()) };
                let listening = Listening { what: "HTTP input", address, setting: "input.listen" };
                let listener = listen(listening).await.map_err(|error| Fault::of(&error))?;
                let router =
                    lines_router(HttpInput::new(&input.sensor(), input.token.clone(), raw));
                let serving = Serving {
                    tls: self.tls(input)?,
                    http2: true,
                    ..Serving::new(HttpMetrics::new(&shared.metrics, "input"))
                };
                shared.tasks.spawn(&name, serve(listener, router, serving, stop));
            }
        }
        Ok(())
    }
}

/// The settings of an input's parser. The error is the key that is wrong, and why.
pub(crate) fn parser_settings(input: &InputConfig) -> Result<Settings, (&'static str, String)> {
    fn wrong(key: &'static str) -> impl FnOnce(&dyn std::error::Error) -> (&'static str, String) {
        move |error| (key, error.to_string())
    }
    let names = input.mapping.iter().map(|(name, column)| (name.as_str(), column.as_str()));
    Ok(Settings {
        sensor: input.sensor(),
        format: input.format.parse().map_err(|error| wrong("format")(&error))?,
        service: input.service.clone(),
        environment: input.environment.clone(),
        time_zone: input.time_zone.parse().map_err(|error| wrong("time_zone")(&error))?,
        trusted_proxies: input.trusted_proxies.clone(),
        keep_line: input.keep_line,
        mapping: Mapping::new(names).map_err(|error| wrong("mapping")(&error))?,
    })
}
