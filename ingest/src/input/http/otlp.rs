//! OTLP over HTTP: `POST /v1/logs`, JSON and protobuf.
//!
//! Owns: the answers of the protocol. Never: records; each is a line, written out by `otlp`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use runtime::http::axum;

use super::{HttpInput, Refused};
use crate::otlp;

pub(super) fn routes() -> Router<HttpInput> {
    Router::new().route("/v1/logs", post(logs))
}

async fn logs(State(input): State<HttpInput>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    let taken = async {
        let body = input.opened(&headers, body)?;
        let mut lines = Vec::new();
        let whole = if is_json {
            let text = String::from_utf8_lossy(&body);
            otlp::records(&text, &mut lines).is_some() && text.trim_end().ends_with('}')
        } else {
            // An empty request is one without records.
            otlp::lines(&body, &mut lines)
        };
        if !whole {
            return Err(Refused::Unreadable(
                "no ExportLogsServiceRequest as its Content-Type says",
            ));
        }
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
