//! Lines posted over HTTP into the raw log.
//!
//! Owns: the requests that senders make, each answered only once its lines are durable; tokens,
//! compressed bodies, the answer when there is no room. Never: formats; a line is a line.
//!
//! One listener takes them all: plain lines at `/`, Elasticsearch's `_bulk`, Loki's push, OTLP over
//! HTTP and over gRPC.

mod body;
mod elasticsearch;
mod grpc;
mod loki;
mod otlp;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::config::Secret;
use runtime::http::{NoRoom, Room, axum};
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::raw::RawLog;
use crate::bundle::{self, TOO_MANY};
use crate::otlp::LINES_MAX;

/// Lines made durable together: of a request with more, the first are written before the others are
/// looked at, so that what a line costs beside its bytes is bounded.
const RECORDS_MAX: usize = 32 * 1024;

/// What a record takes beside its line: its headers, and its places in queues.
const RECORD_BYTES: usize = 256;

/// An HTTP input. Cheap to clone; clones share their room.
#[derive(Debug, Clone)]
pub struct HttpInput {
    sensor: Bytes,
    token: Option<Secret>,
    raw: RawLog,
    room: Room,
}

/// The answer to a request.
#[derive(Debug, Serialize)]
pub struct LineReply {
    /// Lines that are durable now.
    pub accepted: usize,
    /// What was wrong, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("this input needs `Authorization: Bearer <token>` with its token")]
    Token,
    #[error("{0}; nothing of this request was taken for sure, send it again")]
    Full(transport::LogError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("{0}")]
    Unreadable(&'static str),
    #[error("this encoding is not read; send gzip, zstd, or the body as it is")]
    Encoding,
    #[error("the body holds more than the {0} entries allowed; send smaller parts")]
    TooMany(usize),
    #[error("the body holds more than the {0} bytes allowed; send smaller parts")]
    TooLarge(usize),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Full(_) | Self::NoRoom(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unreadable(_) | Self::Encoding => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) | Self::TooMany(_) => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = Some(self.to_string());
        let mut response = (self.status(), Json(LineReply { accepted: 0, error })).into_response();
        if self.status() == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(self, Self::Token) {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl HttpInput {
    /// An input of this name whose lines go to this log. With a token, senders must show it.
    #[must_use]
    pub fn new(sensor: &str, token: Option<Secret>, raw: RawLog) -> Self {
        let sensor = Bytes::copy_from_slice(sensor.as_bytes());
        Self { sensor, token, raw, room: Room::new(body::OPENED_ROOM_BYTES) }
    }

    /// The body as it was before it was compressed, of a sender that may send.
    fn opened(&self, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refused> {
        self.allow(headers)?;
        let encoding = headers.get(header::CONTENT_ENCODING);
        body::opened(encoding.and_then(|value| value.to_str().ok()), body, &self.room)
    }

    fn allow(&self, headers: &HeaderMap) -> Result<(), Refused> {
        if allowed(self.token.as_ref(), headers) { Ok(()) } else { Err(Refused::Token) }
    }

    /// Makes lines durable, and says how many there were.
    async fn keep(&self, lines: impl Iterator<Item = Bytes>) -> Result<usize, Refused> {
        let mut lines = lines.peekable();
        let mut count = 0;
        while lines.peek().is_some() {
            let some = lines.by_ref().take(RECORDS_MAX);
            let records: Vec<_> =
                some.map(|line| self.raw.line(&self.sensor, line, None)).collect();
            let mut hold = self.room.hold();
            hold.grow(records.len() * RECORD_BYTES)?;
            count += records.len();
            if let Err(error) = self.raw.append(records).await {
                tracing::warn!(input = ?self.sensor, %error, "lines were refused");
                return Err(Refused::Full(error));
            }
        }
        Ok(count)
    }
}

/// `POST /` and `POST /v1/lines`: the body's lines, JSON or any format, separated by `\n`, or a JSON
/// list of them. Beside it `_bulk` as Elasticsearch takes it, `/loki/api/v1/push`, `/v1/logs`, and
/// the call of OTLP over gRPC.
///
/// 200 (Loki: 204) once all are durable; 400 for a body that cannot be read; 401 without the right
/// token; 413 for one that is too large; 429 while the raw log cannot take it (send the whole
/// request again).
pub fn lines_router(input: HttpInput) -> Router {
    Router::new()
        .route("/v1/lines", post(take))
        .merge(loki::routes())
        .merge(otlp::routes())
        .merge(grpc::routes())
        .merge(elasticsearch::routes(post(take)))
        .with_state(input)
}

async fn take(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    let taken = async {
        let body = input.opened(&headers, body)?;
        match bundle::open(&body)
            .filter(|bundle| body.starts_with(b"[") && !bundle.lines.is_empty())
        {
            Some(bundle) if bundle.broken == Some(TOO_MANY) => Err(Refused::TooMany(LINES_MAX)),
            // What was cut of a list is kept as a line, so that it becomes a dead letter.
            Some(bundle) if bundle.broken.is_none() => {
                input.keep(bundle.lines.into_iter().map(Bytes::from)).await
            }
            _ => input.keep(lines(&body)).await,
        }
    };
    match taken.await {
        Ok(accepted) => Json(LineReply { accepted, error: None }).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// The lines of a body; empty ones hold nothing.
fn lines(body: &Bytes) -> impl Iterator<Item = Bytes> {
    body.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(|line| body.slice_ref(line))
}

/// Whether a sender shows the token: as bearer, or, for shippers that can do nothing else, as the
/// password of Basic or the key of Elasticsearch's `ApiKey`.
fn allowed(token: Option<&Secret>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let shown = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let after = |scheme: &[u8]| shown.strip_prefix(scheme);
    let pair = after(b"Basic ").or_else(|| after(b"ApiKey "));
    let decoded = pair.and_then(|pair| STANDARD.decode(pair).ok()).unwrap_or_default();
    let password = decoded.iter().position(|byte| *byte == b':');
    let password = password.and_then(|at| decoded.get(at + 1..));
    let shown = after(b"Bearer ").or(password).unwrap_or_default();
    shown.ct_eq(token.expose().as_bytes()).into()
}

#[cfg(test)]
mod tests;
