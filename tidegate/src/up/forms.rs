//! How records stand on topics: JSON or Avro, with a schema registry or without.
//!
//! Owns: registering the schemas of what is written, and finding those of what is read.
//! Never: what a record says; the registry's protocol, which is `transport`'s.

use std::time::Duration;

use runtime::config::{Secret, Span};
use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use schemas::{
    CodecError, EventReader, Framing, RecordCodec, RecordForm, RecordKind, WireRecord,
    WriterSchemas, confluent_schema_id,
};
use serde::Deserialize;
use tracing::info;
use transport::Log;
use transport::registry::{Login, Registry, RegistryConfig, Schemas, value_subject};

use super::Shared;
use super::topics::KafkaTable;
use crate::fault::Fault;

/// `[kafka.registry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryTable {
    /// Its address, with the path where it has one: `http://registry:8081`.
    url: String,
    /// Who asks, by HTTP basic authentication.
    #[serde(default)]
    user: Option<String>,
    /// The password of `user`.
    #[serde(default)]
    password: Option<Secret>,
    /// How long one request may take.
    #[serde(default)]
    timeout: Option<Span>,
}

/// The form of verdicts, orders, outcomes and dead letters. Events are always Avro.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordsForm {
    /// One JSON object a record.
    #[default]
    Json,
    /// Avro: in the Confluent wire format with a registry, in single-object encoding without.
    Avro,
}

/// How long a request to the registry may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The forms of an installation.
#[derive(Debug, Clone)]
pub(super) struct Forms {
    records: RecordsForm,
    registry: Option<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    registry: Registry,
    schemas: Schemas,
    condition: Condition,
}

impl Forms {
    pub(super) fn new(table: &KafkaTable, shared: &Shared) -> Result<Self, Fault> {
        let Some(set) = &table.registry else {
            return Ok(Self { records: table.records, registry: None });
        };
        let login = match (&set.user, &set.password) {
            (None, None) => None,
            (Some(user), password) => {
                let password = password.as_ref().map(|secret| secret.expose().to_owned());
                Some(Login { user: user.clone(), password: password.unwrap_or_default() })
            }
            (None, Some(_)) => {
                return Err(Fault::Usage(
                    "[kafka.registry] has a `password` and no `user`: add whose it is".to_owned(),
                ));
            }
        };
        let timeout = set.timeout.map_or(TIMEOUT, Span::as_duration);
        let registry = Registry::new(RegistryConfig { url: set.url.clone(), login, timeout });
        let registry = registry.map_err(|error| Fault::of(&error))?;
        let condition = shared.ready.condition("schema registry", "is being asked");
        let schemas = Schemas::new(registry.clone(), confluent_schema_id, condition.clone());
        let known = Known { registry, schemas, condition };
        Ok(Self { records: table.records, registry: Some(known) })
    }

    /// All schemas are registered.
    pub(super) fn ready(&self) {
        if let Some(known) = &self.registry {
            known.condition.ready();
        }
    }

    /// How events are written to a topic.
    pub(super) async fn events(&self, topic: &Log, kind: RecordKind) -> Result<Framing, Fault> {
        self.framing(topic, kind.avro_schema()).await
    }

    /// Writes records of a topic, and reads what others wrote there.
    pub(super) async fn codec<R: WireRecord>(&self, topic: &Log) -> Result<RecordCodec<R>, Fault> {
        let form = match self.records {
            RecordsForm::Json => RecordForm::Json,
            RecordsForm::Avro => {
                RecordForm::Avro(self.framing(topic, R::KIND.avro_schema()).await?)
            }
        };
        RecordCodec::new(form).map_err(|error| Fault::bug(&error))
    }

    /// Reads events of a topic, whoever wrote them; with [`Self::readable`].
    pub(super) fn event_reader(&self, kind: RecordKind) -> EventReader {
        let Some(known) = &self.registry else { return EventReader::single_object(kind) };
        let schemas = known.schemas.clone();
        EventReader::confluent(kind, WriterSchemas::new(move |id| schemas.known(id)))
    }

    /// Reads records of a topic, whoever wrote them; with [`Self::readable`].
    pub(super) fn reading<R: WireRecord>(&self) -> Result<Reading<R>, CodecError> {
        let schemas = self.registry.as_ref().map(|known| known.schemas.clone());
        Ok(Reading { codec: RecordCodec::new(RecordForm::Json)?, schemas })
    }

    /// The same topic, whose records come only once their schemas are at hand.
    pub(super) fn readable(&self, topic: &Log) -> Log {
        match &self.registry {
            Some(known) => topic.with_schemas(&known.schemas),
            None => topic.clone(),
        }
    }

    async fn framing(&self, topic: &Log, schema: &str) -> Result<Framing, Fault> {
        let Some(Known { registry, condition, .. }) = &self.registry else {
            return Ok(Framing::SingleObject);
        };
        let subject = value_subject(topic.topic());
        let mut backoff = Backoff::network();
        loop {
            let error = match registry.register(&subject, schema).await {
                Ok(id) => {
                    info!(subject, id, "schema is registered");
                    return Ok(Framing::Confluent(id));
                }
                Err(error) if error.class() == Class::Dependency => error,
                Err(error) => return Err(Fault::of(&error)),
            };
            condition.waiting(&error.to_string());
            tokio::time::sleep(backoff.next_wait(None)).await;
        }
    }
}

/// Reads the records of a topic in any form.
#[derive(Debug)]
pub(super) struct Reading<R: WireRecord> {
    codec: RecordCodec<R>,
    schemas: Option<Schemas>,
}

impl<R: WireRecord> Reading<R> {
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<R, CodecError> {
        if let (Some(id), Some(schemas)) = (confluent_schema_id(bytes), &self.schemas)
            && !self.codec.knows_id(id)
            && let Some(schema) = schemas.known(id)
        {
            self.codec.learn_id(id, &schema)?;
        }
        self.codec.decode(bytes)
    }
}
