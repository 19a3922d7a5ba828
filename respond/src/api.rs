//! Orders and blocks over HTTP, behind the admin endpoint.
//!
//! Owns: the routes and their JSON. Never: who may ask; the admin endpoint checks that.
//!
//! | request | gives |
//! |---|---|
//! | `GET /v1/blocks` | what acts on a subject and is not over |
//! | `POST /v1/blocks/release` | `{"order": …}`, `{"subject": {"kind": …, "value": …}}`, `{"rule": …}` or `{"all": true}`, with `by` and `reason` |
//! | `GET /v1/orders?state=&limit=` | the newest orders |
//! | `GET /v1/orders/{id}` | one |
//! | `POST /v1/orders/{id}/approve`, `/refuse`, `/retry` | with `by` and `reason` |

use std::time::Duration;

use runtime::error::chain;
use runtime::http::axum::extract::{Path, Query, State};
use runtime::http::axum::http::StatusCode;
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::routing::{get, post};
use runtime::http::axum::{Json, Router};
use schemas::Subject;
use serde::Deserialize;
use serde_json::json;

use crate::ledger::{Asker, LedgerError, Phase};
use crate::nearest;
use crate::responder::{Responder, Which};

/// Orders in one answer.
const ORDERS_MAX: usize = 1_000;
const ORDERS_DEFAULT: usize = 100;

/// How long a release is waited for, so that the answer can say that it is confirmed.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseRequest {
    order: Option<String>,
    subject: Option<Subject>,
    rule: Option<String>,
    #[serde(default)]
    all: bool,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrdersQuery {
    state: Option<String>,
    limit: Option<usize>,
}

impl Responder {
    /// The routes for the admin endpoint.
    pub fn api_router(&self) -> Router {
        Router::new()
            .route("/v1/blocks", get(blocks))
            .route("/v1/blocks/release", post(release))
            .route("/v1/orders", get(orders))
            .route("/v1/orders/{id}", get(order))
            .route("/v1/orders/{id}/approve", post(approve))
            .route("/v1/orders/{id}/refuse", post(refuse))
            .route("/v1/orders/{id}/retry", post(retry))
            .with_state(self.clone())
    }
}

async fn blocks(State(responder): State<Responder>) -> Response {
    Json(json!({"blocks": responder.blocks()})).into_response()
}

async fn release(
    State(responder): State<Responder>,
    Json(request): Json<ReleaseRequest>,
) -> Response {
    let by = asker(request.by.as_deref(), request.reason.as_deref());
    let which = match which(request) {
        Ok(which) => which,
        Err(message) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &message),
    };
    let orders = match responder.release(which, by).await {
        Ok(orders) => orders,
        Err(error) => return failure(&error),
    };
    let shown = responder.finished(&orders, RELEASE_WAIT).await;
    let (over, left): (Vec<_>, Vec<_>) = shown
        .into_iter()
        .partition(|shown| matches!(shown.state, "released" | "expired" | "refused"));
    let status = if left.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(json!({"released": over, "pending": left}))).into_response()
}

async fn orders(State(responder): State<Responder>, Query(query): Query<OrdersQuery>) -> Response {
    if let Some(state) = query.state.as_deref().filter(|state| !Phase::NAMES.contains(state)) {
        let state: String = state.chars().take(64).collect();
        let (hint, names) = (nearest::hint(&state, Phase::NAMES), Phase::NAMES.join(", "));
        let message = format!("`{state}` is no state of an order{hint}; states are {names}");
        return refusal(StatusCode::BAD_REQUEST, &message);
    }
    let max = query.limit.unwrap_or(ORDERS_DEFAULT).min(ORDERS_MAX);
    Json(json!({"orders": responder.orders(query.state.as_deref(), max)})).into_response()
}

async fn order(State(responder): State<Responder>, Path(id): Path<String>) -> Response {
    match responder.order(&id) {
        Some(shown) => Json(shown).into_response(),
        None => unknown(&id),
    }
}

async fn approve(
    State(responder): State<Responder>,
    Path(id): Path<String>,
    reason: Option<Json<Reason>>,
) -> Response {
    let changed = responder.approve(&id, given(reason)).await;
    changed_or(&responder, &id, changed, "waits for nobody")
}

async fn refuse(
    State(responder): State<Responder>,
    Path(id): Path<String>,
    reason: Option<Json<Reason>>,
) -> Response {
    let changed = responder.refuse(&id, given(reason)).await;
    changed_or(&responder, &id, changed, "waits for nobody")
}

async fn retry(
    State(responder): State<Responder>,
    Path(id): Path<String>,
    reason: Option<Json<Reason>>,
) -> Response {
    let changed = responder.retry(&id, given(reason)).await;
    changed_or(&responder, &id, changed, "is not parked")
}

fn given(reason: Option<Json<Reason>>) -> Asker {
    let Reason { by, reason } = reason.map(|Json(reason)| reason).unwrap_or_default();
    asker(by.as_deref(), reason.as_deref())
}

fn asker(by: Option<&str>, reason: Option<&str>) -> Asker {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(500).collect();
    Asker {
        by: short(by.unwrap_or("the admin endpoint")),
        reason: short(reason.unwrap_or_default()),
    }
}

fn which(request: ReleaseRequest) -> Result<Which, String> {
    let ReleaseRequest { order, subject, rule, all, .. } = request;
    match (order, subject, rule, all) {
        (Some(order), None, None, false) => Ok(Which::Order(order)),
        (None, Some(subject), None, false) => Ok(Which::Subject(subject)),
        (None, None, Some(rule), false) => Ok(Which::Rule(rule)),
        (None, None, None, true) => Ok(Which::All),
        _ => Err("name exactly one of `order`, `subject`, `rule` and `all`".to_owned()),
    }
}

fn changed_or(
    responder: &Responder,
    id: &str,
    changed: Result<bool, LedgerError>,
    else_it: &str,
) -> Response {
    match (changed, responder.order(id)) {
        (Err(error), _) => failure(&error),
        (Ok(_), None) => unknown(id),
        (Ok(true), Some(shown)) => Json(shown).into_response(),
        (Ok(false), Some(shown)) => {
            let message = format!("order {id} {else_it}; it is {}", shown.state);
            refusal(StatusCode::CONFLICT, &message)
        }
    }
}

fn unknown(id: &str) -> Response {
    let id: String = id.chars().take(64).collect();
    refusal(StatusCode::NOT_FOUND, &format!("there is no order `{id}`; see GET /v1/orders"))
}

fn failure(error: &LedgerError) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, &chain(error))
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
