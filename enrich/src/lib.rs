//! Deploys, identity, network and routes joined at event time.
//!
//! Owns: the tables of context, the point-in-time join, routes learned from traffic, the endpoint
//! for deploys. Never: loses an event for want of context; it says `context_missing` instead.
//!
//! [`load_folder`] reads a context folder; a [`ContextCell`] holds the [`Context`] in force, which
//! a [`Watch`] on the folder and [`DeploysEndpoint`] replace; a [`Joiner`] enriches batches with it.
//! The join reads no clock: an event gets what was true at its own time.

mod blocks;
mod columns;
mod context;
mod deploys;
mod documents;
mod facts;
mod fetch;
mod folder;
mod hop;
mod identities;
mod joiner;
mod kubernetes;
mod metrics;
mod missing;
mod network;
mod object_tenant;
mod problem;
mod recent;
mod routes;
mod scim;
mod track;

pub use blocks::{Block, Blocks};
pub use columns::JoinError;
pub use context::{Context, ContextCell, DocumentReport, TableReport, TableState};
pub use deploys::{
    AcceptedDeploys, Added, Current, DEPLOYS_MAX, DeployRecord, DeployState, Deploys,
    DeploysEndpoint, HISTORY_MS, Ignored, Served, Understood, WebhooksConfig, parse_deploys,
};
pub use documents::{DocumentError, DocumentPull, OpenApiConfig};
pub use folder::{Watch, load_folder};
pub use hop::EventsToEnriched;
pub use identities::{ApiKey, Identities, Identity, PrincipalKind};
pub use joiner::{JoinOptions, Joiner};
pub use kubernetes::{KubernetesConfig, KubernetesError, KubernetesPull};
pub use metrics::EnrichMetrics;
pub use network::{AddressList, Database, Network, Place};
pub use problem::Problem;
pub use routes::{DeclaredRoute, Document, Operation, Routes, parse_document};
pub use scim::{ScimConfig, ScimError, ScimPrincipal, ScimPull};
