//! What the client library tells us apart from answers.
//!
//! Owns: its log lines, its errors, and the topic ids that only its log shows.
//! Never: deciding anything.
//!
//! Kafka names each incarnation of a topic by an id. librdkafka 2.12 learns it with the metadata
//! and acts on it, but has no call for it that could be used without unsafe code. With `debug=topic`
//! it logs `Topic NAME changed id from OLD to NEW` when it learns the first id, and any other; that
//! line is read here. The suite against a real broker fails if a later version words it otherwise.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

use crate::record::TopicId;

/// What the library warns of while brokers come and go; it gets over each by itself.
const PASSING: [&str; 5] = ["FAIL", "ERROR", "CONFWARN", "METADATAUPDATE", "REQTMOUT"];
/// A client tells of errors at most this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The context of clients that only read.
#[derive(Debug, Default)]
pub(super) struct Context {
    ids: Mutex<BTreeMap<String, TopicId>>,
    lines: AtomicU64,
    telling: Telling,
}

impl Context {
    /// The latest id of a topic; none as long as none was shown.
    pub(super) fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// How many log lines came so far. While this grows, more may be waiting.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Acquire)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some((topic, id)) = changed_id(line) {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.insert(topic.to_owned(), id);
        }
        log(level, facility, line);
        self.lines.fetch_add(1, Ordering::AcqRel);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.telling.error(&error, reason);
    }
}

impl ConsumerContext for Context {}

/// Passes a log line on. A person need not act on any of them: what fails shows in our own errors.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Debug => tracing::trace!(facility, "librdkafka: {line}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
            tracing::debug!(facility, "librdkafka: {line}");
        }
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => {
            // Failed connections are told by `Telling`; wrong settings, by our own checks.
            if PASSING.contains(&facility) {
                tracing::debug!(facility, "librdkafka: {line}");
            } else {
                tracing::warn!(facility, "librdkafka: {line}");
            }
        }
    }
}

/// Tells of the errors of a client, but not every two seconds while the brokers are away.
#[derive(Debug, Default)]
pub(super) struct Telling(Mutex<Option<Instant>>);

impl Telling {
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::SSL
                | RDKafkaErrorCode::Fatal,
            ) if self.is_due() => tracing::warn!(%error, reason, "kafka client"),
            _ => tracing::debug!(%error, reason, "kafka client"),
        }
    }

    fn is_due(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}

/// Reads `[thrd:main]: Topic NAME changed id from OLD to NEW`.
pub(super) fn changed_id(line: &str) -> Option<(&str, TopicId)> {
    let (before, after) = line.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (_, id) = after.split_once(" to ")?;
    Some((topic, TopicId::parse(id.trim_end())?))
}

#[cfg(test)]
mod tests {
    use super::changed_id;
    use crate::record::TopicId;

    #[test]
    fn the_id_of_a_topic_is_read_from_its_line() {
        let line = "[thrd:main]: Topic access.raw changed id from AAAAAAAAAAAAAAAAAAAAAA to 3q2+7wABAgMEBQYHCAn7/w";
        let id = TopicId::parse("3q2-7wABAgMEBQYHCAn7_w").unwrap();
        assert_eq!(changed_id(line), Some(("access.raw", id)));
        assert_eq!(changed_id("[thrd:main]: Topic access.raw [0]: broker changed"), None);
    }
}
