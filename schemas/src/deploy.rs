//! Deploys as they arrive: one line of `deploys.jsonl`, or the body of `POST /v1/deploys`.
//!
//! Owns: the canonical record. Never: adapters for other systems' events; `enrich` has them.

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// What happened to the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployAction {
    /// A version went live.
    #[default]
    Deployed,
    /// A newer version took over.
    Upgraded,
    /// An older version came back.
    Rolledback,
    /// The service was taken away.
    Removed,
}

/// A deploy of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The customer's API.
    pub service: String,
    /// Environment; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Identity of the deploy.
    pub deploy_id: String,
    /// When it went live.
    pub deployed_at: EventTime,
    /// Version as the serving instances name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Change request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<String>,
    /// Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Pipeline run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_run: Option<String>,
    /// Team that owns the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What happened.
    #[serde(default)]
    pub action: DeployAction,
}
