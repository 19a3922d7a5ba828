//! One file that is followed.
//!
//! Owns: reading on, telling that the content is another one, and cutting bytes into lines.
//! Never: which files there are.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::mark::{HEAD_BYTES, LAST_BYTES, Mark, Print, first_bytes, last_bytes, read_at};
use super::{LINE_BYTES_MAX, READ_BYTES_MAX};

/// Looks at a file of the same length and time after which it is not looked into: by then the clock
/// of its times has ticked.
const SAME_LOOKS: u32 = 3;

/// What a file is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Just found; nothing of it was read.
    Fresh,
    /// Its lines are its own.
    Own,
    /// Up to `same` byte for byte like another file: a copy, before the other one is truncated.
    Copy {
        /// The other file.
        of: String,
        /// So many bytes were compared.
        same: u64,
    },
}

#[derive(Debug)]
pub(super) struct Followed {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) standing: Standing,
    /// Whether the next look tells where it begins.
    pub(super) undecided: bool,
    pub(super) quiet_polls: u32,
    /// The time of its first event, where it was there at the first poll and has one.
    pub(super) begins: Option<SystemTime>,
    /// The byte after the last complete line.
    next: u64,
    /// What was read after it.
    partial: BytesMut,
    /// A line that was too long is being skipped.
    skipping: bool,
    /// The first bytes when it was last noted, where nothing was read.
    noted: Vec<u8>,
    /// The first bytes that were read, and the last ones.
    head: Vec<u8>,
    last: Vec<u8>,
    /// Length and time at the last look, and how often they were the same.
    seen: Option<(u64, SystemTime)>,
    looks: u32,
}

impl Followed {
    /// A file of which nothing was read.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::open(path)?,
            standing: Standing::Fresh,
            undecided: false,
            quiet_polls: 0,
            begins: None,
            next: 0,
            partial: BytesMut::new(),
            skipping: false,
            noted: Vec::new(),
            head: Vec::new(),
            last: Vec::new(),
            seen: None,
            looks: 0,
        })
    }

    /// Where the file was read to, complete lines or not.
    pub(super) fn position(&self) -> u64 {
        self.next + self.partial.len() as u64
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.len())
    }

    /// The first bytes that were read.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The first bytes that were read, or that there were when it was last noted.
    pub(super) fn begin(&self) -> &[u8] {
        if self.position() == 0 { &self.noted } else { &self.head }
    }

    /// Notes when it was last written and its length; and where nothing was read of it, its first
    /// bytes, by which it is told whether they are gone before they are read.
    pub(super) fn note(&mut self) -> io::Result<(SystemTime, u64)> {
        let meta = self.file.metadata()?;
        if self.position() == 0 {
            self.noted = first_bytes(&self.file, meta.len())?;
        }
        Ok((meta.modified()?, meta.len()))
    }

    fn print(&self) -> Option<Print> {
        let position = self.position();
        (position > 0).then(|| Print::of(&self.head, position, &self.last))
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { next: self.next, print: self.print() }
    }

    /// Begins, or begins anew, after so many bytes.
    pub(super) fn begin_at(&mut self, next: u64) -> io::Result<()> {
        self.head = first_bytes(&self.file, next)?;
        self.last = last_bytes(&self.file, next)?;
        // Within a line only after the first part of one that was too long; a hole is none.
        let is_hole = self.last.iter().all(|byte| *byte == 0);
        self.skipping = !is_hole && self.last.last() != Some(&b'\n');
        self.partial.clear();
        self.next = next;
        (self.standing, self.undecided) = (Standing::Own, false);
        Ok(())
    }

    /// Goes on with a content that is known. False, and nothing is begun, where the file does not have
    /// it, or has lost it while it was looked at.
    pub(super) fn resume(&mut self, mark: Mark) -> io::Result<bool> {
        let has_it = |file: &File| match mark.print {
            Some(print) => print.fits(file),
            None => file.metadata().map(|meta| meta.len() >= mark.next),
        };
        if !has_it(&self.file)? {
            return Ok(false);
        }
        self.begin_at(mark.next)?;
        if has_it(&self.file)? {
            return Ok(true);
        }
        (self.head, self.last) = (Vec::new(), Vec::new());
        (self.next, self.skipping, self.standing) = (0, false, Standing::Fresh);
        Ok(false)
    }

    /// Whether the file still has what was read of it, or noted.
    pub(super) fn has_what_was_read(&self) -> io::Result<bool> {
        match self.print() {
            Some(print) => print.fits(&self.file),
            None => first_bytes(&self.file, self.noted.len() as u64).map(|now| now == self.noted),
        }
    }

    /// Whether the content is no longer the one that was read: the file was truncated, and perhaps
    /// written anew.
    pub(super) fn is_replaced(&mut self) -> io::Result<bool> {
        let meta = self.file.metadata()?;
        let seen = (meta.len(), meta.modified()?);
        self.looks = if self.seen == Some(seen) { self.looks.saturating_add(1) } else { 0 };
        self.seen = Some(seen);
        if self.looks >= SAME_LOOKS {
            return Ok(false);
        }
        self.has_what_was_read().map(|has| !has)
    }

    /// Reads on, up to `len` of its bytes. True when there may be more at once.
    pub(super) fn read(&mut self, len: u64) -> io::Result<bool> {
        let position = self.position();
        let Some(unread) = len.checked_sub(position).filter(|unread| *unread > 0) else {
            return Ok(false);
        };
        let unread = usize::try_from(unread).map_or(READ_BYTES_MAX, |n| n.min(READ_BYTES_MAX));
        let bytes = read_at(&self.file, position, unread)?;
        // Truncated while it was read, it may have given bytes of another content.
        if !self.has_what_was_read()? {
            self.looks = 0;
            return Ok(true);
        }
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
        self.last.extend_from_slice(&bytes);
        let surplus = self.last.len().saturating_sub(LAST_BYTES);
        self.last.drain(..surplus);
        self.partial.extend_from_slice(&bytes);
        Ok(bytes.len() == READ_BYTES_MAX)
    }

    /// Takes the complete lines out of what was read.
    pub(super) fn lines(&mut self) -> Vec<(Bytes, u64)> {
        let mut lines = Vec::new();
        loop {
            self.skip_hole();
            let Some(end) = memchr::memchr(b'\n', &self.partial) else { break };
            let line = self.partial.split_to(end + 1).freeze();
            self.next += line.len() as u64;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let line = line.slice(..end);
            lines.push((line.slice(..end.min(LINE_BYTES_MAX)), self.next));
        }
        if self.partial.len() > LINE_BYTES_MAX {
            let piece = self.partial.split().freeze();
            self.next += piece.len() as u64;
            if !self.skipping {
                lines.push((piece.slice(..LINE_BYTES_MAX), self.next));
            }
            self.skipping = true;
        }
        lines
    }

    /// Passes over what a writer left empty that does not append: after a truncation it goes on
    /// where it was, and all before is NUL.
    fn skip_hole(&mut self) {
        if self.skipping || self.partial.first() != Some(&0) {
            return;
        }
        let hole = self.partial.iter().take_while(|byte| **byte == 0).count();
        self.next += self.partial.split_to(hole).len() as u64;
    }
}
