//! Who reads which partitions.
//!
//! Owns: the events of membership, and the offsets committed for lag displays.
//! Never: reading records, or deciding from committed offsets where to go on, but for an output
//! that is empty (delivery rule 4).

use std::convert::Infallible;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;

use crate::error::LogError;
use crate::kafka::{KafkaLog, Member};
use crate::log::Log;
use crate::record::{NextOffset, Partition};

/// Events that may wait. There are at most two for each rebalance, and the group waits for the
/// acknowledgement of a revocation, so that a few are plenty.
const EVENTS_MAX: usize = 16;

/// What happens to a member.
#[derive(Debug)]
pub enum GroupEvent {
    /// These partitions are ours from now on, in addition to those we have.
    Assigned(Vec<Partition>),
    /// These partitions are to be given up. They are given to others once `ack` is done or
    /// dropped.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// To be called once nothing more will be written for them.
        ack: RevokeAck,
    },
    /// These partitions were taken away, and others may own them already: stop without delay.
    Lost(Vec<Partition>),
}

/// Tells the group that revoked partitions have been given up.
#[derive(Debug)]
pub struct RevokeAck {
    /// Nothing is sent; that it is dropped is the message.
    _dropped: SyncSender<Infallible>,
}

impl RevokeAck {
    pub(crate) fn new(sender: SyncSender<Infallible>) -> Self {
        Self { _dropped: sender }
    }

    /// The partitions are given up. The same as dropping it.
    pub fn done(self) {
        drop(self);
    }
}

/// What the queue of a member holds.
pub(crate) type Event = Result<GroupEvent, LogError>;

/// A member of the group that reads a topic. Leaves when it is dropped.
#[derive(Debug)]
pub struct Group {
    events: mpsc::Receiver<Event>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Alone {
        log: Log,
        name: String,
        /// Keeps the queue open.
        _events: mpsc::Sender<Event>,
    },
    Kafka(Member),
}

impl Group {
    /// A group whose only member is this one: it owns all partitions, for ever.
    #[must_use]
    pub fn alone(log: &Log, name: &str) -> Self {
        let (send, events) = mpsc::channel(EVENTS_MAX);
        let all = (0..log.partitions()).map(Partition).collect();
        // The queue is new and has room.
        drop(send.try_send(Ok(GroupEvent::Assigned(all))));
        let kind = Kind::Alone { log: log.clone(), name: name.to_owned(), _events: send };
        Self { events, kind }
    }

    pub(crate) fn join(log: &KafkaLog, name: &str) -> Result<Self, LogError> {
        let (send, events) = mpsc::channel(EVENTS_MAX);
        Ok(Self { events, kind: Kind::Kafka(Member::join(log, name, send)?) })
    }

    /// The next event. Waits; none once the group is left.
    ///
    /// # Errors
    /// When the membership has failed; a new one must be made.
    pub async fn next(&mut self) -> Option<Result<GroupEvent, LogError>> {
        self.events.recv().await
    }

    /// The offset committed for a partition; none where none is. Only to be used when the output
    /// is empty.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn committed(&self, partition: Partition) -> Result<Option<NextOffset>, LogError> {
        match &self.kind {
            Kind::Alone { log, name, .. } => log.cursor(name, partition).await,
            Kind::Kafka(member) => member.committed(partition).await,
        }
    }

    /// Commits how far a partition has been used. For lag displays.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn commit(&self, partition: Partition, next: NextOffset) -> Result<(), LogError> {
        match &self.kind {
            Kind::Alone { log, name, .. } => log.set_cursor(name, partition, next).await,
            Kind::Kafka(member) => member.commit(partition, next),
        }
    }
}
