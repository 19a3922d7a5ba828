//! Map and reduce under faults, one schedule a seed: owners killed at any moment and begun anew, two
//! at once that each believe to be the one, checkpoints that are gone, and input that goes on
//! meanwhile. Stages, hops and logs are the real ones; the logs are in memory and time is the
//! test's, so that a seed repeats what it found.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use engine::plan::compile;
use engine::rule::{Lists, Settings, SourceFile, load};
use engine::ruleset::Ruleset;
use engine::watermark::Guard;
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::metrics::Metrics;
use schemas::{
    BatchBuilder, DeadLetterCodec, Event, EventReader, EventTime, Framing, LazyEncoder, RecordForm,
    RecordKind, Verdict, VerdictCodec, VerdictKind,
};
use tokio::task::{JoinHandle, yield_now};
use transport::hop::{HopInput, HopMetrics, HopStage, Produced, Transform};
use transport::memory::MemoryLog;
use transport::{Log, NewRecord, Partition, ReadLimits, Record};

use super::{Exchange, MapStage, MapperMetrics, ReduceStage, ReducerMetrics};
use crate::Source;

const SOURCES: u32 = 2;
const EXCHANGES: u32 = 2;
const EVENTS: i64 = 120;
const SEEDS: u64 = 1_000;
/// Nothing of a schedule may take longer than this, in the test's time.
const PATIENCE: Duration = Duration::from_secs(600);

const RULES: [(&str, &str, &str); 3] = [
    (
        "count",
        "window: 60s\nslide: 10s\nrearm: 20s",
        "SELECT client_ip, count(*) AS n, count(DISTINCT account) AS accounts FROM events \
         WHERE status >= 400 GROUP BY client_ip HAVING count(*) >= 3",
    ),
    (
        "share",
        "window: 40s\nslide: 20s",
        "SELECT account, avg(status) AS mean FROM events GROUP BY account \
         HAVING count(*) >= 2 AND avg(status) > 300",
    ),
    ("none", "key: client_ip\nrearm: 15s", "SELECT client_ip, path FROM events WHERE status = 500"),
];

static RULESET: LazyLock<Arc<Ruleset>> = LazyLock::new(|| {
    let tests = "tests:\n  - {name: a, events: [], episodes: [{}]}\n  \
                 - {name: b, events: [], episodes: []}\n";
    let file = |(name, head, sql): &(&str, &str, &str)| SourceFile {
        path: format!("x/{name}.yml"),
        text: format!("title: {name}\nseverity: low\nmode: live\n{head}\nsql: |\n  {sql}\n{tests}"),
    };
    let files: Vec<SourceFile> = RULES.iter().map(file).collect();
    let (rules, problems) = load(&files, &Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    let (compiled, problems) = compile(&rules, &Lists::default());
    assert_eq!(compiled.len(), RULES.len(), "{problems:?}");
    Arc::new(Ruleset::new(compiled).unwrap())
});

/// Numbers that look random (splitmix64, Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Raw records are events already.
struct Through;

impl Transform for Through {
    fn apply(&mut self, batch: &[Record]) -> Vec<Produced> {
        let through = |record: &Record| {
            let timestamp_ms = record.timestamp_ms;
            Produced::one(NewRecord { timestamp_ms, ..NewRecord::new(record.value.clone()) })
        };
        batch.iter().map(through).collect()
    }
}

/// The same traffic for every seed: a source partition and an event each, the last far later than
/// the others, so that every window closes.
static TRAFFIC: LazyLock<Vec<(Partition, Bytes)>> = LazyLock::new(|| {
    let mut dice = Dice(7);
    let mut at = 1_767_571_200_000_i64;
    let mut builder = BatchBuilder::default();
    let mut to = Vec::new();
    for number in 0..EVENTS {
        at += i64::try_from(dice.below(4_000)).unwrap();
        let late = i64::try_from(dice.below(9_000)).unwrap();
        let status = [200, 401, 401, 403, 500][usize::try_from(dice.below(5)).unwrap()];
        to.push(Partition(u32::try_from(dice.below(SOURCES.into())).unwrap()));
        builder.push(&Event {
            event_id: Some(format!("e{number:03}").into()),
            event_time: Some(EventTime(at - late)),
            client_ip: Some(format!("192.0.2.{}", dice.below(4)).into()),
            account: Some(format!("a{}", dice.below(5)).into()),
            path: Some("/v1".into()),
            status: Some(status),
            ..Event::default()
        });
    }
    for source in 0..SOURCES {
        to.push(Partition(source));
        builder.push(&Event {
            event_id: Some(format!("last{source}").into()),
            event_time: Some(EventTime(at + 3_600_000)),
            ..Event::default()
        });
    }
    let mut encoder = LazyEncoder::new(RecordKind::Enriched, Framing::SingleObject);
    let records = encoder.encode(&builder.finish().unwrap()).unwrap();
    to.into_iter().zip(records).collect()
});

/// One schedule: its topics and the processes that run.
struct Schedule {
    dice: Dice,
    raw: Log,
    enriched: Log,
    exchange: Exchange,
    verdicts: Log,
    dead_letters: Log,
    maps: Vec<JoinHandle<()>>,
    reduces: Vec<JoinHandle<()>>,
    folders: tempfile::TempDir,
}

/// Something that can be killed at any moment.
#[expect(clippy::disallowed_methods, reason = "killed here rather than drained")]
fn process(life: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(life)
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let topic = |name, partitions| {
            Log::Memory(MemoryLog::taking_turns(name, partitions, Clock::manual(1_000).clock()))
        };
        Self {
            dice: Dice(seed),
            raw: topic("raw", SOURCES),
            enriched: topic("access.enriched", SOURCES),
            exchange: Exchange {
                frames: topic("detect.exchange", EXCHANGES),
                markers: topic("detect.markers", EXCHANGES),
                ruleset: Arc::clone(&RULESET),
                sources: SOURCES,
            },
            verdicts: topic("verdicts", EXCHANGES),
            dead_letters: topic("dead-letter", 1),
            maps: Vec::new(),
            reduces: Vec::new(),
            folders: tempfile::tempdir().unwrap(),
        }
    }

    fn hop(&self, stop: CancellationToken) -> JoinHandle<()> {
        let stage = HopStage {
            input: self.raw.clone(),
            kind: HopInput::Raw,
            output: self.enriched.clone(),
            output_base: 0,
            dead_letters: self.dead_letters.clone(),
            group: "hop".to_owned(),
            limits: ReadLimits::default(),
            metrics: HopMetrics::new(&Metrics::new()),
            condition: None,
        };
        process(async move { stage.run(|_partition| Through, &stop).await.unwrap() })
    }

    fn map(&self) -> JoinHandle<()> {
        let source = Source { lateness_ms: 10_000, guard: Guard::Off };
        let stage = MapStage {
            input: self.enriched.clone(),
            exchange: self.exchange.clone(),
            settings: vec![source; SOURCES as usize],
            reader: EventReader::single_object(RecordKind::Enriched),
            dead_letters: self.dead_letters.clone(),
            letters: Arc::new(DeadLetterCodec::new(RecordForm::Json).unwrap()),
            group: "map".to_owned(),
            metrics: MapperMetrics::new(&Metrics::new()),
            condition: None,
        };
        process(async move { stage.run(&CancellationToken::new()).await.unwrap() })
    }

    /// Two processes do not share a folder.
    fn reduce(&self, folder: &Path) -> JoinHandle<()> {
        let stage = ReduceStage {
            exchange: self.exchange.clone(),
            verdicts: self.verdicts.clone(),
            codec: Arc::new(VerdictCodec::new(RecordForm::Json).unwrap()),
            folder: folder.to_owned(),
            group: "reduce".to_owned(),
            metrics: ReducerMetrics::new(&Metrics::new()),
            condition: None,
        };
        process(async move { stage.run(&CancellationToken::new()).await.unwrap() })
    }

    /// Something happens to a process, or time passes.
    async fn disturb(&mut self) {
        match self.dice.below(10) {
            0 if !self.maps.is_empty() => {
                let one = self.dice.below(self.maps.len() as u64);
                self.maps.swap_remove(usize::try_from(one).unwrap()).abort();
            }
            1 if !self.reduces.is_empty() => {
                let one = self.dice.below(self.reduces.len() as u64);
                self.reduces.swap_remove(usize::try_from(one).unwrap()).abort();
            }
            2 if self.maps.len() < 2 => self.maps.push(self.map()),
            3 if self.reduces.is_empty() => {
                let folder = self.folders.path().join(self.dice.below(2).to_string());
                self.reduces.push(self.reduce(&folder));
            }
            4 | 5 => {
                let ms = 1 + self.dice.below(1_500);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            _ => {
                for _ in 0..self.dice.below(40) {
                    yield_now().await;
                }
            }
        }
    }

    /// Closed episodes on the topic, by id, as far as they do not depend on who came first.
    async fn closed(&self) -> BTreeMap<String, String> {
        let mut closed = BTreeMap::new();
        for partition in (0..EXCHANGES).map(Partition) {
            let bounds = self.verdicts.bounds(partition).await.unwrap();
            let mut reader = self.verdicts.reader(partition, bounds.start).await.unwrap();
            while reader.next_offset() < bounds.end {
                for record in reader.next(ReadLimits::default()).await.unwrap().records {
                    let verdict: Verdict = serde_json::from_slice(&record.value).unwrap();
                    if verdict.kind == VerdictKind::Closed {
                        let window = verdict.window.map(|window| (window.start, window.end));
                        let span = (verdict.first_event, verdict.last_event);
                        let key = serde_json::to_string(&verdict.key).unwrap();
                        let values = serde_json::to_string(&verdict.values).unwrap();
                        let word = format!("{} {key} {window:?} {span:?}", verdict.rule);
                        let known = closed.insert(word, values.clone());
                        assert!(known.is_none_or(|known| known == values), "two answers");
                    }
                }
            }
        }
        closed
    }

    async fn play(mut self, disturbed: bool) -> BTreeMap<String, String> {
        let stop = CancellationToken::new();
        let hop = self.hop(stop.clone());
        let first = self.folders.path().join("0");
        self.maps.push(self.map());
        self.reduces.push(self.reduce(&first));
        for (partition, record) in TRAFFIC.iter() {
            self.raw.append(*partition, vec![NewRecord::new(record.clone())]).await.unwrap();
            if disturbed {
                self.disturb().await;
            }
        }
        if self.maps.is_empty() {
            self.maps.push(self.map());
        }
        if self.reduces.is_empty() {
            self.reduces.push(self.reduce(&first));
        }
        let (mut before, mut calm) = (0, 0);
        while calm < 5 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.closed().await.len();
            calm = if now == before && now > 0 { calm + 1 } else { 0 };
            before = now;
        }
        stop.cancel();
        hop.await.unwrap();
        self.maps.iter().chain(&self.reduces).for_each(JoinHandle::abort);
        self.closed().await
    }
}

fn run(seed: u64, disturbed: bool) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let played =
        async { tokio::time::timeout(PATIENCE, Schedule::new(seed).play(disturbed)).await };
    runtime.block_on(played).unwrap_or_else(|_elapsed| panic!("seed {seed}: it never ends"))
}

#[track_caller]
fn check(seeds: std::ops::Range<u64>) {
    let undisturbed = run(0, false);
    assert!(undisturbed.len() > 20, "{}", undisturbed.len());
    for seed in seeds {
        let disturbed = run(seed, true);
        assert_eq!(disturbed, undisturbed, "seed {seed}");
    }
}

// Two halves, so that they run beside each other.

#[test]
fn whatever_happens_to_map_and_reduce_the_closed_episodes_are_those_of_a_calm_run() {
    check(0..SEEDS / 2);
}

#[test]
fn and_so_they_are_with_the_other_seeds() {
    check(SEEDS / 2..SEEDS);
}
