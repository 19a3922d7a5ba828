//! Flux: events of its notification controller, by a provider of type `generic-hmac`.
//!
//! Owns: which of their fields mean what to us. Never: what the controllers do.
//!
//! The proof is `X-Signature: sha256=<hex>`, HMAC-SHA256 of the raw body under the `token` of the
//! provider's secret. An event says that something runs where its `severity` is `info` and its
//! `reason` is `ReconciliationSucceeded`, `InstallSucceeded`, `UpgradeSucceeded` or
//! `RollbackSucceeded`; `UninstallSucceeded` says that it is gone.
//!
//! `involvedObject.name`, or what `services` says of `<namespace>/<name>`, → `service`; `timestamp`
//! → `deployed_at`; the revision in `metadata` → `commit` where it is of git
//! (`main@sha1:<commit>`). The other things that `metadata` can say, from `spec.eventMetadata` of
//! the alert or from annotations `event.toolkit.fluxcd.io/<name>`, are taken under our own names:
//! `service`, `environment` (also `env`), `version` (also `app-version`), `owner`, `change_id`,
//! `repository`. Keys of metadata may have a prefix up to `/`, as the controllers write them.
//!
//! The id of a `Kustomization` is `<namespace>/<name>@<revision>`, since the controller tells of
//! one revision again and again; what brings the same revision back later is therefore no deploy.
//! A `HelmRelease` can be upgraded within one revision of its chart, so its id has the time as well.

use runtime::config::Secret;
use runtime::http::axum::http::HeaderMap;
use schemas::{Deploy, DeployAction, EventTime};

use super::proof::{self, Doubt};
use super::sender::Sender;
use super::{Told, WHAT, ignored, lacking};
use crate::deploys::parse::Item;
use crate::problem::Problem;

pub(super) fn prove(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Result<(), Doubt> {
    proof::of_hex(secret.expose().as_bytes(), headers, "x-signature", body)
}

pub(super) fn read(told: Told<'_>) -> Result<Item, Problem> {
    let lacks = |field| lacking(Sender::Flux, field);
    let kind = told.text("/involvedObject/kind").ok_or_else(|| lacks("involvedObject.kind"))?;
    let name = told.text("/involvedObject/name").ok_or_else(|| lacks("involvedObject.name"))?;
    let reason = told.text("/reason").ok_or_else(|| lacks("reason"))?;
    let severity = told.text("/severity").unwrap_or_default();
    let Some(action) = action(reason).filter(|_| severity == "info") else {
        let why = "only a reconciliation, installation, upgrade, rollback or removal that \
                   succeeded says what runs";
        return Ok(ignored(format!("{kind} {reason}"), why));
    };
    let time = told.text("/timestamp").ok_or_else(|| lacks("timestamp"))?;
    let deployed_at: EventTime = time.parse().map_err(|error| {
        Problem::new(WHAT, format!("`timestamp`: {error}"), "let Flux send it as it is")
    })?;
    let namespace = told.text("/involvedObject/namespace").unwrap_or("default");
    let object = format!("{namespace}/{name}");
    let said = |names: &[&str]| metadata(&told, names);
    let revision = said(&["revision"]);
    let deploy_id = match (kind, revision.as_deref()) {
        ("Kustomization", Some(revision)) => format!("{object}@{revision}"),
        (_, revision) => format!("{object}@{}/{deployed_at}", revision.unwrap_or("unknown")),
    };
    Ok(Item::Deploy(Box::new(Deploy {
        service: said(&["service"]).unwrap_or_else(|| told.service(&object)),
        environment: said(&["environment", "env"]),
        deploy_id,
        deployed_at,
        version: said(&["version", "app-version"]),
        commit: revision.as_deref().and_then(commit).map(str::to_owned),
        change_id: said(&["change_id"]),
        repository: said(&["repository"]),
        pipeline_run: None,
        owner: said(&["owner"]),
        action,
    })))
}

fn action(reason: &str) -> Option<DeployAction> {
    match reason {
        "ReconciliationSucceeded" | "InstallSucceeded" => Some(DeployAction::Deployed),
        "UpgradeSucceeded" => Some(DeployAction::Upgraded),
        "RollbackSucceeded" => Some(DeployAction::Rolledback),
        "UninstallSucceeded" => Some(DeployAction::Removed),
        _ => None,
    }
}

/// The first of these keys, bare or after a prefix that ends in `/`.
fn metadata(told: &Told<'_>, names: &[&str]) -> Option<String> {
    let all = told.body.get("metadata")?.as_object()?;
    names.iter().find_map(|name| {
        let named = |key: &str| key.rsplit('/').next() == Some(name);
        let found = all.iter().find(|(key, _)| named(key))?.1.as_str()?.trim();
        (!found.is_empty()).then(|| found.to_owned())
    })
}

/// The commit in `main@sha1:<commit>`, or in `main/<commit>` as older versions write it.
fn commit(revision: &str) -> Option<&str> {
    let commit = revision.rsplit(['/', ':']).next()?;
    let digest = revision.contains("@sha256:");
    let hex = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && !digest).then_some(commit)
}
