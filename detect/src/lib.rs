//! The map and reduce loops around the engine.
//!
//! Owns: which source partition is mapped by whom, what reaches the reducer in which order, and
//! markers. Never: the meaning of a rule; that is the engine's, which is pure.
//!
//! [`Local`] is both in one process, over channels; [`exchange`] is both over topics.

pub mod exchange;
mod held;
mod learning;
mod local;

pub use held::{Held, StateMetrics};
pub use learning::Learning;
pub use local::{Local, LocalError, LocalSettings, Source, Step, Taken};
