//! `POST /v1/deploys`.
//!
//! Owns: the answers, and that nothing is acknowledged before it is stored. Never: storing it;
//! whoever takes [`AcceptedDeploys`] does.

use std::time::Duration;

use runtime::clock::Clock;
use runtime::http::axum::body::{Body, to_bytes};
use runtime::http::axum::extract::State;
use runtime::http::axum::http::{StatusCode, header};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::routing::post;
use runtime::http::axum::{Json, Router};
use schemas::{Deploy, EventTime};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::parse::{Understood, parse_deploys};
use super::{Added, HISTORY_MS};
use crate::context::ContextCell;
use crate::metrics::EnrichMetrics;
use crate::problem::Problem;

/// Requests that wait to be stored. Each holds at most [`BODY_BYTES_MAX`], so 64 MiB.
const WAITING_MAX: usize = 64;

/// The longest body. A deploy is about 500 bytes, so this is a history of two thousand.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a request waits to be stored. Senders of webhooks give up after 10 s.
const STORED_WITHIN: Duration = Duration::from_secs(8);

/// Deploys that were accepted and wait to be stored. Dropping it refuses them.
#[derive(Debug)]
pub struct AcceptedDeploys {
    /// The deploys, in the order of the request.
    pub deploys: Vec<Deploy>,
    answer: oneshot::Sender<Result<(), String>>,
}

impl AcceptedDeploys {
    /// They will survive a crash: now the sender may hear so, and they join.
    pub fn stored(self) {
        // The sender may have gone; storing twice is harmless.
        drop(self.answer.send(Ok(())));
    }

    /// They could not be stored; the sender is told to try again.
    pub fn failed(self, reason: &str) {
        drop(self.answer.send(Err(reason.to_owned())));
    }
}

#[derive(Debug, Clone)]
struct Endpoint {
    context: ContextCell,
    clock: Clock,
    metrics: EnrichMetrics,
    accepted: mpsc::Sender<AcceptedDeploys>,
}

/// The route `POST /v1/deploys`, and what it accepted, to be stored by the caller.
///
/// The body is what [`parse_deploys`] takes. The answer is 202 with what was understood; 200 where
/// all of it was known; 400 with every mistake, and then nothing of the body counts; 413; 503 when
/// it cannot be stored now.
pub fn deploys_router(
    context: ContextCell,
    clock: Clock,
    metrics: EnrichMetrics,
) -> (Router, mpsc::Receiver<AcceptedDeploys>) {
    let (accepted, waiting) = mpsc::channel(WAITING_MAX);
    let endpoint = Endpoint { context, clock, metrics, accepted };
    (Router::new().route("/v1/deploys", post(take)).with_state(endpoint), waiting)
}

async fn take(State(endpoint): State<Endpoint>, body: Body) -> Response {
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else {
        let why = format!("it does not arrive whole, or is larger than {BODY_BYTES_MAX} bytes");
        return endpoint.refused(StatusCode::PAYLOAD_TOO_LARGE, why, "send smaller parts");
    };
    let now = EventTime(endpoint.clock.unix_ms());
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let why = "the body is not UTF-8";
        return endpoint.refused(StatusCode::BAD_REQUEST, why.to_owned(), "send JSON in UTF-8");
    };
    let Understood { deploys, ignored } = match parse_deploys(text, now) {
        Ok(understood) => understood,
        Err(problems) => return endpoint.mistaken(StatusCode::BAD_REQUEST, &problems),
    };
    let added = endpoint.context.load().deploys().tell_repeats(deploys);
    let answer = json!({
        "accepted": added.fresh, "repeated": added.repeated, "ignored": ignored,
    });
    endpoint.metrics.deploys_repeated(added.repeated.len());
    if added.fresh.is_empty() {
        return (StatusCode::OK, Json(answer)).into_response();
    }
    match endpoint.store(added, now).await {
        Ok(()) => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        Err(why) => {
            let next = "send it again; nothing of it counts so far";
            let mut response = endpoint.refused(StatusCode::SERVICE_UNAVAILABLE, why, next);
            response.headers_mut().insert(header::RETRY_AFTER, 1.into());
            response
        }
    }
}

impl Endpoint {
    /// Has the deploys stored, then lets them join.
    async fn store(&self, added: Added, now: EventTime) -> Result<(), String> {
        let (answer, stored) = oneshot::channel();
        let request = AcceptedDeploys { deploys: added.fresh.clone(), answer };
        self.accepted.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => "too many deploys wait to be stored".to_owned(),
            mpsc::error::TrySendError::Closed(_) => "the process is ending".to_owned(),
        })?;
        match tokio::time::timeout(STORED_WITHIN, stored).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(_dropped)) => return Err("the process is ending".to_owned()),
            Err(_elapsed) => {
                return Err(format!("not stored within {} s", STORED_WITHIN.as_secs()));
            }
        }
        for deploy in &added.fresh {
            let Deploy { service, deploy_id, deployed_at, .. } = deploy;
            info!(service, deploy_id, %deployed_at, action = ?deploy.action, "took a deploy");
        }
        self.metrics.deploys_accepted(added.fresh.len());
        self.context.add_deploys(added.fresh, Some(now.minus(HISTORY_MS)));
        Ok(())
    }

    fn refused(&self, status: StatusCode, why: String, next: &str) -> Response {
        self.mistaken(status, &[Problem::new("the deploys are not taken", why, next)])
    }

    fn mistaken(&self, status: StatusCode, problems: &[Problem]) -> Response {
        for problem in problems {
            warn!(%problem, "refused a deploy");
        }
        self.metrics.deploys_refused(problems.len());
        (status, Json(json!({ "problems": problems }))).into_response()
    }
}

#[cfg(test)]
mod tests;
