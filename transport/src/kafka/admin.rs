//! Creating topics, and checking that they are as the delivery rules need them.
//!
//! Owns: what a topic must be, and what is said when it is not.
//! Never: changing a topic that exists.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::Kafka;
use super::config::Role;
use super::control::{away, failed, refused};
use crate::error::LogError;
use crate::log::Log;

/// How long the cluster may take to make a topic known.
const ASK_MAX: Duration = Duration::from_secs(15);

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions, exactly.
    pub partitions: u32,
    /// How many copies of each; without it what the brokers are set to.
    pub replicas: Option<u32>,
    /// Whether only the last record of each key is kept, rather than those of some time.
    pub compacted: bool,
    /// How long records are kept; without it what the brokers are set to.
    pub retention: Option<Duration>,
    /// Whether records replace each other so often that the brokers should look soon for what can
    /// go: whoever reads the topic from its beginning would read all of that as well.
    pub cleaned_soon: bool,
}

impl TopicSpec {
    /// A topic with so many partitions that keeps records for as long as the brokers are set to.
    #[must_use]
    pub fn new(name: &str, partitions: u32) -> Self {
        let name = name.to_owned();
        Self {
            name,
            partitions,
            replicas: None,
            compacted: false,
            retention: None,
            cleaned_soon: false,
        }
    }
}

/// Something about a topic or a broker that the guarantees of delivery do not hold with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// The topic.
    pub topic: String,
    /// What is set.
    pub found: String,
    /// What it should be.
    pub wanted: &'static str,
    /// What may happen as it is.
    pub risk: &'static str,
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, found, wanted, risk } = self;
        write!(f, "`{topic}` has {found}, which should be {wanted}: {risk}")
    }
}

impl Kafka {
    /// Opens a topic, or creates it; checks the number of partitions.
    ///
    /// # Errors
    /// `Away` when no broker answers: try again. `PartitionCount` when it has another number.
    pub async fn ensure(&self, spec: &TopicSpec) -> Result<Log, LogError> {
        let log = match self.topic(&spec.name).await {
            Err(LogError::NoTopic { .. }) => {
                self.create(spec).await?;
                self.appeared(&spec.name).await?
            }
            other => other?,
        };
        check_partitions(&log, spec.partitions)?;
        Ok(log)
    }

    /// What there is about this topic that the guarantees do not hold with. It is for the caller
    /// to warn of.
    ///
    /// # Errors
    /// `Away` when no broker answers, or the settings may not be read.
    pub async fn concerns(&self, log: &Log, compacted: bool) -> Result<Vec<Concern>, LogError> {
        let Log::Kafka(log) = log else { return Ok(Vec::new()) };
        let topic = log.topic();
        let admin = self.admin(topic)?;
        let asked = [ResourceSpecifier::Topic(topic)];
        let answer = admin.describe_configs(&asked, &AdminOptions::new()).await;
        let answer = answer.map_err(|error| away(topic, "ask for the settings", error))?;
        let mut concerns = Vec::new();
        for found in answer {
            let found = found.map_err(|code| {
                away(topic, "ask for the settings", rdkafka::error::KafkaError::AdminOp(code))
            })?;
            concerns.extend(judge(topic, &found, log.identity().replicas, compacted));
        }
        Ok(concerns)
    }

    async fn create(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let topic: Arc<str> = Arc::from(spec.name.as_str());
        let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let replicas = TopicReplication::Fixed(spec.replicas.map_or(-1, number));
        let retention_ms = spec.retention.map(|retention| retention.as_millis().to_string());
        let mut new = NewTopic::new(&spec.name, number(spec.partitions), replicas)
            .set("cleanup.policy", if spec.compacted { "compact" } else { "delete" })
            .set("unclean.leader.election.enable", "false");
        if let Some(retention_ms) = &retention_ms {
            new = new.set("retention.ms", retention_ms);
        }
        if spec.replicas.is_some_and(|replicas| replicas >= 3) {
            new = new.set("min.insync.replicas", "2");
        }
        if spec.cleaned_soon {
            // The segment that is written to is never cleaned.
            new = new.set("segment.bytes", "67108864").set("min.cleanable.dirty.ratio", "0.1");
        }
        let options = AdminOptions::new().operation_timeout(Some(ASK_MAX));
        let made = self.admin(&topic)?.create_topics([&new], &options).await;
        let made = made.map_err(|error| failed(&topic, "create", error))?;
        match made.into_iter().next() {
            // Another process was faster.
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => {
                Err(away(&topic, "create", rdkafka::error::KafkaError::AdminOp(code)))
            }
        }
    }

    /// A topic is known to all brokers some time after it was created.
    async fn appeared(&self, name: &str) -> Result<Log, LogError> {
        let deadline = tokio::time::Instant::now() + ASK_MAX;
        loop {
            match self.topic(name).await {
                Err(LogError::NoTopic { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => return other,
            }
        }
    }

    fn admin(&self, topic: &Arc<str>) -> Result<AdminClient<DefaultClientContext>, LogError> {
        let made = self.0.settings.client(Role::Producer).create();
        made.map_err(|error| refused(topic, &error))
    }
}

fn check_partitions(log: &Log, wanted: u32) -> Result<(), LogError> {
    let is = log.partitions();
    if is == wanted {
        return Ok(());
    }
    let next = if is < wanted {
        "add partitions to it, as many as its input has, while nothing runs"
    } else {
        "it cannot have fewer again: use a new topic, or add partitions to its input"
    };
    Err(LogError::PartitionCount { topic: Arc::clone(log.topic()), is, wanted, next })
}

fn judge(topic: &str, found: &ConfigResource, replicas: usize, compacted: bool) -> Vec<Concern> {
    let value = |name: &str| found.get(name).and_then(|entry| entry.value.clone());
    let mut concerns = Vec::new();
    let mut concern = |found: String, wanted, risk| {
        concerns.push(Concern { topic: topic.to_owned(), found, wanted, risk });
    };
    if replicas < 3 {
        let risk = "acknowledged records are lost with the disk of one broker";
        concern(format!("{replicas} copies"), "3", risk);
    }
    if let Some(min) = value("min.insync.replicas").filter(|min| min == "1" && replicas > 1) {
        let risk = "acknowledged records are lost when the leader fails";
        concern(format!("min.insync.replicas={min}"), "2", risk);
    }
    if value("unclean.leader.election.enable").as_deref() == Some("true") {
        let risk = "acknowledged records are lost when a lagging broker leads";
        concern("unclean.leader.election.enable=true".to_owned(), "false", risk);
    }
    if let Some(policy) = value("cleanup.policy") {
        let is_compacted = policy.contains("compact");
        if is_compacted != compacted {
            let wanted = if compacted { "compact" } else { "delete" };
            let risk = if compacted {
                "state is forgotten after the retention"
            } else {
                "records of one key replace each other"
            };
            concern(format!("cleanup.policy={policy}"), wanted, risk);
        }
    }
    concerns
}
