//! A topic of a cluster.
//!
//! Owns: the calls of [`Log`](crate::Log) for Kafka.
//! Never: a session that is shared by owners of partitions; [`KafkaLog::append`] has its own.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Offset as At;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::config::{Role, Settings};
use super::control::{Control, Identity, failed, list, refused};
use super::fetch::{Fetch, KafkaReader};
use super::produce::Session;
use super::{Kafka, blocking};
use crate::error::LogError;
use crate::log::Bounds;
use crate::output::Output;
use crate::record::{NewRecord, NextOffset, OffsetRange, Partition, Record, TopicId};
use crate::registry::Schemas;

/// A topic. Cheap to clone; clones are one, and share one client for reading and one session for
/// [`Log::append`](crate::Log::append).
#[derive(Debug, Clone)]
pub struct KafkaLog {
    topic: Arc<Topic>,
    /// Of what its readers give.
    schemas: Option<Schemas>,
}

#[derive(Debug)]
struct Topic {
    kafka: Kafka,
    name: Arc<str>,
    identity: Identity,
    fetch: Mutex<Option<Arc<Fetch>>>,
    appending: Mutex<Option<Output>>,
}

impl KafkaLog {
    pub(super) fn new(kafka: Kafka, name: Arc<str>, identity: Identity) -> Self {
        let (fetch, appending) = (Mutex::default(), Mutex::default());
        let topic = Arc::new(Topic { kafka, name, identity, fetch, appending });
        Self { topic, schemas: None }
    }

    /// The same topic with clients of its own.
    pub(crate) fn apart(&self) -> Self {
        let topic = &self.topic;
        let apart = Self::new(topic.kafka.clone(), Arc::clone(&topic.name), topic.identity);
        Self { schemas: self.schemas.clone(), ..apart }
    }

    /// The same topic, with the schemas of what its readers give.
    pub(crate) fn with_schemas(&self, schemas: &Schemas) -> Self {
        Self { schemas: Some(schemas.clone()), ..self.clone() }
    }

    pub(crate) fn schemas(&self) -> Option<&Schemas> {
        self.schemas.as_ref()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.topic.kafka.0.settings
    }

    pub(super) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.topic.kafka.0.control)
    }

    pub(super) fn identity(&self) -> Identity {
        self.topic.identity
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic.name
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic.identity.id
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.topic.identity.partitions
    }

    pub(crate) fn check(&self, partition: Partition) -> Result<(), LogError> {
        if partition.0 < self.partitions() {
            return Ok(());
        }
        let (topic, partitions) = (Arc::clone(self.topic()), self.partitions());
        Err(LogError::NoPartition { topic, partition, partitions })
    }

    pub(crate) async fn append(
        &self,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Result<OffsetRange, LogError> {
        let session = {
            let mut appending = self.topic.appending.lock().unwrap_or_else(PoisonError::into_inner);
            let open = appending.take().filter(|session| session.failure().is_none());
            let session = match open {
                Some(session) => session,
                None => Output::kafka(self)?,
            };
            appending.insert(session).clone()
        };
        session.append(partition, records).await
    }

    pub(crate) fn session(&self) -> Result<Session, LogError> {
        Session::new(self)
    }

    /// Fails when the topic is not the one that was opened.
    async fn verify(&self) -> Result<(), LogError> {
        let (control, topic) = (self.control(), Arc::clone(self.topic()));
        let is = blocking(self.topic(), move || control.identity(&topic)).await?.id;
        let was = self.topic_id();
        if is == was {
            return Ok(());
        }
        Err(LogError::Recreated { topic: Arc::clone(self.topic()), was, is })
    }

    pub(crate) async fn reader(
        &self,
        partition: Partition,
        from: NextOffset,
    ) -> Result<KafkaReader, LogError> {
        self.verify().await?;
        let fetch = {
            let mut fetch = self.topic.fetch.lock().unwrap_or_else(PoisonError::into_inner);
            match &*fetch {
                Some(open) => Arc::clone(open),
                None => Arc::clone(fetch.insert(Arc::new(Fetch::new(self)?))),
            }
        };
        KafkaReader::new(self.clone(), fetch, partition, from)
    }

    pub(crate) async fn last(&self, partition: Partition) -> Result<Option<Record>, LogError> {
        self.check(partition)?;
        let (control, topic) = (self.control(), Arc::clone(self.topic()));
        blocking(self.topic(), move || control.last(&topic, partition)).await
    }

    pub(crate) async fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        self.check(partition)?;
        let (control, topic) = (self.control(), Arc::clone(self.topic()));
        blocking(self.topic(), move || control.bounds(&topic, partition)).await
    }

    pub(crate) async fn first_since(
        &self,
        partition: Partition,
        time_ms: i64,
    ) -> Result<NextOffset, LogError> {
        self.check(partition)?;
        let (control, topic) = (self.control(), Arc::clone(self.topic()));
        blocking(self.topic(), move || control.first_since(&topic, partition, time_ms)).await
    }

    pub(crate) async fn cursor(
        &self,
        name: &str,
        partition: Partition,
    ) -> Result<Option<NextOffset>, LogError> {
        self.check(partition)?;
        let (control, topic, name) = (self.control(), Arc::clone(self.topic()), name.to_owned());
        blocking(self.topic(), move || control.cursor(&topic, partition, &name)).await
    }

    pub(crate) async fn set_cursor(
        &self,
        name: &str,
        partition: Partition,
        next: NextOffset,
    ) -> Result<(), LogError> {
        self.check(partition)?;
        let (control, topic, name) = (self.control(), Arc::clone(self.topic()), name.to_owned());
        blocking(self.topic(), move || control.set_cursor(&topic, partition, &name, next)).await
    }

    pub(crate) async fn trim_before(
        &self,
        partition: Partition,
        start: NextOffset,
    ) -> Result<(), LogError> {
        let end = self.bounds(partition).await?.end;
        let admin: Result<AdminClient<DefaultClientContext>, _> =
            self.settings().client(Role::Producer).create();
        let admin = admin.map_err(|error| refused(self.topic(), &error))?;
        let before = list(self.topic(), partition, At::Offset(start.min(end).0));
        let trimmed = admin.delete_records(&before, &AdminOptions::new()).await;
        trimmed.map(drop).map_err(|error| failed(self.topic(), "trim", error))
    }
}
