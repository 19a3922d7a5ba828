//! The history of deploys, for people.
//!
//! Owns: what became of each deploy by a moment. Never: which deploy an event has; the join says,
//! and what serves here is what it gives an event that names no version.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Deploy, DeployAction, EventTime};
use serde::{Deserialize, Serialize};

use super::Deploys;
use super::timeline::{end_of, order};

/// What a deploy is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployState {
    /// An event that names no version has it. Beside it, an older one can still answer for its own
    /// version.
    Serving,
    /// A later one took over.
    Superseded,
    /// An earlier one came back instead.
    RolledBack,
    /// It was taken away.
    Removed,
    /// It had not begun.
    ToCome,
}

impl DeployState {
    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Superseded => "superseded",
            Self::RolledBack => "rolled back",
            Self::Removed => "removed",
            Self::ToCome => "to come",
        }
    }
}

/// A deploy and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployRecord {
    /// The deploy.
    pub deploy: Deploy,
    /// What it is at the moment asked for.
    pub state: DeployState,
    /// When that began, where it serves no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<EventTime>,
    /// The deploy that took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Deploys {
    /// All deploys with what had become of them at a moment: by service and environment, the
    /// latest first. Removals are no records of their own.
    #[must_use]
    pub fn history(&self, moment: EventTime) -> Vec<DeployRecord> {
        let mut records = Vec::new();
        let services: BTreeSet<&str> = self.services().collect();
        for service in services {
            let mut views: BTreeMap<Option<&str>, Vec<&Deploy>> = BTreeMap::new();
            let of_service = || self.all().filter(|deploy| deploy.service == service);
            for deploy in of_service() {
                views.entry(deploy.environment.as_deref()).or_default();
            }
            for (environment, shown) in &mut views {
                let seen = |deploy: &&Deploy| {
                    deploy.environment.is_none() || deploy.environment.as_deref() == *environment
                };
                shown.extend(of_service().filter(seen));
                let view = View::of(shown);
                let own = view.live.iter().filter(|d| d.environment.as_deref() == *environment);
                records.extend(own.map(|deploy| view.record(deploy, moment)));
            }
        }
        records.sort_by(|one, other| {
            let place = |record: &DeployRecord| {
                (record.deploy.service.clone(), record.deploy.environment.clone())
            };
            let latest_first = || order(&other.deploy).cmp(&order(&one.deploy));
            place(one).cmp(&place(other)).then_with(latest_first)
        });
        records
    }
}

/// What an event of one environment sees.
#[derive(Debug)]
struct View<'d> {
    live: Vec<&'d Deploy>,
    gone: Vec<&'d Deploy>,
}

impl<'d> View<'d> {
    fn of(shown: &[&'d Deploy]) -> Self {
        let removal = |deploy: &&Deploy| deploy.action == DeployAction::Removed;
        let (gone, live) = shown.iter().copied().partition(removal);
        Self { live, gone }
    }

    fn record(&self, deploy: &Deploy, moment: EventTime) -> DeployRecord {
        let told = |state, until, by: Option<&Deploy>| DeployRecord {
            deploy: deploy.clone(),
            state,
            until,
            by: by.map(|by| by.deploy_id.clone()),
        };
        if deploy.deployed_at > moment {
            return told(DeployState::ToCome, None, None);
        }
        let end = end_of(deploy, &self.gone, &self.live);
        if end <= moment {
            return told(DeployState::Removed, Some(end), None);
        }
        let took_over = |other: &&Deploy| {
            other.deployed_at <= moment
                && order(other) > order(deploy)
                && end_of(other, &self.gone, &self.live) > moment
        };
        let later = self.live.iter().copied().filter(took_over);
        let Some(next) = later.min_by(|one, other| order(one).cmp(&order(other))) else {
            return told(DeployState::Serving, None, None);
        };
        let back = next.action == DeployAction::Rolledback && next.deploy_id != deploy.deploy_id;
        let state = if back { DeployState::RolledBack } else { DeployState::Superseded };
        told(state, Some(next.deployed_at), Some(next))
    }
}
