//! The raw log: what was taken, in order, before anything was made of it.
//!
//! Owns: the headers of its records, and where each file had been read to. Never: the meaning of a
//! line.
//!
//! It is embedded, and then everything of one process; or a Kafka topic, and then the lines of one
//! input, of every process that has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use runtime::clock::Clock;
use transport::embedded::{Change, Store, Table};
use transport::{Log, LogError, NewRecord, NextOffset, Partition, ReadLimits, Record};

use super::tail::{Mark, named, read_mark};

/// What a record of the raw log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawKind {
    /// A line of an input.
    Line,
    /// No line: at the record's time the input stood at its end.
    Mark,
    /// A deploy that was posted; JSON of `schemas::Deploy`.
    Deploy,
    /// Other rules are to run from here on.
    Rules,
}

const KIND: &str = "kind";
const INPUT: &str = "input";
const FILE: &str = "file";
const NEXT: &str = "next";
const WRITER: &str = "writer";

/// A record of the raw log, read.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// What it is.
    pub kind: RawKind,
    /// The input that brought it; empty for deploys and rules.
    pub input: &'a str,
    /// The file that the line stood in, with its print, and the place after it.
    pub file: Option<(&'a str, i64)>,
    /// The line without its end.
    pub value: &'a Bytes,
    /// When it was taken, in milliseconds since 1970.
    pub taken_ms: i64,
}

impl<'a> RawRecord<'a> {
    /// Reads a record. Headers that are not ours are ignored.
    #[must_use]
    pub fn of(record: &'a Record) -> Self {
        let mut read = Self {
            kind: RawKind::Line,
            input: "",
            file: None,
            value: &record.value,
            taken_ms: record.timestamp_ms.unwrap_or(0),
        };
        for (name, value) in &record.headers {
            let text = std::str::from_utf8(value).unwrap_or("");
            match name.as_str() {
                KIND if text == "mark" => read.kind = RawKind::Mark,
                KIND if text == "deploy" => read.kind = RawKind::Deploy,
                KIND if text == "rules" => read.kind = RawKind::Rules,
                INPUT => read.input = text,
                _ => {}
            }
        }
        read.file = file_of(&record.headers);
        read
    }
}

/// The file that a line stood in, and the place after it.
fn file_of(headers: &[(String, Bytes)]) -> Option<(&str, i64)> {
    let text = |wanted: &str| {
        let (_, value) = headers.iter().find(|(name, _)| name == wanted)?;
        std::str::from_utf8(value).ok()
    };
    Some((text(FILE)?, text(NEXT)?.parse().ok()?))
}

/// The raw log as inputs write it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RawLog {
    log: Log,
    places: Table,
    clock: Clock,
    /// Tells processes apart that write to one topic; none where there is only this one.
    writer: Option<Bytes>,
}

impl RawLog {
    /// The only partition.
    pub const PARTITION: Partition = Partition(0);

    /// Topic `raw` and table `places` of this store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: &Store, clock: Clock) -> Result<Self, LogError> {
        let log = Log::Embedded(store.log("raw", 1)?);
        Ok(Self { log, places: store.table("places")?, clock, writer: None })
    }

    /// A topic that processes share; `writer` is this one's name for ever. Places are kept in the
    /// same table of this process's store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn shared(log: Log, store: &Store, clock: Clock, writer: &str) -> Result<Self, LogError> {
        let writer = Some(Bytes::copy_from_slice(writer.as_bytes()));
        Ok(Self { log, places: store.table("places")?, clock, writer })
    }

    /// The log itself, to read it.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn record(&self, value: Bytes, mut headers: Vec<(String, Bytes)>) -> NewRecord {
        headers.extend(self.writer.iter().map(|writer| (WRITER.to_owned(), writer.clone())));
        NewRecord { timestamp_ms: Some(self.clock.unix_ms()), headers, ..NewRecord::new(value) }
    }

    /// A line, to be appended with others by [`Self::append`]. `file` names the file, with its print,
    /// and the place after the line.
    #[must_use]
    pub fn line(&self, input: &Bytes, line: Bytes, file: Option<(&Bytes, u64)>) -> NewRecord {
        let mut headers = vec![(INPUT.to_owned(), input.clone())];
        if let Some((file, next)) = file {
            headers.push((FILE.to_owned(), file.clone()));
            headers.push((NEXT.to_owned(), Bytes::from(next.to_string())));
        }
        self.record(line, headers)
    }

    /// Says that the input stands at its end now.
    #[must_use]
    pub fn mark(&self, input: &Bytes) -> NewRecord {
        let kind = (KIND.to_owned(), Bytes::from_static(b"mark"));
        self.record(Bytes::new(), vec![kind, (INPUT.to_owned(), input.clone())])
    }

    /// A deploy, as the JSON of its record.
    #[must_use]
    pub fn deploy(&self, json: Bytes) -> NewRecord {
        self.record(json, vec![(KIND.to_owned(), Bytes::from_static(b"deploy"))])
    }

    /// Says that these rules are to run from here on.
    #[must_use]
    pub fn rules(&self, texts: Bytes) -> NewRecord {
        self.record(texts, vec![(KIND.to_owned(), Bytes::from_static(b"rules"))])
    }

    /// Appends; durable when it returns. Gives where the next record will stand at the earliest.
    ///
    /// # Errors
    /// As [`Log::append`]: the disk is full, the log is closed.
    pub async fn append(&self, records: Vec<NewRecord>) -> Result<NextOffset, LogError> {
        self.log.append(Self::PARTITION, records).await.map(|offsets| offsets.end)
    }

    /// Where each file of an input had been read to, by `dev:ino`: what was last remembered, moved
    /// on by what the log holds since.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn places(&self, input: &str) -> Result<BTreeMap<String, Mark>, LogError> {
        let mut places = BTreeMap::new();
        let mut from = NextOffset::ZERO;
        if let Some(bytes) = self.places.get(input.as_bytes()).await? {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let mut lines = text.lines();
            from = NextOffset(lines.next().and_then(|n| n.parse().ok()).unwrap_or(0));
            places.extend(lines.filter_map(|line| {
                let (next, file) = line.split_once(' ')?;
                let (file, mark) = read_mark(file, next.parse().ok()?);
                Some((file.to_owned(), mark))
            }));
        }
        let bounds = self.log.bounds(Self::PARTITION).await?;
        let from = from.clamp(bounds.start, bounds.end);
        let mut reader = self.log.apart().reader(Self::PARTITION, from).await?;
        while reader.next_offset() < bounds.end {
            let fetched = reader.next(ReadLimits::default()).await?;
            let own = fetched.records.iter().filter(|record| self.is_own(record));
            for record in own.map(RawRecord::of).filter(|record| record.input == input) {
                if let Some((file, next)) = record.file {
                    let (file, mark) = read_mark(file, u64::try_from(next).unwrap_or(0));
                    places.insert(file.to_owned(), mark);
                }
            }
        }
        Ok(places)
    }

    fn is_own(&self, record: &Record) -> bool {
        record.header(WRITER) == self.writer.as_ref()
    }

    /// How many records of this input, by this process, stand from `since` on.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn count(&self, input: &str, since: NextOffset) -> Result<usize, LogError> {
        let bounds = self.log.bounds(Self::PARTITION).await?;
        let since = since.clamp(bounds.start, bounds.end);
        let mut reader = self.log.apart().reader(Self::PARTITION, since).await?;
        let mut count = 0;
        while reader.next_offset() < bounds.end {
            let fetched = reader.next(ReadLimits::default()).await?;
            let own = fetched.records.iter().filter(|record| self.is_own(record));
            count += own.filter(|record| RawRecord::of(record).input == input).count();
        }
        Ok(count)
    }

    /// Remembers the places of an input's files. `places` must hold all that the input appended.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn remember(
        &self,
        input: &str,
        places: &BTreeMap<String, Mark>,
    ) -> Result<(), LogError> {
        let mut text = format!("{}\n", self.end().await?);
        for (file, mark) in places {
            text.push_str(&format!("{} {}\n", mark.next, named(file, mark.print)));
        }
        self.places.apply(vec![Change::Put(input.as_bytes().to_vec(), text.into_bytes())]).await
    }

    /// Where the next record will stand.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn end(&self) -> Result<NextOffset, LogError> {
        self.log.bounds(Self::PARTITION).await.map(|bounds| bounds.end)
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        self.log.topic()
    }
}
