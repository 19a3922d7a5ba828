//! Map and reduce in several processes, with a topic between them.
//!
//! Owns: delivery rules 6 to 11: who speaks for a source partition, which frames it still has to
//! send, and how far each exchange partition has been used. Never: the meaning of a rule.
//!
//! | | [`MapStage`] | [`ReduceStage`] |
//! |---|---|---|
//! | reads | `access.enriched` | `detect.exchange` |
//! | writes | `detect.exchange`, to each of its partitions | `verdicts`, `detect.markers`, `detect.state` |
//! | goes on after a crash from | what each exchange partition has applied | the newest checkpoint of its folder and of `detect.state`, or the beginning of the exchange |
//!
//! A marker is the last record of a partition of `detect.markers`: how far the exchange partition
//! was used, and by it each source partition. It is a function of the exchange, so that anyone's
//! marker is right.

#[cfg(test)]
mod left_out;
mod map;
mod marker;
mod memory;
mod reduce;
mod restore;
mod rules;
mod state;
mod takeover;

use std::sync::Arc;

use arrow::error::ArrowError;
use engine::WireError;
use engine::accept::AcceptError;
use engine::key::exchange_partition;
use engine::map::MapError;
use engine::plan::CompiledRule;
use engine::reduce::{ReduceError, RestoreError, SwitchError};
use runtime::error::{Class, Classified};
use schemas::CodecError;
use transport::{GateError, Log, LogError, Partition};

pub use map::{MapStage, MapperMetrics};
pub use reduce::{ReduceStage, ReducerMetrics};
pub use rules::{MakeRuleset, Numbered, Rules, RulesError};

/// The topics between map and reduce.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Frames and opens.
    pub frames: Log,
    /// How far each partition of `frames` was used; as many partitions.
    pub markers: Log,
    /// The rules that run, and ran.
    pub rules: Rules,
    /// How many source partitions there are.
    pub sources: u32,
    /// What of the delivery rules is left out, to show that it is needed.
    #[cfg(test)]
    pub(crate) left_out: Option<left_out::Part>,
}

/// Why map or reduce cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record of the input is not a hop's.
    #[error("`{topic}`: {source}")]
    Gate {
        /// Which topic.
        topic: Arc<str>,
        /// What is wrong with the record.
        source: GateError,
    },
    /// The mapper refused its input.
    #[error("map a batch")]
    Map(#[from] MapError),
    /// The reducer refused an entry.
    #[error("reduce a frame")]
    Reduce(#[from] ReduceError),
    /// What stands on the exchange cannot be read.
    #[error("`{topic}` partition {partition} at offset {offset}")]
    Entry {
        /// Which topic.
        topic: Arc<str>,
        /// Which partition.
        partition: u32,
        /// Where.
        offset: i64,
        /// What is wrong.
        source: WireError,
    },
    /// What stands on the exchange contradicts itself, or its beginning is gone.
    #[error(
        "`{topic}` partition {partition} at offset {offset}: acknowledged frames are gone; start \
         over with an empty exchange topic, and keep it for the longest window and the longest \
         outage together"
    )]
    Accept {
        /// Which topic.
        topic: Arc<str>,
        /// Which partition.
        partition: u32,
        /// Where.
        offset: i64,
        /// What is wrong.
        source: AcceptError,
    },
    /// Rules that an owner maps by cannot be had.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Other rules cannot take the place of those that run.
    #[error("switch rules")]
    Switch(#[from] SwitchError),
    /// A verdict cannot be written.
    #[error("write a verdict")]
    Codec(#[from] CodecError),
    /// A checkpoint cannot be made.
    #[error("write a checkpoint")]
    Snapshot(#[source] ArrowError),
    /// A checkpoint cannot be used.
    #[error("read a checkpoint")]
    Restore(#[from] RestoreError),
    /// A file failed.
    #[error("{doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: String,
        /// What happened.
        source: std::io::Error,
    },
}

impl Classified for ExchangeError {
    fn class(&self) -> Class {
        match self {
            Self::Log(error) => error.class(),
            Self::Gate { source, .. } => source.class(),
            Self::File { .. } => Class::Dependency,
            Self::Map(_)
            | Self::Reduce(_)
            | Self::Entry { .. }
            | Self::Accept { .. }
            | Self::Rules(_)
            | Self::Switch(_)
            | Self::Codec(_)
            | Self::Snapshot(_)
            | Self::Restore(_) => Class::Bug,
        }
    }
}

impl Exchange {
    /// How many exchange partitions there are.
    fn partitions(&self) -> u32 {
        self.frames.partitions()
    }

    /// Whether what a rule remembers of the past is in this exchange partition: all of
    /// `first_seen` is in the rule's own.
    fn is_home(&self, rule: &CompiledRule, partition: Partition) -> bool {
        let hash = self.rules.latest().ruleset.hash_key().hash(rule.id().as_bytes());
        rule.past.is_none() || exchange_partition(hash, self.partitions()) == partition.0
    }
}

#[cfg(test)]
mod tests;
