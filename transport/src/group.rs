//! Who reads which partitions.
//!
//! Owns: the events of membership, and the offsets committed for lag displays.
//! Never: reading records, or deciding from committed offsets where to go on, but for an output
//! that is empty (delivery rule 4).

use tokio::sync::{mpsc, oneshot};

use crate::error::LogError;
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
pub struct RevokeAck(
    #[expect(dead_code, reason = "being dropped is the message")] oneshot::Sender<()>,
);

impl RevokeAck {
    /// The partitions are given up. The same as dropping it.
    pub fn done(self) {
        drop(self);
    }
}

/// A member of the group that reads a topic.
#[derive(Debug)]
pub struct Group {
    log: Log,
    name: String,
    events: mpsc::Receiver<Result<GroupEvent, LogError>>,
    /// Keeps the queue of a group open that has one member for ever.
    _alone: Option<mpsc::Sender<Result<GroupEvent, LogError>>>,
}

impl Group {
    /// A group whose only member is this one: it owns all partitions, for ever.
    #[must_use]
    pub fn alone(log: &Log, name: &str) -> Self {
        let (send, events) = mpsc::channel(EVENTS_MAX);
        let all = (0..log.partitions()).map(Partition).collect();
        // The queue is new and has room.
        drop(send.try_send(Ok(GroupEvent::Assigned(all))));
        Self { log: log.clone(), name: name.to_owned(), events, _alone: Some(send) }
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
        self.log.cursor(&self.name, partition).await
    }

    /// Commits how far a partition has been used. For lag displays.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn commit(&self, partition: Partition, next: NextOffset) -> Result<(), LogError> {
        self.log.set_cursor(&self.name, partition, next).await
    }
}
