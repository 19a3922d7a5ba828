//! Map and reduce in one process, without a log between them.
//!
//! Owns: one mapper a source partition and the only reducer. Never: clocks, I/O.
//!
//! What it gives is a function of the calls in their order. A snapshot between two calls, restored,
//! goes on as if nothing had happened.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use engine::frame::Owner;
use engine::map::{Input, LateRow, MapError, MapSettings, Mapped, Mapper, Start};
use engine::reduce::{
    Failure, ReduceError, ReduceSettings, Reducer, RestoreError, RuleLoad, SwitchError, Switched,
};
use engine::ruleset::Ruleset;
use engine::watermark::Guard;
use runtime::error::{Class, Classified};
use schemas::{DeadLetter, EventTime, Verdict};

use crate::learning::Learning;

/// A source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// How far behind the latest event another may be and still be on time, in milliseconds.
    pub lateness_ms: i64,
    /// What protects against stamps from the future.
    pub guard: Guard,
}

impl Default for Source {
    /// Live, ten seconds.
    fn default() -> Self {
        Self { lateness_ms: 10_000, guard: Guard::LIVE }
    }
}

/// What detection is told when it is made.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// The source partitions, numbered from 0.
    pub sources: Vec<Source>,
}

/// Why detection must stop.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The mapper refused its input.
    #[error("map a batch")]
    Map(#[from] MapError),
    /// The reducer refused a frame.
    #[error("reduce a frame")]
    Reduce(#[from] ReduceError),
    /// A snapshot cannot be made.
    #[error("write a marker")]
    Snapshot(#[source] ArrowError),
    /// A snapshot cannot be used.
    #[error("read a marker")]
    Restore(#[from] RestoreError),
    /// Other rules cannot take the place of those that run.
    #[error("switch rules")]
    Switch(#[from] SwitchError),
    /// There is no such source partition.
    #[error("no source partition {partition}")]
    NoSource {
        /// The number given.
        partition: u32,
    },
}

impl Classified for LocalError {
    fn class(&self) -> Class {
        Class::Bug
    }
}

/// What a call led to.
#[derive(Debug, Default)]
pub struct Step {
    /// Verdicts, in order.
    pub verdicts: Vec<Verdict>,
    /// What came late.
    pub late: Vec<LateRow>,
    /// Events whose stamp lies in the future.
    pub future: u64,
    /// Rules that could not judge something.
    pub failures: Vec<Failure>,
}

/// Events of one source partition, in order.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Source partition.
    pub partition: u32,
    /// Rows of `schemas::arrow_schema`.
    pub batch: &'a RecordBatch,
    /// When the log took each row, in milliseconds; needed under the live guard.
    pub append_times: Option<&'a [i64]>,
    /// The next offset after them.
    pub next: i64,
}

/// Detection over all source partitions of this process.
#[derive(Debug)]
pub struct Local {
    mappers: Vec<Mapper>,
    reducer: Reducer,
    learning: Learning,
}

impl Local {
    /// Begins at the beginning of every source partition.
    ///
    /// # Errors
    /// When the engine contradicts itself, which is a bug.
    pub fn new(ruleset: &Arc<Ruleset>, settings: &LocalSettings) -> Result<Self, LocalError> {
        let reducer = Reducer::new(Arc::clone(ruleset), reduce_settings(settings));
        let start = |_partition| Start::of_log(0);
        Self::with(ruleset, settings, reducer, start)
    }

    /// Goes on from a snapshot. What rules have no state in it is returned beside.
    ///
    /// # Errors
    /// When the snapshot is torn, or was made over other source partitions.
    pub fn restore(
        ruleset: &Arc<Ruleset>,
        settings: &LocalSettings,
        snapshot: &[u8],
    ) -> Result<(Self, Vec<String>), LocalError> {
        let restored = Reducer::restore(Arc::clone(ruleset), reduce_settings(settings), snapshot)?;
        let reducer = restored.reducer;
        let progress: Vec<_> =
            reducer.sources().progress().map(|(p, progress)| (p, progress.clone())).collect();
        let start = |partition: u32| {
            let of = progress.iter().find(|(p, _)| *p == partition).map(|(_, progress)| progress);
            of.map_or_else(
                || Start::of_log(0),
                |progress| Start {
                    owner: Owner { term: progress.owner.map_or(0, |owner| owner.term) + 1, id: 0 },
                    position: progress.applied.unwrap_or(0),
                    watermark: progress.watermark,
                    origin: progress.origin.clone(),
                },
            )
        };
        let local = Self::with(ruleset, settings, reducer, start)?;
        Ok((local, restored.fresh))
    }

    fn with(
        ruleset: &Arc<Ruleset>,
        settings: &LocalSettings,
        mut reducer: Reducer,
        start: impl Fn(u32) -> Start,
    ) -> Result<Self, LocalError> {
        let mut mappers = Vec::with_capacity(settings.sources.len());
        for (partition, source) in (0..).zip(&settings.sources) {
            let map = MapSettings {
                lateness_ms: source.lateness_ms,
                guard: source.guard,
                exchange_partitions: 1,
            };
            let mapper = Mapper::new(Arc::clone(ruleset), partition, map, start(partition));
            reducer.open(&mapper.open())?;
            mappers.push(mapper);
        }
        Ok(Self { mappers, reducer, learning: Learning::default() })
    }

    /// Takes events.
    ///
    /// # Errors
    /// When offsets go backwards or Arrow fails; both are bugs.
    pub fn take(&mut self, taken: Taken<'_>) -> Result<Step, LocalError> {
        let input = Input {
            batch: taken.batch,
            append_times: taken.append_times,
            next: taken.next,
            origin: None,
        };
        let mapped = self.mapper(taken.partition)?.map(input)?;
        self.reduce(mapped)
    }

    /// Takes what could not be used, for rules over `drops`.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn dropped(
        &mut self,
        partition: u32,
        letters: &[DeadLetter],
        next: i64,
    ) -> Result<Step, LocalError> {
        let mapped = self.mapper(partition)?.dropped(letters, next)?;
        self.reduce(mapped)
    }

    /// Hears that the reader of a source partition stood at its end at `now`.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn quiet(&mut self, partition: u32, now: EventTime) -> Result<Step, LocalError> {
        let mapped = self.mapper(partition)?.quiet(now)?;
        self.reduce(mapped)
    }

    /// Hears that a source partition has ended for ever.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn end(&mut self, partition: u32) -> Result<Step, LocalError> {
        let mapped = self.mapper(partition)?.end()?;
        self.reduce(mapped)
    }

    /// Lets these rules take the place of those that run, between two calls.
    ///
    /// # Errors
    /// When state cannot be moved, which is a bug. The old rules go on.
    pub fn switch(&mut self, ruleset: &Arc<Ruleset>) -> Result<Switched, LocalError> {
        let switched = self.reducer.switch(ruleset)?;
        for mapper in &mut self.mappers {
            mapper.switch(Arc::clone(ruleset));
        }
        Ok(switched)
    }

    /// The watermark of a source partition.
    #[must_use]
    pub fn watermark_of(&self, partition: u32) -> Option<EventTime> {
        let place = usize::try_from(partition).ok()?;
        self.mappers.get(place).map(Mapper::watermark)
    }

    /// The minimum watermark.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.reducer.watermark()
    }

    /// Takes in which rules have forgotten the past.
    pub fn learn(&mut self, learning: Learning) {
        self.learning = learning;
    }

    /// The rules that have forgotten the past, and learn it.
    #[must_use]
    pub fn learning(&self) -> &Learning {
        &self.learning
    }

    /// What each rule holds.
    pub fn load(&self) -> impl Iterator<Item = RuleLoad> {
        self.reducer.load()
    }

    /// The whole state as bytes, but for which rules learn.
    ///
    /// # Errors
    /// When Arrow fails, which is a bug.
    pub fn snapshot(&self) -> Result<Vec<u8>, LocalError> {
        self.reducer.snapshot().map_err(LocalError::Snapshot)
    }

    fn mapper(&mut self, partition: u32) -> Result<&mut Mapper, LocalError> {
        let place = usize::try_from(partition).unwrap_or(usize::MAX);
        self.mappers.get_mut(place).ok_or(LocalError::NoSource { partition })
    }

    fn reduce(&mut self, mapped: Mapped) -> Result<Step, LocalError> {
        let mut step = Step {
            late: mapped.late,
            future: mapped.future,
            failures: mapped.failures,
            ..Step::default()
        };
        for frame in mapped.frames {
            self.learning.see(&frame);
            let reduced = self.reducer.reduce(frame)?;
            step.verdicts.extend(reduced.verdicts);
            step.failures.extend(reduced.failures);
        }
        self.learning.pass(self.reducer.watermark());
        Ok(step)
    }
}

fn reduce_settings(settings: &LocalSettings) -> ReduceSettings {
    ReduceSettings::alone(u32::try_from(settings.sources.len()).unwrap_or(u32::MAX))
}
