//! A column that grows without moving.
//!
//! Owns: values by place, in chunks. Never: what they mean.
//!
//! A vector that grows copies itself into fresh memory each time, and the system clears that memory
//! first: of a unit with many keys that was a fifth of all time. Here only the last chunk grows,
//! and no chunk is large.

/// Values in a chunk.
const CHUNK: usize = 64;

/// Values by place.
#[derive(Debug, Clone)]
pub(super) struct Chunks<T> {
    /// All full but the last.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    pub(super) fn push(&mut self, value: T) {
        let len = self.len;
        self.len += 1;
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => {
                if last.len() == last.capacity() {
                    last.reserve_exact(room(len).min(CHUNK - last.len()));
                }
                last.push(value);
            }
            None => {
                let mut chunk = Vec::with_capacity(room(len).min(CHUNK));
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.chunks.last_mut()?.last_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// Bytes of the values and of what stands empty beside them, on average; they depend on the
    /// number of values alone.
    pub(super) fn bytes(&self) -> usize {
        Self::bytes_of(self.len)
    }

    /// As much for so many values.
    pub(super) fn bytes_of(len: usize) -> usize {
        let empty = if len > 0 { room(len).min(CHUNK) / 2 } else { 0 };
        (len + empty) * size_of::<T>() + len.div_ceil(CHUNK) * size_of::<Vec<T>>()
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>()).sum::<usize>()
            + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut chunks = Self::default();
        values.into_iter().for_each(|value| chunks.push(value));
        chunks
    }
}

/// How many more values there is to be room for beside `len`.
fn room(len: usize) -> usize {
    len.max(4)
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Chunks};

    #[test]
    fn values_stay_where_they_were_put() {
        let mut chunks: Chunks<usize> = Chunks::default();
        for value in 0..CHUNK * 3 + 7 {
            assert!(chunks.get(value).is_none());
            chunks.push(value);
            assert_eq!((chunks.len(), chunks.last()), (value + 1, Some(&value)));
        }
        for value in chunks.iter_mut() {
            *value *= 2;
        }
        assert!(chunks.iter().enumerate().all(|(at, value)| *value == at * 2));
        assert_eq!(chunks.get(CHUNK), Some(&(CHUNK * 2)));
        let held = chunks.heap_bytes();
        assert!(held.abs_diff(chunks.bytes()) < held / 5, "{held} {}", chunks.bytes());
    }
}
