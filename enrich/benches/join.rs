//! What the join costs an event, by what is configured.
//!
//! `cargo bench -p enrich` prints nanoseconds of one core an event: the median of several rounds
//! over batches that differ, with 1,000 routes, 100,000 identities, 1,000 deploys and a country
//! file of 50,000 networks. Where Linux tells it, the time is that of the thread on its core, so
//! that a busy machine disturbs it less. `-- --figures` prints JSON for `cargo xtask bench ingest`.

#![expect(clippy::expect_used, reason = "a bench whose events are wrong has nothing to say")]

#[path = "../src/network/tests/mmdb.rs"]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "as in the tests")]
mod mmdb;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use enrich::{
    Context, ContextCell, Database, Deploys, EnrichMetrics, Identities, Identity, JoinOptions,
    Joiner, Network, Routes, parse_document,
};
use mimalloc::MiMalloc;
use runtime::metrics::Metrics;
use schemas::{BATCH_ROWS_MAX, BatchBuilder, Deploy, Event, EventTime};
use serde_json::json;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SERVICES: usize = 10;
const ROUTES: usize = 1_000;
const IDENTITIES: usize = 100_000;
const DEPLOYS: usize = 1_000;
const BATCHES: usize = 50;
const ROUNDS: usize = 9;
const START_MS: i64 = 1_795_000_000_000;
const DEPLOY_EVERY_MS: i64 = 3_600_000;

/// A generator that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}

fn text(service: usize) -> String {
    format!("service-{service}")
}

fn millis(steps: usize) -> i64 {
    i64::try_from(steps).unwrap_or(0)
}

fn deploys() -> Deploys {
    let one = |number: usize| -> Deploy {
        let deploy = json!({
            "service": text(number % SERVICES), "deploy_id": format!("deploy-{number}"),
            "deployed_at": EventTime(START_MS + millis(number / SERVICES) * DEPLOY_EVERY_MS),
            "version": format!("1.{}", number / SERVICES), "commit": format!("{number:040x}"),
            "change_id": number.to_string(), "owner": format!("team-{}", number % SERVICES),
        });
        serde_json::from_value(deploy).expect("a deploy")
    };
    Deploys::new((0..DEPLOYS).map(one).collect())
}

fn identities() -> Identities {
    let one = |number: usize| -> Identity {
        let identity = json!({
            "principal": format!("user-{number}@example.com"), "kind": "human",
            "tenant": format!("tenant-{}", number % 500), "roles": ["buyer"],
        });
        serde_json::from_value(identity).expect("an identity")
    };
    Identities::new(&(0..IDENTITIES).map(one).collect::<Vec<_>>(), &[])
}

/// A hundred routes: ten collections, each with items that have parts.
fn path(route: usize, id: &str) -> String {
    let (collection, part) = (route / 10, route % 10);
    match part {
        0 => format!("/api/v1/collection-{collection}"),
        1 => format!("/api/v1/collection-{collection}/{id}"),
        _ => format!("/api/v1/collection-{collection}/{id}/part-{part}"),
    }
}

fn routes() -> Routes {
    let documents: Vec<_> = (0..SERVICES)
        .map(|service| {
            let paths = (0..ROUTES / SERVICES).map(|route| {
                let operation = json!({
                    "get": {"security": [{"oauth": ["read"]}],
                            "parameters": [{"in": "query", "name": "page"}]},
                });
                (path(route, "{id}"), operation)
            });
            let paths: serde_json::Map<_, _> = paths.collect();
            let document = json!({"openapi": "3.0.0", "paths": paths}).to_string();
            parse_document(&text(service), &document).expect("a document").0
        })
        .collect();
    Routes::new(&documents).0
}

/// A country for each of the networks that callers come from.
fn network() -> Network {
    const COUNTRIES: [&str; 8] = ["AT", "BR", "DE", "FR", "IN", "JP", "US", "ZA"];
    let country = |place: usize| {
        let code = mmdb::Value::Text(COUNTRIES.get(place % 8).unwrap_or(&"FR"));
        mmdb::Value::Map(vec![("country", mmdb::Value::Map(vec![("iso_code", code)]))])
    };
    let nets: Vec<(String, mmdb::Value)> = (0..200 * 250)
        .map(|place| (format!("{}.{}.0.0/16", 11 + place / 250, place % 250), country(place)))
        .collect();
    let nets: Vec<(&str, mmdb::Value)> =
        nets.iter().map(|(net, value)| (net.as_str(), value.clone())).collect();
    let database = Database::read(mmdb::database(&nets)).expect("a database");
    Network::new(vec![Arc::new(database)], &[])
}

fn batches() -> Vec<RecordBatch> {
    let mut dice = Dice(7);
    let mut builder = BatchBuilder::default();
    let one = |_| {
        for _ in 0..BATCH_ROWS_MAX {
            let id = dice.below(1_000_000).to_string();
            let after_ms = millis(dice.below(DEPLOYS / SERVICES)) * DEPLOY_EVERY_MS;
            // Each caller has an address of its own.
            let caller = dice.below(IDENTITIES);
            let spread = caller.wrapping_mul(7_919);
            let address =
                format!("{}.{}.{}.9", 11 + spread % 200, spread / 200 % 250, spread / 50_000 % 250);
            builder.push(&Event {
                event_time: Some(EventTime(START_MS + after_ms + 1_234)),
                method: Some("GET".into()),
                path: Some(path(dice.below(ROUTES / SERVICES), &id).into()),
                status: Some(200),
                auth_kind: Some("jwt".into()),
                client_ip: Some(address.into()),
                principal: Some(format!("user-{caller}@example.com").into()),
                service: Some(text(dice.below(SERVICES)).into()),
                ..Event::default()
            });
        }
        builder.finish().expect("a batch")
    };
    (0..BATCHES).map(one).collect()
}

/// Nanoseconds from some moment on.
fn elapsed_ns(start: Instant) -> u128 {
    let on_core = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let on_core = on_core.and_then(|text| text.split(' ').next()?.parse().ok());
    on_core.unwrap_or_else(|| start.elapsed().as_nanos())
}

#[expect(clippy::disallowed_methods, reason = "a measurement needs the machine's clock")]
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn measure(name: &str, context: Context, learn_routes: bool, batches: &[RecordBatch]) {
    // `cargo bench -p enrich -- routes` measures those alone.
    let figures = std::env::args().any(|word| word == "--figures");
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let options = JoinOptions { object_key: [7; 16], learn_routes };
    let metrics = EnrichMetrics::new(&Metrics::new());
    let joiner = Joiner::new(ContextCell::new(context), options, metrics);
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let begun = elapsed_ns(start);
            for batch in batches {
                black_box(joiner.enrich(black_box(batch)).expect("a joined batch"));
            }
            elapsed_ns(start) - begun
        })
        .collect();
    rounds.sort_unstable();
    let events: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let tenths =
        rounds.get(ROUNDS / 2).map_or(0, |ns| ns * 10 / u128::try_from(events).unwrap_or(1));
    if figures {
        println!(
            "{}",
            json!({ "context": name, "ns": format!("{}.{}", tenths / 10, tenths % 10) })
        );
    } else {
        println!("{name:<40} {:>4}.{} ns/event", tenths / 10, tenths % 10);
    }
}

fn main() {
    let batches = batches();
    let none = Context::default;
    measure("nothing", none(), false, &batches);
    measure("learned routes", none(), true, &batches);
    measure("deploys", none().with_deploys(deploys()), false, &batches);
    measure("identities", none().with_identities(identities()), false, &batches);
    measure("routes", none().with_routes(routes()), false, &batches);
    measure("networks", none().with_network(network()), false, &batches);
    let all = none().with_deploys(deploys()).with_identities(identities()).with_routes(routes());
    let all = all.with_network(network());
    measure("deploys, identities, routes, networks", all, true, &batches);
}
