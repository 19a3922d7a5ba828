//! All partitions of a hop that this process owns.
//!
//! Owns: what the partitions of a hop have together. Never: who owns which; that is [`Share`]'s.

use std::future::Future;
use std::sync::Arc;

use runtime::CancellationToken;
use runtime::ready::Condition;

use super::HopError;
use super::core::HopInput;
use super::metrics::HopMetrics;
use super::task::{HopTask, Transform};
use crate::error::LogError;
use crate::log::{Log, ReadLimits};
use crate::output::Output;
use crate::record::Partition;
use crate::share::{Attempt, Given, Share};

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

/// One session, and the partitions that it writes for.
struct Session<'s, M> {
    stage: &'s HopStage,
    make: &'s M,
    session: Output,
    dead_letters: Output,
}

impl HopStage {
    /// Runs until `stop` is cancelled and everything sent is acknowledged. `make` gives the
    /// transform of a partition, anew whenever the partition is taken up.
    ///
    /// # Errors
    /// What trying again does not help against.
    pub async fn run<T, M>(&self, make: M, stop: &CancellationToken) -> Result<(), HopError>
    where
        T: Transform + 'static,
        M: Fn(Partition) -> T,
    {
        self.check()?;
        let (log, group) = (self.input.clone(), self.group.clone());
        let share = Share { log, group, condition: self.condition.clone() };
        let attempt = || {
            Ok(Session {
                stage: self,
                make: &make,
                session: self.output.output()?,
                dead_letters: self.dead_letters.output()?,
            })
        };
        let restarting =
            |reason: &str, wait| self.metrics.restarting(self.input.topic(), reason, wait);
        share.run(attempt, restarting, stop).await
    }

    /// Output partition = base + input partition, for each of them.
    fn check(&self) -> Result<(), HopError> {
        let wanted = self.output_base.saturating_add(self.input.partitions());
        let is = self.output.partitions();
        if is >= wanted {
            return Ok(());
        }
        let topic = Arc::clone(self.output.topic());
        let next = "add partitions, as many as its inputs have together, while nothing runs";
        Err(LogError::PartitionCount { topic, is, wanted, next }.into())
    }
}

impl<T: Transform + 'static, M: Fn(Partition) -> T> Attempt for Session<'_, M> {
    type Error = HopError;

    fn begin(
        &mut self,
        given: Given,
    ) -> impl Future<Output = Result<(), HopError>> + Send + 'static {
        let stage = self.stage;
        let Given { partition, committed, progress, stop } = given;
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
        let mut transform = (self.make)(partition);
        async move { task.run(&mut transform, progress, &stop).await }
    }
}
