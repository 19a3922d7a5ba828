//! Rules to programs: windows, watermarks, state, episodes. Pure.
//!
//! ```text
//! rule files ─▶ rule ─▶ plan ─▶ ruleset
//!                                  │
//! batches of a source partition ─▶ map ─▶ frames ─▶ reduce ─▶ verdicts
//!                                                     │ ▲
//!                                                   markers
//! ```
//!
//! Owns: what a rule means (`oracle` says it as plainly as it can be said) and how it is run.
//! Never: a clock, randomness, I/O, tasks, an order taken from a hash map. Everything that changes
//! an answer comes in through the input; equal input, equal output, byte for byte.

pub mod accept;
mod cell;
mod episode;
pub mod frame;
mod hits;
pub mod key;
mod keyed;
pub mod map;
pub mod oracle;
mod panes;
mod past;
pub mod plan;
mod pressure;
pub mod reduce;
mod rows;
pub mod rule;
pub mod ruleset;
pub mod run;
mod totals;
#[cfg(test)]
mod trial;
mod verdict;
pub mod watermark;
pub mod window;
mod wire;

pub use pressure::STATE_PRESSURE;
pub use wire::WireError;
