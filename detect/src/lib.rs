//! The map and reduce loops around the engine.
//!
//! Owns: which source partition is mapped by whom, what reaches the reducer in which order, and
//! markers. Never: the meaning of a rule; that is the engine's, which is pure.

mod local;

pub use local::{Local, LocalError, LocalSettings, Source, Step, Taken};
