//! Map and reduce in one call: what `replay`, rule tests and backtests run.
//!
//! Owns: the composition. Never: threads, clocks, files; the same input gives the same output.

pub mod four_ways;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use arrow::error::ArrowError;
use schemas::{DeadLetter, EventTime, Field, Verdict};

use crate::frame::Frame;
use crate::map::{Input, LateRow, MapError, MapSettings, Mapped, Mapper, Start};
use crate::past::baseline::HOUR_MS;
use crate::plan::CompiledRule;
use crate::reduce::{
    EPISODES_OPEN_MAX, Failure, ReduceError, ReduceSettings, Reducer, RestoreError, RuleLoad,
};
use crate::ruleset::Ruleset;

/// What a run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSettings {
    /// Source partitions: one a file.
    pub partitions: u32,
    /// How each is mapped, and to how many exchange partitions.
    pub map: MapSettings,
    /// Open episodes of one rule and exchange partition at most.
    pub episodes_open_max: usize,
    /// Where it is told: events before this only teach rules that ask the past, and from here on
    /// learning has ended.
    pub learned_at: Option<EventTime>,
}

impl RunSettings {
    /// Over this many source partitions, otherwise as documented.
    #[must_use]
    pub fn over(partitions: u32) -> Self {
        Self {
            partitions,
            map: MapSettings::default(),
            episodes_open_max: EPISODES_OPEN_MAX,
            learned_at: None,
        }
    }
}

/// Why a run must stop.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// Not one of the partitions it was told of.
    #[error("source partition {partition} of {partitions}")]
    Partition {
        /// The one asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// Map failed.
    #[error("map source partition {partition}")]
    Map {
        /// Source partition.
        partition: u32,
        /// Why.
        source: MapError,
    },
    /// Reduce failed.
    #[error("reduce")]
    Reduce(#[from] ReduceError),
    /// A marker could not be written.
    #[error("write a marker")]
    Marker(#[from] ArrowError),
    /// A marker could not be read.
    #[error("begin anew from a marker")]
    Restore(#[from] RestoreError),
}

/// What a step of a run gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fed {
    /// Verdicts, by exchange partition and then in the order in which each gave them.
    pub verdicts: Vec<Verdict>,
    /// What came late, with its row in the batch.
    pub late: Vec<LateRow>,
    /// Events whose stamp lies in the future.
    pub future: u64,
    /// What rules could not judge.
    pub failures: Vec<Failure>,
}

impl Fed {
    pub(crate) fn add(&mut self, other: Self) {
        self.verdicts.extend(other.verdicts);
        self.late.extend(other.late);
        self.future += other.future;
        self.failures.extend(other.failures);
    }
}

/// Map and reduce over a fixed number of source partitions.
#[derive(Debug)]
pub struct Runner {
    ruleset: Arc<Ruleset>,
    settings: RunSettings,
    mappers: Vec<Mapper>,
    reducers: Vec<Reducer>,
    /// By source partition: rows given.
    given: Vec<i64>,
    /// The latest event so far.
    latest: Vec<i64>,
    ended: Vec<bool>,
}

impl Runner {
    /// Before the first event.
    ///
    /// # Errors
    /// Where map and reduce do not fit together, which is a bug.
    pub fn new(ruleset: Arc<Ruleset>, settings: RunSettings) -> Result<Self, RunnerError> {
        let mappers: Vec<Mapper> = (0..settings.partitions)
            .map(|p| Mapper::new(Arc::clone(&ruleset), p, settings.map, Start::of_log(0)))
            .collect();
        let mut reducers: Vec<Reducer> = reduce_settings(settings)
            .map(|settings| Reducer::new(Arc::clone(&ruleset), settings))
            .collect();
        for reducer in &mut reducers {
            for mapper in &mappers {
                reducer.open(&mapper.open())?;
            }
        }
        let (given, latest) = (vec![0; mappers.len()], vec![i64::MIN; mappers.len()]);
        let ended = vec![false; mappers.len()];
        Ok(Self { ruleset, settings, mappers, reducers, given, latest, ended })
    }

    /// Takes the next events of a source partition.
    ///
    /// # Errors
    /// Where the batch is not one of events, or the partition is unknown or has ended.
    pub fn feed(&mut self, partition: u32, batch: &RecordBatch) -> Result<Fed, RunnerError> {
        self.feed_live(partition, batch, None)
    }

    /// As [`Runner::feed`], with the moments at which the log took each row.
    ///
    /// # Errors
    /// As [`Runner::feed`].
    pub fn feed_live(
        &mut self,
        partition: u32,
        batch: &RecordBatch,
        append_times: Option<&[i64]>,
    ) -> Result<Fed, RunnerError> {
        let mut fed = Fed::default();
        for rows in self.cuts(partition, batch) {
            let append_times = append_times.and_then(|times| times.get(rows.clone()));
            let batch = &batch.slice(rows.start, rows.len());
            let next = self.advance(partition, batch.num_rows())?;
            let input = Input { batch, append_times, next, origin: None };
            fed.add(self.step(partition, |mapper| mapper.map(input))?);
        }
        Ok(fed)
    }

    /// Where a batch is taken in parts: for rules that learn, the first row of an hour is one of its
    /// own. What the hours before it taught is then known when the others come, as it is live.
    fn cuts(&mut self, partition: u32, batch: &RecordBatch) -> Vec<Range<usize>> {
        let all = 0..batch.num_rows();
        let learns = self.ruleset.rules().any(CompiledRule::learns);
        let times = batch.column_by_name(Field::EventTime.name());
        let times = times.and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>());
        let place = usize::try_from(partition).unwrap_or(usize::MAX);
        let latest = self.latest.get_mut(place);
        let (true, Some(times), Some(latest)) = (learns, times, latest) else { return vec![all] };
        let (mut cuts, mut from) = (Vec::new(), 0);
        for (row, at) in times.iter().enumerate() {
            let at = at.unwrap_or(i64::MIN).max(*latest);
            if at.div_euclid(HOUR_MS) != latest.div_euclid(HOUR_MS) {
                cuts.extend([from..row, row..row + 1]);
                from = row + 1;
            }
            *latest = at;
        }
        cuts.push(from..all.end);
        cuts.retain(|cut| !cut.is_empty());
        // A batch without rows is one, too.
        if cuts.is_empty() { vec![all] } else { cuts }
    }

    /// Takes dead letters, in their place in a source partition.
    ///
    /// # Errors
    /// Where the partition is unknown or has ended.
    pub fn dropped(&mut self, partition: u32, letters: &[DeadLetter]) -> Result<Fed, RunnerError> {
        let next = self.advance(partition, letters.len())?;
        self.step(partition, |mapper| mapper.dropped(letters, next))
    }

    /// The reader of a partition stands at its end at `now`.
    ///
    /// # Errors
    /// Where the partition is unknown.
    pub fn quiet(&mut self, partition: u32, now: EventTime) -> Result<Fed, RunnerError> {
        self.step(partition, |mapper| mapper.quiet(now))
    }

    /// Raises a partition that fell more than `skew_ms` behind the fastest, and declares it a
    /// straggler.
    ///
    /// # Errors
    /// Where the partition is unknown.
    pub fn keep_up(&mut self, partition: u32, skew_ms: i64) -> Result<Fed, RunnerError> {
        let open = self.mappers.iter().map(Mapper::watermark);
        let fastest = open.filter(|watermark| *watermark != EventTime::MAX).max();
        let fastest = fastest.unwrap_or(EventTime::MIN);
        self.step(partition, |mapper| {
            mapper.keep_up(fastest, skew_ms).map(Option::unwrap_or_default)
        })
    }

    /// A source partition has ended: it holds nobody up any more. Twice is once.
    ///
    /// # Errors
    /// Where the partition is unknown.
    pub fn end_partition(&mut self, partition: u32) -> Result<Fed, RunnerError> {
        self.place(partition)?;
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        match self.ended.get_mut(index) {
            Some(ended) if !*ended => *ended = true,
            _ => return Ok(Fed::default()),
        }
        self.step(partition, Mapper::end)
    }

    /// All input has ended: every window and episode closes.
    ///
    /// # Errors
    /// Where map or reduce fails.
    pub fn end(&mut self) -> Result<Fed, RunnerError> {
        let mut fed = Fed::default();
        for partition in 0..self.settings.partitions {
            fed.add(self.end_partition(partition)?);
        }
        Ok(fed)
    }

    /// The partition that is furthest behind, of those that have not ended: read it next.
    #[must_use]
    pub fn lowest(&self) -> Option<u32> {
        let open = (0_u32..).zip(&self.mappers).zip(&self.ended).filter(|(_, ended)| !**ended);
        open.map(|((partition, mapper), _)| (mapper.watermark(), partition))
            .min()
            .map(|(_, partition)| partition)
    }

    /// What each rule holds, by exchange partition.
    pub fn load(&self) -> impl Iterator<Item = RuleLoad> {
        self.reducers.iter().flat_map(Reducer::load)
    }

    fn place(&self, partition: u32) -> Result<(), RunnerError> {
        let partitions = self.settings.partitions;
        if partition < partitions {
            Ok(())
        } else {
            Err(RunnerError::Partition { partition, partitions })
        }
    }

    /// The next offset after so many more rows.
    fn advance(&mut self, partition: u32, rows: usize) -> Result<i64, RunnerError> {
        self.place(partition)?;
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let Some(given) = self.given.get_mut(index) else { return Ok(rows) };
        *given = given.saturating_add(rows);
        Ok(*given)
    }

    fn step(
        &mut self,
        partition: u32,
        map: impl FnOnce(&mut Mapper) -> Result<Mapped, MapError>,
    ) -> Result<Fed, RunnerError> {
        let partitions = self.settings.partitions;
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let mapper = self.mappers.get_mut(index);
        let mapper = mapper.ok_or(RunnerError::Partition { partition, partitions })?;
        let mapped = map(mapper).map_err(|source| RunnerError::Map { partition, source })?;
        self.reduce(mapped)
    }

    fn reduce(&mut self, mapped: Mapped) -> Result<Fed, RunnerError> {
        let Mapped { frames, late, future, failures } = mapped;
        let mut fed = Fed { verdicts: Vec::new(), late, future, failures };
        for (reducer, frame) in self.reducers.iter_mut().zip(frames) {
            let frame: Frame = frame;
            let reduced = reducer.reduce(frame)?;
            fed.verdicts.extend(reduced.verdicts);
            fed.failures.extend(reduced.failures);
        }
        Ok(fed)
    }

    /// Whether everything given is in what [`Runner::restart`] begins anew from.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.mappers.iter().any(Mapper::is_holding)
    }

    /// Forgets everything and begins anew from markers and frames alone, as after a crash.
    ///
    /// # Errors
    /// Where a marker cannot be written or read.
    pub fn restart(&mut self) -> Result<(), RunnerError> {
        let mut restored = Vec::new();
        for (reducer, settings) in self.reducers.iter().zip(reduce_settings(self.settings)) {
            let marker = reducer.snapshot()?;
            let ruleset = Arc::clone(&self.ruleset);
            restored.push(Reducer::restore(ruleset, settings, &marker)?.reducer);
        }
        let mut mappers = Vec::new();
        for partition in 0..self.settings.partitions {
            let progress = restored.first().into_iter().flat_map(|r| r.sources().progress());
            let found = progress.filter(|(of, _)| *of == partition).map(|(_, found)| found).next();
            let mut start = Start::of_log(0);
            if let Some(found) = found {
                start.owner.term = found.owner.map_or(1, |owner| owner.term + 1);
                start.position = found.applied.unwrap_or_default();
                start.watermark = found.watermark;
                start.origin.clone_from(&found.origin);
            }
            mappers.push(Mapper::new(
                Arc::clone(&self.ruleset),
                partition,
                self.settings.map,
                start,
            ));
        }
        for reducer in &mut restored {
            for mapper in &mappers {
                reducer.open(&mapper.open())?;
            }
        }
        (self.reducers, self.mappers) = (restored, mappers);
        Ok(())
    }
}

fn reduce_settings(settings: RunSettings) -> impl Iterator<Item = ReduceSettings> {
    let exchange_partitions = settings.map.exchange_partitions.max(1);
    (0..exchange_partitions).map(move |exchange_partition| ReduceSettings {
        partitions: (0..settings.partitions).collect(),
        exchange_partition,
        exchange_partitions,
        episodes_open_max: settings.episodes_open_max,
        learned_at: settings.learned_at,
    })
}

#[cfg(test)]
mod tests;
