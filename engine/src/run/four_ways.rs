//! Every test of a rule runs four ways, and so does every comparison with the definition.
//!
//! Owns: the four ways. Never: what is expected of them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::TimestampMillisecondType;
use schemas::{BATCH_ROWS_MAX, DeadLetter, Field};

use super::{Fed, RunSettings, Runner, RunnerError};
use crate::rows::{circumstances, count};
use crate::ruleset::Ruleset;
use crate::watermark::Guard;

/// Source partitions of the shuffled way.
const SHUFFLED_PARTITIONS: u32 = 3;
/// Exchange partitions of the way that is killed; the others have one.
const KILLED_EXCHANGE_PARTITIONS: u32 = 3;
/// Rows between two kills.
const KILLED_ROWS: usize = 7;

/// What goes into a run, in order.
#[derive(Debug, Clone)]
pub enum Step {
    /// Events.
    Events(RecordBatch),
    /// Lines that could not be used.
    Dropped(Vec<DeadLetter>),
}

/// What came out, four times.
#[derive(Debug, Clone)]
pub struct FourWays {
    /// In order, as a whole, from one source partition.
    pub whole: Fed,
    /// One event at a time.
    pub single: Fed,
    /// Shuffled within the lateness over three source partitions. In order where the input itself
    /// has late events, drops or stamps from the future, since shuffling would change which.
    pub shuffled: Fed,
    /// Killed and restored after every few events, with three exchange partitions.
    pub killed: Fed,
}

impl FourWays {
    /// Their names and results; the first is the plain one.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Fed)> {
        let Self { whole, single, shuffled, killed } = self;
        [("whole", whole), ("single", single), ("shuffled", shuffled), ("killed", killed)]
            .into_iter()
    }
}

/// Runs the same input four ways. `seed` decides the shuffle.
///
/// # Errors
/// Where a run stops.
pub fn four_ways(
    ruleset: &Arc<Ruleset>,
    steps: &[Step],
    settings: RunSettings,
    seed: u64,
) -> Result<FourWays, RunnerError> {
    let settings = RunSettings { partitions: 1, ..settings };
    let whole = in_steps(ruleset, steps, settings, BATCH_ROWS_MAX, false)?;
    let single = in_steps(ruleset, steps, settings, 1, false)?;
    let is_plain = whole.late.is_empty()
        && whole.future == 0
        && steps.iter().all(|step| matches!(step, Step::Events(_)));
    let shuffled = if is_plain {
        shuffled(ruleset, steps, settings, seed)?
    } else {
        in_steps(ruleset, steps, settings, 3, false)?
    };
    let mut split = settings;
    split.map.exchange_partitions = KILLED_EXCHANGE_PARTITIONS;
    let killed = in_steps(ruleset, steps, split, KILLED_ROWS, true)?;
    Ok(FourWays { whole, single, shuffled, killed })
}

fn in_steps(
    ruleset: &Arc<Ruleset>,
    steps: &[Step],
    settings: RunSettings,
    rows: usize,
    kill: bool,
) -> Result<Fed, RunnerError> {
    let mut runner = Runner::new(Arc::clone(ruleset), settings)?;
    let mut fed = Fed::default();
    for step in steps {
        match step {
            Step::Events(batch) => {
                for from in (0..batch.num_rows()).step_by(rows) {
                    let length = rows.min(batch.num_rows() - from);
                    fed.add(runner.feed(0, &batch.slice(from, length))?);
                    if kill && runner.is_settled() {
                        runner.restart()?;
                    }
                }
            }
            Step::Dropped(letters) => {
                fed.add(runner.dropped(0, letters)?);
                if kill && runner.is_settled() {
                    runner.restart()?;
                }
            }
        }
    }
    fed.add(runner.end()?);
    Ok(fed)
}

fn shuffled(
    ruleset: &Arc<Ruleset>,
    steps: &[Step],
    settings: RunSettings,
    seed: u64,
) -> Result<Fed, RunnerError> {
    let batches: Vec<&RecordBatch> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Events(batch) => Some(batch),
            Step::Dropped(_) => None,
        })
        .collect();
    let mut settings = RunSettings { partitions: SHUFFLED_PARTITIONS, ..settings };
    // In order no stamp was refused, so none is hostile: out of order one might look it.
    settings.map.guard = Guard::Off;
    let mut runner = Runner::new(Arc::clone(ruleset), settings)?;
    let mut fed = Fed::default();
    if let Some(first) = batches.first() {
        let all = concat_batches(&first.schema(), batches)?;
        for (partition, order) in deal(&all, settings.map.lateness_ms, seed) {
            let rows = take_record_batch(&all, &UInt32Array::from(order))?;
            fed.add(runner.feed(partition, &rows)?);
        }
    }
    fed.add(runner.end()?);
    Ok(fed)
}

/// Deals rows to source partitions in the order of event time and a jitter of at most the
/// lateness, so that no row comes late; in small hands, turn by turn.
fn deal(batch: &RecordBatch, lateness_ms: i64, seed: u64) -> Vec<(u32, Vec<u32>)> {
    let mut random = Random(seed);
    let times = circumstances::column(batch, Field::EventTime)
        .and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    let time = |row: usize| times.filter(|t| t.is_valid(row)).map_or(0, |t| t.value(row));
    let mut rows: Vec<(i64, u32, u32)> = (0..batch.num_rows())
        .map(|row| {
            let jitter = random.below(u64::try_from(lateness_ms).unwrap_or(0) + 1);
            let moved = time(row).saturating_add(i64::try_from(jitter).unwrap_or(0));
            let partition = random.below(u64::from(SHUFFLED_PARTITIONS));
            (moved, u32::try_from(partition).unwrap_or(0), count(row))
        })
        .collect();
    rows.sort_unstable();
    let mut hands: Vec<(u32, Vec<u32>)> = Vec::new();
    for part in rows.chunks(64) {
        for partition in 0..SHUFFLED_PARTITIONS {
            let mine = part.iter().filter(|(_, of, _)| *of == partition);
            let hand: Vec<u32> = mine.map(|(_, _, row)| *row).collect();
            if !hand.is_empty() {
                hands.push((partition, hand));
            }
        }
    }
    hands
}

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators"): the same
/// shuffle on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
