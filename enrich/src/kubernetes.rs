//! Deploys as a Kubernetes cluster shows them.
//!
//! Owns: asking its API again and again, and noticing what is gone. Never: what objects mean, which
//! `objects` has; writes to the cluster.
//!
//! Deployments and their ReplicaSets are listed whole (API `apps/v1`): a ReplicaSet is a template
//! that was rolled out, with the time at which that began, and the cluster keeps the last ten or so.
//! The token is read anew each time, since the one of a pod is replaced within the hour.

mod list;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::config::Span;
use runtime::error::{Class, Classified};
use runtime::retry::Backoff;
use schemas::{Deploy, DeployAction, EventTime};
use serde::Deserialize;
use tracing::{info, warn};

use crate::context::TableState;
use crate::deploys::{DeploysEndpoint, Understood};
use crate::fetch;
use crate::problem::Problem;
use list::Api;
use objects::{Naming, Rollouts};

/// The name of the table on `/ready` and in metrics.
const TABLE: &str = "kubernetes";

/// Where a pod finds what its service account may show.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// `[context.kubernetes]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The API server.
    #[serde(default = "in_cluster")]
    pub url: String,
    /// The file with the bearer token.
    #[serde(default = "token_file")]
    pub token_file: PathBuf,
    /// The file with the certificate of the authority that signed the server's.
    #[serde(default = "ca_file")]
    pub ca_file: PathBuf,
    /// The only namespace that is looked at; absent: all.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Which Deployments count, as `kubectl get -l` takes it; absent: all.
    #[serde(default)]
    pub labels: Option<String>,
    /// The environment of these deploys.
    #[serde(default)]
    pub environment: Option<String>,
    /// Between two looks.
    #[serde(default = "fifteen_seconds")]
    pub every: Span,
    /// The service of `namespace/name`, where it is not what the Deployment says.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
}

fn in_cluster() -> String {
    "https://kubernetes.default.svc".to_owned()
}

fn token_file() -> PathBuf {
    Path::new(ACCOUNT).join("token")
}

fn ca_file() -> PathBuf {
    Path::new(ACCOUNT).join("ca.crt")
}

fn fifteen_seconds() -> Span {
    Span::from_secs(15)
}

impl KubernetesConfig {
    /// The key that cannot be as it is, and why.
    #[must_use]
    pub fn check(&self) -> Option<(String, String)> {
        if let Some(why) = fetch::check_url(&self.url, true, "https://kubernetes.default.svc") {
            return Some(("url".to_owned(), why));
        }
        if self.every < Span::from_secs(1) {
            let why = "less than a second would be a flood; write `15s`".to_owned();
            return Some(("every".to_owned(), why));
        }
        let strange = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
        if let Some(namespace) = &self.namespace
            && (namespace.is_empty() || namespace.contains(strange))
        {
            let why = format!("`{namespace}` is no name of a namespace");
            return Some(("namespace".to_owned(), why));
        }
        let wrong =
            |(name, service): &(&String, &String)| !name.contains('/') || service.trim().is_empty();
        let (name, _) = self.services.iter().find(wrong)?;
        let why = "write `\"namespace/name\" = \"service\"`".to_owned();
        Some((format!("services.{name}"), why))
    }
}

/// Why the cluster was not read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KubernetesError(pub Box<Problem>);

impl Classified for KubernetesError {
    fn class(&self) -> Class {
        Class::Dependency
    }
}

/// Tells the endpoint of what a cluster rolls out.
#[derive(Debug)]
pub struct KubernetesPull {
    config: KubernetesConfig,
    base: PathBuf,
    endpoint: DeploysEndpoint,
    clock: Clock,
    /// By Deployment, as it was seen last.
    seen: BTreeMap<String, Rollouts>,
    read_at_ms: Option<i64>,
}

impl KubernetesPull {
    /// Of this cluster; relative files begin at `base`.
    #[must_use]
    pub fn new(
        config: KubernetesConfig,
        base: &Path,
        endpoint: DeploysEndpoint,
        clock: Clock,
    ) -> Self {
        let (base, seen) = (base.to_owned(), BTreeMap::new());
        Self { config, base, endpoint, clock, seen, read_at_ms: None }
    }

    /// Looks once, and has stored what is new. How many Deployments there are.
    ///
    /// # Errors
    /// Where the cluster is away, or what is new could not be stored; it is looked at again.
    pub async fn pull(&mut self) -> Result<usize, KubernetesError> {
        let now_ms = self.clock.unix_ms();
        let outcome = self.looked(now_ms).await;
        if outcome.is_ok() {
            self.read_at_ms = Some(now_ms);
        }
        let state = TableState {
            table: TABLE,
            rows: self.seen.len(),
            problems: usize::from(outcome.is_err()),
            read_at_ms: self.read_at_ms,
        };
        self.endpoint.pulled(state, now_ms);
        match outcome {
            Ok(()) => Ok(self.seen.len()),
            Err(problem) => Err(KubernetesError(Box::new(problem))),
        }
    }

    async fn looked(&mut self, now_ms: i64) -> Result<(), Problem> {
        let api = Api::open(&self.config, &self.base).await?;
        let deployments = api.all("deployments", self.config.labels.as_deref()).await?;
        let replica_sets = api.all("replicasets", None).await?;
        let naming = Naming {
            services: &self.config.services,
            environment: self.config.environment.as_deref(),
        };
        let found = objects::rollouts(&deployments, &replica_sets, naming);
        let mut deploys: Vec<Deploy> =
            found.values().flat_map(|rollouts| rollouts.deploys.iter().cloned()).collect();
        deploys.extend(self.gone(&found, EventTime(now_ms)));
        let understood = Understood { deploys, ignored: Vec::new() };
        self.endpoint.take_understood(understood).await.map_err(|why| {
            let next = "see the storage folder, or the brokers";
            Problem::new("deploys of the cluster wait", why, next)
        })?;
        self.seen = found;
        Ok(())
    }

    /// The end of everything that a Deployment ran which is no longer there.
    fn gone(&self, found: &BTreeMap<String, Rollouts>, now: EventTime) -> Vec<Deploy> {
        let gone = self.seen.iter().filter(|(name, _)| !found.contains_key(*name));
        let mut ended = BTreeSet::new();
        let mut deploys = Vec::new();
        for deploy in gone.flat_map(|(_, rollouts)| &rollouts.deploys) {
            if ended.insert(&deploy.deploy_id) {
                let action = DeployAction::Removed;
                deploys.push(Deploy { deployed_at: now, action, ..deploy.clone() });
            }
        }
        deploys
    }

    /// Looks again and again until told to stop.
    ///
    /// # Errors
    /// Never; a cluster that is away is asked again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), KubernetesError> {
        let every = self.config.every.as_duration();
        let mut backoff = Backoff::new(Duration::from_secs(1).min(every), every);
        let mut told = None;
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                outcome = self.pull() => outcome,
            };
            let wait = match outcome {
                Ok(deployments) => {
                    if told.replace(deployments) != Some(deployments) {
                        info!(deployments, "read the cluster");
                    }
                    backoff.reset();
                    every
                }
                Err(error) => {
                    warn!(%error, "cannot read the cluster");
                    backoff.next_wait(None)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
