//! The `tests:` of a rule file: events in, episodes out.
//!
//! Owns: the shape of a test and its time line. Never: running one.

use schemas::{Deploy, Event, EventTime};
use serde_json::{Map, Value};

/// Offset 0 of every test: a Monday at midnight, so that every window up to a day is aligned.
/// 2026-01-05T00:00:00Z.
pub const BASE: EventTime = EventTime(1_767_571_200_000);

/// What goes in.
#[derive(Debug, Clone, PartialEq)]
pub enum TestInput {
    /// Events in order of event time, then of listing.
    Events(Vec<Event<'static>>),
    /// Raw log lines for the real parser. Offset 0 is the event time of the first line that
    /// parses.
    Lines {
        /// The log format, or `None` to detect it.
        format: Option<String>,
        /// The lines in order.
        lines: Vec<String>,
    },
}

/// An episode that must close. Absent parts are not compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpectedEpisode {
    /// Key columns that must match.
    pub key: Map<String, Value>,
    /// When it opens, in milliseconds from the base.
    pub opens_ms: Option<i64>,
    /// Values at the opening that must match.
    pub values: Map<String, Value>,
    /// Start of the first and end of the last firing window, in milliseconds from the base; for
    /// rules without a window, the first and the last firing event.
    pub span_ms: Option<(i64, i64)>,
    /// Values at the close that must match.
    pub totals: Map<String, Value>,
}

/// One test of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// A sentence.
    pub name: String,
    /// Line of the rule file, from 1.
    pub line: usize,
    /// Events that only teach, before the base.
    pub before: Vec<Event<'static>>,
    /// What goes in.
    pub input: TestInput,
    /// Deploys that are known.
    pub deploys: Vec<Deploy>,
    /// Identities that are known, as in `identities.jsonl`.
    pub identities: Vec<Value>,
    /// Every episode that closes, in order of first firing.
    pub episodes: Vec<ExpectedEpisode>,
}
