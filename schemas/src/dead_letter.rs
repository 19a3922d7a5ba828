//! Dead letters: what could not be used, and why.
//!
//! Owns: the closed list of reasons and the record. Never: masking; bytes come in masked.

use serde::{Deserialize, Serialize};

use crate::id::Origin;
use crate::time::EventTime;

/// Why a record or an event was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No format that Tidegate knows fits the line.
    UnknownFormat,
    /// The line begins like its format but does not keep to it.
    Malformed,
    /// A needed part, such as the time, is missing or cannot be read.
    BadValue,
    /// Longer than the limit.
    TooLong,
    /// Not text: NUL bytes and the like throughout.
    Binary,
    /// Nothing in it but white space.
    Empty,
    /// An envelope (`message`, `log`, OTLP, `_bulk`) that cannot be opened.
    BadEnvelope,
    /// A schema id or fingerprint that nobody knows.
    UnknownSchema,
    /// The event happened before its partition's watermark.
    Late,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::UnknownFormat,
        Self::Malformed,
        Self::BadValue,
        Self::TooLong,
        Self::Binary,
        Self::Empty,
        Self::BadEnvelope,
        Self::UnknownSchema,
        Self::Late,
    ];

    /// What a person may do about it.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        match self {
            Self::UnknownFormat => "see what `tidegate parse` makes of it, and set `format`",
            Self::Malformed => "compare the log format of its writer with `format`",
            Self::BadValue => "have its writer log this part as the format says",
            Self::TooLong => "have its writer cut long fields, such as bodies and cookies",
            Self::Binary => "see whether the input is compressed or no log",
            Self::Empty => "nothing, unless there are many",
            Self::BadEnvelope => "see how the shipper wraps lines",
            Self::UnknownSchema => "give this process the registry that its writer uses",
            Self::Late => "raise `lateness`, or look why its input is behind the others",
        }
    }

    /// The name in JSON, metrics and table `drops`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::Malformed => "malformed",
            Self::BadValue => "bad_value",
            Self::TooLong => "too_long",
            Self::Binary => "binary",
            Self::Empty => "empty",
            Self::BadEnvelope => "bad_envelope",
            Self::UnknownSchema => "unknown_schema",
            Self::Late => "late",
        }
    }
}

/// What could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// What exactly, and what would help.
    pub detail: String,
    /// Where it came from; the key of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Input that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// The client's address where it could be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// Its time where it could be found, else when it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTime>,
    /// The masked bytes, invalid UTF-8 replaced, at most 2 KiB.
    #[serde(default)]
    pub line: String,
}

impl DeadLetter {
    /// Key and value of its record: the origin, and JSON. The same letter twice is one.
    #[must_use]
    pub fn record(&self) -> (Option<String>, Vec<u8>) {
        let key = self.origin.as_ref().map(|origin| {
            let Origin { topic, partition, offset, index } = origin;
            format!("{topic}/{partition}/{offset}/{index}")
        });
        // A letter has only texts and numbers, so that it always can be written.
        (key, serde_json::to_vec(self).unwrap_or_default())
    }
}
