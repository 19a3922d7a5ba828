//! Following the files that match a pattern.
//!
//! Owns: which files there are, rotation, truncation, and cutting bytes into lines.
//! Never: where the lines go, or a clock.
//!
//! A file is its device and inode, so a rename changes nothing. A file that became shorter, or
//! whose beginning changed, was truncated and is read anew. A file that no longer matches (renamed
//! away, deleted) is kept open until it gave nothing for [`GONE_POLLS`] polls: its writer may hold
//! it still. A line is given once its end is there. Files are read in the order in which they were
//! last written, and one that was rotated away is read to its end before those that came after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};

/// A line longer than this is given in one piece of this size and skipped to its end.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes read from one file in one poll: a fair share when several files have a backlog.
const READ_BYTES_MAX: usize = 1 << 20;
/// Polls without a byte after which a file that no longer matches is closed: 10 s at 4 a second.
const GONE_POLLS: u32 = 40;
/// A file that was last written so long before another one was rotated away.
const RESTS_AFTER: Duration = Duration::from_secs(10);
/// Bytes at the beginning that tell one content from another after a truncation.
const HEAD_BYTES: usize = 64;

/// What to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// A path; its last part may hold `*` and `?`.
    pub pattern: PathBuf,
    /// Where each file had been read to.
    pub places: BTreeMap<String, u64>,
    /// Whether files that have no place and are there at the first poll begin at their end.
    pub from_end: bool,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Device and inode, `dev:ino`.
    pub file: String,
    /// The byte after the line and its end.
    pub next: u64,
}

/// Lines of one file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Device and inode, `dev:ino`.
    pub file: String,
    /// Each line without its end, and the byte after it.
    pub lines: Vec<(Bytes, u64)>,
}

/// The files that match, and how far each was read.
#[derive(Debug)]
pub struct Tail {
    follow: Follow,
    open: BTreeMap<String, Followed>,
    first: bool,
    troubles: BTreeMap<PathBuf, String>,
}

#[derive(Debug)]
struct Followed {
    path: PathBuf,
    file: File,
    /// The byte after the last complete line.
    next: u64,
    /// What was read after it.
    partial: BytesMut,
    /// A line that was too long is being skipped.
    skipping: bool,
    head: Vec<u8>,
    quiet_polls: u32,
}

impl Tail {
    /// Follows nothing yet; the first poll opens.
    #[must_use]
    pub fn new(follow: Follow) -> Self {
        let (open, troubles) = (BTreeMap::new(), BTreeMap::new());
        Self { follow, open, first: true, troubles }
    }

    /// What is followed.
    #[must_use]
    pub fn pattern(&self) -> std::path::Display<'_> {
        self.follow.pattern.display()
    }

    /// Whether no file matches now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What could not be read at the last poll, and why. Nothing is lost: the next one tries again.
    #[must_use]
    pub fn troubles(&self) -> &BTreeMap<PathBuf, String> {
        &self.troubles
    }

    /// What has come since the last poll, at most a mebibyte a file, and whether every file that
    /// can be read was read to its end. A file that cannot be read holds up no other.
    pub fn poll(&mut self) -> (Vec<Chunk>, bool) {
        self.troubles.clear();
        let seen = self.discover();
        let mut chunks = Vec::new();
        let mut at_end = true;
        let mut gone = Vec::new();
        for (id, rests) in self.oldest_first(&seen) {
            let Some(followed) = self.open.get_mut(&id) else { continue };
            let more = match followed.read() {
                Ok(more) => more,
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                    continue;
                }
            };
            at_end &= !more;
            let lines = followed.lines();
            followed.quiet_polls = if lines.is_empty() { followed.quiet_polls + 1 } else { 0 };
            if !lines.is_empty() {
                chunks.push(Chunk { file: id.clone(), lines });
            }
            if !seen.contains(&id) && followed.quiet_polls >= GONE_POLLS {
                gone.push(id);
            }
            if more && rests {
                break; // what comes after it is newer, and would make its lines late
            }
        }
        for id in gone {
            self.open.remove(&id);
            self.follow.places.remove(&id);
        }
        (chunks, at_end)
    }

    /// The files by the time at which they were last written, and whether others have been written
    /// since: such a file was rotated away, and its lines are before theirs. Of two written in the
    /// same tick of the clock, the one that no longer matches is the older.
    fn oldest_first(&mut self, seen: &BTreeSet<String>) -> Vec<(String, bool)> {
        let mut written = Vec::with_capacity(self.open.len());
        for (id, followed) in &self.open {
            match followed.file.metadata().and_then(|meta| meta.modified()) {
                Ok(at) => written.push((at, seen.contains(id), id.clone())),
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                }
            }
        }
        written.sort();
        let newest = written.last().map(|(at, ..)| *at);
        let rests = |at: SystemTime| {
            newest.and_then(|newest| newest.duration_since(at).ok()) > Some(RESTS_AFTER)
        };
        written.into_iter().map(|(at, _, id)| (id, rests(at))).collect()
    }

    /// Opens what is new, and tells which files match.
    fn discover(&mut self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let paths = matching(&self.follow.pattern).unwrap_or_else(|error| {
            self.troubles.insert(self.follow.pattern.clone(), error.to_string());
            Vec::new()
        });
        for path in paths {
            match self.open(&path) {
                Ok(id) => seen.extend(id),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.troubles.insert(path, error.to_string());
                }
            }
        }
        self.first = false;
        seen
    }

    /// Opens a file unless it is open; none where it is no file.
    fn open(&mut self, path: &Path) -> io::Result<Option<String>> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Ok(None);
        }
        let id = identity(&meta);
        if !self.open.contains_key(&id) {
            let known = self.follow.places.get(&id).copied();
            let new = if self.first && self.follow.from_end { meta.len() } else { 0 };
            self.open.insert(id.clone(), Followed::open(path, known.unwrap_or(new))?);
        }
        Ok(Some(id))
    }
}

fn identity(meta: &Metadata) -> String {
    format!("{:x}:{:x}", meta.dev(), meta.ino())
}

impl Followed {
    fn open(path: &Path, next: u64) -> io::Result<Self> {
        let mut followed = Self {
            path: path.to_owned(),
            file: File::open(path)?,
            next,
            partial: BytesMut::new(),
            skipping: false,
            head: Vec::new(),
            quiet_polls: 0,
        };
        followed.head = followed.read_head()?;
        Ok(followed)
    }

    fn read_head(&mut self) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        self.file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        Ok(head)
    }

    /// Reads on; true when there may be more at once.
    fn read(&mut self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        let position = self.next + self.partial.len() as u64;
        if self.truncated(length, position)? {
            self.next = 0;
            self.partial.clear();
            self.skipping = false;
            self.head = self.read_head()?;
        }
        let position = self.next + self.partial.len() as u64;
        if length <= position {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(position))?;
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(READ_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        self.partial.extend_from_slice(&bytes);
        if self.head.len() < HEAD_BYTES {
            self.head = self.read_head()?;
        }
        Ok(read == READ_BYTES_MAX)
    }

    fn truncated(&mut self, length: u64, position: u64) -> io::Result<bool> {
        if length < position {
            return Ok(true);
        }
        if length == position || self.head.is_empty() {
            return Ok(false);
        }
        let now = self.read_head()?;
        Ok(!now.starts_with(&self.head))
    }

    /// Takes the complete lines out of what was read.
    fn lines(&mut self) -> Vec<(Bytes, u64)> {
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &self.partial) {
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
}

/// The paths that match, in order of name. A folder that is not there matches nothing.
fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = name.filter(|name| name.contains(['*', '?'])) else {
        return Ok(vec![pattern.to_owned()]);
    };
    let folder = pattern.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if fits(name.as_bytes(), entry.file_name().to_string_lossy().as_bytes()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a name fits a pattern of `*` (any number of bytes) and `?` (one byte).
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, tail)| fits(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => fits(rest, tail),
        (Some((p, rest)), Some((n, tail))) => p == n && fits(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use super::{Follow, LINE_BYTES_MAX, RESTS_AFTER, Tail, fits};

    fn tail(pattern: &Path, places: BTreeMap<String, u64>) -> Tail {
        Tail::new(Follow { pattern: pattern.to_owned(), places, from_end: false })
    }

    fn write(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// The lines of one poll, and the places after each file.
    fn poll(tail: &mut Tail) -> (Vec<String>, BTreeMap<String, u64>) {
        let (chunks, _) = tail.poll();
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let lines = chunks.iter().flat_map(|c| c.lines.iter().map(|(l, _)| text(l))).collect();
        let places = chunks.iter().map(|c| (c.file.clone(), c.lines.last().unwrap().1)).collect();
        (lines, places)
    }

    #[test]
    fn a_line_is_given_once_its_end_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut tail = tail(&path, BTreeMap::new());
        assert!(poll(&mut tail).0.is_empty(), "no file yet");
        write(&path, "one\ntw");
        assert_eq!(poll(&mut tail).0, ["one"]);
        write(&path, "o\n\nfour\n");
        assert_eq!(poll(&mut tail).0, ["two", "", "four"]);
        assert!(poll(&mut tail).0.is_empty());
    }

    #[test]
    fn reading_goes_on_at_the_exact_line_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        write(&path, "one\ntwo\nthr");
        let (lines, places) = poll(&mut tail(&path, BTreeMap::new()));
        assert_eq!(lines, ["one", "two"]);
        write(&path, "ee\nfour\n");
        assert_eq!(poll(&mut tail(&path, places)).0, ["three", "four"]);
    }

    #[test]
    fn rotation_by_rename_loses_neither_the_old_tail_nor_the_new_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        write(&path, "one\n");
        let mut tail = tail(&path, BTreeMap::new());
        assert_eq!(poll(&mut tail).0, ["one"]);
        let rotated = folder.path().join("access.log.1");
        fs::rename(&path, &rotated).unwrap();
        write(&rotated, "late\n");
        write(&path, "new\n");
        let mut lines = poll(&mut tail).0;
        lines.sort();
        assert_eq!(lines, ["late", "new"]);
    }

    #[test]
    fn a_backlog_in_a_rotated_file_comes_before_what_was_written_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("access.log.1"), folder.path().join("access.log"));
        write(&new, "new\n");
        let long = "x".repeat(LINE_BYTES_MAX / 2 - 1) + "\n";
        write(&old, &(long.repeat(3) + "last\n"));
        let long_ago = fs::metadata(&new).unwrap().modified().unwrap() - RESTS_AFTER * 2;
        File::options().append(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        let mut tail = tail(&folder.path().join("access.log*"), BTreeMap::new());
        let mut lines = Vec::new();
        for _ in 0..4 {
            lines.extend(poll(&mut tail).0);
        }
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[3..], ["last", "new"]);
    }

    #[test]
    fn a_truncated_file_is_read_anew_even_when_it_is_longer_by_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        write(&path, "one\n");
        let mut tail = tail(&path, BTreeMap::new());
        assert_eq!(poll(&mut tail).0, ["one"]);
        fs::write(&path, "x\n").unwrap();
        assert_eq!(poll(&mut tail).0, ["x"]);
        fs::write(&path, "another\nand more\n").unwrap();
        assert_eq!(poll(&mut tail).0, ["another", "and more"]);
    }

    #[test]
    fn a_line_without_end_is_cut_at_the_limit_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        write(&path, &"x".repeat(3 * LINE_BYTES_MAX));
        write(&path, "\nnext\n");
        let mut tail = tail(&path, BTreeMap::new());
        let mut lines = Vec::new();
        for _ in 0..6 {
            lines.extend(poll(&mut tail).0);
        }
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].len(), lines[1].as_str()), (LINE_BYTES_MAX, "next"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (bad, good) = (folder.path().join("a.log"), folder.path().join("b.log"));
        // A link to itself: even root cannot read it.
        std::os::unix::fs::symlink(&bad, &bad).unwrap();
        write(&good, "one\n");
        let mut tail = tail(&folder.path().join("*.log"), BTreeMap::new());
        assert_eq!(poll(&mut tail).0, ["one"]);
        assert_eq!(tail.troubles().keys().collect::<Vec<_>>(), [&bad]);
        fs::remove_file(&bad).unwrap();
        write(&bad, "two\n");
        assert_eq!(poll(&mut tail).0, ["two"]);
        assert!(tail.troubles().is_empty());
    }

    #[test]
    fn patterns_match_names() {
        let cases = [
            ("access*.log", "access-1.log", true),
            ("a?c", "abc", true),
            ("*", "", true),
            ("a?c", "ac", false),
            ("access*.log", "access.log.gz", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
