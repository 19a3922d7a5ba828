//! Checkpoints on a topic, for a process that has none of its own.
//!
//! Owns: cutting one into records, and telling a whole one from a cut one. Never: what is in it.
//!
//! The topic keeps the last record of each key. A checkpoint has a number made by chance: `ID/0`,
//! `ID/1` and so on are its parts, `ID/end` says how many there are. No key is written twice, so
//! that nobody replaces a part of another's, such as a process that was taken for dead and goes on.
//! What an older one consists of is taken away behind the `end` of the one after it, in one session,
//! in which nothing overtakes: a whole checkpoint stands there at any time. Whoever wrote it, it is
//! right, since it is a function of the exchange up to its place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use transport::{Log, LogError, NewRecord, NextOffset, Output, Partition, ReadLimits, Receipt};

/// Between two checkpoints on the topic; so much of the exchange is folded again by whoever takes
/// over without one in its folder. State of 64 MiB is then 0.2 MB/s.
const KEEP_EVERY: Duration = Duration::from_mins(5);
/// A part: small enough for a broker that takes less than the usual mebibyte.
const PART_BYTES: usize = 256 * 1024;
/// Parts that are sent at one turn, and turns that may wait for their acknowledgement: 8 MiB.
/// Turns come ten times a second at least.
const PARTS_AT_ONCE: usize = 8;
const TURNS_IN_FLIGHT_MAX: usize = 4;
/// What comes behind the number in the key of a checkpoint's last record.
const END: &str = "end";
/// The first line of that record.
const HEAD: &str = "tidegate state 1";

/// What the topic held.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The newest whole checkpoint, as [`Shelf::put`] was given it.
    pub(super) whole: Option<Vec<u8>>,
    /// All keys that are there.
    keys: Vec<Bytes>,
}

/// The checkpoints of one exchange partition on the topic.
#[derive(Debug)]
pub(super) struct Shelf {
    session: Output,
    partition: Partition,
    /// What the next whole checkpoint takes away.
    keys: Vec<Bytes>,
    waiting: VecDeque<NewRecord>,
    in_flight: VecDeque<Receipt>,
    /// When the last one was begun, and the place that it is of.
    begun: Option<(Instant, NextOffset)>,
}

impl Shelf {
    pub(super) fn new(session: Output, partition: Partition, found: Found) -> Self {
        let (waiting, in_flight) = (VecDeque::new(), VecDeque::new());
        Self { session, partition, keys: found.keys, waiting, in_flight, begun: None }
    }

    /// Whether a checkpoint of this place is to be put there.
    pub(super) fn is_due(&self, next: NextOffset) -> bool {
        let old = |(at, of): (Instant, NextOffset)| of < next && at.elapsed() >= KEEP_EVERY;
        self.waiting.is_empty() && self.begun.is_none_or(old)
    }

    /// Puts a checkpoint of this place there, turn by turn.
    pub(super) fn put(&mut self, next: NextOffset, checkpoint: &Bytes) {
        self.begun = Some((Instant::now(), next));
        let id = uuid::Uuid::new_v4().simple();
        let key = |part: &dyn std::fmt::Display| Bytes::from(format!("{id}/{part}"));
        let mut keys = Vec::new();
        for (number, from) in (0..checkpoint.len()).step_by(PART_BYTES).enumerate() {
            let value = checkpoint.slice(from..checkpoint.len().min(from + PART_BYTES));
            keys.push(key(&number));
            self.waiting
                .push_back(NewRecord { key: keys.last().cloned(), ..NewRecord::new(value) });
        }
        let end = format!("{HEAD}\n{next}\n{}\n{}", keys.len(), checkpoint.len());
        keys.push(key(&END));
        self.waiting.push_back(NewRecord { key: keys.last().cloned(), ..NewRecord::new(end) });
        let gone = |key| NewRecord { key: Some(key), ..NewRecord::default() };
        self.waiting.extend(std::mem::replace(&mut self.keys, keys).into_iter().map(gone));
    }

    /// Sends some of what waits.
    pub(super) async fn turn(&mut self) -> Result<(), LogError> {
        while let Some(receipt) = self.in_flight.front_mut() {
            if !receipt.is_durable()? {
                break;
            }
            self.in_flight.pop_front();
        }
        if self.waiting.is_empty() || self.in_flight.len() >= TURNS_IN_FLIGHT_MAX {
            return Ok(());
        }
        let some = self.waiting.drain(..self.waiting.len().min(PARTS_AT_ONCE)).collect();
        self.in_flight.push_back(self.session.send(self.partition, some).await?);
        Ok(())
    }
}

/// Reads what a partition of the topic holds.
pub(super) async fn read(log: &Log, partition: Partition) -> Result<Found, LogError> {
    let bounds = log.bounds(partition).await?;
    let mut reader = log.apart().reader(partition, bounds.start).await?;
    let mut reading = Reading::default();
    while reader.next_offset() < bounds.end {
        let fetched = reader.next(ReadLimits::default()).await?;
        for record in &fetched.records {
            reading.take(record.key.as_ref(), &record.value);
        }
        // What stood last may have been taken away for good.
        if fetched.records.is_empty() && fetched.end_at_ms.is_some() {
            break;
        }
    }
    Ok(reading.found())
}

/// What was read so far. One whole checkpoint, and those that have not ended yet.
#[derive(Debug, Default)]
struct Reading {
    keys: BTreeSet<Bytes>,
    open: BTreeMap<String, BTreeMap<usize, Bytes>>,
    whole: Option<(NextOffset, Vec<Bytes>)>,
}

impl Reading {
    fn take(&mut self, key: Option<&Bytes>, value: &Bytes) {
        let Some(key) = key else { return };
        let text = std::str::from_utf8(key).ok();
        let Some((id, part)) = text.and_then(|text| text.split_once('/')) else { return };
        if value.is_empty() {
            self.keys.remove(key);
            self.open.remove(id);
            return;
        }
        self.keys.insert(key.clone());
        if part == END {
            let parts = self.open.remove(id).unwrap_or_default();
            let is_older = |next: NextOffset| self.whole.as_ref().is_some_and(|(of, _)| *of > next);
            if let Some(next) = place(value, &parts).filter(|next| !is_older(*next)) {
                self.whole = Some((next, parts.into_values().collect()));
            }
        } else if let Ok(part) = part.parse() {
            self.open.entry(id.to_owned()).or_default().insert(part, value.clone());
        }
    }

    fn found(self) -> Found {
        let whole = self.whole.map(|(_, parts)| parts.concat());
        Found { whole, keys: self.keys.into_iter().collect() }
    }
}

/// The place that a checkpoint is of, where these are all of its parts.
fn place(end: &[u8], parts: &BTreeMap<usize, Bytes>) -> Option<NextOffset> {
    let mut lines = std::str::from_utf8(end).ok()?.lines();
    let is_known = lines.next() == Some(HEAD);
    let next = lines.next()?.parse().ok()?;
    let (count, bytes): (usize, usize) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
    let in_row = parts.keys().copied().eq(0..count);
    let length: usize = parts.values().map(Bytes::len).sum();
    (is_known && in_row && length == bytes).then_some(NextOffset(next))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use runtime::clock::Clock;
    use transport::memory::MemoryLog;
    use transport::{Log, NewRecord, NextOffset, Partition, ReadLimits, Record};

    use super::{Found, PART_BYTES, Reading, Shelf, read};

    const HERE: Partition = Partition(0);

    fn log() -> Log {
        Log::Memory(MemoryLog::new("detect.state", 1, Clock::system()))
    }

    /// A checkpoint of some parts, told apart by its first byte.
    fn checkpoint(name: u8) -> Bytes {
        let mut bytes = vec![name; 2 * PART_BYTES + 100];
        bytes[PART_BYTES] = name.wrapping_add(1);
        Bytes::from(bytes)
    }

    async fn shelf(log: &Log) -> (Shelf, Option<u8>) {
        let found = read(log, HERE).await.unwrap();
        let name = name(&found);
        (Shelf::new(log.output().unwrap(), HERE, found), name)
    }

    fn name(found: &Found) -> Option<u8> {
        let whole = found.whole.as_ref()?;
        assert_eq!(**whole, *checkpoint(whole[0]));
        Some(whole[0])
    }

    async fn send_all(shelf: &mut Shelf) {
        while !shelf.waiting.is_empty() || !shelf.in_flight.is_empty() {
            shelf.turn().await.unwrap();
        }
    }

    async fn records(log: &Log) -> Vec<Record> {
        let mut reader = log.reader(HERE, NextOffset(0)).await.unwrap();
        reader.next(ReadLimits::default()).await.unwrap().records
    }

    #[tokio::test]
    async fn the_newest_whole_one_is_found_and_older_ones_are_taken_away() {
        let log = log();
        let (mut first, none) = shelf(&log).await;
        assert_eq!(none, None);
        assert!(first.is_due(NextOffset(0)));
        for (name, next) in [(1, 10), (2, 20)] {
            first.put(NextOffset(next), &checkpoint(name));
            assert!(!first.is_due(NextOffset(99)), "one at a time, and not so soon");
            send_all(&mut first).await;
        }
        let (mut second, found) = shelf(&log).await;
        assert_eq!(found, Some(2));
        assert_eq!(second.keys.len(), 4, "three parts and the end");
        second.put(NextOffset(30), &checkpoint(3));
        send_all(&mut second).await;
        let (third, found) = shelf(&log).await;
        assert_eq!((found, third.keys.len()), (Some(3), 4));
    }

    #[tokio::test]
    async fn one_that_was_cut_is_not_taken_for_whole_and_goes_with_the_next() {
        let log = log();
        let (mut dead, _) = shelf(&log).await;
        dead.put(NextOffset(10), &checkpoint(1));
        send_all(&mut dead).await;
        dead.put(NextOffset(20), &checkpoint(2));
        dead.waiting.truncate(2);
        send_all(&mut dead).await;
        let (mut next, found) = shelf(&log).await;
        assert_eq!((found, next.keys.len()), (Some(1), 6));
        next.put(NextOffset(15), &checkpoint(3));
        send_all(&mut next).await;
        let (after, found) = shelf(&log).await;
        assert_eq!((found, after.keys.len()), (Some(3), 4));
    }

    /// What compaction leaves of records: of each key the last at least, and of those before it
    /// whatever these bits say.
    fn compacted(records: &[Record], bits: u64) -> Vec<&Record> {
        let last: HashMap<_, _> =
            records.iter().enumerate().map(|(at, record)| (record.key.clone(), at)).collect();
        let stays = |at: &usize| last[&records[*at].key] == *at || (bits >> (at % 64)) & 1 == 1;
        (0..records.len()).filter(stays).map(|at| &records[at]).collect()
    }

    #[tokio::test]
    async fn wherever_a_writer_is_cut_off_and_whoever_writes_between_a_whole_one_is_found() {
        let log = log();
        let (mut before, _) = shelf(&log).await;
        before.put(NextOffset(10), &checkpoint(1));
        send_all(&mut before).await;
        let whole = log.bounds(HERE).await.unwrap().end.0;
        // One that was taken for dead goes on beside the one that took over.
        let (mut one, _) = shelf(&log).await;
        let (mut other, _) = shelf(&log).await;
        one.put(NextOffset(20), &checkpoint(2));
        other.put(NextOffset(30), &checkpoint(3));
        let (one, other) = (std::mem::take(&mut one.waiting), std::mem::take(&mut other.waiting));
        for (mine, theirs) in one.into_iter().zip(other) {
            log.append(HERE, vec![mine, theirs]).await.unwrap();
        }
        let records = records(&log).await;
        for end in usize::try_from(whole).unwrap()..=records.len() {
            for bits in [0, u64::MAX, 0x5555_5555_5555_5555, 0x1234_5678_9abc_def0] {
                let mut reading = Reading::default();
                for record in compacted(&records[..end], bits) {
                    reading.take(record.key.as_ref(), &record.value);
                }
                let found = name(&reading.found());
                assert!(found.is_some(), "cut at {end}, compacted by {bits:x}");
                assert!(end < records.len() || found == Some(3), "the newest in the end");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_checkpoint_is_passed_over() {
        let log = log();
        let keyed = |key: &'static str, value: &'static str| NewRecord {
            key: Some(Bytes::from(key)),
            ..NewRecord::new(value)
        };
        let strange =
            vec![NewRecord::new("no key"), keyed("x", "y"), keyed("a/b", "c"), keyed("a/end", "d")];
        log.append(HERE, strange).await.unwrap();
        assert_eq!(shelf(&log).await.1, None);
    }
}
