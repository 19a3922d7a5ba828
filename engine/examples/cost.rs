//! What rules cost an event in memory, and beside it one DataFusion query per rule and batch:
//! `cargo run -p engine --release --example cost [RULES …]`.
//!
//! Made traffic: 2,000 callers, 370 routes, ten minutes of event time. Rule number `n` looks at
//! one route, so that 1, 100 and 1,000 rules match 0.003, 0.27 and 2.7 times an event.

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::error::Error;
use std::sync::Arc;

use arrow::array::RecordBatch;
use engine::plan::{self, CompiledRule, Query};
use engine::rule::{Lists, Rule, Settings, SourceFile, load};
use engine::ruleset::Ruleset;
use engine::run::{RunSettings, Runner};
use schemas::{BATCH_ROWS_MAX, BatchBuilder, Event, EventTime};

const EVENTS: i64 = 400_000;
const SPAN_MS: i64 = 600_000;
const ROUTES: usize = 370;
/// Batches that are also given to a query per rule: these take long.
const QUERIED: usize = 8;
/// Medians of so many runs, since others use the machine too.
const RUNS: usize = 5;

/// By turn: window, key and condition of a rule over one route.
const SHAPES: [(&str, &str, &str, &str); 4] = [
    ("5m", "client_ip", "", "count(*) >= 2000"),
    ("1m", "principal", " AND status <> 304", "count(DISTINCT path) >= 500"),
    ("5m", "client_ip", " AND method IN ('GET', 'POST')", "sum(response_bytes) >= 100000000"),
    ("2m", "principal", " AND user_agent NOT LIKE 'okhttp/%'", "count(*) >= 1000"),
];

struct Cost {
    ns_per_event: u128,
    bytes_held: usize,
    verdicts: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let batches = traffic()?;
    println!("{EVENTS} events in {} batches, medians of {RUNS}", batches.len());
    println!(" rules  ns/event  events/s  query per rule and batch  ratio  MB held  verdicts");
    for count in if asked.is_empty() { vec![0, 1, 10, 100, 1_000] } else { asked } {
        let rules = rules(count)?;
        let cost = cost(&batches, &rules)?;
        let queried = queried(&batches, &rules)?;
        let ns = cost.ns_per_event.max(1);
        println!(
            "{count:>6}  {ns:>8}  {:>8}  {queried:>24}  {:>5}  {:>7}  {:>8}",
            1_000_000_000 / ns,
            queried / ns,
            cost.bytes_held >> 20,
            cost.verdicts,
        );
    }
    Ok(())
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
    let mut verdicts = 0;
    for batch in batches {
        verdicts += runner.feed(0, batch)?.verdicts.len();
    }
    let ns_per_event = begun.elapsed().as_nanos() / u128::try_from(EVENTS)?;
    let bytes_held = runner.load().map(|load| load.bytes).sum();
    verdicts += runner.end()?.verdicts.len();
    Ok(Cost { ns_per_event, bytes_held, verdicts })
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
            event_time: Some(EventTime(1_767_571_200_000 + n * SPAN_MS / EVENTS)),
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
