//! Identities that are functions of what they name.
//!
//! Owns: event ids and verdict ids. Never: randomness.
//!
//! Both are SipHash-2-4 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF")
//! under a fixed, published key, written as `UUIDv8` (RFC 9562, section 5.8).

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

const EVENT_KEY: [u8; 16] = *b"tidegate/event/1";
const VERDICT_KEY: [u8; 16] = *b"tidegate/episode";

/// Where a record came from: the place in the log that first held its bytes.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Origin {
    /// Topic, file or input.
    pub topic: String,
    /// Partition of it.
    pub partition: u32,
    /// Offset in the partition: of the record, or of the line's first byte in a file.
    pub offset: i64,
    /// Which event of the record, from 0.
    #[serde(default)]
    pub index: u32,
}

/// The id of the event at this origin.
#[must_use]
pub fn event_id(origin: &Origin) -> String {
    event_id_of(&origin.topic, origin.partition, origin.offset, origin.index)
}

/// The id of the event at an origin given by its parts; see [`event_id`].
#[must_use]
pub fn event_id_of(topic: &str, partition: u32, offset: i64, index: u32) -> String {
    let mut hasher = SipHasher24::new_with_key(&EVENT_KEY);
    part(&mut hasher, topic.as_bytes());
    place(&mut hasher, partition, offset, index);
    written(&hasher)
}

/// Ids of events whose origins follow each other: what two of them share is hashed once.
#[derive(Debug, Clone)]
pub struct EventIds {
    /// The topic of the last id.
    topic: String,
    /// The hash after that topic.
    begun: SipHasher24,
    text: [u8; Hyphenated::LENGTH],
}

impl Default for EventIds {
    fn default() -> Self {
        let mut begun = SipHasher24::new_with_key(&EVENT_KEY);
        part(&mut begun, b"");
        Self { topic: String::new(), begun, text: [b'-'; Hyphenated::LENGTH] }
    }
}

impl EventIds {
    /// What [`event_id_of`] gives.
    pub fn of(&mut self, topic: &str, partition: u32, offset: i64, index: u32) -> &str {
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
            self.begun = SipHasher24::new_with_key(&EVENT_KEY);
            part(&mut self.begun, topic.as_bytes());
        }
        let mut hasher = self.begun;
        place(&mut hasher, partition, offset, index);
        uuid_of(&hasher).hyphenated().encode_lower(&mut self.text)
    }
}

/// What tells one episode from another.
#[derive(Debug, Clone, Copy)]
pub struct EpisodeName<'a> {
    /// Rule id.
    pub rule: &'a str,
    /// Hash of the rule's filter, keys, window, slide and re-arm gap.
    pub version: &'a str,
    /// Canonical bytes of the key.
    pub key: &'a [u8],
    /// First firing window, or the first firing event's time for rules without a window.
    pub anchor: i64,
}

/// The id that all verdicts of an episode carry.
#[must_use]
pub fn verdict_id(episode: EpisodeName<'_>) -> String {
    let mut hasher = SipHasher24::new_with_key(&VERDICT_KEY);
    part(&mut hasher, episode.rule.as_bytes());
    part(&mut hasher, episode.version.as_bytes());
    part(&mut hasher, episode.key);
    hasher.write(&episode.anchor.to_le_bytes());
    written(&hasher)
}

/// Length first, so that no two lists of parts give the same bytes.
fn part(hasher: &mut SipHasher24, bytes: &[u8]) {
    hasher.write(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.write(bytes);
}

/// A hash takes a stream, so that one call for all of it gives what a call for each part would.
fn place(hasher: &mut SipHasher24, partition: u32, offset: i64, index: u32) {
    let [a, b, c, d] = partition.to_le_bytes();
    let [e, f, g, h, i, j, k, l] = offset.to_le_bytes();
    let [m, n, o, p] = index.to_le_bytes();
    hasher.write(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
}

fn uuid_of(hasher: &SipHasher24) -> Uuid {
    uuid::Builder::from_custom_bytes(hasher.finish128().as_bytes()).into_uuid()
}

fn written(hasher: &SipHasher24) -> String {
    uuid_of(hasher).hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{EpisodeName, EventIds, Origin, event_id, verdict_id};

    #[test]
    fn an_event_id_is_stable_and_tells_origins_apart() {
        let origin = Origin { topic: "access.raw".into(), partition: 3, offset: 8841, index: 0 };
        assert_eq!(event_id(&origin), "281c06e1-19c1-8f50-b70a-7092f3101c3a");
        assert_ne!(event_id(&origin), event_id(&Origin { index: 1, ..origin.clone() }));
        assert_ne!(event_id(&origin), event_id(&Origin { offset: 8842, ..origin }));
    }

    #[test]
    fn ids_made_one_after_the_other_are_those_made_alone() {
        let mut ids = EventIds::default();
        for topic in ["", "a", "access.raw", "access.raw", "b", ""] {
            for (partition, offset, index) in [(0, 0, 0), (7, -1, 2), (u32::MAX, i64::MAX, 9)] {
                let origin = Origin { topic: topic.to_owned(), partition, offset, index };
                assert_eq!(ids.of(topic, partition, offset, index), event_id(&origin));
            }
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let id = |rule, version| verdict_id(EpisodeName { rule, version, key: b"k", anchor: 5 });
        assert_ne!(id("ab", "c"), id("a", "bc"));
        assert_eq!(id("a", "b").as_bytes()[14], b'8', "version 8");
    }
}
