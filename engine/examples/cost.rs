//! What a rule costs an event, with state in panes and, beside it, with the same in rows:
//! `cargo run -p engine --example cost`.
//!
//! Made traffic: 200 addresses, some of them failing to log in; ten minutes of event time.

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use std::error::Error;
use std::sync::Arc;

use arrow::array::RecordBatch;
use engine::plan::{CompiledRule, compile};
use engine::rule::{Lists, Settings, SourceFile, load};
use engine::ruleset::Ruleset;
use engine::run::{RunSettings, Runner};
use schemas::{BATCH_ROWS_MAX, BatchBuilder, Event, EventTime};

const EVENTS: i64 = 400_000;
const SPAN_MS: i64 = 600_000;

const RULES: [(&str, &str); 10] = [
    (
        "window: 5m",
        "SELECT client_ip, count(*) AS failures, count(DISTINCT account) AS accounts FROM events WHERE route_login AND status IN (400, 401, 403) GROUP BY client_ip HAVING count(*) >= 20 AND count(DISTINCT account) >= 10",
    ),
    (
        "window: 1m",
        "SELECT client_ip, count(*) AS n FROM events WHERE status = 404 GROUP BY client_ip HAVING count(*) >= 30",
    ),
    (
        "window: 10m",
        "SELECT account, count(DISTINCT client_ip) AS ips FROM events WHERE status = 401 GROUP BY account HAVING count(DISTINCT client_ip) >= 50",
    ),
    (
        "window: 1m",
        "SELECT principal, route, count(*) AS n FROM events WHERE principal IS NOT NULL GROUP BY principal, route HAVING count(*) >= 5000",
    ),
    (
        "window: 5m",
        "SELECT route, avg(CASE WHEN status >= 500 THEN 1.0 ELSE 0.0 END) AS share FROM events WHERE status >= 400 GROUP BY route HAVING count(*) > 100 AND avg(CASE WHEN status >= 500 THEN 1.0 ELSE 0.0 END) > 0.9",
    ),
    ("key: client_ip", "SELECT client_ip, path FROM events WHERE path = '/.env' AND status = 200"),
    ("key: client_ip", "SELECT client_ip, status FROM events WHERE status = 418"),
    (
        "window: 1m",
        "SELECT client_ip, sum(response_bytes) AS bytes FROM events WHERE response_bytes > 900 GROUP BY client_ip HAVING sum(response_bytes) > 100000000",
    ),
    (
        "window: 5m",
        "SELECT client_ip, count(DISTINCT path) AS paths FROM events WHERE status = 403 GROUP BY client_ip HAVING count(DISTINCT path) >= 400",
    ),
    (
        "window: 2m",
        "SELECT user_agent, count(*) AS n FROM events WHERE user_agent LIKE '%sqlmap%' GROUP BY user_agent HAVING count(*) >= 1",
    ),
];

/// What a run over all traffic took.
struct Cost {
    ns_per_event: u128,
    bytes_held: usize,
    verdicts: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let batches = traffic()?;
    println!("rules  panes ns/event  rows ns/event  ratio  panes B held  rows B held  verdicts");
    for rules in [0, 1, 10, 60] {
        let panes = cost(&batches, compiled(rules)?)?;
        let rows = compiled(rules)?.into_iter().map(CompiledRule::into_rows).collect();
        let rows = cost(&batches, rows)?;
        let percent = rows.ns_per_event * 100 / panes.ns_per_event.max(1);
        println!(
            "{rules:>5}  {:>14}  {:>13}  {:>2}.{:02}  {:>12}  {:>11}  {} and {}",
            panes.ns_per_event,
            rows.ns_per_event,
            percent / 100,
            percent % 100,
            panes.bytes_held,
            rows.bytes_held,
            panes.verdicts,
            rows.verdicts,
        );
    }
    Ok(())
}

/// The lesser of two runs, since others use the machine too.
fn cost(batches: &[RecordBatch], rules: Vec<CompiledRule>) -> Result<Cost, Box<dyn Error>> {
    let ruleset = Arc::new(Ruleset::new(rules)?);
    let first = once(batches, &ruleset)?;
    let second = once(batches, &ruleset)?;
    Ok(if first.ns_per_event < second.ns_per_event { first } else { second })
}

fn once(batches: &[RecordBatch], ruleset: &Arc<Ruleset>) -> Result<Cost, Box<dyn Error>> {
    let mut runner = Runner::new(Arc::clone(ruleset), RunSettings::over(1))?;
    let begun = now();
    let mut verdicts = 0;
    for batch in batches {
        verdicts += runner.feed(0, batch)?.verdicts.len();
    }
    let bytes_held = runner.load().map(|load| load.bytes).sum();
    verdicts += runner.end()?.verdicts.len();
    let ns_per_event = begun.elapsed().as_nanos() / u128::try_from(EVENTS)?;
    Ok(Cost { ns_per_event, bytes_held, verdicts })
}

#[expect(clippy::disallowed_methods, reason = "a measurement; nothing is decided by it")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// So many rules; beyond the ten the same again under other names.
fn compiled(count: usize) -> Result<Vec<CompiledRule>, Box<dyn Error>> {
    let file = |(place, (head, sql)): (usize, &(&str, &str))| SourceFile {
        path: format!("cost/r{place}.yml"),
        text: format!(
            "title: r{place}\nseverity: low\n{head}\nsql: |\n  {sql}\ntests:\n  \
             - {{name: a, events: [], episodes: [{{}}]}}\n  - {{name: b, events: [], episodes: []}}\n"
        ),
    };
    let files: Vec<SourceFile> = RULES.iter().cycle().take(count).enumerate().map(file).collect();
    let (rules, problems) = load(&files, &Settings::default());
    let (compiled, more) = compile(&rules, &Lists::default());
    if let Some(problem) = problems.iter().chain(&more).next() {
        return Err(problem.render(false).into());
    }
    Ok(compiled)
}

fn traffic() -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::default();
    for n in 0..EVENTS {
        let mixed = n.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
        let pick = |of: i64, shift: u32| (mixed >> shift).rem_euclid(of);
        let caller = pick(200, 3);
        let login = caller % 20 == 0;
        let status = match (login, pick(100, 9)) {
            (true, 0..40) => 401,
            (_, 0..3) => 404,
            (_, 3) => 403,
            (_, 4) => 500,
            _ => 200,
        };
        builder.push(&Event {
            event_id: Some(format!("{mixed:032x}").into()),
            line: Some(format!("192.0.2.{caller} - - [x] \"GET /v1/orders/{} HTTP/1.1\" {status} 512 \"-\" \"curl/8.5.0\" and so on for the rest of a line", pick(5_000, 11)).into()),
            event_time: Some(EventTime(1_767_571_200_000 + n * SPAN_MS / EVENTS)),
            client_ip: Some(format!("192.0.2.{caller}").into()),
            account: login.then(|| format!("a{}", pick(500, 5)).into()),
            principal: (!login).then(|| format!("p{caller}").into()),
            method: Some("GET".into()),
            path: Some(format!("/v1/orders/{}", pick(5_000, 11)).into()),
            route: Some(format!("/v1/r{}/{{id}}", pick(30, 7)).into()),
            route_login: Some(login),
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
