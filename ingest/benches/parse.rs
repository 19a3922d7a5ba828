//! What a line costs on one core, from its bytes to a row of a batch.
//!
//! `cargo bench -p ingest --bench parse [-- combined] [json] [FILE…]` reads lines of its own making,
//! or of the files given. Beside them stand floors: splitting lines, and reading JSON with sonic-rs.

#![expect(clippy::print_stdout, reason = "a benchmark's answer is what it prints")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the machine's clock")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use ingest::{Fed, Keys, Parser, Place, Settings};
use schemas::{BatchBuilder, EventTime};

/// Lines of each kind. 200,000 JSON lines of 400 B are 80 MB, so the cache does not hold them.
const LINES: usize = 200_000;
/// Runs of each; the best counts, since all that disturbs only adds.
const RUNS: usize = 5;

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

/// Nanoseconds a line of the best run.
fn best(lines: &[&[u8]], mut run: impl FnMut(&[&[u8]])) -> f64 {
    let mut best = f64::MAX;
    let since = Instant::now();
    for _ in 0..RUNS {
        let start = nanos(since);
        run(lines);
        let spent = nanos(since) - start;
        best = best.min(spent / f64::from(u32::try_from(lines.len()).unwrap_or(u32::MAX)));
    }
    best
}

fn parse(lines: &[&[u8]], keep_line: bool) -> usize {
    let settings = Settings { keep_line, ..Settings::default() };
    let mut parser = Parser::new(settings, Keys::new([7; 16]));
    let mut batch = BatchBuilder::default();
    let mut events = 0;
    for (offset, line) in (0_i64..).zip(lines) {
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

fn twelve_fields(line: &[u8]) -> usize {
    sonic_rs::to_object_iter(line).filter_map(Result::ok).map(|(key, _)| key.len()).sum()
}

fn report(name: &str, text: &[u8]) {
    let lines: Vec<&[u8]> =
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let bytes = text.len() / lines.len().max(1);
    let floor = best(&lines, |lines| {
        black_box(lines.iter().map(|line| line.len()).sum::<usize>());
    });
    let events = parse(&lines, true);
    let with_line = best(&lines, |lines| {
        black_box(parse(lines, true));
    });
    let without = best(&lines, |lines| {
        black_box(parse(lines, false));
    });
    println!(
        "{name}: {} lines of {bytes} B, {events} events; floor {floor:.1} ns, parsed {with_line:.0} ns a line, without `line` {without:.0} ns",
        lines.len()
    );
    if lines.first().is_some_and(|line| line.starts_with(b"{")) {
        let sonic = best(&lines, |lines| {
            black_box(lines.iter().map(|line| twelve_fields(line)).sum::<usize>());
        });
        println!("{name}: sonic-rs, keys and values found only: {sonic:.0} ns a line");
    }
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| given.is_empty() || given.iter().any(|given| given == name);
    if wanted("combined") {
        report("combined", combined().as_bytes());
    }
    if wanted("json") {
        report("json", json().as_bytes());
    }
    for file in given.iter().filter(|name| !matches!(name.as_str(), "combined" | "json")) {
        match std::fs::read(file) {
            Ok(text) => report(file, &text),
            Err(error) => println!("{file}: {error}"),
        }
    }
}
