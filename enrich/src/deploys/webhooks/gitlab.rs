//! GitLab: the deployment hook.
//!
//! Owns: which of its fields mean what to us. Never: other hooks of GitLab.
//!
//! The proof is either `X-Gitlab-Token`, the secret token itself; or, where the configured secret
//! is a signing token (`whsec_<base64>`), `webhook-signature: v1,<base64>`, HMAC-SHA256 of
//! `<webhook-id>.<webhook-timestamp>.<body>` under the decoded token, as Standard Webhooks has it.
//! Several signatures may stand there, parted by blanks, while a token is being changed. The token
//! alone proves nothing about the body, so it needs TLS on the way. Only the status `success` says
//! that something runs.
//!
//! `deployment_id` → `deploy_id`, `status_changed_at` → `deployed_at`, `environment` →
//! `environment`, the end of `commit_url` (else `short_sha`) → `commit`,
//! `project.path_with_namespace` → `repository`, and its last part, or what `services` says of it,
//! → `service`; `deployable_id` → `pipeline_run`. A rollback is a deployment like any other, of an
//! older commit.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runtime::config::Secret;
use runtime::http::axum::http::HeaderMap;
use schemas::{Deploy, DeployAction, EventTime};
use subtle::ConstantTimeEq;

use super::proof::{self, Doubt, header};
use super::sender::Sender;
use super::{Told, WHAT, ignored, lacking};
use crate::deploys::parse::Item;
use crate::problem::Problem;

/// How far the signed time may be from ours. Standard Webhooks says minutes.
const SKEW_MAX_S: i64 = 5 * 60;

/// The key in a signing token; none where the secret is a plain token.
pub(super) fn signing_key(secret: &Secret) -> Option<Result<Vec<u8>, base64::DecodeError>> {
    secret.expose().strip_prefix("whsec_").map(|coded| STANDARD.decode(coded))
}

pub(super) fn prove(
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: EventTime,
) -> Result<(), Doubt> {
    const SIGNATURE: &str = "webhook-signature";
    const TIMESTAMP: &str = "webhook-timestamp";
    let Some(key) = signing_key(secret) else { return prove_token(secret, headers) };
    let signatures = header(headers, SIGNATURE)?;
    let id = header(headers, "webhook-id")?;
    let time = header(headers, TIMESTAMP)?;
    // A token that is not base64 was refused at the start.
    let key = key.map_err(|_not_base64| Doubt::Malformed(SIGNATURE))?;
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let fits = signatures
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .any(|coded| STANDARD.decode(coded).is_ok_and(|tag| proof::holds(&key, &parts, &tag)));
    if !fits {
        return Err(Doubt::Wrong(SIGNATURE));
    }
    let seconds: i64 = time.parse().map_err(|_not_a_number| Doubt::Malformed(TIMESTAMP))?;
    let skew_s = (now.millis() / 1000).saturating_sub(seconds).saturating_abs();
    if skew_s > SKEW_MAX_S { Err(Doubt::Old(TIMESTAMP)) } else { Ok(()) }
}

fn prove_token(secret: &Secret, headers: &HeaderMap) -> Result<(), Doubt> {
    const TOKEN: &str = "x-gitlab-token";
    let given = header(headers, TOKEN)?;
    let equal: bool = given.as_bytes().ct_eq(secret.expose().as_bytes()).into();
    if equal { Ok(()) } else { Err(Doubt::Wrong(TOKEN)) }
}

pub(super) fn read(told: Told<'_>) -> Result<Item, Problem> {
    let lacks = |field| lacking(Sender::GitLab, field);
    let kind = told.text("/object_kind").ok_or_else(|| lacks("object_kind"))?;
    if kind != "deployment" {
        let why = "only deployment events say what runs";
        return Ok(ignored(format!("event {kind}"), why));
    }
    let status = told.text("/status").ok_or_else(|| lacks("status"))?;
    if status != "success" {
        let why = "only the status `success` says what runs";
        return Ok(ignored(format!("deployment {status}"), why));
    }
    let time = told.text("/status_changed_at").ok_or_else(|| lacks("status_changed_at"))?;
    let project = told
        .text("/project/path_with_namespace")
        .ok_or_else(|| lacks("project.path_with_namespace"))?;
    let full = told.text("/commit_url").and_then(|url| url.rsplit('/').next());
    Ok(Item::Deploy(Box::new(Deploy {
        service: told.service(project),
        environment: told.owned("/environment"),
        deploy_id: told.id("/deployment_id").ok_or_else(|| lacks("deployment_id"))?,
        deployed_at: moment(time)?,
        version: None,
        commit: full.map(str::to_owned).or_else(|| told.owned("/short_sha")),
        change_id: None,
        repository: Some(project.to_owned()),
        pipeline_run: told.id("/deployable_id"),
        owner: None,
        action: DeployAction::Deployed,
    })))
}

/// `2021-04-28 21:50:00 +0200`, and with `UTC` at the end, are what GitLab writes.
fn moment(text: &str) -> Result<EventTime, Problem> {
    let joined = match text.rsplit_once(' ') {
        Some((time, "UTC")) => format!("{time}Z"),
        Some((time, offset)) if offset.starts_with(['+', '-']) => format!("{time}{offset}"),
        _ => text.to_owned(),
    };
    joined.parse().map_err(|_not_a_time| {
        let why = format!("`status_changed_at`: `{text}` is not a time");
        Problem::new(WHAT, why, "let GitLab send it as it is")
    })
}
