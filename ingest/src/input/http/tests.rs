use std::io::Write as _;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use runtime::clock::Clock;
use runtime::config::Secret;
use runtime::http::axum;
use serde_json::{Value, json};
use tower::ServiceExt;
use transport::embedded::{Store, StoreOptions};
use transport::{NextOffset, ReadLimits};

use super::{HttpInput, lines_router};
use crate::input::{RawLog, RawRecord};

/// An input with its log, in a folder that ends with it.
struct Input {
    http: HttpInput,
    _folder: tempfile::TempDir,
}

fn input(token: Option<&str>) -> Input {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let store = Store::open(&folder.path().join("store"), StoreOptions::new(clock.clone()));
    let raw = RawLog::open(&store.unwrap(), clock).unwrap();
    let token = token.map(Secret::new);
    Input { http: HttpInput::new("edge", token, raw), _folder: folder }
}

impl Input {
    /// Sends a request; its status, its answer, and whether it said to be Elasticsearch.
    async fn ask(&self, request: Request<Body>) -> (u16, Value) {
        let response: Response<Body> =
            lines_router(self.http.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (u16, Value) {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(body.into()).unwrap()).await
    }

    /// What is durable.
    async fn lines(&self) -> Vec<String> {
        let log = self.http.raw.log();
        let mut reader = log.reader(RawLog::PARTITION, NextOffset::ZERO).await.unwrap();
        let end = self.http.raw.end().await.unwrap();
        let mut lines = Vec::new();
        while reader.next_offset() < end {
            let fetched = reader.next(ReadLimits::default()).await.unwrap();
            for record in &fetched.records {
                let raw = RawRecord::of(record);
                assert_eq!(raw.input, "edge");
                lines.push(String::from_utf8_lossy(raw.value).into_owned());
            }
        }
        lines
    }
}

#[tokio::test]
async fn plain_lines_and_lists_are_kept() {
    let input = input(None);
    let (status, body) = input.send("/", &[], "one\r\n\ntwo\n").await;
    assert_eq!((status, body), (200, json!({ "accepted": 2 })));
    let (status, _) = input.send("/v1/lines", &[], r#"[{"a":1},{"b":2}]"#).await;
    assert_eq!(status, 200);
    assert_eq!(input.lines().await, ["one", "two", r#"{"a":1}"#, r#"{"b":2}"#]);
}

#[tokio::test]
async fn a_bulk_is_answered_action_by_action() {
    let input = input(None);
    let bulk = "{\"create\":{\"_index\":\"filebeat\"}}\n{\"message\":\"GET \\\"x\\\"\"}\n\
                {\"index\":{}}\n{\"message\":\"two\"}\n{\"delete\":{\"_id\":\"7\"}}\n";
    let (status, body) = input.send("/_bulk", &[], bulk).await;
    assert_eq!(status, 200);
    assert_eq!(body["errors"], false);
    let statuses: Vec<(String, u64)> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|item| item.as_object().unwrap())
        .map(|(name, item)| (name.clone(), item["status"].as_u64().unwrap()))
        .collect();
    let expected = [("create", 201), ("index", 201), ("delete", 404)];
    assert_eq!(statuses, expected.map(|(name, status)| (name.to_owned(), status)));
    let (status, _) =
        input.send("/logs/_bulk", &[], "{\"create\":{}}\n{\"message\":\"three\"}").await;
    assert_eq!(status, 200);
    let expected = [r#"{"message":"GET \"x\""}"#, r#"{"message":"two"}"#, r#"{"message":"three"}"#];
    assert_eq!(input.lines().await, expected);
}

#[tokio::test]
async fn a_bulk_that_cannot_be_read_keeps_nothing() {
    let input = input(None);
    let broken = "{\"create\":{}}\n{\"message\":\"one\"}\nhello\n{\"message\":\"two\"}\n";
    let (status, body) = input.send("/_bulk", &[], broken).await;
    assert_eq!(status, 400);
    assert_eq!(body["error"]["type"], "illegal_argument_exception");
    let (status, _) = input.send("/_bulk", &[], "{\"create\":{}}\n").await;
    assert_eq!(status, 400);
    assert!(input.lines().await.is_empty());
}

#[tokio::test]
async fn questions_that_shippers_ask_before_they_send_are_answered() {
    let input = input(None);
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, about) = input.ask(get("/")).await;
    assert_eq!(status, 200);
    assert!(about["version"]["number"].as_str().unwrap().starts_with("8."));
    let (status, licence) = input.ask(get("/_license?human=false")).await;
    assert_eq!((status, &licence["license"]["status"]), (200, &json!("active")));
    let (status, _) = input.ask(get("/_ilm/policy/filebeat")).await;
    assert_eq!(status, 200);
    let head = |path: &str| Request::head(path).body(Body::empty()).unwrap();
    assert_eq!(input.ask(head("/")).await.0, 200);
    assert_eq!(input.ask(head("/_index_template/filebeat")).await.0, 200);
    let put = Request::put("/_index_template/x").body(Body::from("{}")).unwrap();
    assert_eq!(input.ask(put).await, (200, json!({ "acknowledged": true })));
    assert_eq!(input.ask(get("/nothing/here")).await.0, 404);
    let response = lines_router(input.http.clone()).oneshot(get("/")).await.unwrap();
    assert_eq!(response.headers()["x-elastic-product"], "Elasticsearch");
}

#[tokio::test]
async fn loki_in_json_and_in_snappy() {
    let input = input(None);
    let push = json!({ "streams": [{ "stream": { "job": "nginx" }, "values": [["1", "one"], ["2", "t\"wo"]] }] });
    let kind = [("content-type", "application/json")];
    let (status, _) = input.send("/loki/api/v1/push", &kind, push.to_string()).await;
    assert_eq!(status, 204);
    // Stream 1 { labels 1, entry 2 { timestamp 1, line 2 } }
    let entry = [&[0x0a, 0x00, 0x12, 0x05][..], b"three"].concat();
    let stream = [&[0x0a, 0x02][..], b"{}", &[0x12, 0x09], &entry].concat();
    let request = [&[0x0a, u8::try_from(stream.len()).unwrap()][..], &stream].concat();
    let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let kind = [("content-type", "application/x-protobuf")];
    assert_eq!(input.send("/loki/api/v1/push", &kind, packed).await.0, 204);
    assert_eq!(input.lines().await, ["one", "t\"wo", "three"]);
    assert_eq!(input.send("/loki/api/v1/push", &kind, "junk").await.0, 400);
    let kind = [("content-type", "application/json")];
    assert_eq!(input.send("/loki/api/v1/push", &kind, "{}").await.0, 400);
}

#[tokio::test]
async fn otlp_in_json_and_in_protobuf() {
    let input = input(None);
    let request = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"7","body":{"stringValue":"hi"}}]}]}]}"#;
    let kind = [("content-type", "application/json")];
    let (status, body) = input.send("/v1/logs", &kind, request).await;
    assert_eq!((status, body), (200, json!({ "partialSuccess": {} })));
    let kind = [("content-type", "application/x-protobuf")];
    let whole = crate::otlp::tests::request();
    assert_eq!(input.send("/v1/logs", &kind, whole.clone()).await.0, 200);
    let lines = input.lines().await;
    assert_eq!(lines[0], r#"{"time_unix_nano":7,"body":"hi"}"#);
    assert_eq!(lines.len(), 2);
    assert_eq!(input.send("/v1/logs", &kind, whole[..9].to_vec()).await.0, 400);
    assert_eq!(input.lines().await.len(), 2);
}

#[tokio::test]
async fn tokens_are_shown_in_whatever_way_a_shipper_can() {
    let input = input(Some("let-me-in"));
    let basic = "Basic YmVhdDpsZXQtbWUtaW4=";
    for (shown, status) in [
        ("Bearer let-me-in", 200),
        (basic, 200),
        ("ApiKey YmVhdDpsZXQtbWUtaW4=", 200),
        ("Bearer let-me-out", 401),
        ("Basic bGV0LW1lLWlu", 401),
        ("", 401),
    ] {
        let (said, _) = input.send("/", &[("authorization", shown)], "line").await;
        assert_eq!(said, status, "{shown}");
    }
    let (status, body) = input.send("/_bulk", &[], "{\"create\":{}}\n{}\n").await;
    assert_eq!((status, &body["error"]["type"]), (401, &json!("security_exception")));
    assert_eq!(input.lines().await.len(), 3);
}

#[tokio::test]
async fn compressed_bodies_are_opened_within_a_bound() {
    let input = input(None);
    let gzip = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    };
    let encoded = [("content-encoding", "gzip")];
    assert_eq!(input.send("/", &encoded, gzip(b"one\ntwo")).await.0, 200);
    let zstd = zstd::encode_all(&b"three"[..], 1).unwrap();
    assert_eq!(input.send("/", &[("content-encoding", "zstd")], zstd).await.0, 200);
    let bomb = gzip(&vec![b'a'; 40 * 1024 * 1024]);
    assert_eq!(input.send("/", &encoded, Bytes::from(bomb)).await.0, 413);
    assert_eq!(input.send("/", &encoded, "not gzip").await.0, 400);
    assert_eq!(input.send("/", &[("content-encoding", "br")], "x").await.0, 400);
    assert_eq!(input.lines().await, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_log_that_takes_nothing_more_is_said_to_be_full() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    // No disk has so much room.
    let options = StoreOptions { free_bytes_min: u64::MAX, ..StoreOptions::new(clock.clone()) };
    let store = Store::open(&folder.path().join("store"), options).unwrap();
    let raw = RawLog::open(&store, clock).unwrap();
    let http = HttpInput::new("edge", None, raw);
    let request = || Request::post("/_bulk").body(Body::from("{\"create\":{}}\n{}\n")).unwrap();
    let response = lines_router(http).oneshot(request()).await.unwrap();
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
}

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A message in gRPC's frame.
fn framed(message: &[u8], compressed: bool) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(compressed)][..], &len, message].concat()
}

/// Makes a call; its status and message, and whether it says when to come back.
async fn call(
    http: &HttpInput,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (String, String, bool) {
    let mut request = Request::post(path).header("content-type", "application/grpc+proto");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).unwrap();
    let response = lines_router(http.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let (head, body) = response.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap();
    let mut headers = head.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    let text = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    let comes_back = headers.contains_key("grpc-status-details-bin");
    (text("grpc-status"), text("grpc-message"), comes_back)
}

#[tokio::test]
async fn calls_of_otlp_are_answered_once_their_records_are_durable() {
    let input = input(None);
    let request = crate::otlp::tests::request();
    let http = &input.http;
    let (status, ..) = call(http, EXPORT, &[], framed(&request, false)).await;
    assert_eq!(status, "0");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&request).unwrap();
    let packed = gz.finish().unwrap();
    let gzip = [("grpc-encoding", "gzip")];
    let (status, ..) = call(http, EXPORT, &gzip, framed(&packed, true)).await;
    assert_eq!(status, "0");
    let (status, ..) = call(http, EXPORT, &[], framed(&[], false)).await;
    assert_eq!(status, "0", "without records");
    let lines = input.lines().await;
    assert_eq!((lines.len(), &lines[0]), (2, &lines[1]));
    assert!(lines[0].contains("\"http.request.method\":\"GET\""), "{}", lines[0]);
}

#[tokio::test]
async fn calls_that_cannot_be_taken_say_whether_to_repeat_them() {
    let input = input(Some("let-me-in"));
    let request = crate::otlp::tests::request();
    let token = ("authorization", "Bearer let-me-in");
    let http = &input.http;
    let check = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>, expected: &str| {
        let (status, message, comes_back) = call(http, path, headers, body).await;
        assert_eq!(status, expected, "{message}");
        assert!(!comes_back && !message.is_empty(), "{message}");
    };
    check(EXPORT, &[], framed(&request, false), "16").await;
    check(EXPORT, &[("authorization", "Bearer x")], framed(&request, false), "16").await;
    check(EXPORT, &[token], framed(&request[..9], false), "3").await;
    check(EXPORT, &[token], framed(&request, true), "13").await;
    check(EXPORT, &[token], request.clone(), "13").await;
    check(EXPORT, &[token, ("grpc-encoding", "br")], framed(&request, true), "12").await;
    check(EXPORT, &[token, ("grpc-encoding", "gzip")], framed(&request, true), "3").await;
    let bomb = zstd::encode_all(&vec![b'a'; 40 << 20][..], 1).unwrap();
    check(EXPORT, &[token, ("grpc-encoding", "zstd")], framed(&bomb, true), "3").await;
    let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    check(traces, &[token], framed(&[], false), "12").await;
    // A record of two bytes, more often than a request may hold it.
    let scope = [0x12_u8, 0x00].repeat(crate::otlp::LINES_MAX + 1);
    let field = |number: u8, inner: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let mut len = inner.len();
        while len >= 128 {
            out.push(u8::try_from(len % 128).unwrap() | 128);
            len /= 128;
        }
        out.push(u8::try_from(len).unwrap());
        [out, inner.to_vec()].concat()
    };
    let many = field(1, &field(2, &scope));
    check(EXPORT, &[token], framed(&many, false), "3").await;
    assert!(input.lines().await.is_empty());
}

#[tokio::test]
async fn a_call_while_there_is_no_room_is_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    // No disk has so much room.
    let options = StoreOptions { free_bytes_min: u64::MAX, ..StoreOptions::new(clock.clone()) };
    let store = Store::open(&folder.path().join("store"), options).unwrap();
    let http = HttpInput::new("edge", None, RawLog::open(&store, clock).unwrap());
    let body = framed(&crate::otlp::tests::request(), false);
    let (status, message, comes_back) = call(&http, EXPORT, &[], body).await;
    assert_eq!((status.as_str(), comes_back), ("8", true), "{message}");
    assert!(message.contains("low-water mark") && message.contains("send it again"), "{message}");
}

#[tokio::test]
async fn what_is_opened_shares_its_room() {
    let input = input(None);
    let http = HttpInput { room: runtime::http::Room::new(1 << 20), ..input.http.clone() };
    let packed = zstd::encode_all(&vec![b'a'; 2 << 20][..], 1).unwrap();
    let request = Request::post("/").header("content-encoding", "zstd");
    let request = request.body(Body::from(packed)).unwrap();
    let response = lines_router(http.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    let packed = zstd::encode_all(&vec![b'a'; 1000][..], 1).unwrap();
    let request = Request::post("/").header("content-encoding", "zstd");
    let request = request.body(Body::from(packed)).unwrap();
    assert_eq!(lines_router(http).oneshot(request).await.unwrap().status().as_u16(), 200);
}
