//! `POST` and `GET /v1/deploys`, and what the webhooks beside it have in common.
//!
//! Owns: the answers, and that nothing is acknowledged before it is stored. Never: storing it;
//! whoever takes [`AcceptedDeploys`] does.

use std::time::Duration;

use bytes::Bytes;
use runtime::clock::Clock;
use runtime::http::axum::body::{Body, to_bytes};
use runtime::http::axum::extract::rejection::QueryRejection;
use runtime::http::axum::extract::{Query, State};
use runtime::http::axum::http::{StatusCode, header};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::routing::post;
use runtime::http::axum::{Json, Router};
use schemas::{Deploy, EventTime};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::parse::{Understood, parse_deploys};
use super::webhooks::{self, WebhooksConfig};
use super::{Added, HISTORY_MS};
use crate::context::{ContextCell, TableState};
use crate::metrics::EnrichMetrics;
use crate::problem::Problem;

/// Requests that wait to be stored. Each holds at most [`BODY_BYTES_MAX`], so 64 MiB.
const WAITING_MAX: usize = 64;

/// The longest body. A deploy is about 500 bytes, so this is a history of two thousand.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a request waits to be stored. Senders of webhooks give up after 10 s.
const STORED_WITHIN: Duration = Duration::from_secs(8);

const WHAT: &str = "the deploys are not taken";

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

/// Takes deploys over HTTP. Clones are one.
///
/// The answer is 202 with what was understood; 200 where all of it was known; 400 with every
/// mistake, and then nothing of the body counts; 413; 503 when it cannot be stored now.
#[derive(Debug, Clone)]
pub struct DeploysEndpoint {
    context: ContextCell,
    clock: Clock,
    metrics: EnrichMetrics,
    accepted: mpsc::Sender<AcceptedDeploys>,
}

async fn take(State(endpoint): State<DeploysEndpoint>, body: Body) -> Response {
    let bytes = match endpoint.whole(body).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let why = "the body is not UTF-8";
        return endpoint.refused(StatusCode::BAD_REQUEST, why, "send JSON in UTF-8");
    };
    match parse_deploys(text, endpoint.now()) {
        Ok(understood) => endpoint.accept(understood).await,
        Err(problems) => endpoint.mistaken(StatusCode::BAD_REQUEST, &problems),
    }
}

/// What `GET /v1/deploys` can be asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// This service alone.
    service: Option<String>,
    /// At this moment; absent: now.
    at: Option<EventTime>,
}

async fn tell(
    State(endpoint): State<DeploysEndpoint>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Query(asked) = match asked {
        Ok(asked) => asked,
        Err(mistake) => {
            let next = "ask with `service=NAME` and `at=TIME` (RFC 3339), or without";
            let problem = Problem::new("nothing is told", mistake.body_text(), next);
            let answer = Json(json!({ "problems": [problem] }));
            return (StatusCode::BAD_REQUEST, answer).into_response();
        }
    };
    let context = endpoint.context.load();
    let mut records = context.deploys().history(asked.at.unwrap_or_else(|| endpoint.now()));
    if let Some(service) = asked.service {
        records.retain(|record| record.deploy.service == service);
    }
    Json(json!({ "deploys": records })).into_response()
}

impl DeploysEndpoint {
    /// An endpoint, and what it accepts, to be stored by the caller.
    #[must_use]
    pub fn new(
        context: ContextCell,
        clock: Clock,
        metrics: EnrichMetrics,
    ) -> (Self, mpsc::Receiver<AcceptedDeploys>) {
        let (accepted, waiting) = mpsc::channel(WAITING_MAX);
        (Self { context, clock, metrics, accepted }, waiting)
    }

    /// The routes `POST /v1/deploys`, whose body is what [`parse_deploys`] takes, and
    /// `GET /v1/deploys`, which tells the history; for whoever may use the admin endpoint.
    pub fn router(&self) -> Router {
        Router::new().route("/v1/deploys", post(take).get(tell)).with_state(self.clone())
    }

    /// The routes `POST /v1/deploys/{github,gitlab,flux}`, for whoever has the secret. One whose
    /// secret is not configured answers 404.
    pub fn webhooks(&self, config: &WebhooksConfig) -> Router {
        webhooks::router(self, config)
    }

    /// The machine's time.
    pub(super) fn now(&self) -> EventTime {
        EventTime(self.clock.unix_ms())
    }

    /// The body, or the refusal of one that is too large.
    pub(super) async fn whole(&self, body: Body) -> Result<Bytes, Response> {
        to_bytes(body, BODY_BYTES_MAX).await.map_err(|_cut_or_long| {
            let why = format!("it does not arrive whole, or is larger than {BODY_BYTES_MAX} bytes");
            self.refused(StatusCode::PAYLOAD_TOO_LARGE, why, "send smaller parts")
        })
    }

    /// Has what is new stored, and answers.
    pub(super) async fn accept(&self, understood: Understood) -> Response {
        let Understood { deploys, ignored } = understood;
        let added = self.context.load().deploys().tell_repeats(deploys);
        let answer = json!({
            "accepted": added.fresh, "repeated": added.repeated, "ignored": ignored,
        });
        self.metrics.deploys_repeated(added.repeated.len());
        if added.fresh.is_empty() {
            return (StatusCode::OK, Json(answer)).into_response();
        }
        match self.store(added).await {
            Ok(()) => (StatusCode::ACCEPTED, Json(answer)).into_response(),
            Err(why) => {
                let next = "send it again; nothing of it counts so far";
                let mut response = self.refused(StatusCode::SERVICE_UNAVAILABLE, why, next);
                response.headers_mut().insert(header::RETRY_AFTER, 1.into());
                response
            }
        }
    }

    /// Takes deploys as they come from elsewhere than HTTP: a body of a topic's record, which is what
    /// [`parse_deploys`] takes. What cannot be understood is said, counted and left.
    ///
    /// # Errors
    /// Why they could not be stored; they can be told again.
    pub async fn told(&self, body: &[u8], received_at: EventTime) -> Result<usize, String> {
        let Ok(text) = std::str::from_utf8(body) else {
            self.unusable(&[Problem::new(WHAT, "it is not UTF-8", "write JSON in UTF-8")]);
            return Ok(0);
        };
        match parse_deploys(text, received_at) {
            Ok(understood) => self.take_understood(understood).await,
            Err(problems) => {
                self.unusable(&problems);
                Ok(0)
            }
        }
    }

    /// Has what is new stored. How many that were.
    pub(crate) async fn take_understood(&self, understood: Understood) -> Result<usize, String> {
        let added = self.context.load().deploys().tell_repeats(understood.deploys);
        let fresh = added.fresh.len();
        if fresh > 0 {
            self.store(added).await?;
        }
        Ok(fresh)
    }

    /// Says how a source of deploys stands.
    pub(crate) fn pulled(&self, state: TableState, now_ms: i64) {
        self.context.set_pulled_table(state);
        for table in self.context.load().report(now_ms) {
            self.metrics.table(&table);
        }
    }

    /// Has the deploys stored, then lets them join.
    async fn store(&self, added: Added) -> Result<(), String> {
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
        self.context.add_deploys(added.fresh, Some(self.now().minus(HISTORY_MS)));
        Ok(())
    }

    fn unusable(&self, problems: &[Problem]) {
        for problem in problems {
            warn!(%problem, "refused a deploy");
        }
        self.metrics.deploys_refused(problems.len());
    }

    pub(super) fn refused(
        &self,
        status: StatusCode,
        why: impl Into<Box<str>>,
        next: &str,
    ) -> Response {
        self.mistaken(status, &[Problem::new(WHAT, why, next)])
    }

    pub(super) fn mistaken(&self, status: StatusCode, problems: &[Problem]) -> Response {
        self.unusable(problems);
        (status, Json(json!({ "problems": problems }))).into_response()
    }
}

#[cfg(test)]
mod tests;
