//! Frames and markers: any bytes are refused, or taken whole; reduce never panics over them.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use engine::accept::Sources;
use engine::frame::{Entry, Frame};
use engine::map::{Input, MapSettings, Mapper, Start};
use engine::plan::compile;
use engine::reduce::{ReduceSettings, Reducer};
use engine::rule::{Lists, Settings, SourceFile, load};
use engine::ruleset::Ruleset;
use engine::watermark::Guard;
use schemas::{BatchBuilder, DeadLetter, Event, EventTime, Reason};

use crate::envelope::{Head, open, seal};

/// A rule of every state and of every kind of fold.
const RULES: [(&str, &str); 9] = [
    (
        "window: 60s\nslide: 10s\nrearm: 20s",
        "SELECT client_ip, count(*) AS n, count(DISTINCT account) AS accounts FROM events \
         WHERE status >= 400 GROUP BY client_ip HAVING count(*) >= 3",
    ),
    (
        "window: 30s\nslide: 30s\nrearm: 0s",
        "SELECT client_ip, service, sum(response_bytes) AS bytes, min(status) AS least, \
         max(path) AS last_path FROM events GROUP BY client_ip, service \
         HAVING sum(response_bytes) > 1000",
    ),
    (
        "window: 40s\nslide: 20s",
        "SELECT account, avg(status) AS mean FROM events GROUP BY account \
         HAVING count(*) >= 2 AND avg(status) > 300",
    ),
    ("key: client_ip\nrearm: 15s", "SELECT client_ip, path FROM events WHERE status = 500"),
    (
        "window: 60s\nslide: 30s\nkey: client_ip",
        "SELECT client_ip, n FROM (SELECT client_ip, count(*) AS n, sum(count(*)) OVER () AS \
         everyone FROM events GROUP BY client_ip) WHERE n * 2 > everyone AND n >= 2",
    ),
    (
        "key: [client_ip, account]\nrearm: 15s",
        "SELECT client_ip, account FROM events WHERE first_seen('1m', client_ip, account)",
    ),
    (
        "window: 60s\nslide: 20s",
        "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip \
         HAVING sequence(event_time, status = 401, status = 200) >= 2",
    ),
    (
        "window: 1h\nslide: 20m",
        "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip \
         HAVING count(*) >= greatest(2, baseline_max(count(*), 2, 3))",
    ),
    (
        "window: 60s\nslide: 60s",
        "SELECT client_ip, count(*) AS n, max(reason) AS reason FROM drops GROUP BY client_ip \
         HAVING count(*) >= 2",
    ),
];

const SETTINGS: MapSettings =
    MapSettings { lateness_ms: 10_000, guard: Guard::Off, exchange_partitions: 1 };
const BEGIN_MS: i64 = 1_795_161_600_000;

static RULESET: LazyLock<Arc<Ruleset>> = LazyLock::new(|| {
    let file = |(place, (head, sql)): (usize, &(&str, &str))| SourceFile {
        path: format!("x/r{place}.yml"),
        text: format!("title: r\nseverity: low\nmode: live\n{head}\nsql: |\n  {sql}\n"),
    };
    let files: Vec<SourceFile> = RULES.iter().enumerate().map(file).collect();
    let (rules, _no_tests) = load(&files, &Settings::default());
    let (compiled, problems) = compile(&rules, &Lists::default());
    assert_eq!(compiled.len(), RULES.len(), "{problems:?}");
    Arc::new(Ruleset::new(compiled).unwrap())
});

/// Magic, kind and version of each kind of entry.
static HEADS: LazyLock<[Head; 4]> = LazyLock::new(|| {
    let (frames, reducer) = history();
    let sources = Sources::new([0]);
    let open_entry = mapper().open().encode();
    [frames[0].encode(), open_entry, reducer.snapshot().unwrap(), sources.encode()]
        .map(|entry| open(&entry).0)
});

/// What a marker's reducer is given.
static FRAMES: LazyLock<Vec<Frame>> = LazyLock::new(|| history().0);

fn mapper() -> Mapper {
    Mapper::new(Arc::clone(&RULESET), 0, SETTINGS, Start::of_log(0))
}

/// A reducer whose only source partition is open.
fn reducer() -> Reducer {
    let mut reducer = Reducer::new(Arc::clone(&RULESET), ReduceSettings::alone(1));
    assert!(reducer.open(&mapper().open()).unwrap());
    reducer
}

/// Events in which every rule finds something.
fn batch(from: i64) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    for n in from..from + 8 {
        builder.push(&Event {
            event_id: Some(format!("e{n}").into()),
            event_time: Some(EventTime(BEGIN_MS + n * 3_000)),
            client_ip: Some(["192.0.2.1", "192.0.2.2"][usize::from(n % 3 == 0)].into()),
            account: Some(format!("a{}", n % 4).into()),
            service: Some("shop".into()),
            path: Some(format!("/v1/{n}").into()),
            line: Some(format!("line {n}").into()),
            status: Some([401, 403, 500, 200][usize::try_from(n % 4).unwrap()]),
            response_bytes: Some(n * 100),
            ..Event::default()
        });
    }
    builder.finish().unwrap()
}

/// Frames of some events, of a drop and of a quiet end, and the reducer after them.
fn history() -> (Vec<Frame>, Reducer) {
    let (mut mapper, mut reducer) = (mapper(), reducer());
    let mut frames = Vec::new();
    for step in 0..3 {
        let batch = batch(step * 8);
        let next = (step + 1) * 8;
        let input = Input { batch: &batch, append_times: None, next, origin: None };
        frames.extend(mapper.map(input).unwrap().frames);
    }
    let letter = DeadLetter {
        reason: Reason::Malformed,
        detail: "x".to_owned(),
        origin: None,
        sensor: None,
        client_ip: Some("192.0.2.1".to_owned()),
        event_time: Some(EventTime(BEGIN_MS + 72_000)),
        line: String::new(),
    };
    frames.extend(mapper.dropped(&[letter.clone(), letter], 26).unwrap().frames);
    for frame in &frames {
        reducer.reduce(frame.clone()).unwrap();
    }
    frames.extend(mapper.quiet(EventTime(BEGIN_MS + 400_000)).unwrap().frames);
    (frames, reducer)
}

/// The bodies of this build's own frames, each behind the byte that says so.
pub(crate) fn write_frames(folder: &Path) {
    let frames = history().0;
    for (number, frame) in frames.iter().enumerate() {
        let body = open(&frame.encode()).1;
        std::fs::write(folder.join(format!("own-{number}")), [&[0], &*body].concat()).unwrap();
    }
    let body = open(&mapper().open().encode()).1;
    std::fs::write(folder.join("own-open"), [&[1], &*body].concat()).unwrap();
}

/// The bodies of this build's own markers, each behind the byte that says so.
pub(crate) fn write_markers(folder: &Path) {
    let (frames, after) = history();
    let mut reducer = reducer();
    for (number, marker) in
        std::iter::once(reducer.snapshot().unwrap()).chain([after.snapshot().unwrap()]).enumerate()
    {
        let body = open(&marker).1;
        std::fs::write(folder.join(format!("own-{number}")), [&[0], &*body].concat()).unwrap();
    }
    reducer.reduce(frames[0].clone()).unwrap();
    let body = open(&reducer.sources().encode()).1;
    std::fs::write(folder.join("own-sources"), [&[1], &*body].concat()).unwrap();
}

/// The bytes are the body of an entry of the exchange: of a frame, of an open, or all of it.
pub(crate) fn check_frame(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let entry = match kind % 3 {
        0 => seal(HEADS[0], body),
        1 => seal(HEADS[1], body),
        _ => body.to_vec(),
    };
    match Entry::decode(&entry, &RULESET).map(|decoded| decoded.entry) {
        Err(refused) => assert!(!refused.to_string().is_empty()),
        Ok(Entry::Open(open)) => {
            let again = Entry::decode(&open.encode(), &RULESET).unwrap().entry;
            assert!(matches!(again, Entry::Open(read) if read == open));
            drop(reducer().open(&open));
        }
        Ok(Entry::Frame(frame)) => {
            let written = frame.encode();
            let again = match Entry::decode(&written, &RULESET).unwrap().entry {
                Entry::Frame(frame) => frame.encode(),
                Entry::Open(_) => panic!("a frame went in"),
            };
            assert_eq!(again, written, "a frame reads back as written");
            reduce_in_place(frame);
        }
    }
}

/// Whatever the head of a frame says, what is in it is taken and closed.
fn reduce_in_place(frame: Frame) {
    let mut reducer = reducer();
    drop(reducer.reduce(frame.clone()));
    let own = mapper().open();
    let applied = reducer.sources().progress().find_map(|(_, of)| of.applied).unwrap_or(0);
    let (from, to) = (applied, applied.saturating_add(1));
    let placed = Frame { owner: own.owner, partition: 0, from, to, ..frame };
    if reducer.reduce(placed).is_err() {
        return;
    }
    goes_on(reducer, to);
}

/// A reducer that took what it was given can be written, read, and brought to its end.
fn goes_on(mut reducer: Reducer, from: i64) {
    let marker = reducer.snapshot().expect("a marker");
    let settings = ReduceSettings::alone(1);
    let restored = Reducer::restore(Arc::clone(&RULESET), settings, &marker).expect("its own");
    assert_eq!(restored.reducer.snapshot().unwrap(), marker, "a marker of a marker is the same");
    let Some(owner) = reducer.sources().progress().find_map(|(_, of)| of.owner) else { return };
    let end = Frame {
        owner,
        partition: 0,
        from,
        to: from,
        origin: None,
        watermark: EventTime::MAX,
        straggler: None,
        blocks: Vec::new(),
    };
    drop(reducer.reduce(end));
    drop(reducer.snapshot().expect("a marker at the end"));
}

/// The bytes are the body of a marker, of how far sources have come, or all of a marker.
pub(crate) fn check_marker(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let marker = match kind % 3 {
        0 => seal(HEADS[2], body),
        1 => {
            if let Ok(sources) = Sources::decode(&seal(HEADS[3], body)) {
                assert_eq!(Sources::decode(&sources.encode()), Ok(sources));
            }
            return;
        }
        _ => body.to_vec(),
    };
    let settings = ReduceSettings::alone(1);
    let Ok(restored) = Reducer::restore(Arc::clone(&RULESET), settings, &marker) else { return };
    let mut reducer = restored.reducer;
    let applied = reducer.sources().progress().find_map(|(_, of)| of.applied).unwrap_or(0);
    for frame in FRAMES.iter().cloned() {
        let owner = reducer.sources().progress().find_map(|(_, of)| of.owner);
        let frame = Frame { owner: owner.unwrap_or(frame.owner), from: applied, ..frame };
        drop(reducer.reduce(Frame { to: applied.saturating_add(1), ..frame }));
    }
    let applied = reducer.sources().progress().find_map(|(_, of)| of.applied).unwrap_or(0);
    goes_on(reducer, applied);
}
