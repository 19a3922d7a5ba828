//! How far a file was read, and by what its content is known again.
//!
//! Owns: the form in which the raw log keeps it. Never: opening files.
//!
//! A file is named by device and inode, which a rename keeps. But an inode is used again once its
//! file is gone, and a file that is copied and truncated goes on in another: so its first bytes, and
//! the last ones that were read, are kept as hashes beside the place.

use std::fmt;
use std::fs::File;
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use siphasher::sip::SipHasher13;

/// Bytes at the beginning of a file: enough that two that say different things differ, even where
/// both begin with the same directives.
pub(super) const HEAD_BYTES: usize = 1024;
/// Bytes before the place that was read to.
pub(super) const LAST_BYTES: usize = 256;

/// By what a content is known again: hashes of its first bytes and of its last ones before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    head_len: u64,
    head: u64,
    end: u64,
    last: u64,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The byte after the last line.
    pub next: u64,
    /// By what the content is known again, where it was kept.
    pub print: Option<Print>,
}

impl Print {
    /// Of a content whose first bytes are these, read to `end`, with these before it.
    pub(super) fn of(head: &[u8], end: u64, last: &[u8]) -> Self {
        Self { head_len: head.len() as u64, head: hash(head), end, last: hash(last) }
    }

    /// How many bytes the content had at least.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether a file still has this content, up to where it was read.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() < self.end {
            return Ok(false);
        }
        let (head, last) = (first_bytes(file, self.head_len)?, last_bytes(file, self.end)?);
        Ok(hash(&head) == self.head && hash(&last) == self.last)
    }
}

/// At most so many of the first bytes.
pub(super) fn first_bytes(file: &File, len: u64) -> io::Result<Vec<u8>> {
    read_at(file, 0, usize::try_from(len).map_or(HEAD_BYTES, |len| len.min(HEAD_BYTES)))
}

/// The last bytes before a place.
pub(super) fn last_bytes(file: &File, before: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(before).map_or(LAST_BYTES, |before| before.min(LAST_BYTES));
    read_at(file, before - len as u64, len)
}

/// The bytes from a place on: `len`, or those up to the end of the file.
pub(super) fn read_at(file: &File, from: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> u64 {
    // Keys that never change: the hash is compared with what an earlier process wrote.
    let mut hasher = SipHasher13::new_with_keys(0x7469_6465, 0x6761_7465);
    hasher.write(bytes);
    hasher.finish()
}

impl fmt::Display for Print {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head_len, head, end, last } = self;
        write!(out, "{head_len:x}-{head:x}-{end:x}-{last:x}")
    }
}

/// A text that is no print.
#[derive(Debug)]
pub struct NoPrint;

impl FromStr for Print {
    type Err = NoPrint;

    fn from_str(text: &str) -> Result<Self, NoPrint> {
        let mut numbers = text.split('-').map(|number| u64::from_str_radix(number, 16));
        let mut next = || numbers.next().and_then(Result::ok).ok_or(NoPrint);
        let print = Self { head_len: next()?, head: next()?, end: next()?, last: next()? };
        if numbers.next().is_some() { Err(NoPrint) } else { Ok(print) }
    }
}

/// A file as records of the raw log name it: `dev:ino`, and its print behind `@`.
pub(in crate::input) fn named(file: &str, print: Option<Print>) -> String {
    print.map_or_else(|| file.to_owned(), |print| format!("{file}@{print}"))
}

/// What a record of the raw log, or a line of the table of places, says of a file.
pub(in crate::input) fn read(named: &str, next: u64) -> (&str, Mark) {
    match named.split_once('@') {
        Some((file, print)) => (file, Mark { next, print: print.parse().ok() }),
        // Written before prints were kept.
        None => (named, Mark { next, print: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Print, named, read};

    #[test]
    fn what_is_written_is_read() {
        let print = Print::of(b"head", 4711, b"last");
        let text = named("fe00:12", Some(print));
        assert_eq!(read(&text, 4000), ("fe00:12", Mark { next: 4000, print: Some(print) }));
        assert_eq!(read("fe00:12", 7), ("fe00:12", Mark { next: 7, print: None }));
    }
}
