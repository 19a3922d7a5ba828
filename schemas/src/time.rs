//! Event time: whole milliseconds since the Unix epoch, UTC.
//!
//! Owns: the type and its text form. Never: reads a clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before everything.
    pub const MIN: Self = Self(i64::MIN);
    /// After everything: the watermark of an input that has ended.
    pub const MAX: Self = Self(i64::MAX);

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// This moment moved by `millis`, stopping at the ends.
    #[must_use]
    pub fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This moment moved back by `millis`, stopping at the ends.
    #[must_use]
    pub fn minus(self, millis: i64) -> Self {
        Self(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(ends);
        write!(out, "{moment:.3}")
    }
}

/// A text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time; write RFC 3339, such as 2026-11-20T08:00:00.000Z")]
pub struct TimeError {
    /// What was found.
    pub text: String,
}

impl FromStr for EventTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_not_a_moment| TimeError { text: text.to_owned() })
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::EventTime;

    #[test]
    fn a_time_reads_back_as_written() {
        for millis in [0, 1, -1, 951_782_400_000, 1_763_625_600_123, -62_135_596_800_000] {
            let text = EventTime(millis).to_string();
            assert_eq!(text.parse(), Ok(EventTime(millis)), "{text}");
        }
        assert_eq!(EventTime(1_763_625_600_123).to_string(), "2025-11-20T08:00:00.123Z");
    }

    #[test]
    fn what_is_not_a_time_says_so() {
        let error = "yesterday".parse::<EventTime>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`yesterday` is not a time; write RFC 3339, such as 2026-11-20T08:00:00.000Z"
        );
    }
}
