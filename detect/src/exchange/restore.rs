//! What a reducer begins with.
//!
//! Owns: choosing among the checkpoints that there are, and what is begun with where none is of
//! use. Never: writing any.
//!
//! Where no checkpoint is of use, the exchange is folded from its beginning. If that is gone, it
//! begins at the oldest marker from which on everything is there: windows and episodes from before
//! it are not known, nor what rules remembered, and that is said.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::sync::Arc;

use engine::accept::Sources;
use engine::frame::{Frame, Open};
use engine::reduce::{EPISODES_OPEN_MAX, ReduceSettings, Reducer};
use tracing::{info, warn};
use transport::{NextOffset, ReadLimits};

use super::marker::{self, Checkpoint, NO_RULES};
use super::reduce::{Task, file_error};
use super::state::{self, Found};
use super::{ExchangeError, Numbered};
use crate::learning::Learning;

/// What a reducer begins with.
pub(super) struct Restored {
    pub(super) reducer: Reducer,
    /// The rules that ran there.
    pub(super) rules: Numbered,
    pub(super) next: NextOffset,
    pub(super) learning: Learning,
    /// What the topic of state held.
    pub(super) found: Found,
}

/// A checkpoint, and where it was.
struct Candidate {
    place: String,
    checkpoint: Checkpoint,
}

/// Checkpoints that can be tried, newest first.
struct Candidates {
    usable: Vec<Candidate>,
    /// Whether one was refused that the exchange does not make up for, however much it holds.
    foreign: bool,
}

/// The reducer as of the newest checkpoint that is of use, the process's own or that of the topic.
pub(super) async fn restored(task: &Task, start: NextOffset) -> Result<Restored, ExchangeError> {
    let mut found = state::read(&task.state, task.partition).await?;
    let candidates = candidates(task, found.whole.take(), start)?;
    for Candidate { place, checkpoint } in candidates.usable {
        let Checkpoint { next, rules, learning, state, .. } = checkpoint;
        let rules = match rules {
            NO_RULES => Numbered { number: NO_RULES, ..task.exchange.rules.latest() },
            number => task.exchange.rules.get(number).await?,
        };
        match Reducer::restore(Arc::clone(&rules.ruleset), settings(task), &state) {
            Ok(restored) => {
                info!(partition = %task.partition, place, %next, "a checkpoint is used");
                if !restored.fresh.is_empty() {
                    info!(rules = restored.fresh.join(", "), "rules begin without state");
                }
                let reducer = restored.reducer;
                return Ok(Restored { reducer, rules, next, learning, found });
            }
            Err(error) => warn!(place, %error, "the checkpoint cannot be used"),
        }
    }
    anew(task, (start, candidates.foreign), found).await
}

fn candidates(
    task: &Task,
    of_topic: Option<Vec<u8>>,
    start: NextOffset,
) -> Result<Candidates, ExchangeError> {
    let own = match fs::read(&task.checkpoint) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        bytes => Some(bytes.map_err(|source| file_error("read", &task.checkpoint, source))?),
    };
    let own = own.map(|bytes| (task.checkpoint.display().to_string(), bytes));
    let of_topic = of_topic.map(|bytes| (format!("topic {}", task.state.topic()), bytes));
    let mut candidates = Candidates { usable: Vec::new(), foreign: false };
    for (place, bytes) in own.into_iter().chain(of_topic) {
        match Checkpoint::of_bytes(&bytes) {
            Err(error) => {
                // An earlier build, whose frames are under the published key.
                candidates.foreign = true;
                warn!(place, %error, "the checkpoint cannot be used");
            }
            Ok(checkpoint) => candidates.judge(task, start, Candidate { place, checkpoint }),
        }
    }
    candidates.usable.sort_by_key(|candidate| Reverse(candidate.checkpoint.next));
    Ok(candidates)
}

impl Candidates {
    fn judge(&mut self, task: &Task, start: NextOffset, candidate: Candidate) {
        let Candidate { place, checkpoint } = &candidate;
        if checkpoint.topic != task.exchange.frames.topic_id().to_string() {
            warn!(place, "the checkpoint is of another incarnation of the exchange topic");
            self.foreign = true;
        } else if checkpoint.key != task.exchange.rules.latest().ruleset.hash_key().check() {
            warn!(place, "the checkpoint was made under another key of the installation");
            self.foreign = true;
        } else if checkpoint.next < start {
            warn!(place, "the exchange begins after the checkpoint");
        } else {
            self.usable.push(candidate);
        }
    }
}

fn settings(task: &Task) -> ReduceSettings {
    ReduceSettings {
        partitions: (0..task.exchange.sources).collect(),
        exchange_partition: task.partition.0,
        exchange_partitions: task.exchange.partitions(),
        episodes_open_max: EPISODES_OPEN_MAX,
        learned_at: None,
    }
}

/// Without a checkpoint.
async fn anew(
    task: &Task,
    (start, is_foreign): (NextOffset, bool),
    found: Found,
) -> Result<Restored, ExchangeError> {
    let marker = if start > NextOffset::ZERO { oldest_marker(task, start).await? } else { None };
    let number = marker.as_ref().map_or(NO_RULES, |(_, number, _)| *number);
    // Otherwise the first owner that opens says which rules run.
    let rules = match number {
        NO_RULES => Numbered { number, ..task.exchange.rules.latest() },
        number => task.exchange.rules.get(number).await?,
    };
    let mut reducer = Reducer::new(Arc::clone(&rules.ruleset), settings(task));
    let mut next = start;
    if let Some((of, _, sources)) = marker {
        stand(&mut reducer, task, (number, &sources))?;
        next = of;
    }
    let mut learning = Learning::default();
    if start > NextOffset::ZERO || is_foreign {
        let latest = task.exchange.rules.latest().ruleset;
        learning = Learning::anew(&latest, |rule| task.exchange.is_home(rule, task.partition));
        warn!(
            partition = %task.partition,
            from = %next,
            "no checkpoint can be used, and the exchange does not reach back to its beginning: \
             windows and episodes that were open before are lost"
        );
    }
    Ok(Restored { reducer, rules, next, learning, found })
}

/// The oldest marker of which the exchange holds all that follows.
async fn oldest_marker(
    task: &Task,
    start: NextOffset,
) -> Result<Option<(NextOffset, i64, Sources)>, ExchangeError> {
    let (exchange, partition) = (&task.exchange, task.partition);
    let end = exchange.frames.bounds(partition).await?.end;
    let bounds = exchange.markers.bounds(partition).await?;
    let mut reader = exchange.markers.apart().reader(partition, bounds.start).await?;
    while reader.next_offset() < bounds.end {
        for record in reader.next(ReadLimits::default()).await?.records {
            let marker = marker::read(&record);
            let fits = |(next, _, sources): &(NextOffset, i64, Sources)| {
                let all = u32::try_from(sources.progress().count()).unwrap_or(u32::MAX);
                *next >= start && *next <= end && all == exchange.sources
            };
            if let Some(marker) = marker.filter(fits) {
                return Ok(Some(marker));
            }
        }
    }
    Ok(None)
}

/// Lets a reducer that has seen nothing stand where a marker says.
fn stand(
    reducer: &mut Reducer,
    task: &Task,
    (rules, sources): (i64, &Sources),
) -> Result<(), ExchangeError> {
    let exchange_partitions = task.exchange.partitions();
    for (partition, progress) in sources.progress() {
        let (Some(owner), Some(applied)) = (progress.owner, progress.applied) else { continue };
        reducer.open(&Open { owner, partition, exchange_partitions, start: applied, rules })?;
        let (origin, watermark) = (progress.origin.clone(), progress.watermark);
        let (from, to, straggler, blocks) = (applied, applied, None, Vec::new());
        reducer.reduce(Frame {
            owner,
            partition,
            from,
            to,
            origin,
            watermark,
            straggler,
            blocks,
        })?;
    }
    Ok(())
}
