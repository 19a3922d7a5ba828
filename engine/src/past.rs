//! What a rule remembers of the past beyond its windows.
//!
//! Owns: `first_seen`: which rows of a step can be the first of their combination ([`chains`], in
//! map), and which of them are ([`gate`], in reduce); `baseline_max`: what is usual for a key
//! ([`baseline`]). Never: windows, episodes, SQL.
//!
//! # What "seen" means
//! Of the events that are not late and pass the rule's other conditions, in order of event time
//! and then of id, one is the *first* of its combination if no earlier one with the same came in
//! the span before it, counted in whole minutes. That is a property of the events and not of how
//! they arrived: it is decided once the watermark has passed an event, so that none can come before
//! it. Silence longer than the span forgets everything, and so learning begins anew.
//!
//! All that a rule remembers is in the rule's own exchange partition. A step sends of each
//! combination only its first row; of those that follow within the span it says until when they
//! went on.

pub(crate) mod baseline;
pub(crate) mod chains;
pub(crate) mod gate;
mod prints;

use crate::wire::wire_struct;

/// What goes with a row that may be the first of its combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Fingerprint of the combination.
    pub(crate) print: u64,
    /// The last minute of the rows that follow it, none more than the span after the one before.
    pub(crate) until: i32,
}

wire_struct!(Mark { print, until });

#[cfg(test)]
mod tests;
