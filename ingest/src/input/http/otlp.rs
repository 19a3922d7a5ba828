//! OTLP over HTTP: `POST /v1/logs`, JSON and protobuf.
//!
//! Owns: the answers of the protocol. Never: records; each is a line, written out by `otlp`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use runtime::http::{Hold, NoRoom, axum};

use super::{HttpInput, Refused};
use crate::otlp::{self, LINES_MAX, Lines, TakenEnd};

/// The lines of a request in JSON.
fn json(body: &[u8], mut lines: Lines) -> Result<Taken, Refused> {
    let text = String::from_utf8_lossy(body);
    let whole = otlp::records(&text, &mut lines).is_some() && text.trim_end().ends_with('}');
    checked(lines, whole)
}

/// The lines of a request in protobuf; an empty one has none.
pub(super) fn protobuf(body: &[u8], mut lines: Lines) -> Result<Taken, Refused> {
    let whole = otlp::lines(body, &mut lines);
    checked(lines, whole)
}

/// Lines, and the room that they take.
type Taken = (Vec<String>, Option<Hold>);

fn checked(lines: Lines, whole: bool) -> Result<Taken, Refused> {
    match lines.end() {
        Some(TakenEnd::TooMany) => Err(Refused::TooMany(LINES_MAX)),
        Some(TakenEnd::NoRoom) => Err(NoRoom.into()),
        None if whole => Ok(lines.done()),
        None => Err(Refused::Unreadable("no ExportLogsServiceRequest as its Content-Type says")),
    }
}

pub(super) fn routes() -> Router<HttpInput> {
    Router::new().route("/v1/logs", post(logs))
}

async fn logs(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    let taken = async {
        let body = input.opened(&headers, body)?;
        let lines = Lines::within(&input.room);
        let (lines, _hold) = if is_json { json(&body, lines) } else { protobuf(&body, lines) }?;
        input.keep(lines.into_iter().map(Bytes::from)).await
    };
    match taken.await {
        Ok(_) if is_json => {
            ([(header::CONTENT_TYPE, "application/json")], "{\"partialSuccess\":{}}")
                .into_response()
        }
        Ok(_) => {
            let kind = [(header::CONTENT_TYPE, "application/x-protobuf")];
            (StatusCode::OK, kind, Bytes::new()).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}
