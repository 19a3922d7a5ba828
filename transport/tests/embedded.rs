//! The embedded log through the public calls: kill -9, torn tails, trimming, cursors, a full disk.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::error::{Class, Classified};
use runtime::metrics::Metrics;
use transport::embedded::{Change, FreeSpace, Store, StoreOptions};
use transport::hop::{HopInput, HopMetrics, HopStage, Produced};
use transport::memory::MemoryLog;
use transport::{
    Admission, Log, LogError, NewRecord, NextOffset, OriginGate, Partition, ReadLimits, Record,
    Stamp,
};

const P0: Partition = Partition(0);

fn open(folder: &Path) -> Store {
    Store::open(folder, StoreOptions::new(Clock::system())).unwrap()
}

fn log(store: &Store, partitions: u32) -> Log {
    Log::Embedded(store.log("access.raw", partitions).unwrap())
}

fn numbered(numbers: std::ops::Range<i64>) -> Vec<NewRecord> {
    numbers.map(|number| NewRecord::new(number.to_string())).collect()
}

async fn read_all(log: &Log, partition: Partition) -> Vec<Record> {
    let bounds = log.bounds(partition).await.unwrap();
    let mut reader = log.reader(partition, bounds.start).await.unwrap();
    let mut records = Vec::new();
    while reader.next_offset() < bounds.end {
        let fetched = reader.next(ReadLimits::default()).await.unwrap();
        assert!(!fetched.records.is_empty(), "stuck at {}", reader.next_offset());
        records.extend(fetched.records);
    }
    records
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.to_vec()).unwrap()
}

#[tokio::test]
async fn what_was_appended_is_read_back_with_all_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&open(folder.path()), 2);
    let record = NewRecord {
        timestamp_ms: Some(-5),
        key: Some("k".into()),
        value: "v".into(),
        headers: vec![("h".into(), "1".into()), ("h".into(), "2".into())],
    };
    let range = log.append(Partition(1), vec![record.clone(), NewRecord::new("")]).await.unwrap();
    assert_eq!((range.start, range.end), (NextOffset(0), NextOffset(2)));
    let read = read_all(&log, Partition(1)).await;
    assert_eq!(read[0].header("h").unwrap().as_ref(), b"2");
    assert_eq!((read[0].timestamp_ms, read[0].key.clone()), (Some(-5), Some("k".into())));
    assert_eq!(log.last(Partition(1)).await.unwrap(), Some(read[1].clone()));
    assert_eq!(log.last(P0).await.unwrap(), None);
}

/// One process is both roles: started by itself with the folder in the environment, it appends
/// until it is killed, and says what was acknowledged.
#[test]
fn every_acknowledged_record_survives_kill_9_in_order() {
    const ROLE: &str = "TIDEGATE_TEST_APPEND_IN";
    #[expect(clippy::disallowed_methods, reason = "a test's child is told its role here")]
    let role = std::env::var(ROLE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(folder) = role {
        runtime.block_on(append_for_ever(Path::new(&folder)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, i64> = BTreeMap::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_acknowledged_record_survives_kill_9_in_order", "--nocapture"])
            .env(ROLE, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        for line in stdout.lines() {
            let line = line.unwrap();
            let Some(("acknowledged", writer, count)) = split(&line) else { continue };
            acknowledged.insert(format!("{round}.{writer}"), count);
            seen += 1;
            if seen == 40 + 25 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 40, "the child ended by itself after {seen} acknowledgements");
        runtime.block_on(check_all(folder.path(), &acknowledged, round));
    }
}

fn split(line: &str) -> Option<(&str, &str, i64)> {
    let mut words = line.split(' ');
    Some((words.next()?, words.next()?, words.next()?.parse().ok()?))
}

/// Four writers append `round.writer.number` to two partitions, each after its acknowledgement.
async fn append_for_ever(folder: &Path) {
    let log = log(&open(folder), 2);
    let last = read_all(&log, P0).await.last().map(text);
    let round = last.map_or(0, |last| last.split('.').next().unwrap().parse::<i64>().unwrap() + 1);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_u32 {
        let log = log.clone();
        writers.spawn(async move {
            let mut count = 0_i64;
            loop {
                let batch = 1 + (count * 7 + i64::from(writer)) % 300;
                let records = (count..count + batch)
                    .map(|number| NewRecord::new(format!("{round}.{writer}.{number}")));
                log.append(Partition(writer % 2), records.collect()).await.unwrap();
                count += batch;
                let line = format!("acknowledged {writer} {count}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    writers.join_next().await;
}

async fn check_all(folder: &Path, acknowledged: &BTreeMap<String, i64>, round: i64) {
    let log = log(&open(folder), 2);
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for partition in [P0, Partition(1)] {
        for (at, record) in read_all(&log, partition).await.iter().enumerate() {
            assert_eq!(record.offset.0, i64::try_from(at).unwrap());
            let text = text(record);
            let (writer, number) = text.rsplit_once('.').unwrap();
            let next = found.entry(writer.to_owned()).or_default();
            assert_eq!(number.parse::<i64>().unwrap(), *next, "{writer} has a hole or a repeat");
            *next += 1;
        }
    }
    for (writer, count) in acknowledged {
        let kept = found.get(writer).copied().unwrap_or_default();
        assert!(kept >= *count, "round {round}: {writer} lost {kept}..{count}");
    }
}

fn journal(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "jnl")).collect();
    journals.sort();
    journals.pop().expect("a store has a journal")
}

/// The length of a journal without its preallocated rest.
fn used(journal: &[u8]) -> usize {
    journal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn a_torn_tail_loses_only_what_was_not_acknowledged() {
    let source = tempfile::tempdir().unwrap();
    {
        let log = log(&open(source.path()), 1);
        log.append(P0, numbered(0..500)).await.unwrap();
    }
    let before = used(&std::fs::read(journal(source.path())).unwrap());
    {
        let log = log(&open(source.path()), 1);
        log.append(P0, numbered(500..900)).await.unwrap();
    }
    let whole = std::fs::read(journal(source.path())).unwrap();
    let after = used(&whole);
    assert!(after > before + 100);
    for cut in [before + 1, before + 20, (before + after) / 2, after - 1] {
        for tail in ["cut", "zeros", "page"] {
            let mut torn = whole.clone();
            match tail {
                "cut" => torn.truncate(cut),
                "zeros" => torn[cut..].fill(0),
                // The end of the batch reached the disk, a part before it did not.
                _ => torn[cut - 1..cut].fill(0x5a),
            }
            let path = journal(source.path());
            std::fs::write(&path, &torn).unwrap();
            let log = log(&open(source.path()), 1);
            let read = read_all(&log, P0).await;
            assert!(read.len() == 500 || read.len() == 900, "{tail} at {cut}: {}", read.len());
            let right = read.iter().enumerate().all(|(at, record)| text(record) == at.to_string());
            assert!(right, "{tail} at {cut}");
        }
    }
    let names = std::fs::read_dir(source.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = names.filter(|name| name.to_string_lossy().starts_with("torn-")).count();
    assert!(kept > 0, "a batch that was cut off is kept beside the journal");
}

#[tokio::test]
async fn trims_and_cursors_survive_reopening_and_free_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || StoreOptions { segment_bytes_max: 64 << 10, ..StoreOptions::new(Clock::system()) };
    let big = |number: u64| {
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let noise = (0..512).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        });
        NewRecord::new(noise.collect::<Vec<u8>>())
    };
    let folders = || std::fs::read_dir(folder.path().join("keyspaces")).unwrap().count();
    {
        let store = Store::open(folder.path(), options()).unwrap();
        let log = log(&store, 1);
        for batch in 0..20_u64 {
            log.append(P0, (batch * 100..batch * 100 + 100).map(big).collect()).await.unwrap();
        }
        let before = folders();
        log.set_cursor("detect", P0, NextOffset(1_234)).await.unwrap();
        log.trim_before(P0, NextOffset(1_500)).await.unwrap();
        log.trim_before(P0, NextOffset(700)).await.unwrap();
        assert!(folders() + 7 <= before, "{} of {before} segments are left", folders());
        let gone = log.reader(P0, NextOffset(1_499)).await.unwrap_err();
        assert!(matches!(gone, LogError::OutOfRange { .. }), "{gone}");
    }
    let store = Store::open(folder.path(), options()).unwrap();
    let log = log(&store, 1);
    let bounds = log.bounds(P0).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (NextOffset(1_500), NextOffset(2_000)));
    assert_eq!(log.cursor("detect", P0).await.unwrap(), Some(NextOffset(1_234)));
    assert_eq!(log.cursor("other", P0).await.unwrap(), None);
    let read = read_all(&log, P0).await;
    assert_eq!((read.len(), read[0].offset.0), (500, 1_500));
    assert_eq!(read[7].value, big(1_507).value);

    log.trim_before(P0, NextOffset(9_999)).await.unwrap();
    assert!(log.bounds(P0).await.unwrap().is_empty());
    assert_eq!(log.last(P0).await.unwrap(), None);
    let range = log.append(P0, vec![big(2_000)]).await.unwrap();
    assert_eq!(range.start, NextOffset(2_000));
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_forgotten_as_far_as_nobody_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Clock::manual(0);
    let options = StoreOptions { segment_bytes_max: 1 << 10, ..StoreOptions::new(hand.clock()) };
    let log = log(&Store::open(folder.path(), options).unwrap(), 1);
    for minute in 0..20 {
        hand.set_ms(minute * 60_000);
        log.append(P0, numbered(minute * 1_000..minute * 1_000 + 1_000)).await.unwrap();
    }
    log.trim_older(P0, 10 * 60_000, NextOffset(5_500)).await.unwrap();
    assert_eq!(log.bounds(P0).await.unwrap().start, NextOffset(5_500));
    log.trim_older(P0, 10 * 60_000, NextOffset(20_000)).await.unwrap();
    let start = log.bounds(P0).await.unwrap().start;
    assert!(start > NextOffset(7_000) && start <= NextOffset(10_000), "{start}");
    assert_eq!(text(&read_all(&log, P0).await[0]), start.to_string());
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(5_000));
    let probe = Arc::clone(&free);
    let options = StoreOptions {
        free_bytes_min: 4_000,
        free_space: FreeSpace::from_fn(move |_| Ok(probe.load(Ordering::SeqCst))),
        ..StoreOptions::new(Clock::system())
    };
    let store = Store::open(folder.path(), options).unwrap();
    let log = log(&store, 1);
    log.append(P0, numbered(0..1)).await.unwrap();

    free.store(3_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let session = log.output().unwrap();
    let refused = session.append(P0, numbered(1..2)).await.unwrap_err();
    assert_eq!(refused.class(), Class::Dependency);
    assert!(refused.to_string().contains("3000 bytes free"), "{refused}");
    // Progress can still be saved, and room be made.
    log.set_cursor("detect", P0, NextOffset(1)).await.unwrap();

    free.store(6_000, Ordering::SeqCst);
    log.append(P0, numbered(2..3)).await.unwrap();
    // The session has ended: what it sends next would leave a hole behind it.
    let ended = session.append(P0, numbered(3..4)).await.unwrap_err();
    assert!(matches!(ended, LogError::DiskLow { .. }), "{ended}");
    let texts: Vec<String> = read_all(&log, P0).await.iter().map(text).collect();
    assert_eq!(texts, ["0", "2"]);
}

#[tokio::test]
async fn a_hop_waits_out_a_full_disk_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(5_000));
    let probe = Arc::clone(&free);
    let options = StoreOptions {
        free_bytes_min: 4_000,
        free_space: FreeSpace::from_fn(move |_| Ok(probe.load(Ordering::SeqCst))),
        ..StoreOptions::new(Clock::system())
    };
    let store = Store::open(folder.path(), options).unwrap();
    let memory = |topic| Log::Memory(MemoryLog::new(topic, 1, Clock::system()));
    let (raw, dead) = (memory("raw"), memory("dead"));
    let events = Log::Embedded(store.log("events", 1).unwrap());
    let metrics = Metrics::new();
    let stage = HopStage {
        input: raw.clone(),
        kind: HopInput::Raw,
        output: events.clone(),
        output_base: 0,
        dead_letters: dead,
        group: "ingest".to_owned(),
        limits: ReadLimits { records_max: 7, ..ReadLimits::default() },
        metrics: HopMetrics::new(&metrics),
        condition: None,
    };
    let stop = CancellationToken::new();
    let same = |batch: &[Record]| -> Vec<Produced> {
        batch.iter().map(|record| Produced::one(NewRecord::new(record.value.clone()))).collect()
    };
    let (result, ()) = tokio::join!(stage.run(|_| same, &stop), async {
        raw.append(P0, numbered(0..50)).await.unwrap();
        let restarts = "tidegate_hop_restarts_sessions_total 0";
        tokio::time::sleep(Duration::from_millis(200)).await;
        free.store(0, Ordering::SeqCst);
        // The disk is asked ten times a second.
        tokio::time::sleep(Duration::from_millis(150)).await;
        raw.append(P0, numbered(50..100)).await.unwrap();
        while metrics.encode().contains(restarts) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        free.store(5_000, Ordering::SeqCst);
        let through = |last: Option<Record>| {
            let stamp = last.map(|last| Stamp::read(&last).unwrap().0);
            stamp.is_some_and(|stamp| stamp.last && stamp.origin.offset.0 == 99)
        };
        while !through(events.last(P0).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    });
    result.unwrap();
    let mut gate = OriginGate::new();
    let mut texts = Vec::new();
    for record in read_all(&events, P0).await {
        if let Admission::Payload(_) = gate.admit(&record).unwrap() {
            texts.push(text(&record));
        }
    }
    assert_eq!(texts, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(raw.cursor("ingest", P0).await.unwrap(), Some(NextOffset(100)));
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_with_its_place_and_nothing_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { record_bytes_max: 10, ..StoreOptions::new(Clock::system()) };
    let log = log(&Store::open(folder.path(), options).unwrap(), 1);
    let records = vec![NewRecord::new("fits"), NewRecord::new("does not fit")];
    let refused = log.append(P0, records).await.unwrap_err();
    assert_eq!(refused.class(), Class::Input);
    assert!(refused.to_string().contains("record 1 of the append"), "{refused}");
    assert!(log.bounds(P0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_waiting_reader_gets_what_is_appended_and_the_end_when_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Clock::manual(42_000);
    let store = Store::open(folder.path(), StoreOptions::new(hand.clock())).unwrap();
    let log = log(&store, 1);
    let mut reader = log.reader(P0, NextOffset::ZERO).await.unwrap();
    let brief = ReadLimits { wait: Duration::from_millis(20), ..ReadLimits::default() };
    let nothing = reader.next(brief).await.unwrap();
    assert_eq!((nothing.records.len(), nothing.end_at_ms), (0, Some(42_000)));

    let long = ReadLimits { wait: Duration::from_secs(60), ..ReadLimits::default() };
    let (fetched, _) = tokio::join!(reader.next(long), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        log.append(P0, numbered(0..3)).await.unwrap()
    });
    assert_eq!(fetched.unwrap().records.len(), 3);
    assert_eq!(reader.next_offset(), NextOffset(3));
}

#[tokio::test]
async fn small_reads_of_large_blocks_give_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&open(folder.path()), 1);
    for start in [0, 20_000, 20_001] {
        let end = if start == 20_000 { 20_001 } else { start + 20_000 };
        log.append(P0, numbered(start..end)).await.unwrap();
    }
    let mut reader = log.reader(P0, NextOffset(17)).await.unwrap();
    let small = ReadLimits { records_max: 997, ..ReadLimits::default() };
    let mut expected = 17;
    while expected < 40_001 {
        let fetched = reader.next(small).await.unwrap();
        assert!(fetched.records.len() <= 997 && !fetched.records.is_empty());
        assert!(fetched.end_at_ms.is_none() || reader.next_offset() == NextOffset(40_001));
        for record in fetched.records {
            assert_eq!((record.offset.0, text(&record)), (expected, expected.to_string()));
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_store_in_use_and_a_changed_partition_count_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let refused = Store::open(folder.path(), StoreOptions::new(Clock::system())).unwrap_err();
    assert!(matches!(refused, LogError::InUse { .. }), "{refused}");
    store.log("access.raw", 2).unwrap();
    let refused = store.log("access.raw", 3).unwrap_err();
    assert!(refused.to_string().contains("2 partitions where 3 are needed"), "{refused}");
    let refused = store.log("no/slash", 1).unwrap_err();
    assert!(matches!(refused, LogError::Config { .. }), "{refused}");
}

#[tokio::test]
async fn a_log_keeps_its_identity_and_another_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let id = log(&open(folder.path()), 1).topic_id();
    assert_eq!(log(&open(folder.path()), 1).topic_id(), id);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(log(&open(other.path()), 1).topic_id(), id);
}

#[tokio::test]
async fn a_table_changes_all_or_nothing_and_is_scanned_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let put = |key: &str, value: &str| Change::Put(key.into(), value.into());
    {
        let table = open(folder.path()).table("ledger").unwrap();
        let changes = ["b2", "a1", "b1", "c1", "b3"].map(|key| put(key, key));
        table.apply(changes.to_vec()).await.unwrap();
        table.apply(vec![Change::Remove("b2".into()), put("a1", "new")]).await.unwrap();
    }
    let table = open(folder.path()).table("ledger").unwrap();
    assert_eq!(table.get(b"a1").await.unwrap().unwrap().as_ref(), b"new");
    assert_eq!(table.get(b"b2").await.unwrap(), None);
    let keys = |pairs: Vec<(bytes::Bytes, bytes::Bytes)>| {
        pairs.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys(table.scan(b"b", None, 9).await.unwrap()), ["b1", "b3"]);
    assert_eq!(keys(table.scan(b"b", Some(b"b1"), 9).await.unwrap()), ["b3"]);
    assert_eq!(keys(table.scan(b"", None, 2).await.unwrap()), ["a1", "b1"]);
}
