//! Lines posted over HTTP into the raw log.
//!
//! Owns: the requests that senders make, each answered only once its lines are durable; tokens,
//! compressed bodies, the answer when there is no room. Never: formats; a line is a line.
//!
//! One listener takes them all: plain lines at `/`, Elasticsearch's `_bulk`, Loki's push, OTLP.

mod body;
mod elasticsearch;
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
use runtime::http::axum;
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::raw::RawLog;
use crate::bundle;

/// An HTTP input.
#[derive(Debug, Clone)]
pub struct HttpInput {
    /// The input's name.
    pub sensor: String,
    /// The token that senders must show.
    pub token: Option<Secret>,
    /// Where lines go.
    pub raw: RawLog,
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
    #[error("{0}")]
    Unreadable(&'static str),
    #[error("the body holds more than the {0} bytes allowed; send smaller parts")]
    TooLarge(usize),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = Some(self.to_string());
        let mut response = (self.status(), Json(LineReply { accepted: 0, error })).into_response();
        if matches!(self, Self::Full(_)) {
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
    /// The body as it was before it was compressed, of a sender that may send.
    fn opened(&self, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refused> {
        if !allowed(self.token.as_ref(), headers) {
            return Err(Refused::Token);
        }
        body::opened(headers, body)
    }

    /// Makes lines durable, and says how many there were.
    async fn keep(&self, lines: impl Iterator<Item = Bytes>) -> Result<usize, Refused> {
        let sensor = Bytes::from(self.sensor.clone());
        let records: Vec<_> = lines.map(|line| self.raw.line(&sensor, line, None)).collect();
        let count = records.len();
        if count == 0 {
            return Ok(0);
        }
        match self.raw.append(records).await {
            Ok(_end) => Ok(count),
            Err(error) => {
                tracing::warn!(input = %self.sensor, %error, "lines were refused");
                Err(Refused::Full(error))
            }
        }
    }
}

/// `POST /` and `POST /v1/lines`: the body's lines, JSON or any format, separated by `\n`, or a JSON
/// list of them. Beside it `_bulk` as Elasticsearch takes it, `/loki/api/v1/push`, and `/v1/logs`.
///
/// 200 (Loki: 204) once all are durable; 400 for a body that cannot be read; 401 without the right
/// token; 413 for one that is too large; 429 while the raw log cannot take it (send the whole
/// request again).
pub fn lines_router(input: HttpInput) -> Router {
    Router::new()
        .route("/v1/lines", post(take))
        .merge(loki::routes())
        .merge(otlp::routes())
        .merge(elasticsearch::routes(post(take)))
        .with_state(input)
}

async fn take(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    let taken = async {
        let body = input.opened(&headers, body)?;
        match bundle::open(&body)
            .filter(|bundle| body.starts_with(b"[") && !bundle.lines.is_empty())
        {
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
