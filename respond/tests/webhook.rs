//! Webhooks against a real HTTP server: signature, retries, time-outs, and what is not retried.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use respond::{
    Asker, KnownGood, Ledger, Options, Parts, Policy, Responder, SIGNATURE_HEADER, Settings, Shown,
    TargetParts, Targets, Which, signature,
};
use runtime::clock::Clock;
use runtime::http::axum::body::Bytes;
use runtime::http::axum::extract::State;
use runtime::http::axum::http::{HeaderMap, StatusCode};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::{Router, routing::post};
use runtime::metrics::Metrics;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use schemas::Verdict;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SECRET: &str = "a secret of more than sixteen bytes";
const START_MS: i64 = 1_800_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server does with the next requests; then it answers 200.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Answer(u16),
    RetryAfter(u16, &'static str),
    /// Takes the request, and does not answer.
    Hang,
}

#[derive(Debug, Default)]
struct Desk {
    plans: Vec<Plan>,
    /// Header, value and body of each request, oldest first.
    heard: Vec<(BTreeMap<String, String>, Vec<u8>)>,
}

struct Server {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(plans: &[Plan]) -> Self {
        let desk = Arc::new(Mutex::new(Desk { plans: plans.to_vec(), heard: Vec::new() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", post(hear)).with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move { runtime::http::axum::serve(listener, router).await.unwrap() });
        Self { address, desk, _serving: serving }
    }

    fn heard(&self) -> Vec<(BTreeMap<String, String>, Vec<u8>)> {
        self.desk.lock().unwrap().heard.clone()
    }

    fn bodies(&self) -> Vec<Value> {
        self.heard().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

async fn hear(State(desk): State<Arc<Mutex<Desk>>>, headers: HeaderMap, body: Bytes) -> Response {
    let plan = {
        let mut desk = desk.lock().unwrap();
        let text = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        desk.heard.push((text.collect(), body.to_vec()));
        if desk.plans.is_empty() { Plan::Answer(200) } else { desk.plans.remove(0) }
    };
    match plan {
        Plan::Answer(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Plan::RetryAfter(status, after) => {
            (StatusCode::from_u16(status).unwrap(), [("retry-after", after)]).into_response()
        }
        Plan::Hang => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            StatusCode::OK.into_response()
        }
    }
}

fn verdict(id: &str) -> Verdict {
    serde_json::from_value(json!({
        "id": id, "revision": 1, "kind": "opened", "rule": "auth/x", "rule_version": "1",
        "title": "x", "severity": "high", "mode": "live", "key": {"client_ip": "203.0.113.9"},
        "subject": {"ip": "203.0.113.9"}, "values": {}, "first_event": "2027-01-15T08:00:00.000Z",
        "last_event": "2027-01-15T08:00:57.000Z", "fired_at": "2027-01-15T08:00:57.000Z",
        "early": true, "degraded": false, "respond": ["block 30m"],
    }))
    .unwrap()
}

struct Stage {
    folder: tempfile::TempDir,
    server: Server,
    hand: runtime::clock::ManualClock,
}

impl Stage {
    async fn new(plans: &[Plan]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: Server::start(plans).await,
            hand: Clock::manual(START_MS),
        }
    }

    fn responder(&self) -> Responder {
        let policy = Policy::parse("lines: [{name: all, then: asked}]", "policy.yml").unwrap();
        let config = json!({"webhook": {
            "url": format!("http://{}/hook", self.server.address),
            "secret": SECRET, "timeout": "500ms",
        }});
        let parts = TargetParts {
            base: self.folder.path(),
            never_block: policy.never_block.clone(),
            fingerprint: None,
            clock: self.hand.clock(),
        };
        let targets = Targets::build(&[serde_json::from_value(config).unwrap()], &parts).unwrap();
        let parts = Parts {
            ledger: Ledger::open(self.folder.path(), Options::default()).unwrap(),
            targets,
            clock: self.hand.clock(),
            metrics: Metrics::new(),
            known_good: KnownGood::new(),
        };
        Responder::new(Settings { policy, dry_run: false }, parts).unwrap()
    }
}

/// Waits until the only order has come to `state`.
async fn reached(responder: &Responder, state: &str) -> Shown {
    let until = Instant::now() + PATIENCE;
    loop {
        let shown = responder.orders(None, 1).remove(0);
        if shown.state == state || Instant::now() > until {
            assert_eq!(shown.state, state, "{shown:?}");
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn run(stage: &Stage, state: &str) -> Shown {
    let responder = stage.responder();
    let tasks = Tasks::new(Shutdown::new());
    responder.start(&tasks).await.unwrap();
    responder.take(verdict("a")).await.unwrap();
    let shown = reached(&responder, state).await;
    tasks.shutdown().request("the test is over");
    tasks.join_all(PATIENCE).await.unwrap();
    shown
}

#[tokio::test]
async fn an_order_and_its_end_are_sent_signed() {
    let stage = Stage::new(&[]).await;
    let responder = stage.responder();
    responder.take(verdict("a")).await.unwrap();
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    let by = Asker { by: "ann".into(), reason: "false positive".into() };
    let released = responder.release(Which::All, by).await.unwrap();
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    let heard = stage.server.heard();
    for (headers, body) in &heard {
        let expected = signature(SECRET.as_bytes(), START_MS / 1_000, body);
        assert_eq!(headers[SIGNATURE_HEADER], expected);
    }
    let keys: Vec<&str> =
        heard.iter().map(|(headers, _)| headers["idempotency-key"].as_str()).collect();
    assert_eq!(keys, [released[0].clone(), format!("{}:end", released[0])]);
    let bodies = stage.server.bodies();
    assert_eq!(bodies[0]["kind"], "order");
    assert_eq!(bodies[0]["order"]["subject"], json!({"kind": "ip", "value": "203.0.113.9"}));
    assert_eq!(bodies[0]["verdict"]["rule"], "auth/x");
    assert_eq!((&bodies[1]["kind"], &bodies[1]["state"]), (&json!("end"), &json!("released")));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_key() {
    let stage =
        Stage::new(&[Plan::Answer(500), Plan::RetryAfter(429, "0"), Plan::Answer(408)]).await;
    let shown = run(&stage, "standing").await;
    assert!(shown.attempt > 1, "{shown:?}");
    let heard = stage.server.heard();
    let keys: Vec<&str> =
        heard.iter().map(|(headers, _)| headers["idempotency-key"].as_str()).collect();
    assert_eq!(keys, [shown.order.id.as_str(); 4]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_tried_again() {
    let stage = Stage::new(&[Plan::Hang]).await;
    run(&stage, "standing").await;
    assert_eq!(stage.server.heard().len(), 2);
}

#[tokio::test]
async fn a_refusal_parks_the_order_until_a_person_retries() {
    let stage = Stage::new(&[Plan::Answer(400)]).await;
    let shown = run(&stage, "parked").await;
    assert!(shown.detail.as_ref().unwrap().starts_with("answered 400"), "{shown:?}");
    assert_eq!(stage.server.heard().len(), 1);
    let responder = stage.responder();
    responder.settle().await.unwrap();
    assert_eq!(stage.server.heard().len(), 1, "a restart does not try it again");
    let by = Asker { by: "ann".into(), reason: "the receiver is mended".into() };
    assert!(responder.retry(&shown.order.id, by).await.unwrap());
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    assert_eq!(responder.orders(None, 1)[0].state, "standing");
}

#[tokio::test]
async fn a_server_that_is_away_loses_no_order() {
    let stage = Stage::new(&[]).await;
    let address = free_address();
    let config = json!({"webhook": {"url": format!("http://{address}/hook"), "secret": SECRET}});
    let policy = Policy::parse("lines: [{then: asked}]", "policy.yml").unwrap();
    let parts = TargetParts {
        base: stage.folder.path(),
        never_block: policy.never_block.clone(),
        fingerprint: None,
        clock: stage.hand.clock(),
    };
    let targets = Targets::build(&[serde_json::from_value(config).unwrap()], &parts).unwrap();
    let parts = Parts {
        ledger: Ledger::open(stage.folder.path(), Options::default()).unwrap(),
        targets,
        clock: stage.hand.clock(),
        metrics: Metrics::new(),
        known_good: KnownGood::new(),
    };
    let responder = Responder::new(Settings { policy, dry_run: false }, parts).unwrap();
    responder.take(verdict("a")).await.unwrap();
    let wrong = responder.settle().await.unwrap().join("; ");
    assert!(wrong.contains("no connection"), "{wrong}");
    assert_eq!(responder.orders(None, 1)[0].state, "pending");
    drop(responder);
    let responder = stage.responder();
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    assert_eq!(responder.orders(None, 1)[0].state, "standing");
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
