//! What a log holds.
//!
//! Owns: records and the types that name a place in a log.
//! Never: where they are stored, and what their bytes mean.

use std::fmt;

use bytes::Bytes;

/// A partition of a topic, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// The place of one record in its partition; only grows, may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

/// The offset to read next, which is one past the last one read. Never the last one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NextOffset(pub i64);

impl NextOffset {
    /// Before the first record that a partition can have.
    pub const ZERO: Self = Self(0);

    /// The place right after `offset`.
    #[must_use]
    pub fn after(offset: Offset) -> Self {
        Self(offset.0.saturating_add(1))
    }

    /// The last offset before this place; -1 where there is none.
    #[must_use]
    pub fn last_before(self) -> Offset {
        Offset(self.0.saturating_sub(1))
    }
}

/// The offsets that an append was given: half-open, `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    /// The offset of the first record.
    pub start: NextOffset,
    /// One past the offset of the last.
    pub end: NextOffset,
}

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
display_number!(Partition, Offset, NextOffset);

/// One incarnation of a topic: a topic that is deleted and created anew gets another one.
///
/// Kafka's own topic id where there is one; shown the way Kafka's tools show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

/// RFC 4648, section 5.
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// A new one, equal to no other.
    #[must_use]
    pub fn random() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }

    /// Reads 22 characters of base64, in the standard or the URL alphabet; none if it is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        let mut tail: u8 = 0;
        for (at, byte) in text.bytes().enumerate() {
            let byte = match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => other,
            };
            let value = u8::try_from(BASE64_URL.iter().position(|known| *known == byte)?).ok()?;
            if at < 21 {
                bits = (bits << 6) | u128::from(value);
            } else {
                tail = value;
            }
        }
        // 21 characters hold 126 bits, the last one the other two, in its upper bits.
        let id = (bits << 2) | u128::from(tail >> 4);
        (tail & 0x0f == 0).then(|| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for at in 0..22_u32 {
            let shift = 122_u32.checked_sub(at * 6);
            let value = match shift {
                Some(shift) => (bits >> shift) & 0x3f,
                None => (bits << 4) & 0x3f,
            };
            let index = usize::try_from(value).unwrap_or_default();
            let byte = BASE64_URL.get(index).copied().unwrap_or(b'A');
            write!(f, "{}", char::from(byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition that it stands in.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// Milliseconds since 1970, as the writer or the broker gave it.
    pub timestamp_ms: Option<i64>,
    /// What compaction and other consumers group by.
    pub key: Option<Bytes>,
    /// The content; empty for a record without one.
    pub value: Bytes,
    /// Names and values beside the content, in the order in which they were written.
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    /// The last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        find_header(&self.headers, name)
    }

    /// The offset to read after this record.
    #[must_use]
    pub fn next(&self) -> NextOffset {
        NextOffset::after(self.offset)
    }
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Milliseconds since 1970; without it the log gives its own.
    pub timestamp_ms: Option<i64>,
    /// What compaction and other consumers group by.
    pub key: Option<Bytes>,
    /// The content. Where a topic keeps the last record of each key, a record with a key and
    /// nothing else takes away what the key had, and in time itself.
    pub value: Bytes,
    /// Names and values beside the content.
    pub headers: Vec<(String, Bytes)>,
}

impl NewRecord {
    /// A record with this content and nothing else.
    #[must_use]
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }

    /// The last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        find_header(&self.headers, name)
    }

    /// What counts against the limit of a record: key, value and headers, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.len() + headers
    }

    /// Whether there is a key and nothing under it: in Kafka's words, a tombstone.
    pub(crate) fn takes_away(&self) -> bool {
        self.key.is_some() && self.value.is_empty() && self.headers.is_empty()
    }

    /// The record as it stands in a log.
    #[must_use]
    pub(crate) fn at(self, partition: Partition, offset: Offset) -> Record {
        let Self { timestamp_ms, key, value, headers } = self;
        Record { partition, offset, timestamp_ms, key, value, headers }
    }
}

fn find_header<'a>(headers: &'a [(String, Bytes)], name: &str) -> Option<&'a Bytes> {
    headers.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::TopicId;

    #[test]
    fn a_topic_id_is_shown_and_read_as_kafka_does() {
        let id = TopicId([0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xfb, 0xff]);
        assert_eq!(id.to_string(), "3q2-7wABAgMEBQYHCAn7_w");
        assert_eq!(TopicId::parse("3q2-7wABAgMEBQYHCAn7_w"), Some(id));
        assert_eq!(TopicId::parse("3q2+7wABAgMEBQYHCAn7/w"), Some(id));
        assert_eq!(TopicId::parse("3q2-7wABAgMEBQYHCAn7_"), None);
        assert_eq!(TopicId::parse("3q2-7wABAgMEBQYHCAn7_x"), None);
    }

    #[test]
    fn random_topic_ids_survive_their_text() {
        for _ in 0..200 {
            let id = TopicId::random();
            assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        }
    }
}
