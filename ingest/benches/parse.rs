//! What a line costs on one core, from its bytes to a row of a batch.
//!
//! `cargo bench -p ingest --bench parse [-- combined] [json] [FILE…] [--figures] [--once]` reads
//! lines of its own making, or of the files given. Beside them stand floors of the same lines in the
//! same rounds: splitting them, and for JSON reading their twelve fields with sonic-rs. `--figures`
//! prints JSON for `cargo xtask bench ingest`; `--once` parses each text once and measures nothing,
//! for profilers that count instructions; `--detect` says what each file's format is told as.

#![expect(clippy::print_stdout, reason = "a benchmark's answer is what it prints")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the machine's clock")]

#[path = "parse/twelve.rs"]
mod twelve;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use ingest::{Fed, Keys, Parser, Place, Settings};
use mimalloc::MiMalloc;
use schemas::{BatchBuilder, EventTime};
use serde_json::json;

use twelve::Line;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Lines of each kind. 200,000 JSON lines of 400 B are 80 MB, so the cache does not hold them.
const LINES: usize = 200_000;
/// Rounds; in each, everything is measured once, so that what disturbs the machine disturbs all.
const ROUNDS: usize = 9;

const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
];

fn target(number: usize) -> String {
    match number % 8 {
        0 => format!("/v1/users/{}", number % 5000),
        1 => format!("/v1/users/{}/orders", number % 5000),
        2 => "/v1/orders".to_owned(),
        3 => format!("/v1/products/{}", number % 5000),
        4 => format!("/v1/search?q=item{}", number % 5000),
        5 => "/v1/login".to_owned(),
        6 => "/healthz".to_owned(),
        _ => format!("/v1/cart/{}", number % 5000),
    }
}

fn combined() -> String {
    let mut text = String::new();
    for number in 0..LINES {
        let second = number / 2000;
        let written = writeln!(
            text,
            "10.{}.{}.{} - user{} [20/Nov/2026:08:{:02}:{:02} +0000] \"GET {} HTTP/1.1\" 200 {} \"-\" \"{}\"",
            number % 250,
            number % 241,
            number % 239,
            number % 20_000,
            second / 60 % 60,
            second % 60,
            target(number),
            200 + number % 4800,
            AGENTS.get(number % 4).unwrap_or(&""),
        );
        assert!(written.is_ok());
    }
    text
}

fn json() -> String {
    let mut text = String::new();
    for number in 0..LINES {
        let (second, milli) = (number / 2000, number % 2000 / 2);
        let written = writeln!(
            text,
            "{{\"time\":\"2026-11-20T08:{:02}:{:02}.{milli:03}+00:00\",\"remote_addr\":\"10.{}.{}.{}\",\"request_method\":\"GET\",\"request_uri\":\"{}\",\"status\":200,\"body_bytes_sent\":{},\"request_time\":0.0{},\"http_user_agent\":\"{}\",\"remote_user\":\"user{}\",\"host\":\"api.example.com\",\"request_id\":\"{:032x}\",\"server_protocol\":\"HTTP/1.1\"}}",
            second / 60 % 60,
            second % 60,
            number % 250,
            number % 241,
            number % 239,
            target(number),
            200 + number % 4800,
            number % 97 + 1,
            AGENTS.get(number % 4).unwrap_or(&""),
            number % 20_000,
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        assert!(written.is_ok());
    }
    text
}

/// Nanoseconds that this thread has had a core, where the system says so; else the clock's.
fn nanos(since: Instant) -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|text| text.split(' ').next()?.parse().ok());
    spent.unwrap_or_else(|| since.elapsed().as_secs_f64() * 1e9)
}

/// The lines of a text.
struct Log<'t> {
    name: &'t str,
    text: &'t [u8],
    lines: Vec<&'t [u8]>,
}

impl<'t> Log<'t> {
    fn of(name: &'t str, text: &'t [u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        Self { name, text, lines }
    }

    fn is_json(&self) -> bool {
        self.text.starts_with(b"{")
    }

    /// Nanoseconds a line.
    fn cost(&self, run: impl FnOnce(&Self)) -> f64 {
        let since = Instant::now();
        let start = nanos(since);
        run(self);
        (nanos(since) - start) / f64::from(u32::try_from(self.lines.len()).unwrap_or(u32::MAX))
    }

    /// Parses every line; how many events there were.
    fn parse(&self, keep_line: bool) -> usize {
        let settings = Settings { keep_line, ..Settings::default() };
        let mut parser = Parser::new(settings, Keys::new([7; 16]));
        parser.learn(self.lines.get(..64).unwrap_or(&self.lines));
        let mut batch = BatchBuilder::default();
        let mut events = 0;
        for (offset, line) in (0_i64..).zip(&self.lines) {
            let place = Place { topic: "access.log", partition: 0, offset };
            if let Fed::Events(count) = parser.feed(line, place, EventTime(0), &mut batch) {
                events += count;
            }
            if batch.is_full() {
                black_box(batch.finish().is_ok());
            }
        }
        black_box(batch.finish().is_ok());
        events
    }

    /// Splits the text into lines, and does nothing with them.
    fn split(&self) {
        let lines = self.text.split(|byte| *byte == b'\n');
        black_box(lines.map(<[u8]>::len).sum::<usize>());
    }

    /// Reads the twelve fields with sonic-rs.
    fn twelve_fields(&self) {
        let weight =
            |line: &&[u8]| sonic_rs::from_slice::<Line<'_>>(line).map_or(0, |l| l.weight());
        black_box(self.lines.iter().map(weight).sum::<u64>());
    }
}

/// What the lines of a text cost, in nanoseconds a line, in the middle of all rounds.
#[derive(Default)]
struct Costs {
    split: Vec<f64>,
    sonic: Vec<f64>,
    parsed: Vec<f64>,
    without_line: Vec<f64>,
}

fn middle(mut costs: Vec<f64>) -> Option<f64> {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied()
}

fn measure(logs: &[Log<'_>], figures: bool) {
    let mut costs: Vec<Costs> = logs.iter().map(|_| Costs::default()).collect();
    for _ in 0..ROUNDS {
        for (log, costs) in logs.iter().zip(&mut costs) {
            costs.split.push(log.cost(Log::split));
            if log.is_json() {
                costs.sonic.push(log.cost(Log::twelve_fields));
            }
            costs.parsed.push(log.cost(|log| {
                black_box(log.parse(true));
            }));
            costs.without_line.push(log.cost(|log| {
                black_box(log.parse(false));
            }));
        }
    }
    for (log, costs) in logs.iter().zip(costs) {
        let Costs { split, sonic, parsed, without_line } = costs;
        let figure = json!({
            "log": log.name,
            "lines": log.lines.len(),
            "bytes_a_line": log.text.len() / log.lines.len().max(1),
            "events": log.parse(true),
            "split_ns": middle(split),
            "sonic_ns": middle(sonic),
            "parse_ns": middle(parsed),
            "parse_without_line_ns": middle(without_line),
        });
        println!("{}", if figures { figure.to_string() } else { format!("{figure:#}") });
    }
}

fn main() {
    let (flags, given): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
    let wanted = |name: &str| given.is_empty() || given.iter().any(|given| given == name);
    if wanted("combined") {
        texts.push(("combined".to_owned(), combined().into_bytes()));
    }
    if wanted("json") {
        texts.push(("json".to_owned(), json().into_bytes()));
    }
    for file in given.iter().filter(|name| !matches!(name.as_str(), "combined" | "json")) {
        match std::fs::read(file) {
            Ok(text) => texts.push((file.clone(), text)),
            Err(error) => println!("{file}: {error}"),
        }
    }
    let logs: Vec<Log<'_>> = texts.iter().map(|(name, text)| Log::of(name, text)).collect();
    if flags.iter().any(|flag| flag == "--detect") {
        for log in &logs {
            println!("{}", ingest::detect(&log.lines).map_or("none", |guess| guess.format.name()));
        }
        return;
    }
    if flags.iter().any(|flag| flag == "--once") {
        for log in &logs {
            println!("{}: {} events", log.name, log.parse(true));
        }
        return;
    }
    measure(&logs, flags.iter().any(|flag| flag == "--figures"));
}
