use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::post;
use expect_test::{Expect, expect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Access, Admin};
use crate::config::Secret;
use crate::http::{HttpMetrics, Listening, Serving, listen, serve};
use crate::metrics::{Metrics, Unit};
use crate::ready::Ready;
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Endpoint {
    address: SocketAddr,
    ready: Ready,
    tasks: Tasks,
}

async fn start(token: Option<&str>) -> Endpoint {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let address = "127.0.0.1:0".parse().unwrap();
    let what = Listening { what: "admin endpoint", address, setting: "admin.listen" };
    let listener = listen(what).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Ready::new();
    let metrics = Metrics::new();
    metrics.counter("seen", Unit::Events, "Events seen").inc();
    let admin = Admin {
        ready: ready.clone(),
        metrics,
        config: "[admin]\ntoken = \"***\"\n".to_owned(),
        shutdown: shutdown.token(),
    };
    let access = Access::new(address, token.map(Secret::new)).unwrap();
    let serving = Serving::new(HttpMetrics::new(&Metrics::new(), "admin"));
    let deploys = Router::new().route("/v1/deploys", post(|body: String| async move { body }));
    let router = admin.router(access, deploys);
    tasks.spawn("admin", serve(listener, router, serving, shutdown.token()));
    Endpoint { address, ready, tasks }
}

/// Sends a request whose head begins like this; the status and body of the answer.
async fn ask(endpoint: &Endpoint, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
    let (request, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut sent = format!("{request} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.contains("host:") {
        sent.push_str("host: localhost\r\n");
    }
    for line in headers.lines() {
        sent.push_str(&format!("{line}\r\n"));
    }
    sent.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap().trim_start_matches("HTTP/1.1 ");
    format!("{status}: {}", body.trim_end())
}

async fn check(endpoint: &Endpoint, head: &str, expected: &Expect) {
    expected.assert_eq(&ask(endpoint, head, "").await);
}

async fn stop(endpoint: Endpoint) {
    endpoint.tasks.shutdown().request("the test is done");
    endpoint.tasks.join_all(crate::shutdown::DRAIN_MAX).await.unwrap();
}

#[tokio::test]
async fn on_loopback_everything_is_told_without_a_token() {
    let endpoint = start(None).await;
    check(&endpoint, "GET /live", &expect!["200 OK: live"]).await;
    check(
        &endpoint,
        "GET /config",
        &expect![[r#"
        200 OK: [admin]
        token = "***""#]],
    )
    .await;
    check(
        &endpoint,
        "GET /metrics",
        &expect![[r#"
            200 OK: # HELP tidegate_seen_events Events seen.
            # TYPE tidegate_seen_events counter
            # UNIT tidegate_seen_events events
            tidegate_seen_events_total 1
            # HELP tidegate_ready_unmet_conditions 1 while the process waits for a condition; `/ready` says why.
            # TYPE tidegate_ready_unmet_conditions gauge
            # UNIT tidegate_ready_unmet_conditions conditions
            # HELP tidegate_ready_remarked_conditions 1 while something is wrong about a condition that is met; `/ready` says what.
            # TYPE tidegate_ready_remarked_conditions gauge
            # UNIT tidegate_ready_remarked_conditions conditions
            # EOF"#]],
    )
    .await;
    stop(endpoint).await;
}

/// How the condition stands in the metrics.
async fn shows(endpoint: &Endpoint, unmet: u32, remarked: u32) {
    let page = ask(endpoint, "GET /metrics", "").await;
    for (name, value) in [("unmet", unmet), ("remarked", remarked)] {
        let line = format!("tidegate_ready_{name}_conditions{{condition=\"kafka\"}} {value}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
}

#[tokio::test]
async fn ready_is_503_until_all_conditions_are_met() {
    let endpoint = start(None).await;
    let broker = endpoint.ready.condition("kafka", "connecting to 127.0.0.1:9092");
    check(&endpoint, "GET /ready", &expect![[r#"503 Service Unavailable: {"ready":false,"waiting_for":[{"name":"kafka","reason":"connecting to 127.0.0.1:9092"}],"met":[]}"#]]).await;
    shows(&endpoint, 1, 0).await;
    broker.ready();
    shows(&endpoint, 0, 0).await;
    check(
        &endpoint,
        "GET /ready",
        &expect![[r#"200 OK: {"ready":true,"waiting_for":[],"met":["kafka"]}"#]],
    )
    .await;
    broker.remark("one of three brokers is away");
    shows(&endpoint, 0, 1).await;
    stop(endpoint).await;
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let endpoint = start(Some(TOKEN)).await;
    for head in [
        "GET /live",
        "GET /metrics",
        "POST /v1/deploys",
        "GET /config\nauthorization: Bearer 0123456789abcdef0123456789abcdeF",
        "GET /config\nauthorization: Bearer",
        "GET /config\nauthorization: Basic 0123456789abcdef0123456789abcdef",
        "GET /no-such-path",
    ] {
        let answer = ask(&endpoint, head, "").await;
        assert!(answer.starts_with("401 Unauthorized: this needs the header"), "{head}: {answer}");
    }
    let allowed = format!("GET /live\nauthorization: bearer {TOKEN}");
    check(&endpoint, &allowed, &expect!["200 OK: live"]).await;
    stop(endpoint).await;
}

#[tokio::test]
async fn routes_of_components_are_served_beside() {
    let endpoint = start(None).await;
    let answer = ask(&endpoint, "POST /v1/deploys", "shop d2").await;
    assert_eq!(answer, "200 OK: shop d2");
    stop(endpoint).await;
}

#[tokio::test]
async fn web_pages_cannot_use_a_loopback_endpoint() {
    let endpoint = start(None).await;
    for head in
        ["GET /config\nhost: evil.example:7070", "POST /v1/deploys\norigin: https://evil.example"]
    {
        let answer = ask(&endpoint, head, "").await;
        assert!(answer.starts_with("403 Forbidden: requests sent by web pages"), "{answer}");
    }
    stop(endpoint).await;
}

#[tokio::test]
async fn a_route_that_panics_stops_the_process() {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let address = "127.0.0.1:0".parse().unwrap();
    let what = Listening { what: "admin endpoint", address, setting: "admin.listen" };
    let listener = listen(what).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving::new(HttpMetrics::new(&Metrics::new(), "admin"));
    let broken = Router::new().route(
        "/",
        post(|body: String| async move {
            assert!(!body.is_empty(), "an empty body gets here");
            Ok::<_, Infallible>(())
        }),
    );
    tasks.spawn("admin", serve(listener, broken, serving, shutdown.token()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let ended = tasks.join_all(crate::shutdown::DRAIN_MAX).await.unwrap_err();
    assert_eq!(ended.exit(), crate::error::Exit::Bug);
}
