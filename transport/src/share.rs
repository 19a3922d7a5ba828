//! All partitions of a log that this process owns.
//!
//! Owns: starting and ending a task a partition as the group tells, beginning all of them anew
//! when a log was away, committing for lag displays.
//! Never: going on with a session that has failed: with it everything it owned begins anew.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use runtime::CancellationToken;
use runtime::error::{Class, Classified, chain};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::error::LogError;
use crate::group::{Group, GroupEvent};
use crate::log::Log;
use crate::record::{NextOffset, Partition};

/// How often the progress is committed: often enough for a display of the lag.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// The share that this process has of a log's partitions.
#[derive(Debug, Clone)]
pub struct Share {
    /// What is read.
    pub log: Log,
    /// The group that shares the partitions.
    pub group: String,
    /// Told when this process has its partitions, and what it waits for.
    pub condition: Option<Condition>,
}

/// A partition that this process owns from now on.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub partition: Partition,
    /// The offset committed for it.
    pub committed: Option<NextOffset>,
    /// How far the partition has been used is to be told here.
    pub progress: watch::Sender<NextOffset>,
    /// Cancelled when the partition is to be given up.
    pub stop: CancellationToken,
}

/// What begins anew after a log was away.
pub trait Attempt {
    /// Why a partition ended.
    type Error: std::error::Error + Classified + From<LogError> + Send + 'static;

    /// What reads this partition until it is told to stop. Dropping it is a crash.
    fn begin(
        &mut self,
        given: Given,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static;
}

/// What runs now.
struct Owned<A: Attempt> {
    attempt: A,
    group: Group,
    condition: Option<Condition>,
    tasks: JoinSet<Result<(), A::Error>>,
    running: BTreeMap<Partition, Running>,
}

struct Running {
    stop: CancellationToken,
    abort: AbortHandle,
    progress: watch::Receiver<NextOffset>,
    committed: NextOffset,
}

impl Share {
    /// Runs until `stop` is cancelled and every partition has ended. `attempt` makes what the
    /// partitions have together, such as the session that they write by; it is asked again after
    /// a dependency was away, which `restarting` hears of.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub async fn run<A: Attempt>(
        &self,
        mut attempt: impl FnMut() -> Result<A, A::Error>,
        mut restarting: impl FnMut(&str, Duration),
        stop: &CancellationToken,
    ) -> Result<(), A::Error> {
        let mut backoff = Backoff::network();
        while !stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let result = match attempt() {
                Ok(attempt) => self.attempt(attempt, stop).await,
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(()) => return Ok(()),
                Err(error) if error.class() == Class::Dependency => error,
                Err(error) => return Err(error),
            };
            if started.elapsed() > Duration::from_mins(1) {
                backoff.reset();
            }
            let reason = chain(&error);
            let wait = backoff.next_wait(None);
            restarting(&reason, wait);
            if let Some(condition) = &self.condition {
                condition.waiting(&reason);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// Runs with one membership, until a partition fails.
    async fn attempt<A: Attempt>(
        &self,
        attempt: A,
        stop: &CancellationToken,
    ) -> Result<(), A::Error> {
        let mut owned = Owned {
            attempt,
            group: self.log.group(&self.group)?,
            condition: self.condition.clone(),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
        };
        let mut ticks = interval(COMMIT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return owned.drain().await,
                Some(ended) = owned.tasks.join_next() => owned.ended(ended)?,
                event = owned.group.next() => match event {
                    Some(event) => owned.event(event?).await?,
                    None => return Err(self.left().into()),
                },
                _ = ticks.tick() => owned.commit().await,
            }
        }
    }

    fn left(&self) -> LogError {
        let topic = std::sync::Arc::clone(self.log.topic());
        LogError::Ended { topic, reason: "the group was left".into() }
    }
}

impl<A: Attempt> Owned<A> {
    async fn event(&mut self, event: GroupEvent) -> Result<(), A::Error> {
        match event {
            GroupEvent::Assigned(partitions) => {
                for partition in partitions {
                    self.start(partition).await?;
                }
                if let Some(condition) = &self.condition {
                    condition.ready();
                }
            }
            GroupEvent::Revoked { partitions, ack } => {
                self.give_up(&partitions).await?;
                ack.done();
            }
            GroupEvent::Lost(partitions) => {
                for partition in partitions {
                    if let Some(running) = self.running.remove(&partition) {
                        running.abort.abort();
                    }
                }
            }
        }
        Ok(())
    }

    async fn start(&mut self, partition: Partition) -> Result<(), A::Error> {
        let committed = self.group.committed(partition).await?;
        let stop = CancellationToken::new();
        let (tell, progress) = watch::channel(NextOffset::ZERO);
        let given = Given { partition, committed, progress: tell, stop: stop.clone() };
        let abort = self.tasks.spawn(self.attempt.begin(given));
        let committed = committed.unwrap_or_default();
        self.running.insert(partition, Running { stop, abort, progress, committed });
        Ok(())
    }

    /// Waits until nothing more is written for these partitions.
    async fn give_up(&mut self, partitions: &[Partition]) -> Result<(), A::Error> {
        for running in partitions.iter().filter_map(|partition| self.running.get(partition)) {
            running.stop.cancel();
        }
        while partitions.iter().any(|partition| self.is_running(*partition)) {
            let Some(ended) = self.tasks.join_next().await else { break };
            self.ended(ended)?;
        }
        self.commit().await;
        for partition in partitions {
            self.running.remove(partition);
        }
        Ok(())
    }

    fn is_running(&self, partition: Partition) -> bool {
        self.running.get(&partition).is_some_and(|running| !running.abort.is_finished())
    }

    async fn drain(mut self) -> Result<(), A::Error> {
        let all: Vec<Partition> = self.running.keys().copied().collect();
        self.give_up(&all).await?;
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    fn ended(&self, ended: Result<Result<(), A::Error>, JoinError>) -> Result<(), A::Error> {
        match ended {
            Ok(result) => result,
            // A panic goes on where the process notices it.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_aborted) => Ok(()),
            },
        }
    }

    /// Commits what is used since the last time. For displays: a failure changes nothing.
    async fn commit(&mut self) {
        for (partition, running) in &mut self.running {
            let next = *running.progress.borrow();
            if next <= running.committed {
                continue;
            }
            match self.group.commit(*partition, next).await {
                Ok(()) => running.committed = next,
                Err(error) => tracing::debug!(%partition, error = %chain(&error), "no commit"),
            }
        }
    }
}

impl<A: Attempt + fmt::Debug> fmt::Debug for Owned<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions: Vec<&Partition> = self.running.keys().collect();
        out.debug_struct("Owned")
            .field("attempt", &self.attempt)
            .field("partitions", &partitions)
            .finish_non_exhaustive()
    }
}
