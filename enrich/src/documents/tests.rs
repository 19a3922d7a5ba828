use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use expect_test::{Expect, expect};
use runtime::clock::{Clock, ManualClock};
use runtime::config::Secret;
use runtime::http::axum::extract::State;
use runtime::http::axum::http::{HeaderMap, StatusCode, Uri};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::{Router, serve};
use runtime::metrics::Metrics;
use runtime::ready::Ready;
use schemas::{Deploy, DeployAction, Event, EventTime};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{DocumentPull, OpenApiConfig};
use crate::context::{Context, ContextCell};
use crate::deploys::Deploys;
use crate::joiner::{JoinOptions, Joiner};
use crate::metrics::EnrichMetrics;

/// 2026-11-20T08:00:00Z
const NOW_MS: i64 = 1_795_161_600_000;

/// What a service answers by path, and what it was asked.
#[derive(Debug, Default)]
struct Service {
    answers: BTreeMap<String, (u16, String)>,
    asked: Vec<String>,
    /// Never answers.
    stuck: bool,
}

type Shared = Arc<Mutex<Service>>;

async fn answer(State(service): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let (status, text, stuck) = {
        let mut service = service.lock().unwrap();
        let mut asked = uri.path().to_owned();
        for (name, shown) in [("authorization", "as"), ("if-none-match", "unless")] {
            if let Some(value) = headers.get(name) {
                asked.push_str(&format!(" {shown} {}", value.to_str().unwrap()));
            }
        }
        service.asked.push(asked);
        let absent = (404, "not found".to_owned());
        let (status, text) = service.answers.get(uri.path()).cloned().unwrap_or(absent);
        (status, text, service.stuck)
    };
    if stuck {
        std::future::pending::<()>().await;
    }
    let tag = format!("\"{}\"", text.len());
    if headers.get("if-none-match").is_some_and(|known| known.to_str().unwrap() == tag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    (StatusCode::from_u16(status).unwrap(), [("etag", tag)], text).into_response()
}

/// A pull with the service behind it.
struct Bench {
    service: Shared,
    pull: DocumentPull,
    base: String,
    hand: ManualClock,
    context: ContextCell,
    metrics: Metrics,
    /// The server ends with the bench.
    server: JoinSet<()>,
}

fn config(settings: serde_json::Value) -> OpenApiConfig {
    serde_json::from_value(settings).unwrap()
}

impl Bench {
    async fn new(settings: serde_json::Value) -> Self {
        let service = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&service));
        let mut server = JoinSet::new();
        server.spawn(async move { serve(listener, router).await.unwrap() });
        let mut all = json!({ "service": "shop", "url": format!("{base}/api/openapi.json") });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let hand = Clock::manual(NOW_MS);
        let (context, metrics) = (ContextCell::default(), Metrics::new());
        let enrich = EnrichMetrics::new(&metrics);
        let pulls = DocumentPull::all(&[config(all)], &context, &hand.clock(), &enrich).unwrap();
        let pull = pulls.into_iter().next().unwrap();
        Self { service, pull, base, hand, context, metrics, server }
    }

    fn tells(&self, path: &str, status: u16, text: &str) {
        let answer = (status, text.to_owned());
        self.service.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// What a pull brought, and what the service was asked for it.
    async fn pulled(&mut self) -> String {
        let told = match self.pull.pull().await {
            Ok(operations) => format!("{operations} operations"),
            Err(error) => error.to_string().replace(&self.base, "http://shop"),
        };
        let asked = std::mem::take(&mut self.service.lock().unwrap().asked);
        format!("{told}\n  asked {}", asked.join(", "))
    }

    /// What the join says of a request at a moment, `v=` of an instance of a version.
    fn route(&self, request: &str, ms: i64) -> String {
        let mut words = request.split(' ');
        let options = JoinOptions { object_key: [0; 16], learn_routes: false };
        let metrics = EnrichMetrics::new(&Metrics::new());
        let joiner = Joiner::new(self.context.clone(), options, metrics);
        let event = Event {
            service: Some("shop".into()),
            method: words.next().map(|word| word.to_owned().into()),
            path: words.next().map(|word| word.to_owned().into()),
            service_version: words
                .next()
                .map(|word| word.trim_start_matches("v=").to_owned().into()),
            event_time: Some(EventTime(NOW_MS + ms)),
            ..Event::default()
        };
        let event = joiner.enrich_event(&event).unwrap();
        format!(
            "{} {}{}",
            event.route.as_deref().unwrap_or("-"),
            match event.route_declared {
                Some(true) => "declared",
                Some(false) => "undeclared",
                None => "unknown",
            },
            if event.route_auth_required == Some(true) { " auth" } else { "" }
        )
    }

    fn report(&self) -> String {
        let now_ms = self.hand.clock().unix_ms();
        let documents = self.context.load().report_documents(now_ms);
        serde_json::to_string(&documents).unwrap().replace(&self.base, "http://shop")
    }
}

#[track_caller]
fn check(lines: &[String], expected: &Expect) {
    expected.assert_eq(&lines.join("\n"));
}

const FIRST: &str = r#"{"openapi": "3.1.0", "info": {"title": "shop", "version": "1"},
 "servers": [{"url": "v1"}], "security": [{"key": []}],
 "paths": {"/orders/{id}": {"get": {}}, "/old": {"get": {}}}}"#;

const SECOND: &str = r#"{"openapi": "3.1.0", "info": {"title": "shop", "version": "2"},
 "servers": [{"url": "v1"}],
 "paths": {"/orders/{id}": {"get": {}}, "/new": {"get": {}}}}"#;

#[tokio::test]
async fn a_service_tells_its_routes_and_is_asked_whether_they_changed() {
    let mut bench = Bench::new(json!({})).await;
    bench.tells("/api/openapi.json", 200, FIRST);
    let mut lines = vec![bench.pulled().await, bench.route("GET /api/v1/orders/7", 0)];
    bench.hand.advance_ms(90_000);
    lines.extend([bench.report(), bench.pulled().await, bench.report()]);
    check(
        &lines,
        &expect![[r#"
        2 operations
          asked /api/openapi.json
        /api/v1/orders/{id} declared auth
        [{"service":"shop","url":"http://shop/api/openapi.json","version":"1","operations":2,"problems":0,"age_s":90.0}]
        2 operations
          asked /api/openapi.json unless "181"
        [{"service":"shop","url":"http://shop/api/openapi.json","version":"1","operations":2,"problems":0,"age_s":0.0}]"#]],
    );
    let metrics = bench.metrics.encode();
    assert!(metrics.contains("tidegate_enrich_table_rows{table=\"openapi\"} 2"), "{metrics}");
}

#[tokio::test]
async fn what_a_service_told_stays_while_it_is_away_or_tells_nonsense() {
    let mut bench = Bench::new(json!({ "bytes_max": "1KiB", "timeout": "5s" })).await;
    bench.tells("/api/openapi.json", 200, FIRST);
    let mut lines = vec![bench.pulled().await];
    let large = format!("{{\"openapi\": \"3.1.0\", \"x\": \"{}\"}}", "x".repeat(2000));
    for (status, text) in [
        (503, "starting"),
        (404, "no such page"),
        (302, ""),
        (401, "who are you?"),
        (200, "<html><body>Sign in</body></html>"),
        (200, "{\"openapi\": \"3.1.0\",\n  \"paths\": {,}}"),
        (200, "swagger: '2.0'"),
        (200, "openapi: 3.0.0\npaths:\n  orders: {get: {}}"),
        (200, large.as_str()),
    ] {
        bench.tells("/api/openapi.json", status, text);
        lines.push(bench.pulled().await);
    }
    bench.hand.advance_ms(60_000);
    bench.server.shutdown().await;
    let told = bench.pull.pull().await.unwrap_err().to_string().replace(&bench.base, "http://shop");
    assert!(
        told.starts_with("http://shop/api/openapi.json: what the service told before"),
        "{told}"
    );
    assert!(
        told.contains("no answer: ") && told.contains("next: see that the service runs"),
        "{told}"
    );
    let report = bench.report();
    assert!(report.contains("\"operations\":2") && report.contains("\"age_s\":60.0"), "{report}");
    assert!(report.contains("\"error\":\"http://shop/api"), "{report}");
    let metrics = bench.metrics.encode();
    let problems = "tidegate_enrich_table_problems_mistakes{table=\"openapi\"} 1";
    assert!(metrics.contains(problems), "{metrics}");
    lines.push(bench.route("GET /api/v1/orders/7", 0));
    check(
        &lines,
        &expect![[r#"
        2 operations
          asked /api/openapi.json
        http://shop/api/openapi.json: what the service told before stays in force: it answered 503: starting; next: see the service's own log
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json: what the service told before stays in force: it answered 404: no such page; next: set `url` to where the service tells it, such as …/openapi.json or …/v3/api-docs
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json: what the service told before stays in force: it answered 302: ; next: set `url` to where it redirects, which is not followed
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json: what the service told before stays in force: it answered 401: who are you?; next: set `token` of this [[context.openapi]] to one that may read it
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json:1: the document is not used; what the service told before stays in force: it has no `openapi` field; next: begin with `openapi: 3.1.0`; a folder `openapi` has one document a service
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json:2:13: the document is not used; what the service told before stays in force: not JSON: key must be a string; next: correct it; other tools will refuse it too
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json:1:1: the document is not used; what the service told before stays in force: it is a Swagger 2.0 document; next: convert it to OpenAPI 3; `swagger2openapi` does
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json: what the service told before stays in force: no operation of it can be used; the first mistake: line 3, column 3: the operation is left out: the path `orders` does not begin with a slash; next: write it as `/…`; next: correct the document
          asked /api/openapi.json unless "181"
        http://shop/api/openapi.json: what the service told before stays in force: the answer has more than 1024 bytes; next: raise `bytes_max` of this [[context.openapi]] if it is the document
          asked /api/openapi.json unless "181"
        /api/v1/orders/{id} declared auth"#]],
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let mut bench = Bench::new(json!({ "timeout": "50ms" })).await;
    bench.service.lock().unwrap().stuck = true;
    let told = bench.pulled().await;
    assert!(told.contains("no answer: no answer in time"), "{told}");
}

#[tokio::test]
async fn instances_of_two_versions_are_held_against_documents_of_their_own() {
    let mut bench = Bench::new(json!({})).await;
    bench.tells("/api/openapi.json", 200, FIRST);
    let mut lines = vec![bench.pulled().await];
    bench.tells("/api/openapi.json", 200, SECOND);
    lines.push(bench.pulled().await);
    let deploy = |id: &str, version: &str, ms: i64| Deploy {
        service: "shop".into(),
        environment: None,
        deploy_id: id.into(),
        deployed_at: EventTime(NOW_MS + ms),
        version: Some(version.into()),
        commit: None,
        change_id: None,
        repository: None,
        pipeline_run: None,
        owner: None,
        action: DeployAction::Deployed,
    };
    bench.context.add_deploys(vec![deploy("d1", "1", 0), deploy("d2", "2", 60_000)], None);
    for (request, ms) in [
        ("GET /api/v1/old v=1", 90_000),
        ("GET /api/v1/old v=2", 90_000),
        ("GET /api/v1/old v=3", 90_000),
        ("GET /api/v1/old", 30_000),
        ("GET /api/v1/old", 90_000),
        ("GET /api/v1/new", 30_000),
        ("GET /api/v1/new v=2", 30_000),
        ("GET /api/v1/orders/7 v=1", 0),
        ("GET /api/v1/orders/7 v=2", 0),
    ] {
        lines.push(format!("{request} at {ms}: {}", bench.route(request, ms)));
    }
    // Back to the first, and to one without a version.
    bench.tells("/api/openapi.json", 200, FIRST);
    lines.push(bench.pulled().await);
    lines.push(bench.route("GET /api/v1/new v=2", 0));
    lines.push(bench.route("GET /api/v1/old", -1));
    lines.push(bench.report());
    check(
        &lines,
        &expect![[r#"
        2 operations
          asked /api/openapi.json
        2 operations
          asked /api/openapi.json unless "181"
        GET /api/v1/old v=1 at 90000: /api/v1/old declared auth
        GET /api/v1/old v=2 at 90000: - undeclared
        GET /api/v1/old v=3 at 90000: - undeclared
        GET /api/v1/old at 30000: /api/v1/old declared auth
        GET /api/v1/old at 90000: - undeclared
        GET /api/v1/new at 30000: - undeclared
        GET /api/v1/new v=2 at 30000: /api/v1/new declared
        GET /api/v1/orders/7 v=1 at 0: /api/v1/orders/{id} declared auth
        GET /api/v1/orders/7 v=2 at 0: /api/v1/orders/{id} declared
        2 operations
          asked /api/openapi.json unless "154"
        /api/v1/new declared
        /api/v1/old declared auth
        [{"service":"shop","url":"http://shop/api/openapi.json","version":"1","operations":2,"problems":0,"age_s":0.0}]"#]],
    );
}

#[tokio::test]
async fn a_version_that_is_named_stands_for_itself_alone() {
    let mut bench = Bench::new(json!({ "version": "2.0" })).await;
    bench.tells("/api/openapi.json", 200, FIRST);
    let mut lines = vec![bench.pulled().await];
    lines.push(bench.route("GET /api/v1/old v=2.0", 0));
    lines.push(bench.route("GET /api/v1/old v=1", 0));
    lines.push(bench.route("GET /api/v1/old", 0));
    check(
        &lines,
        &expect![[r#"
        2 operations
          asked /api/openapi.json
        /api/v1/old declared auth
        - unknown
        - unknown"#]],
    );
}

#[tokio::test]
async fn parts_of_the_same_host_are_fetched_and_those_of_others_are_not() {
    let token = json!({ "token": "0123456789abcdef" });
    let mut bench = Bench::new(token).await;
    let root = r#"
openapi: 3.0.3
paths:
  /orders: {$ref: 'parts/orders.yaml'}
  /carts: {get: {parameters: [{$ref: '/common.json#/page'}]}}
  /gone: {get: {parameters: [{$ref: 'gone.yaml#/x'}]}}
  /far: {get: {parameters: [{$ref: 'http://127.0.0.1:9/x.yaml#/x'}]}}
"#;
    bench.tells("/api/openapi.json", 200, root);
    bench.tells("/api/parts/orders.yaml", 200, "get: {}\npost: {deprecated: true}\n");
    bench.tells("/common.json", 200, r#"{"page": {"in": "query", "name": "page"}}"#);
    let mut lines = vec![bench.pulled().await];
    lines.push(bench.route("POST /orders", 0));
    lines.push(bench.pulled().await);
    bench.tells("/api/parts/orders.yaml", 500, "");
    bench.tells("/common.json", 200, "{}");
    lines.push(bench.pulled().await);
    lines.push(bench.route("POST /orders", 0));
    lines.push(bench.report());
    check(
        &lines,
        &expect![[r#"
        3 operations
          asked /api/openapi.json as Bearer 0123456789abcdef, /common.json as Bearer 0123456789abcdef, /api/parts/orders.yaml as Bearer 0123456789abcdef, /api/gone.yaml as Bearer 0123456789abcdef
        /orders declared
        3 operations
          asked /api/openapi.json as Bearer 0123456789abcdef, /common.json as Bearer 0123456789abcdef, /api/parts/orders.yaml as Bearer 0123456789abcdef, /api/gone.yaml as Bearer 0123456789abcdef
        http://shop/api/parts/orders.yaml: what the service told before stays in force: it answered 500: ; next: see the service's own log
          asked /api/openapi.json as Bearer 0123456789abcdef, /common.json as Bearer 0123456789abcdef, /api/parts/orders.yaml as Bearer 0123456789abcdef
        /orders declared
        [{"service":"shop","url":"http://shop/api/openapi.json","operations":3,"problems":3,"age_s":0.0,"error":"http://shop/api/parts/orders.yaml: what the service told before stays in force: it answered 500: ; next: see the service's own log"}]"#]],
    );
}

#[tokio::test]
async fn readiness_waits_for_the_first_answers_whatever_they_are() {
    let bench = Bench::new(json!({})).await;
    let ready = Ready::new();
    let asked = ready.condition("openapi", "the documents are being fetched");
    let stop = runtime::CancellationToken::new();
    assert!(!ready.report().ready);
    let running = bench.pull.run(asked, stop.clone());
    let ending = async {
        ready.wait().await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(running, ending);
    ended.unwrap();
}

#[test]
fn a_wrong_setting_is_named_with_what_is_right() {
    let check = |url: &str, token: &str, service: &str| {
        let config = config(json!({ "service": service, "url": url }));
        let token = (!token.is_empty()).then(|| Secret::new(token));
        let (key, why) =
            OpenApiConfig { token, ..config }.check().unwrap_or(("good", String::new()));
        format!("{key}: {why}")
    };
    expect![[r#"
        good: 
        good: 
        url: the token would travel in clear; use https
        url: it is no address: relative URL without a base; write for instance http://shop.internal:8080/openapi.json
        service: the name of a service is not empty"#]].assert_eq(
        &[
            check("http://shop.internal/openapi.json", "", "shop"),
            check("http://127.0.0.1/openapi.json", "t", "shop"),
            check("http://shop.internal/openapi.json", "t", "shop"),
            check("shop.internal/openapi.json", "", "shop"),
            check("http://shop.internal/openapi.json", "", " "),
        ]
        .join("\n"),
    );
}

/// What a context made by hand says stays what it is beside fetched documents.
#[tokio::test]
async fn a_file_counts_above_what_the_service_tells() {
    let mut bench = Bench::new(json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("openapi")).unwrap();
    let file = "openapi: 3.0.0\npaths:\n  /api/v1/old: {get: {}}\n";
    std::fs::write(folder.path().join("openapi/shop.yml"), file).unwrap();
    bench.context.update(|_| (crate::folder::load_folder(folder.path()).0, ()));
    bench.tells("/api/openapi.json", 200, FIRST);
    let mut lines = vec![bench.pulled().await];
    lines.push(bench.route("GET /api/v1/old", 0));
    lines.push(bench.route("GET /api/v1/orders/7", 0));
    check(
        &lines,
        &expect![[r#"
        2 operations
          asked /api/openapi.json
        /api/v1/old declared
        /api/v1/orders/{id} declared auth"#]],
    );
    let context = Context::default().with_deploys(Deploys::default());
    assert_eq!(context.report_documents(NOW_MS), []);
}
