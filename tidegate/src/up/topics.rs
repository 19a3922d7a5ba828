//! The topics between stages.
//!
//! Owns: their names and numbers of partitions. Never: what they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use ingest::input::{InputConfig, InputType};
use runtime::config::Secret;
use runtime::error::{Class, Classified, chain};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tracing::warn;
use transport::kafka::{Kafka, KafkaConfig, TopicSpec};
use transport::{Log, LogError};

use super::Shared;
use super::forms::{Forms, RecordsForm, RegistryTable};
use crate::fault::Fault;

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaTable {
    /// `host:port`, several separated by commas.
    pub(crate) brokers: String,
    /// How the names of consumer groups begin.
    #[serde(default = "tidegate")]
    pub(crate) group: String,
    /// How the names of the topics between stages begin, such as `prod.`.
    #[serde(default)]
    pub(crate) topic_prefix: String,
    /// Partitions of the topic between map and reduce, and of `verdicts`. Another number is
    /// another exchange: empty the topic first.
    #[serde(default = "sixteen")]
    pub(crate) exchange_partitions: u32,
    /// Copies of each partition of topics that are created; absent: what the brokers are set to.
    #[serde(default)]
    pub(crate) replicas: Option<u32>,
    /// The form of verdicts, orders, outcomes and dead letters.
    #[serde(default)]
    pub(crate) records: RecordsForm,
    /// A schema registry; absent: Avro in single-object encoding.
    #[serde(default)]
    pub(crate) registry: Option<RegistryTable>,
    /// Further properties of the client: TLS, SASL, timeouts. Some are passwords.
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, Secret>,
}

fn tidegate() -> String {
    "tidegate".to_owned()
}

fn exposed(properties: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
}

fn sixteen() -> u32 {
    16
}

/// A raw topic, and the partition of `access.events` that its partition 0 becomes.
#[derive(Debug, Clone)]
pub(super) struct RawTopic {
    pub(super) log: Log,
    pub(super) base: u32,
    pub(super) input: InputConfig,
}

/// The topics of an installation.
#[derive(Debug)]
pub(super) struct Topics {
    kafka: Kafka,
    table: KafkaTable,
    inputs: Vec<InputConfig>,
    condition: Condition,
    forms: Forms,
    raw: OnceCell<Vec<RawTopic>>,
}

impl Topics {
    pub(super) fn new(
        table: &KafkaTable,
        inputs: &[InputConfig],
        shared: &Shared,
        condition: Condition,
    ) -> Result<Self, Fault> {
        let kafka = Kafka::new(KafkaConfig {
            brokers: table.brokers.clone(),
            client_id: table.group.clone(),
            properties: exposed(&table.properties),
            clock: shared.clock.clone(),
        });
        let kafka = kafka.map_err(|error| Fault::of(&error))?;
        let forms = Forms::new(table, shared)?;
        let (table, inputs) = (table.clone(), inputs.to_vec());
        Ok(Self { kafka, table, inputs, condition, forms, raw: OnceCell::new() })
    }

    /// How records stand on them.
    pub(super) fn forms(&self) -> &Forms {
        &self.forms
    }

    /// What the names of groups begin with.
    pub(super) fn group(&self, stage: &str) -> String {
        format!("{}.{stage}", self.table.group)
    }

    /// The raw topics, numbered through. Waits for brokers and topics that are not there yet.
    pub(super) async fn raw(&self) -> Result<&[RawTopic], Fault> {
        let open = || async {
            let mut topics = Vec::with_capacity(self.inputs.len());
            let mut base = 0_u32;
            for input in &self.inputs {
                let log = match &input.topic {
                    Some(name) if input.r#type == InputType::Kafka => {
                        self.patiently(|| self.kafka.topic(name)).await?
                    }
                    _ => self.single(&own_topic(input)).await?,
                };
                let next = base.saturating_add(log.partitions());
                topics.push(RawTopic { log, base, input: input.clone() });
                base = next;
            }
            Ok(topics)
        };
        self.raw.get_or_try_init(open).await.map(Vec::as_slice)
    }

    /// How many source partitions there are.
    pub(super) async fn sources(&self) -> Result<u32, Fault> {
        let last = self.raw().await?.last();
        Ok(last.map_or(0, |topic| topic.base.saturating_add(topic.log.partitions())))
    }

    /// `access.events` or `access.enriched`: a partition for each source partition.
    pub(super) async fn events(&self, name: &str) -> Result<Log, Fault> {
        self.ensure(TopicSpec::new(name, self.sources().await?)).await
    }

    /// A topic with as many partitions as the exchange.
    pub(super) async fn exchange(&self, name: &str) -> Result<Log, Fault> {
        self.ensure(TopicSpec::new(name, self.table.exchange_partitions.max(1))).await
    }

    /// A topic with as many partitions as the exchange, in which what is written is soon replaced.
    pub(super) async fn state(&self, name: &str) -> Result<Log, Fault> {
        let spec = TopicSpec::new(name, self.table.exchange_partitions.max(1));
        self.ensure(TopicSpec { compacted: true, cleaned_soon: true, ..spec }).await
    }

    /// A topic with one partition.
    pub(super) async fn single(&self, name: &str) -> Result<Log, Fault> {
        self.ensure(TopicSpec::new(name, 1)).await
    }

    /// A topic with one partition that keeps the last record of each key.
    pub(super) async fn compacted(&self, name: &str) -> Result<Log, Fault> {
        self.ensure(TopicSpec { compacted: true, ..TopicSpec::new(name, 1) }).await
    }

    /// A topic that somebody else makes and writes. Waits for it.
    pub(super) async fn of_others(&self, name: &str) -> Result<Log, Fault> {
        self.patiently(|| self.kafka.topic(name)).await
    }

    async fn ensure(&self, spec: TopicSpec) -> Result<Log, Fault> {
        let name = format!("{}{}", self.table.topic_prefix, spec.name);
        let spec = TopicSpec { name, replicas: self.table.replicas, ..spec };
        let log = self.patiently(|| self.kafka.ensure(&spec)).await?;
        match self.kafka.concerns(&log, spec.compacted).await {
            Ok(concerns) => {
                for concern in concerns {
                    warn!("{concern}");
                }
            }
            Err(error) => warn!(error = %chain(&error), "settings of a topic cannot be read"),
        }
        Ok(log)
    }

    /// Tries again for as long as a dependency is away, and says so.
    async fn patiently<F>(&self, open: impl Fn() -> F) -> Result<Log, Fault>
    where
        F: Future<Output = Result<Log, LogError>>,
    {
        let mut backoff = Backoff::network();
        loop {
            let error = match open().await {
                Ok(log) => return Ok(log),
                Err(error) if error.class() == Class::Dependency => error,
                Err(error) => return Err(Fault::of(&error)),
            };
            let reason = chain(&error);
            let wait: Duration = backoff.next_wait(None);
            warn!(reason, ?wait, "waiting for Kafka");
            self.condition.waiting(&reason);
            tokio::time::sleep(wait).await;
        }
    }
}

/// The topic that the lines of an input go to which is none itself. What a topic's name cannot hold
/// becomes `-`.
pub(crate) fn own_topic(input: &InputConfig) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = input.sensor();
    let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).take(200).collect();
    format!("raw.{name}")
}
