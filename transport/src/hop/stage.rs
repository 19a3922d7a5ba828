//! All partitions of a hop that this process owns.
//!
//! Owns: starting and ending partitions as the group tells, taking them up again when a log was
//! away, committing for lag displays.
//! Never: going on with a session that has failed: with it everything it owned begins anew.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::CancellationToken;
use runtime::error::{Class, Classified, chain};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::HopError;
use super::core::HopInput;
use super::metrics::HopMetrics;
use super::task::{HopTask, Transform};
use crate::error::LogError;
use crate::group::{Group, GroupEvent};
use crate::log::{Log, ReadLimits};
use crate::output::Output;
use crate::record::{NextOffset, Partition};

/// How often the progress is committed: often enough for a display of the lag.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// A hop from one topic to the next.
#[derive(Debug, Clone)]
pub struct HopStage {
    /// What is read.
    pub input: Log,
    /// Who writes it.
    pub kind: HopInput,
    /// What is written.
    pub output: Log,
    /// The output partition of input partition 0; several raw topics are numbered through.
    pub output_base: u32,
    /// Where dead letters go.
    pub dead_letters: Log,
    /// The group that shares the partitions of the input.
    pub group: String,
    /// How much is read at a time.
    pub limits: ReadLimits,
    /// What is counted.
    pub metrics: HopMetrics,
    /// Told when the stage runs and what it waits for.
    pub condition: Option<Condition>,
}

/// How a partition ended.
type Ended = Result<(), HopError>;

/// What runs now.
struct Owned<'s, M> {
    stage: &'s HopStage,
    make: M,
    group: Group,
    session: Output,
    dead_letters: Output,
    tasks: JoinSet<Ended>,
    running: BTreeMap<Partition, Running>,
}

struct Running {
    stop: CancellationToken,
    abort: AbortHandle,
    progress: watch::Receiver<NextOffset>,
    committed: NextOffset,
}

impl HopStage {
    /// Runs until `stop` is cancelled and everything sent is acknowledged. `make` gives the
    /// transform of a partition, anew whenever the partition is taken up.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub async fn run<T, M>(&self, mut make: M, stop: &CancellationToken) -> Result<(), HopError>
    where
        T: Transform + 'static,
        M: FnMut(Partition) -> T,
    {
        self.check()?;
        let mut backoff = Backoff::network();
        while !stop.is_cancelled() {
            let started = tokio::time::Instant::now();
            let error = match self.attempt(&mut make, stop).await {
                Ok(()) => return Ok(()),
                Err(error) if error.class() == Class::Dependency => error,
                Err(error) => return Err(error),
            };
            if started.elapsed() > Duration::from_mins(1) {
                backoff.reset();
            }
            let reason = chain(&error);
            let wait = backoff.next_wait(None);
            self.metrics.restarting(self.input.topic(), &reason, wait);
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

    /// Output partition = base + input partition, for each of them.
    fn check(&self) -> Result<(), HopError> {
        let wanted = self.output_base.saturating_add(self.input.partitions());
        let is = self.output.partitions();
        if is >= wanted {
            return Ok(());
        }
        let topic = std::sync::Arc::clone(self.output.topic());
        let next = "add partitions, as many as its inputs have together, while nothing runs";
        Err(LogError::PartitionCount { topic, is, wanted, next }.into())
    }

    /// Runs with one membership and one session, until one of them fails.
    async fn attempt<T, M>(&self, make: M, stop: &CancellationToken) -> Result<(), HopError>
    where
        T: Transform + 'static,
        M: FnMut(Partition) -> T,
    {
        let mut owned = Owned {
            stage: self,
            make,
            group: self.input.group(&self.group)?,
            session: self.output.output()?,
            dead_letters: self.dead_letters.output()?,
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
                    None => return Err(self.left()),
                },
                _ = ticks.tick() => owned.commit().await,
            }
        }
    }

    fn left(&self) -> HopError {
        let topic = std::sync::Arc::clone(self.input.topic());
        HopError::Log(LogError::Ended { topic, reason: "the group was left".into() })
    }
}

impl<T: Transform + 'static, M: FnMut(Partition) -> T> Owned<'_, M> {
    async fn event(&mut self, event: GroupEvent) -> Result<(), HopError> {
        match event {
            GroupEvent::Assigned(partitions) => {
                for partition in partitions {
                    self.start(partition).await?;
                }
                if let Some(condition) = &self.stage.condition {
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

    async fn start(&mut self, partition: Partition) -> Result<(), HopError> {
        let committed = self.group.committed(partition).await?;
        let stage = self.stage;
        let task = HopTask {
            input: stage.input.clone(),
            partition,
            kind: stage.kind,
            output: stage.output.clone(),
            output_partition: Partition(stage.output_base.saturating_add(partition.0)),
            session: self.session.clone(),
            dead_letters: self.dead_letters.clone(),
            committed,
            limits: stage.limits,
            metrics: stage.metrics.clone(),
        };
        let stop = CancellationToken::new();
        let (tell, progress) = watch::channel(NextOffset::ZERO);
        let (mut transform, stopped) = ((self.make)(partition), stop.clone());
        let abort = self.tasks.spawn(async move { task.run(&mut transform, tell, &stopped).await });
        let committed = committed.unwrap_or_default();
        self.running.insert(partition, Running { stop, abort, progress, committed });
        Ok(())
    }

    /// Waits until nothing more is written for these partitions.
    async fn give_up(&mut self, partitions: &[Partition]) -> Result<(), HopError> {
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

    async fn drain(mut self) -> Result<(), HopError> {
        let all: Vec<Partition> = self.running.keys().copied().collect();
        self.give_up(&all).await?;
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    fn ended(&self, ended: Result<Ended, JoinError>) -> Result<(), HopError> {
        match ended {
            Ok(result) => result,
            // A panic goes on where the process notices it.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_aborted) => Ok(()),
            },
        }
    }

    /// Commits what is acknowledged since the last time. For displays: a failure changes nothing.
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
