//! Durations and sizes with their unit, parsed at the door.
//!
//! Owns: `10s`, `64MiB` and their like, both ways.
//! Never: a number without a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Units of time in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A span of time, in whole milliseconds: `250ms`, `10s`, `5m`, `1h30m`, `7d`. A day is 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    ms: u64,
}

/// A number of bytes: `512B`, `64KiB`, `1MiB`, `2GiB`; `KB`, `MB`, `GB` are thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize {
    bytes: u64,
}

/// Why a text is no span or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// There is no number where one should be.
    #[error("`{text}` has no number before the unit; write {example}")]
    NoNumber {
        /// What was given.
        text: String,
        /// What is right.
        example: &'static str,
    },
    /// There is a number without a unit, or with an unknown one.
    #[error("`{text}` needs a unit, one of {units}; write {example}")]
    NoUnit {
        /// What was given.
        text: String,
        /// The units there are.
        units: String,
        /// What is right.
        example: &'static str,
    },
    /// The units do not fall from the largest to the smallest.
    #[error("`{text}` names its units out of order or twice; write {example}")]
    Order {
        /// What was given.
        text: String,
        /// What is right.
        example: &'static str,
    },
    /// It does not fit into 63 bits.
    #[error("`{text}` is too large")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

struct Kind {
    units: &'static [(&'static str, u64)],
    example: &'static str,
}

const TIME: Kind = Kind { units: &TIME_UNITS, example: "`10s`, `250ms` or `1h30m`" };
const SIZE: Kind = Kind { units: &SIZE_UNITS, example: "`64MiB` or `512KiB`" };

impl Span {
    /// Of so many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// Of so many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self { ms: seconds.saturating_mul(1_000) }
    }

    /// In milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.ms
    }

    /// In milliseconds, to be added to a time. What was parsed fits.
    #[must_use]
    pub fn as_ms_i64(self) -> i64 {
        i64::try_from(self.ms).unwrap_or(i64::MAX)
    }

    /// For the standard library.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.ms == 0
    }
}

impl ByteSize {
    /// Of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// In bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }

    /// In bytes, for lengths in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, &TIME).map(Self::from_ms)
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, &SIZE).map(Self::from_bytes)
    }
}

/// The sum of all parts `<number><unit>`; the units fall.
fn parse(text: &str, kind: &Kind) -> Result<u64, QuantityError> {
    let example = kind.example;
    let mut rest = text.trim();
    let mut units = kind.units.iter();
    let mut sum: u64 = 0;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).unwrap_or((rest, ""));
        if number.is_empty() {
            return Err(QuantityError::NoNumber { text: text.to_owned(), example });
        }
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters).unwrap_or((after, ""));
        if !kind.units.iter().any(|(name, _)| *name == unit) {
            let names: Vec<String> =
                kind.units.iter().map(|(name, _)| format!("`{name}`")).collect();
            let units = names.join(", ");
            return Err(QuantityError::NoUnit { text: text.to_owned(), units, example });
        }
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else {
            return Err(QuantityError::Order { text: text.to_owned(), example });
        };
        sum = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor)?.checked_add(sum))
            .filter(|sum| i64::try_from(*sum).is_ok())
            .ok_or_else(|| QuantityError::TooLarge { text: text.to_owned() })?;
        rest = after;
        if rest.is_empty() {
            return Ok(sum);
        }
    }
}

impl fmt::Display for Span {
    /// The shortest form that parses back to the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, factor) in TIME_UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that gives a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |factor: &u64| self.bytes != 0 && self.bytes.is_multiple_of(*factor);
        let fits = SIZE_UNITS.iter().find(|(_, factor)| whole(factor)).unwrap_or(&("B", 1));
        write!(f, "{}{}", self.bytes / fits.1, fits.0)
    }
}

struct TextVisitor<T> {
    expected: &'static str,
    parsed: std::marker::PhantomData<T>,
}

impl<T: FromStr<Err = QuantityError>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a duration in quotes with its unit, such as \"10s\"";
        deserializer.deserialize_str(TextVisitor { expected, parsed: std::marker::PhantomData })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a size in quotes with its unit, such as \"64MiB\"";
        deserializer.deserialize_str(TextVisitor { expected, parsed: std::marker::PhantomData })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{ByteSize, Span};

    #[track_caller]
    fn check(texts: &[&str], expected: &Expect) {
        let told: Vec<String> = texts
            .iter()
            .map(|text| match text.parse::<Span>() {
                Ok(span) => format!("{} ms, again {span}", span.as_ms()),
                Err(error) => error.to_string(),
            })
            .collect();
        expected.assert_eq(&told.join("\n"));
    }

    #[test]
    fn spans_are_read_and_written_with_their_units() {
        check(
            &["250ms", "10s", "5m", "1h30m", "7d", "90s", "0s"],
            &expect![[r"
                250 ms, again 250ms
                10000 ms, again 10s
                300000 ms, again 5m
                5400000 ms, again 1h30m
                604800000 ms, again 7d
                90000 ms, again 1m30s
                0 ms, again 0s"]],
        );
    }

    #[test]
    fn what_is_no_span_is_told_with_an_example() {
        check(
            &["10", "s", "", "10 s", "5m5m", "30m1h", "1w", "99999999999d", "-1s"],
            &expect![[r#"
            `10` needs a unit, one of `d`, `h`, `m`, `s`, `ms`; write `10s`, `250ms` or `1h30m`
            `s` has no number before the unit; write `10s`, `250ms` or `1h30m`
            `` has no number before the unit; write `10s`, `250ms` or `1h30m`
            `10 s` needs a unit, one of `d`, `h`, `m`, `s`, `ms`; write `10s`, `250ms` or `1h30m`
            `5m5m` names its units out of order or twice; write `10s`, `250ms` or `1h30m`
            `30m1h` names its units out of order or twice; write `10s`, `250ms` or `1h30m`
            `1w` needs a unit, one of `d`, `h`, `m`, `s`, `ms`; write `10s`, `250ms` or `1h30m`
            8639999999913600000 ms, again 99999999999d
            `-1s` has no number before the unit; write `10s`, `250ms` or `1h30m`"#]],
        );
    }

    #[test]
    fn sizes_are_read_and_written_in_whole_units() {
        let again = |text: &str| text.parse::<ByteSize>().unwrap().to_string();
        let texts = ["64MiB", "512B", "2048B", "3MB", "1500B", "0B"];
        assert_eq!(texts.map(again), ["64MiB", "512B", "2KiB", "3MB", "1500B", "0B"]);
        assert_eq!("1KiB".parse::<ByteSize>().unwrap().as_usize(), 1024);
    }
}
