//! The admin endpoint: how the process is, and what it is set to.
//!
//! Owns: `/live`, `/ready`, `/metrics`, `/config`, and who may ask.
//! Never: the routes of components, which are merged into it; anything without a token on an
//! address that others can reach.

mod access;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};
use crate::ready::{Ready, ReadyMetrics, Waiting};

pub use access::{Access, AccessError};

/// What the endpoint tells.
#[derive(Debug, Clone)]
pub struct Admin {
    /// For `/ready`.
    pub ready: Ready,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/config`: what is in force, as TOML, with secrets masked.
    pub config: String,
    /// Once cancelled the process is no longer ready.
    pub shutdown: CancellationToken,
}

impl Admin {
    /// The routes of the endpoint and those in `routes`, all behind `access`.
    pub fn router(self, access: Access, routes: Router) -> Router {
        let conditions = ReadyMetrics::new(&self.metrics);
        let own = Router::new()
            .route("/live", get(live))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics).with_state((self.clone(), conditions)))
            .route("/config", get(config))
            .with_state(self);
        access.guard(own.merge(routes))
    }
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let mut report = admin.ready.report();
    if admin.shutdown.is_cancelled() {
        report.ready = false;
        let reason = "the process is ending".to_owned();
        report.waiting_for.push(Waiting { name: "shutdown".to_owned(), reason });
    }
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(report))
}

async fn metrics(State((admin, conditions)): State<(Admin, ReadyMetrics)>) -> impl IntoResponse {
    conditions.look(&admin.ready);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], admin.metrics.encode())
}

async fn config(State(admin): State<Admin>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/toml; charset=utf-8")], admin.config)
}

#[cfg(test)]
mod tests;
