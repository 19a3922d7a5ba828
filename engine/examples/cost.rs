//! What rules cost in memory: an event, a key, and how long a verdict takes; beside it one
//! DataFusion query per rule and batch. `cargo xtask bench engine` runs it, and gives it the
//! nanoseconds that sonic-rs takes for a JSON line of twelve fields, by which machines are
//! compared. Two parts of it can be had alone, of what that has built:
//!
//! - `cost times 190000`: how long a verdict takes at so many events a second;
//! - `cost steps 256`: nothing but steps of so many events, after the rest of the traffic, so that
//!   `valgrind --tool=callgrind --toggle-collect='cost::fed'` counts their instructions.
//!
//! Made traffic: 2,000 callers, 370 routes, ten minutes of event time. Rule number `n` looks at
//! one route, so that 1, 100 and 1,000 rules match 0.003, 0.27 and 2.7 times an event.

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::compute::cast;
use engine::plan::{self, CompiledRule, Query};
use engine::rule::{Lists, Rule, Settings, SourceFile, load};
use engine::ruleset::Ruleset;
use engine::run::{RunSettings, Runner};
use mimalloc::MiMalloc;
use schemas::{BATCH_ROWS_MAX, BatchBuilder, Event, EventTime, Field};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const EVENTS: i64 = 400_000;
const BEGIN_MS: i64 = 1_767_571_200_000;
const SPAN_MS: i64 = 600_000;
const ROUTES: usize = 370;
/// So many batches are also given to a query per rule: these take long.
const QUERIED: usize = 8;
/// Events in shorter batches than the longest, for [`TIMED_RULES`] rules. The last is what comes
/// within a millisecond or two.
const SHORT: [usize; 2] = [1_024, 256];
/// Medians of so many runs, since others use the machine too.
const RUNS: usize = 5;
/// Keys that live at once.
const KEYS: i64 = 1_000_000;
/// Asks for the bytes of keys and nothing else.
const KEYS_ALONE: &str = "keys";
/// Asks for the time to the verdict at a rate, and nothing else.
const TIMES_ALONE: &str = "times";
/// Asks for steps of so many events, and nothing else.
const STEPS_ALONE: &str = "steps";
/// Rules when times to the verdict are taken, and for how long.
const TIMED_RULES: usize = 1_000;
const TIMED_FOR: Duration = Duration::from_secs(10);

/// By turn: window, key and condition of a rule over one route.
const SHAPES: [(&str, &str, &str, &str); 4] = [
    ("5m", "client_ip", "", "count(*) >= 2000"),
    ("1m", "principal", " AND status <> 304", "count(DISTINCT path) >= 500"),
    ("5m", "client_ip", " AND method IN ('GET', 'POST')", "sum(response_bytes) >= 100000000"),
    ("2m", "principal", " AND user_agent NOT LIKE 'okhttp/%'", "count(*) >= 1000"),
];

struct Cost {
    ns_per_event: u128,
}

/// Figures that were asked for: what, how much in tenths, whether that is the most or the least, of
/// which unit. Costs were set where a floor is 240 ns: 8 M, 4 M and 1 M events/s.
const WANTED: [(&str, u128, bool, &str); 7] = [
    ("1 rule", 5, true, " floors"),
    ("100 rules", 10, true, " floors"),
    ("1000 rules", 42, true, " floors"),
    ("1000 rules, one query per rule and batch of 4096 takes", 150, false, " times as long"),
    ("1000 rules, one query per rule and batch of 256 takes", 150, false, " times as long"),
    ("a live key, as a process grows", 1_500, true, " B"),
    ("1000 rules at half of peak, p99 of event in to verdict out", 50, true, " ms"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [KEYS_ALONE, shown @ ..] => {
            let (counted, held) = grown(!shown.is_empty())?;
            println!("{counted} {held}");
            Ok(())
        }
        [TIMES_ALONE, rate] => {
            let [median, late] = times(&traffic()?, rate.parse()?)?.map(milliseconds);
            println!("p50 {median} ms, p99 {late} ms");
            Ok(())
        }
        [STEPS_ALONE, rows] => steps(&traffic()?, rows.parse()?),
        [floor] => all(floor.parse()?),
        _ => Err("usage: cost FLOOR_NS, cost times RATE, cost steps ROWS".into()),
    }
}

/// Everything, as a page.
fn all(floor: u128) -> Result<(), Box<dyn Error>> {
    let batches = traffic()?;
    println!("Medians of {RUNS} over {EVENTS} events.\n");
    println!(
        "| rules | events a batch | events/s | ns | floors | one query per rule and batch, ns | ratio |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let row = |rules: usize, rows: usize| -> Result<[u128; 3], Box<dyn Error>> {
        let (batches, rules) = (cut(&batches, rows), self::rules(rules)?);
        let ns = cost(&batches, &rules)?.ns_per_event.max(1);
        let queried = queried(&batches, &rules)?;
        let (count, per_second) = (rules.len(), 1_000_000_000 / ns);
        // In tenths, never in our favour.
        let (floors, ratio) = ((ns * 10).div_ceil(floor.max(1)), queried * 10 / ns);
        let (shown, times) = (tenths(floors), tenths(ratio));
        println!("| {count} | {rows} | {per_second} | {ns} | {shown} | {queried} | {times} |");
        Ok([per_second, floors, ratio])
    };
    row(0, BATCH_ROWS_MAX)?;
    let [_, one, _] = row(1, BATCH_ROWS_MAX)?;
    row(10, BATCH_ROWS_MAX)?;
    let [_, hundred, _] = row(100, BATCH_ROWS_MAX)?;
    let [peak, thousand, beside] = row(TIMED_RULES, BATCH_ROWS_MAX)?;
    let mut beside_short = 0;
    for rows in SHORT {
        [_, _, beside_short] = row(TIMED_RULES, rows)?;
    }
    let [counted, held, told] = keys()?;
    println!("\n| {KEYS} live keys, one rule over five minutes | B a key |");
    println!("| --- | --- |");
    println!("| as counted against the budget | {} |", tenths(counted));
    println!("| by which a process grows | {} |", tenths(held));
    println!(
        "| by which it grows if each key keeps its first event to show, and a line of 52 B | {} |",
        tenths(told)
    );
    let took = times(&batches, i64::try_from(peak / 2)?)?;
    let [median, late] = took.map(milliseconds);
    println!("\n| {TIMED_RULES} rules, {} events/s: event in to verdict out | ms |", peak / 2);
    println!("| --- | --- |");
    println!("| p50 | {median} |\n| p99 | {late} |");
    let late = u128::try_from(took[1])?.div_ceil(100_000);
    wanted([one, hundred, thousand, beside, beside_short, held, late]);
    Ok(())
}

/// Whether each of [`WANTED`] is there.
fn wanted(here: [u128; WANTED.len()]) {
    println!(
        "\nWhat is wanted; why a figure is missed, and what was tried: [performance.md](performance.md).\n"
    );
    println!("| what | wanted | here | |\n| --- | --- | --- | --- |");
    for ((what, limit, most, unit), here) in WANTED.into_iter().zip(here) {
        let bound = if most { "at most" } else { "at least" };
        let verdict = match if most { here <= limit } else { here >= limit } {
            true => "reached".to_owned(),
            false if most => format!("missed by {} %", ((here - limit) * 100).div_ceil(limit)),
            false => format!("missed: {} % of it", here * 100 / limit),
        };
        let (limit, here) = (tenths(limit), tenths(here));
        println!("| {what} | {bound} {limit}{unit} | {here}{unit} | {verdict} |");
    }
}

/// The last batches in steps of so many events, after the others.
fn steps(batches: &[RecordBatch], rows: usize) -> Result<(), Box<dyn Error>> {
    let ruleset = Arc::new(Ruleset::new(compiled(&rules(TIMED_RULES)?)?)?);
    let mut runner = Runner::new(ruleset, RunSettings::over(1))?;
    let (before, last) =
        batches.split_at_checked(batches.len().saturating_sub(QUERIED)).ok_or("no traffic")?;
    for batch in before {
        runner.feed(0, batch)?;
    }
    let last = cut(last, rows);
    let begun = now();
    let events = fed(&mut runner, &last)?;
    let ns = begun.elapsed().as_nanos() / u128::try_from(events)?;
    println!("{events} events in {} steps, {ns} ns each", last.len());
    Ok(())
}

/// Feeds batches, and says how many events they had. A name of its own in a profile.
#[inline(never)]
fn fed(runner: &mut Runner, batches: &[RecordBatch]) -> Result<usize, Box<dyn Error>> {
    for batch in batches {
        runner.feed(0, batch)?;
    }
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

/// The same events in batches of so many.
fn cut(batches: &[RecordBatch], rows: usize) -> Vec<RecordBatch> {
    let parts = |batch: &RecordBatch| {
        let (batch, all) = (batch.clone(), batch.num_rows());
        (0..all).step_by(rows.max(1)).map(move |from| batch.slice(from, rows.min(all - from)))
    };
    batches.iter().flat_map(parts).collect()
}

fn tenths(of: u128) -> String {
    format!("{}.{}", of / 10, of % 10)
}

/// Tenths of bytes a key: as counted and as the process grows where events have nothing to show,
/// and as it grows where each key keeps its first event to show, with its line.
fn keys() -> Result<[u128; 3], Box<dyn Error>> {
    let keys = u128::try_from(KEYS)?;
    let (counted, held) = grown_alone(&[KEYS_ALONE])?;
    let (_, told) = grown_alone(&[KEYS_ALONE, "shown"])?;
    let [counted, held, told] =
        [u128::try_from(counted)?, u128::try_from(held)?, u128::try_from(told)?];
    Ok([counted, held, told].map(|bytes| (bytes * 10).div_ceil(keys)))
}

/// As [`grown`], in a process of its own: one that has freed memory grows into that first.
fn grown_alone(how: &[&str]) -> Result<(usize, usize), Box<dyn Error>> {
    let mut own = std::process::Command::new(std::env::current_exe()?);
    let told = String::from_utf8(own.args(how).output()?.stdout)?;
    let (counted, held) = told.trim().split_once(' ').ok_or("the measurement failed")?;
    Ok((counted.parse()?, held.parse()?))
}

/// Bytes counted, and those by which the process has grown, once every key has an event.
fn grown(shown: bool) -> Result<(usize, usize), Box<dyn Error>> {
    let text = "title: keys\nseverity: low\nwindow: 5m\nmemory: 4GiB\nsql: |\n  SELECT client_ip, \
         count(*) AS n FROM events GROUP BY client_ip HAVING count(*) >= 100\ntests:\n  \
         - {name: a, events: [], episodes: [{}]}\n  - {name: b, events: [], episodes: []}\n";
    let file = SourceFile { path: "cost/keys.yml".into(), text: text.to_owned() };
    let (rules, problems) = load(&[file], &Settings::default());
    if let Some(problem) = problems.first() {
        return Err(problem.render(false).into());
    }
    let ruleset = Arc::new(Ruleset::new(compiled(&rules)?)?);
    let mut runner = Runner::new(ruleset, RunSettings::over(1))?;
    let mut builder = BatchBuilder::default();
    let before = resident()?;
    for n in 0..KEYS {
        let ip = format!("10.{}.{}.{}", (n >> 16) & 255, (n >> 8) & 255, n & 255);
        builder.push(&Event {
            event_id: shown.then(|| format!("{n:032x}").into()),
            line: shown.then(|| format!("{ip} - - [x] \"GET / HTTP/1.1\" 200 512").into()),
            event_time: Some(EventTime(BEGIN_MS + n * 240_000 / KEYS)),
            client_ip: Some(ip.into()),
            ..Event::default()
        });
        if builder.len() == BATCH_ROWS_MAX || n == KEYS - 1 {
            let fed = runner.feed(0, &builder.finish()?)?;
            if !fed.verdicts.is_empty() {
                return Err("a key was given up".into());
            }
        }
    }
    let held = resident()?.saturating_sub(before);
    Ok((runner.load().map(|load| load.bytes).sum(), held))
}

/// Bytes of this process in memory.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kib.parse::<usize>()? << 10)
}

/// From when an event is due to when what it leads to is out, for events that come evenly at this
/// rate: the middle and the 99th of a hundred, in nanoseconds. Before, the rules have seen ten
/// minutes; from then on events are of the moment at which they come.
fn times(batches: &[RecordBatch], per_second: i64) -> Result<[i64; 2], Box<dyn Error>> {
    let ruleset = Arc::new(Ruleset::new(compiled(&rules(TIMED_RULES)?)?)?);
    let mut runner = Runner::new(ruleset, RunSettings::over(1))?;
    for batch in batches {
        runner.feed(0, batch)?;
    }
    let until = i64::try_from(TIMED_FOR.as_nanos())?;
    let mut took: Vec<i64> = Vec::new();
    let (mut fed, mut batch, mut row) = (0, 0, 0);
    let mut events = at_their_moment(batches, batch, (fed, per_second))?;
    let begun = now();
    loop {
        let now = i64::try_from(begun.elapsed().as_nanos())?;
        if now >= until {
            break;
        }
        let due = now * per_second / 1_000_000_000 - fed;
        let rows = usize::try_from(due)?.min(events.num_rows() - row);
        if rows == 0 {
            std::hint::spin_loop();
            continue;
        }
        runner.feed(0, &events.slice(row, rows))?;
        let out = i64::try_from(begun.elapsed().as_nanos())?;
        for _event in 0..rows {
            took.push(out - fed * 1_000_000_000 / per_second);
            fed += 1;
        }
        row += rows;
        if row == events.num_rows() {
            (batch, row) = (batch + 1, 0);
            events = at_their_moment(batches, batch, (fed, per_second))?;
        }
    }
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    Ok([at(50), at(99)])
}

fn milliseconds(ns: i64) -> String {
    format!("{}.{:02}", ns / 1_000_000, ns / 10_000 % 100)
}

/// The next of the batches, which come again and again, as if its first event were that of a number
/// at some rate.
fn at_their_moment(
    batches: &[RecordBatch],
    batch: usize,
    (first, per_second): (i64, i64),
) -> Result<RecordBatch, Box<dyn Error>> {
    let batch = batches.get(batch % batches.len().max(1)).ok_or("no traffic")?;
    let rows = i64::try_from(batch.num_rows())?;
    let moment = |row: i64| BEGIN_MS + SPAN_MS + (first + row) * 1_000 / per_second;
    let times = TimestampMillisecondArray::from_iter_values((0..rows).map(moment));
    let mut columns = batch.columns().to_vec();
    let place = batch.schema().index_of(Field::EventTime.name())?;
    let column = columns.get_mut(place).ok_or("no event_time")?;
    *column = cast(&times, column.data_type())?;
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

fn cost(batches: &[RecordBatch], rules: &[Rule]) -> Result<Cost, Box<dyn Error>> {
    let ruleset = Arc::new(Ruleset::new(compiled(rules)?)?);
    let mut runs: Vec<Cost> =
        (0..RUNS).map(|_run| once(batches, &ruleset)).collect::<Result<_, _>>()?;
    runs.sort_by_key(|run| run.ns_per_event);
    Ok(runs.swap_remove(RUNS / 2))
}

fn once(batches: &[RecordBatch], ruleset: &Arc<Ruleset>) -> Result<Cost, Box<dyn Error>> {
    let mut runner = Runner::new(Arc::clone(ruleset), RunSettings::over(1))?;
    let begun = now();
    for batch in batches {
        runner.feed(0, batch)?;
    }
    Ok(Cost { ns_per_event: begun.elapsed().as_nanos() / u128::try_from(EVENTS)? })
}

/// Nanoseconds an event where each rule runs its query over each batch.
fn queried(batches: &[RecordBatch], rules: &[Rule]) -> Result<u128, Box<dyn Error>> {
    let query = |rule| plan::reference(rule, &Lists::default());
    let queries: Vec<Query> =
        rules.iter().map(query).collect::<Result<_, _>>().map_err(|problems| {
            problems.first().map(|problem| problem.render(false)).unwrap_or_default()
        })?;
    let batches = batches.get(..QUERIED).unwrap_or(batches);
    let events: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let begun = now();
    for batch in batches {
        for query in &queries {
            query.run(std::slice::from_ref(batch), (0, 300_000))?;
        }
    }
    Ok(begun.elapsed().as_nanos() / u128::try_from(events)?)
}

#[expect(clippy::disallowed_methods, reason = "a measurement; nothing is decided by it")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn rules(count: usize) -> Result<Vec<Rule>, Box<dyn Error>> {
    let file = |(place, (window, key, filter, having)): (usize, &(&str, &str, &str, &str))| {
        let route = place % ROUTES;
        SourceFile {
            path: format!("cost/r{place}.yml"),
            text: format!(
                "title: r{place}\nseverity: low\nwindow: {window}\nsql: |\n  SELECT {key}, \
                 count(*) AS n FROM events WHERE route = '/v1/r{route}/{{id}}'{filter} \
                 GROUP BY {key} HAVING {having}\ntests:\n  \
                 - {{name: a, events: [], episodes: [{{}}]}}\n  \
                 - {{name: b, events: [], episodes: []}}\n"
            ),
        }
    };
    let files: Vec<SourceFile> = SHAPES.iter().cycle().take(count).enumerate().map(file).collect();
    let (rules, problems) = load(&files, &Settings::default());
    match problems.first() {
        Some(problem) => Err(problem.render(false).into()),
        None => Ok(rules),
    }
}

fn compiled(rules: &[Rule]) -> Result<Vec<CompiledRule>, Box<dyn Error>> {
    let (compiled, problems) = plan::compile(rules, &Lists::default());
    match problems.first() {
        Some(problem) => Err(problem.render(false).into()),
        None => Ok(compiled),
    }
}

fn traffic() -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::default();
    for n in 0..EVENTS {
        let mixed = n.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
        let pick = |of: i64, shift: u32| (mixed >> shift).rem_euclid(of);
        let (caller, route, order) = (pick(2_000, 3), pick(370, 7), pick(5_000, 11));
        let status = match pick(100, 9) {
            0..3 => 404,
            3 => 403,
            4 => 500,
            _ => 200,
        };
        let ip = format!("192.0.{}.{}", caller / 200, caller % 200);
        let path = format!("/v1/r{route}/{order}");
        builder.push(&Event {
            event_id: Some(format!("{mixed:032x}").into()),
            line: Some(
                format!("{ip} - - [x] \"GET {path} HTTP/1.1\" {status} 512 \"-\" \"curl/8.5.0\"")
                    .into(),
            ),
            event_time: Some(EventTime(BEGIN_MS + n * SPAN_MS / EVENTS)),
            client_ip: Some(ip.into()),
            principal: Some(format!("p{caller}").into()),
            method: Some("GET".into()),
            path: Some(path.into()),
            route: Some(format!("/v1/r{route}/{{id}}").into()),
            status: Some(status),
            response_bytes: Some(pick(1_000, 13)),
            user_agent: Some("curl/8.5.0".into()),
            service: Some("shop".into()),
            deploy_id: Some("d1".into()),
            ..Event::default()
        });
        if builder.len() == BATCH_ROWS_MAX || n == EVENTS - 1 {
            batches.push(builder.finish()?);
        }
    }
    Ok(batches)
}
