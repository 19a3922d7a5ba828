//! Loki's push, in JSON and in snappy protobuf, as Promtail, Alloy, Fluent Bit and Vector send it.
//!
//! Owns: taking lines out of streams. Never: labels; they name where a line came from, and no part
//! of a request.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use runtime::http::axum;

use super::{HttpInput, Refused, body};
use crate::otlp::{Fields, Wire};
use crate::read::json::{Object, Value, items};

pub(super) fn routes() -> Router<HttpInput> {
    Router::new().route("/loki/api/v1/push", post(push)).route("/api/prom/push", post(push))
}

async fn push(State(input): State<HttpInput>, headers: HeaderMap, sent: Bytes) -> Response {
    let taken = async {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        let opened = input.opened(&headers, sent)?;
        let lines = if is_json {
            json(&String::from_utf8_lossy(&opened))
        } else {
            let compressed = !headers.contains_key(header::CONTENT_ENCODING);
            protobuf(&if compressed { body::snappy(&opened, &input.room)? } else { opened })
        };
        let lines = lines.ok_or(Refused::Unreadable(
            "no streams as in Loki's push: {\"streams\":[{\"stream\":{},\"values\":[[\"ns\",\"line\"]]}]}",
        ))?;
        input.keep(lines.into_iter()).await
    };
    match taken.await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// `{"streams":[{"stream":{…},"values":[["<ns>","<line>"],…]}]}`.
fn json(text: &str) -> Option<Vec<Bytes>> {
    let streams = list(text, "streams")?;
    let mut lines = Vec::new();
    for stream in items(streams) {
        let Value::Object(stream) = stream else { return None };
        for entry in items(list(stream, "values")?) {
            let Value::List(entry) = entry else { return None };
            let Some(Value::Text(line)) = items(entry).nth(1) else { return None };
            lines.push(Bytes::from(line.read().into_owned()));
        }
    }
    Some(lines)
}

fn list<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut object = Object::open(text)?;
    while let Some((key, value)) = object.next() {
        if let (true, Value::List(list)) = (key.raw() == name, value) {
            return Some(list);
        }
    }
    None
}

/// `PushRequest{1: Stream{1: labels, 2: Entry{1: timestamp, 2: line}}}` of Loki's `push.proto`.
fn protobuf(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let mut lines = Vec::new();
    let mut request = Fields::new(bytes);
    for (number, value) in &mut request {
        let (1, Wire::Bytes(stream)) = (number, value) else { continue };
        let mut stream = Fields::new(stream);
        for (number, value) in &mut stream {
            let (2, Wire::Bytes(entry)) = (number, value) else { continue };
            let mut entry = Fields::new(entry);
            for (number, value) in &mut entry {
                if let (2, Wire::Bytes(line)) = (number, value) {
                    lines.push(bytes.slice_ref(line));
                }
            }
            (!entry.is_broken()).then_some(())?;
        }
        (!stream.is_broken()).then_some(())?;
    }
    (!request.is_broken()).then_some(lines)
}
