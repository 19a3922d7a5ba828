//! GitHub: the event `deployment_status`.
//!
//! Owns: which of its fields mean what to us. Never: which versions of its API there are.
//!
//! The proof is `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 of the raw body under the secret
//! of the webhook. Only the state `success` says that something runs.
//!
//! `deployment.id` → `deploy_id`, `deployment_status.created_at` → `deployed_at`,
//! `deployment_status.environment` (else `deployment.environment`) → `environment`,
//! `deployment.sha` → `commit`, `repository.full_name` → `repository`, and its last part, or what
//! `services` says of it, → `service`; `workflow_run.id` → `pipeline_run`. Whoever makes the
//! deployment can say more in its `payload`: `service`, `version`, `owner`, `change_id`,
//! `environment`. A branch is no version, so without `payload.version` there is none. A rollback is
//! a deployment like any other, of an older commit.

use runtime::config::Secret;
use runtime::http::axum::http::HeaderMap;
use schemas::{Deploy, DeployAction};

use super::proof::{self, Doubt};
use super::sender::Sender;
use super::{Told, WHAT, ignored, lacking};
use crate::deploys::parse::Item;
use crate::problem::Problem;

pub(super) fn prove(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Result<(), Doubt> {
    proof::of_hex(secret.expose().as_bytes(), headers, "x-hub-signature-256", body)
}

pub(super) fn read(told: Told<'_>) -> Result<Item, Problem> {
    let event = told.header("x-github-event").unwrap_or("deployment_status");
    if event != "deployment_status" {
        let why = "only the event `deployment_status` says what runs";
        return Ok(ignored(format!("event {event}"), why));
    }
    let lacks = |field| lacking(Sender::GitHub, field);
    let state =
        told.text("/deployment_status/state").ok_or_else(|| lacks("deployment_status.state"))?;
    if state != "success" {
        let why = "only the state `success` says what runs";
        return Ok(ignored(format!("deployment_status {state}"), why));
    }
    let time = told
        .text("/deployment_status/created_at")
        .ok_or_else(|| lacks("deployment_status.created_at"))?;
    let deployed_at = time.parse().map_err(|error| {
        let why = format!("`deployment_status.created_at`: {error}");
        Problem::new(WHAT, why, "let GitHub send it as it is")
    })?;
    let repository =
        told.text("/repository/full_name").ok_or_else(|| lacks("repository.full_name"))?;
    let said = |field: &str| told.owned(&format!("/deployment/payload/{field}"));
    Ok(Item::Deploy(Box::new(Deploy {
        service: said("service").unwrap_or_else(|| told.service(repository)),
        environment: said("environment")
            .or_else(|| told.owned("/deployment_status/environment"))
            .or_else(|| told.owned("/deployment/environment")),
        deploy_id: told.id("/deployment/id").ok_or_else(|| lacks("deployment.id"))?,
        deployed_at,
        version: said("version"),
        commit: told.owned("/deployment/sha"),
        change_id: said("change_id"),
        repository: Some(repository.to_owned()),
        pipeline_run: told.id("/workflow_run/id"),
        owner: said("owner"),
        action: DeployAction::Deployed,
    })))
}
