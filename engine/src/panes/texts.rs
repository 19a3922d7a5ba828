//! The canonical bytes of keys.
//!
//! Owns: bytes by place, in chunks that do not move. Never: what they mean.

use crate::rows::{count, place};

/// A place is the number of a chunk and these bits within it. A text that is longer than that has a
/// chunk of its own.
const BITS: u32 = 14;
const CHUNK_BYTES: usize = 1 << BITS;

/// Where a text stands, and its length.
pub(super) type Text = (u32, u32);

/// Texts by place.
#[derive(Debug, Default)]
pub(super) struct Texts {
    chunks: Vec<Vec<u8>>,
    len: usize,
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) -> Text {
        self.len += text.len();
        let fits = |last: &&mut Vec<u8>| last.len() + text.len() <= CHUNK_BYTES;
        if !self.chunks.last_mut().as_ref().is_some_and(fits) {
            self.chunks.push(Vec::new());
        }
        let number = count(self.chunks.len().saturating_sub(1));
        let Some(last) = self.chunks.last_mut() else { return (0, 0) };
        let within = count(last.len());
        last.extend_from_slice(text);
        (number << BITS | within, count(text.len()))
    }

    pub(super) fn get(&self, (at, len): Text) -> &[u8] {
        let within = place(at) & (CHUNK_BYTES - 1);
        let chunk = self.chunks.get(place(at >> BITS));
        chunk.and_then(|chunk| chunk.get(within..within + place(len))).unwrap_or_default()
    }

    /// Bytes of all.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum::<usize>()
            + self.chunks.capacity() * size_of::<Vec<u8>>()
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, Texts};

    #[test]
    fn texts_come_back_whatever_their_length() {
        let lengths = [0, 3, CHUNK_BYTES - 4, 1, 1, CHUNK_BYTES, CHUNK_BYTES * 3, 0, 7, 4_000];
        let text = |n: usize| vec![u8::try_from(n).unwrap(); lengths[n % lengths.len()]];
        let mut texts = Texts::default();
        let places: Vec<_> = (0..40).map(|n| texts.push(&text(n))).collect();
        for (n, place) in places.into_iter().enumerate() {
            assert_eq!(texts.get(place), text(n), "{n}");
        }
        assert_eq!(texts.len(), lengths.iter().sum::<usize>() * 4);
    }
}
