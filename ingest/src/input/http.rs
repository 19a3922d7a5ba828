//! Lines posted over HTTP into the raw log.
//!
//! Owns: `POST /`, one line or many a request; answered only once they are durable.
//! Never: formats; a line is a line.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use runtime::config::Secret;
use runtime::http::axum;
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::raw::RawLog;

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

/// `POST /` and `POST /v1/lines`: the body's lines, JSON or any format, separated by `\n`.
///
/// 200 with the number of lines once all are durable; 401 without the right token; 429 while the
/// raw log cannot take them (send the whole request again).
pub fn lines_router(input: HttpInput) -> Router {
    Router::new().route("/", post(take)).route("/v1/lines", post(take)).with_state(input)
}

async fn take(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    if !allowed(input.token.as_ref(), &headers) {
        let error = "this input needs `Authorization: Bearer <token>` with its token".to_owned();
        return reply(StatusCode::UNAUTHORIZED, 0, Some(error));
    }
    let sensor = Bytes::from(input.sensor.clone());
    let records: Vec<_> = body
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(|line| input.raw.line(&sensor, body.slice_ref(line), None))
        .collect();
    let lines = records.len();
    match input.raw.append(records).await {
        Ok(()) => reply(StatusCode::OK, lines, None),
        Err(error) => {
            tracing::warn!(input = %input.sensor, %error, "lines were refused");
            let error =
                format!("{error}; nothing of this request was taken for sure, send it again");
            reply(StatusCode::TOO_MANY_REQUESTS, 0, Some(error))
        }
    }
}

fn allowed(token: Option<&Secret>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let shown = headers.get("authorization").map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    shown.ct_eq(token.expose().as_bytes()).into()
}

fn reply(status: StatusCode, accepted: usize, error: Option<String>) -> Response {
    (status, Json(LineReply { accepted, error })).into_response()
}
