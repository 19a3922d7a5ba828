//! OTLP over gRPC: the call `LogsService/Export`.
//!
//! Owns: its request and its statuses. Never: frames of gRPC, which are `runtime`'s; records.
//!
//! A status after which a record would be sent again for ever is none that exporters repeat: only
//! `RESOURCE_EXHAUSTED` with a time to come back is (opentelemetry-proto, `docs/specification.md`,
//! "OTLP/gRPC Throttling").

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use runtime::http::axum;
use runtime::http::grpc::{self, Code, Status};

use super::{HttpInput, Refused, body, otlp};
use crate::otlp::Lines;

/// When to come back while there is no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The services of OTLP; of their signals only logs are taken.
const PREFIX: &str = "/opentelemetry.proto.collector";

pub(super) fn routes() -> Router<HttpInput> {
    Router::new()
        .route(&format!("{PREFIX}.logs.v1.LogsService/Export"), post(export))
        .route(&format!("{PREFIX}.trace.v1.TraceService/Export"), post(not_taken))
        .route(&format!("{PREFIX}.metrics.v1.MetricsService/Export"), post(not_taken))
}

async fn export(State(input): State<HttpInput>, headers: HeaderMap, sent: Bytes) -> Response {
    if !grpc::is_call(&headers) {
        let told = "this is a call of gRPC; OTLP over HTTP is taken at /v1/logs\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, told).into_response();
    }
    match taken(&input, &headers, sent).await {
        // ExportLogsServiceResponse without a partial success: all was taken.
        Ok(()) => grpc::reply(&[]),
        Err(status) => refused(status),
    }
}

async fn taken(input: &HttpInput, headers: &HeaderMap, sent: Bytes) -> Result<(), Status> {
    input.allow(headers)?;
    let message = grpc::message(sent)?;
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    let encoding = encoding.filter(|_| message.compressed);
    if message.compressed && matches!(encoding, None | Some("identity")) {
        return Err(Status::new(Code::Internal, "a compressed message needs `grpc-encoding`"));
    }
    let request = body::opened(encoding, message.bytes, &input.room)?;
    let lines = Lines::within(&input.room);
    let (lines, _hold) = otlp::protobuf(&request, lines)?;
    drop(request);
    input.keep(lines.into_iter().map(Bytes::from)).await?;
    Ok(())
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let (code, retry_after) = match refused {
            Refused::Token => (Code::Unauthenticated, None),
            Refused::Full(_) | Refused::NoRoom(_) => (Code::ResourceExhausted, Some(RETRY_AFTER)),
            Refused::Encoding => (Code::Unimplemented, None),
            Refused::Unreadable(_) | Refused::TooLarge(_) | Refused::TooMany(_) => {
                (Code::InvalidArgument, None)
            }
        };
        Self { code, message: refused.to_string(), retry_after }
    }
}

fn refused(status: Status) -> Response {
    let encoding = status.code == Code::Unimplemented;
    let mut response = status.into_response();
    if encoding {
        let taken = HeaderValue::from_static("identity,gzip,deflate,zstd,snappy");
        response.headers_mut().insert("grpc-accept-encoding", taken);
    }
    response
}

async fn not_taken() -> Response {
    Status::new(Code::Unimplemented, "only logs are taken here").into_response()
}
