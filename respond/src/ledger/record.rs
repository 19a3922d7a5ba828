//! What the ledger's lines hold.
//!
//! Owns: the records and their JSON. A name here is a promise to every ledger on a disk.
//! Never: what they add up to; see [`super::State`].

use schemas::{EventTime, GuardNote, Order, Outcome, Verdict};
use serde::{Deserialize, Serialize};

use super::state::{Entry, Episode};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The first of a file.
    Header {
        /// Of the format.
        version: u32,
    },
    /// A verdict arrived, and this was decided.
    Taken(Box<Taken>),
    /// An order was carried out, or not.
    Outcome(Outcome),
    /// Somebody asked to undo orders.
    ReleaseAsked {
        /// Which.
        orders: Vec<String>,
        /// When.
        at: EventTime,
        /// By whom and why.
        by: Asker,
    },
    /// Somebody agreed to an order that waited.
    Approved {
        /// Which.
        order_id: String,
        /// When.
        at: EventTime,
        /// By whom and why.
        by: Asker,
        /// The order's time runs from here.
        expires_at: Option<EventTime>,
    },
    /// Somebody wants a parked order to be tried again.
    RetryAsked {
        /// Which.
        order_id: String,
        /// When.
        at: EventTime,
        /// By whom and why.
        by: Asker,
    },
    /// An episode as it stood when the file was written anew.
    KeptEpisode {
        /// The verdict id.
        id: String,
        /// The episode.
        episode: Box<Episode>,
    },
    /// An order as it stood when the file was written anew.
    KeptOrder(Box<Entry>),
}

/// A verdict with what was decided about it: one line, so all of it or nothing is in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// When.
    pub at: EventTime,
    /// The verdict.
    pub verdict: Verdict,
    /// What follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Order>,
    /// What came of orders at once: refused, dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// Why something asked for did not become an order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<GuardNote>,
}

/// A person, or a part of the program, that asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Asker {
    /// Whether the reason says that it was a false positive, in whatever spelling.
    #[must_use]
    pub(crate) fn says_false_positive(&self) -> bool {
        let spaced = self.reason.to_lowercase().replace(['-', '_'], " ");
        spaced.contains("false positive")
    }
}

impl std::fmt::Display for Asker {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "by {}", self.by)?;
        if self.reason.is_empty() { Ok(()) } else { write!(out, ": {}", self.reason) }
    }
}
