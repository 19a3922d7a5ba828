//! What Deployments and ReplicaSets say of deploys.
//!
//! Owns: which of their fields mean what to us. Never: fetches them.
//!
//! A ReplicaSet of a Deployment is a deploy: its first revision is the id, its creation the time. One that the Deployment has gone back to is, beside that, a rollback at
//! the time at which the Deployment last made progress. What the pod template and the annotations
//! say of version, commit and owner stays with the ReplicaSet, so that each deploy has its own.

use std::collections::BTreeMap;

use schemas::{Deploy, DeployAction, EventTime};
use serde_json::Value;

/// The revision of a ReplicaSet or a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The revisions that a ReplicaSet had before the Deployment went back to it.
const REVISIONS: &str = "deployment.kubernetes.io/revision-history";

/// What a person says of a deploy in annotations.
const OURS: &str = "tidegate.io/";

/// What is called how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'n> {
    /// The service of `namespace/name`.
    pub(super) services: &'n BTreeMap<String, String>,
    pub(super) environment: Option<&'n str>,
}

/// What a Deployment has rolled out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rollouts {
    pub(super) deploys: Vec<Deploy>,
}

/// By `namespace/name` of the Deployment.
pub(super) fn rollouts(
    deployments: &[Value],
    replica_sets: &[Value],
    naming: Naming<'_>,
) -> BTreeMap<String, Rollouts> {
    let mut by_owner: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for set in replica_sets {
        if let Some(owner) = owner(set) {
            by_owner.entry(owner).or_default().push(set);
        }
    }
    let mut found = BTreeMap::new();
    for deployment in deployments {
        let of = |pointer| text(deployment, pointer);
        let (Some(namespace), Some(name), Some(uid)) =
            (of("/metadata/namespace"), of("/metadata/name"), of("/metadata/uid"))
        else {
            continue;
        };
        let whole = format!("{namespace}/{name}");
        let sets = by_owner.get(uid).map(Vec::as_slice).unwrap_or_default();
        let rollout = Rollout { deployment, whole: &whole, uid, naming };
        let mut deploys: Vec<Deploy> = sets.iter().flat_map(|set| rollout.of(set)).collect();
        deploys.sort_by_key(|deploy| deploy.deployed_at);
        found.insert(whole, Rollouts { deploys });
    }
    found
}

/// The uid of the Deployment that a ReplicaSet belongs to.
fn owner(set: &Value) -> Option<&str> {
    let owners = set.pointer("/metadata/ownerReferences")?.as_array()?;
    let is_deployment = |owner: &&Value| text(owner, "/kind") == Some("Deployment");
    text(owners.iter().find(is_deployment)?, "/uid")
}

/// A Deployment whose ReplicaSets are looked at.
#[derive(Debug, Clone, Copy)]
struct Rollout<'r> {
    deployment: &'r Value,
    whole: &'r str,
    uid: &'r str,
    naming: Naming<'r>,
}

impl Rollout<'_> {
    fn of(&self, set: &Value) -> Vec<Deploy> {
        let created = text(set, "/metadata/creationTimestamp").and_then(|text| text.parse().ok());
        let (Some(created), Some(revision)) = (created, annotation(set, REVISION)) else {
            return Vec::new();
        };
        let earlier = annotation(set, REVISIONS).unwrap_or_default();
        let first = earlier.split(',').map(str::trim).find(|text| !text.is_empty());
        let deploy = self.deploy(set, first.unwrap_or(revision), created);
        let is_current = annotation(self.deployment, REVISION) == Some(revision);
        let again = first.filter(|_| is_current).and_then(|_| self.progressed_at());
        let back = again.filter(|at| *at > created).map(|deployed_at| Deploy {
            deployed_at,
            action: DeployAction::Rolledback,
            ..deploy.clone()
        });
        std::iter::once(deploy).chain(back).collect()
    }

    fn deploy(&self, set: &Value, revision: &str, deployed_at: EventTime) -> Deploy {
        let label = |name| member(set, "/spec/template/metadata/labels", name);
        let ours = |name: &str| {
            let name = format!("{OURS}{name}");
            let of = ["/spec/template/metadata/annotations", "/metadata/annotations"];
            of.into_iter().find_map(|place| member(set, place, &name)).map(str::to_owned)
        };
        let service = self.naming.services.get(self.whole).cloned().or_else(|| ours("service"));
        let name = self.whole.rsplit('/').next().unwrap_or(self.whole);
        let service = service.or_else(|| label("app.kubernetes.io/name").map(str::to_owned));
        let version = ours("version")
            .or_else(|| label("app.kubernetes.io/version").map(str::to_owned))
            .or_else(|| tag(set).map(str::to_owned));
        Deploy {
            service: service.unwrap_or_else(|| name.to_owned()),
            environment: ours("environment").or_else(|| self.naming.environment.map(str::to_owned)),
            // A Deployment that is made anew begins again at revision 1, under another uid.
            deploy_id: format!(
                "{}@{revision}-{}",
                self.whole,
                self.uid.get(..8).unwrap_or(self.uid)
            ),
            deployed_at,
            version,
            commit: ours("commit"),
            change_id: ours("change-id"),
            repository: ours("repository"),
            pipeline_run: ours("pipeline-run"),
            owner: ours("owner"),
            action: DeployAction::Deployed,
        }
    }

    /// When the rollout of the current revision last got on.
    fn progressed_at(&self) -> Option<EventTime> {
        let conditions = self.deployment.pointer("/status/conditions")?.as_array()?;
        let progressing = |one: &&Value| text(one, "/type") == Some("Progressing");
        text(conditions.iter().find(progressing)?, "/lastUpdateTime")?.parse().ok()
    }
}

/// The tag of the first container's image.
fn tag(set: &Value) -> Option<&str> {
    let image = text(set, "/spec/template/spec/containers/0/image")?;
    let image = image.split('@').next().unwrap_or(image);
    // A colon before the last slash is that of a port.
    let (_, tag) = image.rsplit('/').next()?.split_once(':')?;
    Some(tag).filter(|tag| !tag.is_empty() && *tag != "latest")
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn member<'v>(value: &'v Value, pointer: &str, name: &str) -> Option<&'v str> {
    value.pointer(pointer)?.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn annotation<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    member(value, "/metadata/annotations", name)
}
