//! Inputs that are killed at any byte: every line that was written is there once and in order, and so
//! is every line that was acknowledged. And one that is sent more than it has room for.
//!
//! One process is both roles: started by itself with a folder in the environment, it is the input,
//! until it is killed; otherwise it writes, rotates, posts and kills.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits for another process"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ingest::input::{FileInput, HttpInput, InputConfig, RawKind, RawLog, RawRecord, lines_router};
use ingest::{Keys, Parsed, Parser, Place, Settings};
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::http::{HttpMetrics, Listening, Serving, listen, serve};
use runtime::metrics::Metrics;
use runtime::ready::Ready;
use schemas::EventTime;
use transport::embedded::{Store, StoreOptions};
use transport::{NextOffset, ReadLimits};

const ROLE: &str = "TIDEGATE_TEST_INPUT_IN";
/// Of a line that is longer, so much is read.
const LINE_BYTES_MAX: usize = 1 << 20;
const KILLS: u64 = 40;

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn pause(&mut self, ms_max: u64) {
        std::thread::sleep(Duration::from_millis(self.roll(ms_max)));
    }
}

fn store(folder: &Path) -> RawLog {
    let clock = Clock::system();
    let store = Store::open(&folder.join("store"), StoreOptions::new(clock.clone())).unwrap();
    RawLog::open(&store, clock).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The folder of a child's role.
fn role() -> Option<PathBuf> {
    std::env::var(ROLE).ok().map(PathBuf::from)
}

/// Starts this test again in the other role, and waits until it says that it runs.
fn start(test: &str, folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = out.find_map(|line| {
        let line = line.unwrap();
        line.contains("running input at ").then_some(line)
    });
    (child, running.unwrap_or_default())
}

fn running(what: &str) {
    std::io::stdout().write_all(format!("\nrunning input at {what}\n").as_bytes()).unwrap();
}

/// The lines of the log, in order.
async fn lines_of(raw: &RawLog) -> Vec<Vec<u8>> {
    let mut reader = raw.log().reader(RawLog::PARTITION, NextOffset::ZERO).await.unwrap();
    let end = raw.end().await.unwrap();
    let mut lines = Vec::new();
    while reader.next_offset() < end {
        for record in reader.next(ReadLimits::default()).await.unwrap().records {
            let record = RawRecord::of(&record);
            if record.kind == RawKind::Line {
                lines.push(record.value.to_vec());
            }
        }
    }
    lines
}

/// What is written to a log, and rotated away.
struct Writer {
    folder: PathBuf,
    dice: Dice,
    written: Vec<Vec<u8>>,
    rotations: u32,
}

impl Writer {
    fn path(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = format!("{} ", self.written.len()).into_bytes();
        let len = match self.dice.roll(300) {
            0 => 1_500_000,
            1..10 => 20_000,
            _ => self.dice.roll(200),
        };
        line.extend((0..len).map(|_| match u8::try_from(self.dice.roll(256)).unwrap() {
            b'\n' => 0xff,
            byte => byte,
        }));
        line
    }

    /// Writes some lines, the last of them in two parts.
    fn write(&mut self) {
        let mut file = File::options().create(true).append(true).open(self.path()).unwrap();
        for _ in 0..1 + self.dice.roll(30) {
            let line = self.line();
            let cut = usize::try_from(self.dice.roll(line.len() as u64 + 1)).unwrap();
            file.write_all(&line[..cut]).unwrap();
            if self.dice.roll(8) == 0 {
                self.dice.pause(3);
            }
            file.write_all(&[&line[cut..], b"\n"].concat()).unwrap();
            self.written.push(line);
        }
    }

    /// Renames, or copies and truncates, as logrotate does. Files that were written in the same tick
    /// of the file system's clock have no order, so a moment passes.
    fn rotate(&mut self) {
        self.rotations += 1;
        let old = self.folder.join(format!("access.log.{}", self.rotations));
        if self.dice.roll(2) == 0 {
            fs::rename(self.path(), old).unwrap();
        } else {
            fs::copy(self.path(), old).unwrap();
            self.dice.pause(20);
            File::options().write(true).open(self.path()).unwrap().set_len(0).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn follow(folder: &Path, raw: RawLog, stop: CancellationToken) {
    let path = folder.join("access.log*");
    let input = format!(r#"{{"type":"file","name":"nginx","path":"{}"}}"#, path.display());
    let input: InputConfig = serde_json::from_str(&input).unwrap();
    let condition = Ready::new().condition("input", "is opened");
    let input = FileInput::open(&input, raw, condition, None).await.unwrap();
    running("its place");
    input.run(stop).await.unwrap();
}

#[test]
fn followed_files_are_read_once_and_in_order_whatever_is_rotated_and_killed() {
    const TEST: &str = "followed_files_are_read_once_and_in_order_whatever_is_rotated_and_killed";
    if let Some(folder) = role() {
        return runtime().block_on(follow(&folder, store(&folder), CancellationToken::new()));
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, kills) = (folder.path().to_owned(), AtomicU64::new(0));
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let (dice, written) = (Dice(4711), Vec::new());
            let mut writer = Writer { folder: path.clone(), dice, written, rotations: 0 };
            while kills.load(Ordering::Relaxed) < KILLS {
                writer.write();
                if writer.dice.roll(4) == 0 {
                    writer.rotate();
                }
                writer.dice.pause(60);
            }
            writer.written
        });
        let mut dice = Dice(815);
        for kill in 1..=KILLS {
            let (mut child, _) = start(TEST, &path);
            dice.pause(400);
            child.kill().unwrap();
            child.wait().unwrap();
            kills.store(kill, Ordering::Relaxed);
        }
        writing.join().unwrap()
    });
    let expected: Vec<Vec<u8>> =
        written.into_iter().map(|line| line[..line.len().min(LINE_BYTES_MAX)].to_vec()).collect();
    let found = runtime().block_on(async {
        let (raw, stop) = (store(&path), CancellationToken::new());
        let enough = async {
            let all = async {
                while lines_of(&raw).await.len() < expected.len() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            // What does not come in a minute is missed below; what comes twice has a second to.
            let _late = tokio::time::timeout(Duration::from_secs(60), all).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stop.cancel();
        };
        tokio::join!(follow(&path, raw.clone(), stop.clone()), enough);
        lines_of(&raw).await
    });
    same(&found, &expected);
    every_one_is_an_event_or_a_dead_letter(&found);
}

#[track_caller]
fn same(found: &[Vec<u8>], expected: &[Vec<u8>]) {
    let number = |line: &Vec<u8>| -> String {
        String::from_utf8_lossy(line).split(' ').next().unwrap().to_owned()
    };
    let (of, wanted): (Vec<_>, Vec<_>) =
        (found.iter().map(number).collect(), expected.iter().map(number).collect());
    let differs = of.iter().zip(&wanted).position(|(one, other)| one != other);
    if let Some(at) = differs {
        let end = (at + 5).min(of.len());
        let lost: Vec<_> = wanted.iter().filter(|number| !of.contains(number)).collect();
        panic!(
            "line {at} is {:?} where {:?} was written; {} of {}, and {lost:?} are nowhere",
            &of[at..end],
            &wanted[at],
            of.len(),
            wanted.len(),
        );
    }
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "a line is not what was written");
}

fn every_one_is_an_event_or_a_dead_letter(lines: &[Vec<u8>]) {
    let mut parser = Parser::new(Settings::default(), Keys::new([7; 16]));
    for (offset, line) in (0..).zip(lines) {
        let place = Place { topic: "raw", partition: 0, offset };
        match parser.line(line, place, EventTime(0)) {
            Parsed::Events(events) => assert_eq!(events.len(), 1),
            Parsed::DeadLetter(letter) => assert_eq!(letter.origin.unwrap().offset, offset),
            other => panic!("{other:?}"),
        }
    }
}

async fn take(folder: &Path) {
    let address = "127.0.0.1:0".parse().unwrap();
    let listening = Listening { what: "test", address, setting: "test" };
    let listener = listen(listening).await.unwrap();
    let router = lines_router(HttpInput::new("edge", None, store(folder)));
    running(&listener.local_addr().unwrap().to_string());
    let serving = Serving::new(HttpMetrics::new(&Metrics::new(), "test"));
    serve(listener, router, serving, CancellationToken::new()).await.unwrap();
}

/// Posts lines until nobody answers; gives how many requests were answered.
fn post(to: SocketAddr, sender: u32, mut number: u64) -> (u64, u64) {
    let begun = number;
    loop {
        let body = format!("{sender}.{number}.0\n{sender}.{number}.1\n");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        number += 1;
        let Ok(mut stream) = TcpStream::connect(to) else { break };
        let mut answer = String::new();
        let answered =
            stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        if answered.is_err() || !answer.contains("\"accepted\":2") {
            break;
        }
    }
    (begun, number)
}

#[test]
fn what_was_acknowledged_is_there_once_and_what_was_not_at_most_once() {
    const TEST: &str = "what_was_acknowledged_is_there_once_and_what_was_not_at_most_once";
    if let Some(folder) = role() {
        return runtime().block_on(take(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(42);
    let mut next = [0_u64; 3];
    let mut unanswered = Vec::new();
    for _ in 0..KILLS / 2 {
        let (mut child, said) = start(TEST, folder.path());
        let to: SocketAddr = said.rsplit_once(' ').unwrap().1.parse().unwrap();
        std::thread::scope(|scope| {
            let posting: Vec<_> = (0..)
                .zip(next)
                .map(|(sender, from)| scope.spawn(move || post(to, sender, from)))
                .collect();
            dice.pause(150);
            child.kill().unwrap();
            for (sender, posting) in posting.into_iter().enumerate() {
                let (_, end) = posting.join().unwrap();
                unanswered.push((sender, end - 1));
                next[sender] = end;
            }
        });
        child.wait().unwrap();
    }
    let found = runtime().block_on(async { lines_of(&store(folder.path())).await });
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for line in found {
        let line = String::from_utf8(line).unwrap();
        let mut numbers = line.split('.').map(|number| number.parse::<u64>().unwrap());
        let (sender, request, half) =
            (numbers.next().unwrap(), numbers.next().unwrap(), numbers.next().unwrap());
        let before = last.insert(sender, (request, half));
        assert!(before < Some((request, half)), "{line} comes after {before:?}");
        *counts.entry(line).or_default() += 1;
    }
    let mut requests = 0;
    for (sender, end) in next.into_iter().enumerate() {
        for request in 0..end {
            let count = |half: u32| counts.get(&format!("{sender}.{request}.{half}")).copied();
            let both = (count(0).unwrap_or(0), count(1).unwrap_or(0));
            let answered = !unanswered.contains(&(sender, request));
            assert!(both == (1, 1) || !answered && both.1 <= both.0 && both.0 <= 1, "{both:?}");
            requests += u64::from(answered);
        }
    }
    assert!(requests > 100, "only {requests} requests were answered");
}

/// Posts a body; the status of the answer.
fn post_packed(to: SocketAddr, body: &[u8]) -> u16 {
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-encoding: zstd\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn two_gibibytes_at_once_are_taken_in_within_bounds() {
    const TEST: &str = "two_gibibytes_at_once_are_taken_in_within_bounds";
    const SENDERS: usize = 64;
    if let Some(folder) = role() {
        return runtime().block_on(take(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    // Each opens to 32 MiB of lines.
    let lines = ["x".repeat(1023), "\n".to_owned()].concat().repeat(32 * 1024);
    let body = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    let (mut child, said) = start(TEST, folder.path());
    let to: SocketAddr = said.rsplit_once(' ').unwrap().1.parse().unwrap();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let posting: Vec<_> =
            (0..SENDERS).map(|_| scope.spawn(|| post_packed(to, &body))).collect();
        posting.into_iter().map(|posting| posting.join().unwrap()).collect()
    });
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_mib = peak.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024;
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!(taken > 0 && statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(peak_mib < 1024, "{peak_mib} MiB");
    let raw = store(folder.path());
    let found = runtime().block_on(raw.count("edge", NextOffset::ZERO)).unwrap();
    assert_eq!(found, taken * 32 * 1024, "what was acknowledged, and nothing else");
}
