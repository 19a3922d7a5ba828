//! Following the files that match a pattern.
//!
//! Owns: which files there are, rotation, truncation, copies. Never: where the lines go, or a clock.
//!
//! A file is its device and inode, so a rename changes nothing. A file whose content is another one
//! than was read ([`Mark`]) was truncated, or its inode is used again, and is read anew. A file that
//! is found byte for byte like one that is followed is a copy: once the other one is truncated, or
//! gone, it goes on where that one was read to. A file that no longer matches (renamed away,
//! deleted) is kept open until it gave nothing for [`GONE_POLLS`] polls: its writer may hold it
//! still. A line is given once its end is there. Files are read in the order in which they were last
//! written, each to its end before those that were written after it; those that are there at the
//! first poll, in the order of their first events where these can be told ([`Begins`]): a copy of a
//! log has the time at which it was copied.
//!
//! Files change while they are looked at. So all of them are noted at one moment, after which a look
//! at the folder finds no other; of each is read what it held then, if it still holds it; and what
//! cannot be decided waits for the next poll.

mod begins;
mod followed;
mod mark;
mod pattern;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

use followed::{Followed, Standing};
use mark::{first_bytes, read_at};
use pattern::matching;

pub(super) use begins::Begins;
pub use mark::{Mark, Print};
pub(in crate::input) use mark::{named, read as read_mark};

/// A line longer than this is given in one piece of this size and skipped to its end.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes read from one file in one poll: a fair share when several files have a backlog.
const READ_BYTES_MAX: usize = 1 << 20;
/// Polls without a byte after which a file that no longer matches is closed: 10 s at 4 a second.
const GONE_POLLS: u32 = 40;
/// Marks of contents that are in no file that is open: by them a file that comes back, or a copy, is
/// known.
const LEFT_MAX: usize = 64;
/// Looks at the folder in one poll, of which each found a file that the one before it had not.
const LOOKS_MAX: usize = 4;

/// What to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// A path; its last part may hold `*` and `?`.
    pub pattern: PathBuf,
    /// Where each file had been read to, by `dev:ino`.
    pub places: BTreeMap<String, Mark>,
    /// Whether files that have no place and are there at the first poll begin at their end.
    pub from_end: bool,
    /// How the order of files that are there at the first poll is told by their events.
    pub begins: Option<Begins>,
}

/// Lines of one file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The file, as records name it.
    pub file: String,
    /// Each line without its end, and the byte after it.
    pub lines: Vec<(Bytes, u64)>,
}

/// What one poll gave.
#[derive(Debug, Default)]
pub struct Polled {
    /// The lines, file by file.
    pub chunks: Vec<Chunk>,
    /// Files that do not begin at their beginning. Their places must be durable before any line of
    /// this poll is, or after a crash they would.
    pub adopted: Vec<(String, Mark)>,
    /// Whether every file that can be read was read to its end.
    pub at_end: bool,
}

/// The files that match, and how far each was read.
#[derive(Debug)]
pub struct Tail {
    pattern: PathBuf,
    from_end: bool,
    begins: Option<Begins>,
    open: BTreeMap<String, Followed>,
    /// Contents that are in no open file, the newest last.
    left: VecDeque<(String, Mark)>,
    first: bool,
    troubles: BTreeMap<PathBuf, String>,
}

impl Tail {
    /// Follows nothing yet; the first poll opens.
    #[must_use]
    pub fn new(follow: Follow) -> Self {
        let Follow { pattern, places, from_end, begins } = follow;
        let (open, troubles) = (BTreeMap::new(), BTreeMap::new());
        let left = places.into_iter().collect();
        Self { pattern, from_end, begins, open, left, first: true, troubles }
    }

    /// What is followed.
    #[must_use]
    pub fn pattern(&self) -> &Path {
        &self.pattern
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

    /// Where each file was read to. True once all that was polled is durable.
    #[must_use]
    pub fn places(&self) -> BTreeMap<String, Mark> {
        let left = self.left.iter().map(|(id, mark)| (id.clone(), *mark));
        let mut places: BTreeMap<String, Mark> = left.collect();
        let own = self.open.iter().filter(|(_, followed)| followed.standing == Standing::Own);
        places.extend(own.map(|(id, followed)| (id.clone(), followed.mark())));
        places
    }

    /// What has come since the last poll, at most a mebibyte a file. A file that cannot be read
    /// holds up no other.
    pub fn poll(&mut self) -> Polled {
        self.troubles.clear();
        let mut polled = Polled { at_end: true, ..Polled::default() };
        self.leave_replaced(&mut polled.adopted);
        let begins = self.first && self.from_end;
        let (turns, seen) = self.discover();
        polled.at_end &= turns.is_some();
        if begins {
            polled.adopted.extend(self.places());
        }
        self.place_fresh(&mut polled.adopted);
        self.compare_copies(&mut polled.at_end);
        self.read(oldest_first(turns.unwrap_or_default(), &seen), &seen, &mut polled);
        polled
    }

    /// Reads the files in their order, and closes those that are gone.
    fn read(&mut self, turns: Vec<Turn>, seen: &BTreeSet<String>, polled: &mut Polled) {
        let mut gone = Vec::new();
        let newest = turns.last().map(|turn| turn.at);
        for Turn { id, len, at } in turns {
            let rests = newest > Some(at);
            let Some(followed) = self.open.get_mut(&id) else { continue };
            if followed.undecided && rests {
                break; // its lines may come before those of all that is newer
            }
            let more = match followed.standing {
                Standing::Own => followed.read(len),
                Standing::Fresh | Standing::Copy { .. } => Ok(false),
            };
            let more = match more {
                Ok(more) => more,
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                    continue;
                }
            };
            polled.at_end &= !more;
            let lines = followed.lines();
            followed.quiet_polls = if lines.is_empty() { followed.quiet_polls + 1 } else { 0 };
            if !lines.is_empty() {
                let file = named(&id, followed.mark().print);
                polled.chunks.push(Chunk { file, lines });
            }
            if !seen.contains(&id) && followed.quiet_polls >= GONE_POLLS {
                gone.push(id);
            }
            if more && rests {
                break; // what comes after it is newer, and would make its lines late
            }
        }
        for id in gone {
            if let Some(followed) = self.open.remove(&id) {
                self.leave(&id, followed.mark(), followed.head(), &mut polled.adopted);
            }
        }
    }

    /// Looks for files whose content is another one than was read, and begins them anew.
    fn leave_replaced(&mut self, adopted: &mut Vec<(String, Mark)>) {
        let mut replaced = Vec::new();
        for (id, followed) in &mut self.open {
            match followed.is_replaced() {
                Ok(false) => {}
                Ok(true) => {
                    let old = (id.clone(), followed.mark(), followed.head().to_vec());
                    followed.begins = None;
                    if let Err(error) = followed.begin_at(0) {
                        self.troubles.insert(followed.path.clone(), error.to_string());
                    }
                    replaced.push(old);
                }
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                }
            }
        }
        for (id, mark, head) in replaced {
            self.leave(&id, mark, &head, adopted);
        }
    }

    /// A content is in this file no more; its copies go on with it.
    fn leave(&mut self, id: &str, mark: Mark, head: &[u8], adopted: &mut Vec<(String, Mark)>) {
        for (copy, followed) in &mut self.open {
            let Standing::Copy { of, same } = &followed.standing else { continue };
            if of != id {
                continue;
            }
            let same = *same;
            let begun =
                goes_on(followed, same, mark, head).and_then(|next| followed.begin_at(next));
            match begun {
                Ok(()) if followed.position() > 0 => {
                    adopted.push((copy.clone(), followed.mark()));
                }
                Ok(()) => {}
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                }
            }
        }
        if mark.print.is_some() {
            self.left.push_back((id.to_owned(), mark));
            let surplus = self.left.len().saturating_sub(LEFT_MAX);
            self.left.drain(..surplus);
        }
    }

    /// Decides for files that were just found where they begin.
    fn place_fresh(&mut self, adopted: &mut Vec<(String, Mark)>) {
        let fresh = self.open.iter().filter(|(_, followed)| followed.standing == Standing::Fresh);
        let fresh: Vec<String> = fresh.map(|(id, _)| id.clone()).collect();
        for id in fresh {
            let placed = self.place(&id);
            let Some(followed) = self.open.get_mut(&id) else { continue };
            let begun = placed.and_then(|placed| match placed {
                Place::Unknown => Ok(()),
                Place::Begin => followed.begin_at(0),
                Place::Left(mark) => followed.resume(mark).map(|resumed| {
                    let at = self.left.iter().position(|(_, other)| resumed && *other == mark);
                    at.map(|at| self.left.remove(at));
                }),
                Place::CopyOf(of) => {
                    followed.standing = Standing::Copy { of, same: 0 };
                    Ok(())
                }
            });
            match begun {
                Ok(()) if followed.position() > 0 => adopted.push((id, followed.mark())),
                Ok(()) => {}
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                }
            }
        }
    }

    fn place(&self, id: &str) -> io::Result<Place> {
        let Some(followed) = self.open.get(id) else { return Ok(Place::Unknown) };
        let len = followed.len()?;
        if len == 0 {
            return Ok(Place::Unknown);
        }
        for (_, mark) in &self.left {
            if let Some(print) = mark.print
                && print.fits(&followed.file)?
            {
                return Ok(Place::Left(*mark));
            }
        }
        let ours = first_bytes(&followed.file, len)?;
        for (other, followed) in &self.open {
            if other == id || followed.standing != Standing::Own {
                continue;
            }
            // Of one that was truncated since, it is what the copy begins with.
            let begin = followed.begin();
            let shared = ours.len().min(begin.len());
            if shared > 0 && ours.get(..shared) == begin.get(..shared) {
                return Ok(Place::CopyOf(other.clone()));
            }
        }
        Ok(Place::Begin)
    }

    /// Goes on comparing what may be copies. One that is found to be none is read from its beginning.
    fn compare_copies(&mut self, at_end: &mut bool) {
        let mut compared = Vec::new();
        for (id, copy) in &self.open {
            let Standing::Copy { of, same } = &copy.standing else { continue };
            let Some(original) = self.open.get(of) else { continue };
            compared.push((id.clone(), compare(copy, original, *same)));
        }
        for (id, found) in compared {
            let Some(copy) = self.open.get_mut(&id) else { continue };
            copy.undecided = matches!(found, Ok(Compared::Gone));
            let told = found.and_then(|found| match (found, &mut copy.standing) {
                (Compared::Alike { further, whole }, Standing::Copy { same, .. }) => {
                    *same = further;
                    *at_end &= whole;
                    Ok(())
                }
                (Compared::Gone, _) => {
                    *at_end = false;
                    Ok(())
                }
                _ => copy.begin_at(0),
            });
            if let Err(error) = told {
                self.troubles.insert(copy.path.clone(), error.to_string());
            }
        }
    }

    /// Notes the files that are open, opens what is new, and tells which files match. Where it finds
    /// a new one it notes all again: what a file holds by then may be younger than what the new one
    /// does. Nothing is noted where there is no end of new ones.
    fn discover(&mut self) -> (Option<Vec<Turn>>, BTreeSet<String>) {
        let mut seen = BTreeSet::new();
        for _ in 0..LOOKS_MAX {
            let turns = self.note();
            let paths = matching(&self.pattern).unwrap_or_else(|error| {
                self.troubles.insert(self.pattern.clone(), error.to_string());
                Vec::new()
            });
            if !self.open_all(paths, &mut seen) {
                self.first = false;
                return (Some(turns), seen);
            }
        }
        self.first = false;
        (None, seen)
    }

    /// The files as they are now.
    fn note(&mut self) -> Vec<Turn> {
        let mut turns = Vec::with_capacity(self.open.len());
        for (id, followed) in &mut self.open {
            match followed.note() {
                Ok((written, len)) => {
                    let at = (followed.begins.unwrap_or(written), written);
                    turns.push(Turn { id: id.clone(), at, len });
                }
                Err(error) => {
                    self.troubles.insert(followed.path.clone(), error.to_string());
                }
            }
        }
        turns
    }

    /// Opens what is found at these paths; true where one was not open before.
    fn open_all(&mut self, paths: Vec<PathBuf>, seen: &mut BTreeSet<String>) -> bool {
        let known = self.open.len();
        for path in paths {
            match self.open(&path) {
                Ok(id) => seen.extend(id),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.troubles.insert(path, error.to_string());
                }
            }
        }
        self.open.len() > known
    }

    /// Opens a file unless it is open; none where it is no file.
    fn open(&mut self, path: &Path) -> io::Result<Option<String>> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Ok(None);
        }
        let id = identity(&meta);
        if self.open.contains_key(&id) {
            return Ok(Some(id));
        }
        let mut followed = Followed::open(path)?;
        if self.first {
            followed.begins = self.begins.as_ref().and_then(|begins| begins.of(&followed.file));
        }
        let known = self.left.iter().position(|(other, _)| *other == id);
        let mark = known.and_then(|at| self.left.get(at)).map(|(_, mark)| *mark);
        if let (Some(mark), Some(at)) = (mark, known)
            && followed.resume(mark)?
        {
            self.left.remove(at);
        } else if mark.is_none() && self.first && self.from_end {
            followed.begin_at(meta.len())?;
        }
        self.open.insert(id.clone(), followed);
        Ok(Some(id))
    }
}

/// A file as it was noted: when its events begin, where that is known, and when it was last
/// written; and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    id: String,
    at: (SystemTime, SystemTime),
    len: u64,
}

/// By the time at which they begin or else were last written. Of two written in the same tick of the
/// clock, the one that no longer matches is the older.
fn oldest_first(mut turns: Vec<Turn>, seen: &BTreeSet<String>) -> Vec<Turn> {
    turns.sort_by(|a, b| {
        (a.at, seen.contains(&a.id), &a.id).cmp(&(b.at, seen.contains(&b.id), &b.id))
    });
    turns
}

/// Where a file begins.
enum Place {
    /// Nothing is in it yet.
    Unknown,
    /// None of it is known.
    Begin,
    /// Its content was read to there.
    Left(Mark),
    /// It begins like this one.
    CopyOf(String),
}

fn identity(meta: &Metadata) -> String {
    format!("{:x}:{:x}", meta.dev(), meta.ino())
}

/// Where a copy goes on, whose first `same` bytes are known to be like those of a content that was
/// read up to `mark` and began with `head`.
fn goes_on(copy: &Followed, same: u64, mark: Mark, head: &[u8]) -> io::Result<u64> {
    let len = copy.len()?;
    let Some(print) = mark.print else { return Ok(0) };
    // What was written after it was copied, and was read from the other file.
    let is_shorter = || -> io::Result<bool> {
        let begin = first_bytes(&copy.file, len)?;
        Ok(len < print.end() && begin.len() <= head.len() && head.starts_with(&begin))
    };
    let is_copy = same == len || print.fits(&copy.file)? || is_shorter()?;
    Ok(if is_copy { mark.next.min(len) } else { 0 })
}

/// What a file is beside the one that it begins like.
enum Compared {
    /// So far alike; whether that is all of the copy.
    Alike { further: u64, whole: bool },
    /// It is no copy.
    Differs,
    /// The other one was truncated since it was last looked at: the next look decides.
    Gone,
}

/// Compares a copy with the other file, from where they are known to be alike.
fn compare(copy: &Followed, original: &Followed, same: u64) -> io::Result<Compared> {
    let differs = || {
        let has = original.has_what_was_read()?;
        Ok(if has { Compared::Differs } else { Compared::Gone })
    };
    let len = copy.len()?;
    // In this order: the other one may grow in between. A copy does not become shorter.
    if len < same || len > original.len()? {
        return differs();
    }
    let (ours, theirs) = (
        read_at(&copy.file, same, READ_BYTES_MAX)?,
        read_at(&original.file, same, READ_BYTES_MAX)?,
    );
    let alike = theirs.starts_with(&ours);
    let further = same + ours.len() as u64;
    if alike { Ok(Compared::Alike { further, whole: further >= len }) } else { differs() }
}

#[cfg(test)]
mod tests;
