//! From one topic to the next, each record once.
//!
//! Owns: delivery rules 1 to 4. Every record that a hop writes carries the origin that it was made
//! from; an input that gives nothing gives a void record; a new owner goes on from the last record
//! of its output partition, and from nothing else.
//! Never: transactions, a side store, or what records mean.
//!
//! [`Hop`] is the pure half: it says what to write, given what was read. [`HopTask`] is the loop
//! around it for one partition, [`HopStage`] runs one for each partition that its group gives to
//! this process, and takes them up again after a dependency was away. They follow the model of the protocol; the test `hop::tests` drives them through
//! crashes, zombies, late landings and repeats.

mod core;
mod metrics;
mod stage;
mod task;

use std::sync::Arc;

use runtime::error::{Class, Classified};

use crate::error::LogError;
use crate::origin::GateError;
use crate::record::{NextOffset, Offset, Partition, TopicId};

pub use self::core::{End, Hop, HopInput, Produced, Standing, Written, gap};
pub use self::metrics::HopMetrics;
pub use self::stage::HopStage;
pub use self::task::{HopTask, Transform};

/// Why a hop cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HopError {
    /// A log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The last record of the output, or a record of the input, is not a hop's.
    #[error("`{topic}`: {source}")]
    Gate {
        /// Which topic.
        topic: Arc<str>,
        /// What is wrong with the record.
        source: GateError,
    },
    /// The output was made from another incarnation of the input.
    #[error(
        "`{output}` partition {partition} was made from `{input}` with topic id {was}, which is now \
         {is}: the input was recreated; start over with an empty output topic"
    )]
    Recreated {
        /// The input topic.
        input: Arc<str>,
        /// The output topic.
        output: Arc<str>,
        /// The output partition.
        partition: Partition,
        /// The incarnation that the output was made from.
        was: TopicId,
        /// The incarnation that is there now.
        is: TopicId,
    },
    /// The transform broke its promise.
    #[error("the stage between `{input}` and its output gave {given} answers to {asked} records")]
    Answers {
        /// The input topic.
        input: Arc<str>,
        /// How many records it was given.
        asked: usize,
        /// How many answers it gave.
        given: usize,
    },
    /// Offsets that must grow did not.
    #[error("`{input}` partition {partition} gave offset {got} where {next} or later was expected")]
    Backwards {
        /// The input topic.
        input: Arc<str>,
        /// The input partition.
        partition: Partition,
        /// What was expected at least.
        next: NextOffset,
        /// What came.
        got: Offset,
    },
}

impl Classified for HopError {
    fn class(&self) -> Class {
        match self {
            Self::Log(error) => error.class(),
            Self::Gate { source, .. } => source.class(),
            Self::Recreated { .. } | Self::Answers { .. } | Self::Backwards { .. } => Class::Bug,
        }
    }
}

#[cfg(test)]
mod tests;
