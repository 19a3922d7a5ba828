//! The ledger's file.
//!
//! Owns: appending, reading back after a crash, writing anew, and the lock that keeps a second
//! process out. Never: interprets records.
//!
//! Crash rules. A line is appended by one write and fsynced before [`Ledger::append`] returns, and
//! the next begins only after that, so only the last line of a file can be torn; nobody was told
//! that it is there. It is moved to `ledger.torn` and cut off. Any other line that does not read
//! back is damage, and stops the program rather than forgetting what was done. The file is written
//! anew beside the old one, fsynced, and renamed over it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use runtime::config::Span;
use schemas::EventTime;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::LedgerError;
use super::record::Record;
use super::state::State;

/// The name of the ledger in its folder.
pub const LEDGER_FILE: &str = "ledger.jsonl";

const LOCK_FILE: &str = "ledger.lock";
const TORN_FILE: &str = "ledger.torn";
const NEW_FILE: &str = "ledger.jsonl.new";

/// The format of the file.
const VERSION: u32 = 1;

/// Records on one line of a file that is written anew: about 1 MiB.
const RECORDS_PER_LINE: usize = 512;

/// When the file is written anew, and what is forgotten then.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Not before the file has so many bytes, and twice as many as after the last time.
    pub compact_bytes_min: u64,
    /// Finished orders are kept for so long. Escalation and repeated verdicts need them.
    pub history: Span,
    /// Above so many orders the oldest finished ones go earlier. Each takes about 1 KiB.
    pub orders_max: usize,
}

impl Default for Options {
    /// 100,000 orders of 1 KiB are 100 MiB in memory, when every one of them is needed.
    fn default() -> Self {
        Self {
            compact_bytes_min: 4 * 1024 * 1024,
            history: Span::from_secs(30 * 24 * 60 * 60),
            orders_max: 100_000,
        }
    }
}

/// The ledger of this process: its file, locked, and what it adds up to.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) state: State,
    pub(crate) journal: LedgerFile,
}

/// The file alone.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    options: Options,
    file: File,
    bytes: u64,
    bytes_when_new: u64,
    last_seq: u64,
    broken: bool,
    /// Held as long as the file is open.
    _lock: File,
}

/// One line.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Line {
    /// One more than that of the line before; equal to the first line's for what it was begun with.
    pub(crate) seq: u64,
    pub(crate) records: Vec<Record>,
}

impl Ledger {
    /// Opens the ledger in `folder`, made if it is not there, and keeps other processes out.
    ///
    /// # Errors
    /// When another process has it, the disk refuses, or the file is damaged.
    pub fn open(folder: &Path, options: Options) -> Result<Self, LedgerError> {
        let path = folder.join(LEDGER_FILE);
        let io = |what| {
            let path = path.display().to_string();
            let next = "check `storage.folder`: it must be a writable folder on a disk with room";
            move |source| LedgerError::Io { what, path, next, source }
        };
        std::fs::create_dir_all(folder).map_err(io("make the folder of"))?;
        let lock = lock(folder, &path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let read = read(&bytes, &path)?;
        if let Some(torn) = bytes.get(read.valid_bytes..).filter(|torn| !torn.is_empty()) {
            warn!(path = %path.display(), bytes = torn.len(), "moved a torn last line aside");
            std::fs::write(folder.join(TORN_FILE), torn).map_err(io("move a torn line out of"))?;
            let keep = u64::try_from(read.valid_bytes).unwrap_or(u64::MAX);
            file.set_len(keep).and_then(|()| file.sync_all()).map_err(io("cut a torn line off"))?;
        }
        let valid = u64::try_from(read.valid_bytes).unwrap_or(u64::MAX);
        let mut ledger = Self {
            state: read.state,
            journal: LedgerFile {
                path,
                options,
                file,
                bytes: valid,
                bytes_when_new: valid,
                last_seq: read.last_seq,
                broken: false,
                _lock: lock,
            },
        };
        if valid == 0 {
            ledger.journal.append(&[Record::Header { version: VERSION }])?;
            sync_folder(folder).map_err(io_of(&ledger.journal.path, "make"))?;
        }
        Ok(ledger)
    }

    /// Writes the records down, and then adds them to the state.
    ///
    /// # Errors
    /// When they are not on the disk; the state is then as before.
    pub fn append(&mut self, records: Vec<Record>) -> Result<(), LedgerError> {
        self.journal.append(&records)?;
        for record in records {
            self.state.apply(record);
        }
        Ok(())
    }

    /// What the records add up to.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }
}

impl LedgerFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Appends one line, which is on the disk when this returns, and gives its number.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<u64, LedgerError> {
        if self.broken {
            return Err(LedgerError::Broken { path: self.path.display().to_string() });
        }
        let seq = self.last_seq + 1;
        let line = encode(seq, records).map_err(io_of(&self.path, "write"))?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What is half there would make the next line unreadable.
            let restored = self.file.set_len(self.bytes).and_then(|()| self.file.sync_data());
            self.broken = restored.is_err();
            return Err(io_of(&self.path, "write")(source));
        }
        self.last_seq = seq;
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(seq)
    }

    #[cfg(test)]
    fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    /// Whether the file has grown enough to be written anew.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes > self.options.compact_bytes_min
            && self.bytes > self.bytes_when_new.saturating_mul(2)
    }

    /// Whether it has grown to so many times that size.
    pub(crate) fn is_long_due(&self, times: u64) -> bool {
        self.is_due() && self.bytes > self.options.compact_bytes_min.saturating_mul(times)
    }

    /// Forgets what is old, and gives the records that a new file begins with.
    pub(crate) fn kept(&self, state: &mut State, now: EventTime) -> Vec<Record> {
        let since = now.minus(self.options.history.as_ms_i64());
        let forgotten = state.forget(since, self.options.orders_max);
        info!(forgotten, "writing the ledger anew");
        state.snapshot()
    }

    /// Writes the file anew with these records. The old file stays when this fails.
    pub(crate) fn rewrite(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        let new = self.path.with_file_name(NEW_FILE);
        let begun = self.write_new(&new, records);
        let (file, bytes) = begun.map_err(io_of(&self.path, "write anew"))?;
        self.file = file;
        self.bytes = bytes;
        self.bytes_when_new = bytes;
        Ok(())
    }

    fn write_new(&self, new: &Path, records: &[Record]) -> std::io::Result<(File, u64)> {
        let mut file = File::create(new)?;
        let mut bytes: u64 = 0;
        let header = [Record::Header { version: VERSION }];
        let lines = std::iter::once(&header[..]).chain(records.chunks(RECORDS_PER_LINE));
        for records in lines {
            let line = encode(self.last_seq, records)?;
            file.write_all(&line)?;
            bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        }
        file.sync_all()?;
        drop(file);
        let file = OpenOptions::new().append(true).open(new)?;
        std::fs::rename(new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            sync_folder(folder)?;
        }
        Ok((file, bytes))
    }
}

/// The lines after the one numbered `seq`, from the file itself. Without the records that a file
/// written anew begins with: what they tell was told before.
pub(crate) fn lines_after(path: &Path, seq: u64) -> Result<Vec<Line>, LedgerError> {
    let bytes = std::fs::read(path).map_err(io_of(path, "read"))?;
    let mut lines = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // A line that is just being written is not there yet.
        let Ok(line) = serde_json::from_slice::<Line>(line) else { break };
        if line.seq > seq {
            lines.push(line);
        }
    }
    Ok(lines)
}

struct ReadBack {
    state: State,
    valid_bytes: usize,
    last_seq: u64,
}

fn read(bytes: &[u8], path: &Path) -> Result<ReadBack, LedgerError> {
    let damaged = |line: usize, reason: String| LedgerError::Damaged {
        path: path.display().to_string(),
        line: line + 1,
        reason,
    };
    let mut back = ReadBack { state: State::default(), valid_bytes: 0, last_seq: 0 };
    let mut first_seq = None;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((number, text)) = lines.next() {
        let last = lines.peek().is_none();
        let line: Line = match serde_json::from_slice(text) {
            Ok(line) if text.ends_with(b"\n") => line,
            _ if last => break,
            Ok(_) => return Err(damaged(number, "no end of line".to_owned())),
            Err(error) => return Err(damaged(number, error.to_string())),
        };
        let first = *first_seq.get_or_insert(line.seq);
        let follows = line.seq == back.last_seq + 1 || line.seq == first;
        if number > 0 && !follows {
            let reason = format!("line {} follows line {}", line.seq, back.last_seq);
            return Err(damaged(number, reason));
        }
        match line.records.first() {
            Some(Record::Header { version }) if *version > VERSION => {
                let path = path.display().to_string();
                return Err(LedgerError::Version { path, found: *version, known: VERSION });
            }
            Some(Record::Header { .. }) => {}
            _ if number == 0 => {
                return Err(damaged(0, "it does not begin with a header".to_owned()));
            }
            _ => {}
        }
        back.last_seq = line.seq;
        back.valid_bytes += text.len();
        for record in line.records {
            back.state.apply(record);
        }
    }
    Ok(back)
}

/// The text of a [`Line`].
fn encode(seq: u64, records: &[Record]) -> std::io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        seq: u64,
        records: &'a [Record],
    }
    let mut bytes = serde_json::to_vec(&Borrowed { seq, records })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn lock(folder: &Path, path: &Path) -> Result<File, LedgerError> {
    let lock_path = folder.join(LOCK_FILE);
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
    let mut lock = opened.map_err(io_of(path, "lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&lock_path).ok();
            let pid = pid.and_then(|text| text.trim().parse().ok());
            return Err(LedgerError::Locked { path: path.display().to_string(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(io_of(path, "lock")(source)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(io_of(path, "lock"))?;
    Ok(lock)
}

/// Makes the name of a new file durable too.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    // An empty parent is the current folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn io_of(path: &Path, what: &'static str) -> impl Fn(std::io::Error) -> LedgerError + use<> {
    let path = path.display().to_string();
    let next = "check that its disk is there, writable and has room; it is tried again";
    move |source| LedgerError::Io { what, path: path.clone(), next, source }
}

#[cfg(test)]
mod tests;
