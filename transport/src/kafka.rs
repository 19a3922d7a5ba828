//! Topics of a Kafka cluster.
//!
//! Owns: the clients and their settings, which are those that the delivery rules need; topic ids;
//! creating and checking topics.
//! Never: transactions, automatic commits, automatic topics, or options that would let records be
//! skipped.
//!
//! | client | how many | for |
//! |---|---|---|
//! | control | one a cluster | metadata, bounds, last records, commits by name |
//! | fetch | one a log that is read | a queue for each partition, filled ahead |
//! | member | one a group | who reads which partitions; reads nothing itself |
//! | producer | one an [`Output`](crate::Output) | writing without gaps |

mod admin;
mod config;
mod context;
mod control;
mod fetch;
mod log;
mod member;
mod produce;

use std::sync::Arc;

pub use admin::{Concern, TopicSpec};
pub use config::KafkaConfig;
pub use log::KafkaLog;

pub(crate) use fetch::KafkaReader;
pub(crate) use member::Member;
pub(crate) use produce::Session;

use crate::error::LogError;
use crate::log::Log;
use config::Settings;
use control::Control;

/// A cluster. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Kafka(Arc<Cluster>);

#[derive(Debug)]
struct Cluster {
    settings: Settings,
    control: Arc<Control>,
}

impl Kafka {
    /// Checks the settings and makes the client. Does not wait for a broker.
    ///
    /// # Errors
    /// When a setting is wrong, or is one that the delivery rules need as it is.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let settings = Settings::new(config)?;
        let control = Arc::new(Control::new(&settings)?);
        Ok(Self(Arc::new(Cluster { settings, control })))
    }

    /// Opens a topic that exists.
    ///
    /// # Errors
    /// `Away` when no broker answers: try again. `NoTopic` when it does not exist.
    pub async fn topic(&self, name: &str) -> Result<Log, LogError> {
        let topic: Arc<str> = Arc::from(name);
        let control = Arc::clone(&self.0.control);
        let asked = Arc::clone(&topic);
        let found = blocking(&topic, move || control.identity(&asked)).await?;
        if found.id == crate::TopicId([0; 16]) {
            tracing::warn!(
                topic = name,
                "the brokers give no topic ids (they are older than 2.8): a recreated topic is not \
                 noticed"
            );
        }
        Ok(Log::Kafka(KafkaLog::new(self.clone(), topic, found)))
    }
}

/// Runs something that waits for the network on a thread that may block.
async fn blocking<T: Send + 'static>(
    topic: &Arc<str>,
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_panic_or_shutdown) => {
            Err(LogError::Ended { topic: Arc::clone(topic), reason: Arc::from("the process ends") })
        }
    }
}
