//! CDEvents, bare or in a structured CloudEvent.
//!
//! Owns: which of their fields mean what to us. Never: the HTTP around them.
//!
//! Of `dev.cdevents.service.{deployed,upgraded,rolledback,removed}.*` (CDEvents 0.4 and 0.5) these
//! are read: `context.id` → `deploy_id`, `context.timestamp` → `deployed_at`, `context.chainId` →
//! `pipeline_run`, `subject.id` → `service`, `subject.content.environment.id` (or `.name`) →
//! `environment`, `subject.content.artifactId` (a package URL) → `version` (its tag, else its
//! version) and `repository` (its `vcs_url` or `repository_url`). What CDEvents has no place for,
//! `customData` may say under our own names: `deploy_id`, `version`, `commit`, `change_id`,
//! `repository`, `pipeline_run`, `owner`.

use schemas::{Deploy, DeployAction, EventTime};
use serde_json::Value;

use super::parse::{Ignored, Item, decoded, refused};
use crate::problem::Problem;

pub(super) fn read(event: &Value, received_at: Option<EventTime>) -> Result<Item, Problem> {
    let cloud = event.get("specversion").is_some() && event.get("context").is_none();
    let body = if cloud { event.get("data").unwrap_or(&Value::Null) } else { event };
    let kind = text(body, "/context/type").or_else(|| text(event, "/type"));
    let Some(kind) = kind else {
        return Err(refused("a CDEvent without `context.type`"));
    };
    let Some(action) = action(kind) else {
        let why = "only dev.cdevents.service.{deployed,upgraded,rolledback,removed} say what runs";
        return Ok(Item::Ignored(Ignored { what: kind.to_owned(), why: why.to_owned() }));
    };
    let deployed_at = match text(body, "/context/timestamp").or_else(|| text(event, "/time")) {
        Some(time) => time
            .parse()
            .map_err(|error| refused(format!("`context.timestamp` of the CDEvent: {error}")))?,
        None => received_at.ok_or_else(|| refused("a CDEvent without `context.timestamp`"))?,
    };
    let service = text(body, "/subject/id");
    let service = service.ok_or_else(|| refused("a CDEvent without `subject.id`, the service"))?;
    let id = custom(body, "deploy_id").or_else(|| owned(body, "/context/id"));
    let deploy_id = id.ok_or_else(|| refused("a CDEvent without `context.id`"))?;
    let artifact = text(body, "/subject/content/artifactId").map(Artifact::read);
    let artifact = artifact.unwrap_or_default();
    Ok(Item::Deploy(Box::new(Deploy {
        service: service.to_owned(),
        environment: owned(body, "/subject/content/environment/id")
            .or_else(|| owned(body, "/subject/content/environment/name")),
        deploy_id,
        deployed_at,
        version: custom(body, "version").or(artifact.version),
        commit: custom(body, "commit"),
        change_id: custom(body, "change_id"),
        repository: custom(body, "repository").or(artifact.repository),
        pipeline_run: custom(body, "pipeline_run").or_else(|| owned(body, "/context/chainId")),
        owner: custom(body, "owner"),
        action,
    })))
}

fn action(kind: &str) -> Option<DeployAction> {
    let predicate = kind.strip_prefix("dev.cdevents.service.")?;
    match predicate.split('.').next()? {
        "deployed" => Some(DeployAction::Deployed),
        "upgraded" => Some(DeployAction::Upgraded),
        "rolledback" => Some(DeployAction::Rolledback),
        "removed" => Some(DeployAction::Removed),
        _ => None,
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn owned(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).map(str::to_owned)
}

fn custom(body: &Value, name: &str) -> Option<String> {
    owned(body.get("customData")?, &format!("/{name}"))
}

/// What a package URL says: `pkg:type/namespace/name@version?qualifiers#subpath`.
#[derive(Debug, Default)]
struct Artifact {
    version: Option<String>,
    repository: Option<String>,
}

impl Artifact {
    fn read(purl: &str) -> Self {
        let whole = purl.split('#').next().unwrap_or(purl);
        let (name, qualifiers) = whole.split_once('?').unwrap_or((whole, ""));
        let qualifier = |wanted: &str| {
            let mut pairs = qualifiers.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == wanted).map(|(_, value)| decoded(value))
        };
        let version = name.rsplit_once('@').map(|(_, version)| decoded(version));
        Self {
            version: qualifier("tag").or(version),
            repository: qualifier("vcs_url").or_else(|| qualifier("repository_url")),
        }
    }
}
