//! A network between sessions and a log in memory, which a test moves by hand.
//!
//! Owns: what was sent and has not landed, and what has landed and was not acknowledged, by
//! session and partition. Never: chance; the test says what happens next.
//!
//! What a session sends to a partition lands in the order of sending and without holes, as
//! delivery rule 5 has it: all of it, or its first part where the session ends. It may land long
//! after its session is gone, and what was not acknowledged may land again, followed by all that
//! was sent after it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::oneshot;

use crate::error::LogError;
use crate::output::Waiting;
use crate::record::{NewRecord, OffsetRange, Partition};

/// What happens next to what one session has sent to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// The oldest that waits lands on the log.
    Land,
    /// The session hears that the oldest that has landed is durable.
    Acknowledge,
    /// What has landed and was not acknowledged waits again, before everything else. Only a session
    /// that is there tries again.
    Repeat,
    /// What waits is lost. Only that of a session that is gone.
    Lose,
}

/// A session; gone with its last clone.
pub(crate) type SessionMark = Arc<()>;

#[derive(Debug, Default)]
pub(super) struct Network(Mutex<Vec<Queue>>);

#[derive(Debug)]
struct Queue {
    session: Weak<()>,
    partition: Partition,
    waiting: VecDeque<Sent>,
    landed: VecDeque<(Sent, OffsetRange)>,
}

#[derive(Debug)]
struct Sent {
    records: Vec<NewRecord>,
    done: oneshot::Sender<Result<OffsetRange, LogError>>,
}

impl Network {
    pub(super) fn send(
        &self,
        session: &SessionMark,
        partition: Partition,
        records: Vec<NewRecord>,
    ) -> Waiting {
        let (done, waiting) = oneshot::channel();
        let sent = Sent { records, done };
        let mut queues = lock(&self.0);
        let mark = Arc::downgrade(session);
        let mine = |queue: &&mut Queue| queue.session.ptr_eq(&mark) && queue.partition == partition;
        if let Some(queue) = queues.iter_mut().find(mine) {
            queue.waiting.push_back(sent);
        } else {
            let (waiting, landed) = (VecDeque::from([sent]), VecDeque::new());
            queues.push(Queue { session: mark, partition, waiting, landed });
        }
        waiting
    }

    /// How many queues there are in which something may happen.
    pub(super) fn queues(&self) -> usize {
        let mut queues = lock(&self.0);
        queues.retain(|queue| {
            let is_there = queue.session.strong_count() > 0;
            !queue.waiting.is_empty() || (is_there && !queue.landed.is_empty())
        });
        queues.len()
    }

    /// Lets it happen. False where there is nothing that it could happen to.
    pub(super) fn happens(
        &self,
        place: usize,
        motion: Motion,
        append: impl FnOnce(Partition, Vec<NewRecord>) -> Result<OffsetRange, LogError>,
    ) -> bool {
        let mut queues = lock(&self.0);
        let Some(queue) = queues.get_mut(place) else { return false };
        let is_there = queue.session.strong_count() > 0;
        match motion {
            Motion::Land => {
                let Some(sent) = queue.waiting.pop_front() else { return false };
                match append(queue.partition, sent.records.clone()) {
                    Ok(range) if is_there => queue.landed.push_back((sent, range)),
                    Ok(_range) => {}
                    // The receiver may be gone.
                    Err(error) => drop(sent.done.send(Err(error))),
                }
                true
            }
            Motion::Acknowledge => {
                let Some((sent, range)) = queue.landed.pop_front() else { return false };
                drop(sent.done.send(Ok(range)));
                true
            }
            Motion::Repeat => {
                let again = is_there && !queue.landed.is_empty();
                if again {
                    for (sent, _range) in queue.landed.drain(..).rev() {
                        queue.waiting.push_front(sent);
                    }
                }
                again
            }
            Motion::Lose => {
                let lost = !is_there && !queue.waiting.is_empty();
                if lost {
                    queue.waiting.clear();
                }
                lost
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
