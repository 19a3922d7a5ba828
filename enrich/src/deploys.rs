//! Deploys, and which of them answered a request.
//!
//! Owns: the history of deploys and the meaning of "as of". Never: where deploys come from
//! ([`parse_deploys`] reads them, [`DeploysEndpoint`] takes them).
//!
//! # Which deploy an event belongs to
//!
//! A deploy can be an event's when it is of the same service, when their environments agree (one
//! that names no environment agrees with any), and when it had begun and was not removed at the
//! event's time. Among those:
//!
//! 1. an event that names `deploy_id` has that one;
//! 2. an event that names `service_version` has the latest of that version, else the latest that
//!    names no version: so a canary and the version beside it are told apart, and a version whose
//!    deploy is not known is missing rather than wrong;
//! 3. any other event has the latest.
//!
//! Of two that went live in the same millisecond the greater `deploy_id` is the later.
//!
//! # What the history holds
//!
//! A deploy is told from others by service, environment and `deploy_id`. A repeat changes nothing
//! but what it adds: the earliest time holds, and a field that the earliest left out is taken from
//! the repeat. A `rolledback` is an entry of its own even under a known `deploy_id`, since the same
//! deploy serves again from then on. One is a repeat of an earlier one as long as that stands: no
//! other deploy began in between, and it was not removed. A `removed` ends the deploy that it names,
//! or, where it names none that is known, everything that serves there. The order of arrival does
//! not matter.

mod cdevents;
mod endpoint;
mod grace;
mod history;
mod join;
mod parse;
mod timeline;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::{Deploy, DeployAction, Event, EventTime};

use crate::facts::Facts;

pub use endpoint::{AcceptedDeploys, DeploysEndpoint};
pub(crate) use grace::Grace;
pub use history::{DeployRecord, DeployState};
pub(crate) use parse::decoded as percent_decoded;
pub(crate) use parse::parse_line;
pub use parse::{Ignored, Understood, parse_deploys};
use timeline::{Asked, Timelines, end_of, meets, order};
pub use webhooks::WebhooksConfig;

/// Deploys kept at most, from all sources. At about 500 bytes with their tables they are 50 MiB.
pub const DEPLOYS_MAX: usize = 100_000;

/// How long posted deploys are kept; the last of a service in an environment is kept for ever.
pub const HISTORY_MS: i64 = 30 * 24 * 3600 * 1000;

/// All known deploys, ready to be joined.
#[derive(Debug, Default)]
pub struct Deploys {
    /// From the context folder.
    filed: Vec<Deploy>,
    /// From elsewhere.
    posted: Vec<Deploy>,
    /// Both, each once.
    entries: BTreeMap<Key, Deploy>,
    /// Rollbacks among them to what had been rolled back to and still stood.
    repeats: BTreeSet<Key>,
    services: HashMap<Box<str>, Timelines>,
    facts: Facts,
}

/// What tells one entry of the history from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: String,
    environment: Option<String>,
    deploy_id: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Live,
    /// When: one can be rolled back to again and again.
    Back(EventTime),
    Gone,
}

impl Key {
    fn of(deploy: &Deploy) -> Self {
        Self {
            service: deploy.service.clone(),
            environment: deploy.environment.clone(),
            deploy_id: deploy.deploy_id.clone(),
            kind: match deploy.action {
                DeployAction::Deployed | DeployAction::Upgraded => Kind::Live,
                DeployAction::Rolledback => Kind::Back(deploy.deployed_at),
                DeployAction::Removed => Kind::Gone,
            },
        }
    }
}

/// What became of deploys that were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// New, or known with something to add, and then with all that is known.
    pub fresh: Vec<Deploy>,
    /// Ids of those that changed nothing.
    pub repeated: Vec<String>,
}

/// What an event says about the deploy behind it.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// The service that answered.
    pub service: &'a str,
    /// Its environment.
    pub environment: Option<&'a str>,
    /// The version of the instance that answered.
    pub version: Option<&'a str>,
    /// The deploy, where the log itself names it.
    pub deploy_id: Option<&'a str>,
    /// When.
    pub event_time: EventTime,
}

/// The deploy that an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its id.
    pub deploy_id: String,
    /// When it went live.
    pub deployed_at: EventTime,
    /// The one before it.
    pub previous_deploy_id: Option<String>,
}

impl Deploys {
    /// From the context folder alone.
    #[must_use]
    pub fn new(filed: Vec<Deploy>) -> Self {
        Self::build(filed, Vec::new())
    }

    /// With other deploys from the context folder; the posted ones stay.
    #[must_use]
    pub fn with_filed(&self, filed: Vec<Deploy>) -> Self {
        Self::build(filed, self.posted.clone())
    }

    /// With deploys from elsewhere added. What `forget_before` makes too old is dropped from them.
    #[must_use]
    pub fn with_posted(
        &self,
        deploys: Vec<Deploy>,
        forget_before: Option<EventTime>,
    ) -> (Self, Added) {
        let added = self.tell_repeats(deploys);
        let mut posted = self.posted.clone();
        posted.extend(added.fresh.iter().cloned());
        if let Some(before) = forget_before {
            forget(&mut posted, before);
        }
        (Self::build(self.filed.clone(), posted), added)
    }

    /// Which of these would change something.
    #[must_use]
    pub fn tell_repeats(&self, deploys: Vec<Deploy>) -> Added {
        let mut added = Added::default();
        let mut entries: BTreeMap<Key, Deploy> = BTreeMap::new();
        for deploy in deploys {
            let key = Key::of(&deploy);
            let known = entries.get(&key).or_else(|| self.entries.get(&key));
            let merged = known.map(|known| merge(known, &deploy));
            if merged.as_ref().is_some_and(|merged| Some(merged) == known) {
                added.repeated.push(deploy.deploy_id);
            } else {
                // Whole, since it takes the place of what is stored.
                let whole = merged.unwrap_or(deploy);
                entries.insert(key, whole.clone());
                added.fresh.push(whole);
            }
        }
        added
    }

    /// How many are known, repeats not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.repeats.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All, by service, environment and id.
    pub fn all(&self) -> impl Iterator<Item = &Deploy> {
        let counts = |(key, _): &(&Key, &Deploy)| !self.repeats.contains(*key);
        self.entries.iter().filter(counts).map(|(_, deploy)| deploy)
    }

    /// The services that have deploys.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|key| key.service.as_str())
    }

    /// The deploy that answered, as the join finds it. For questions of people and for tests; the
    /// join itself works on whole batches.
    #[must_use]
    pub fn current(&self, served: &Served<'_>) -> Option<Current> {
        let timelines = self.services.get(served.service)?;
        let asked = Asked { version: served.version, deploy_id: served.deploy_id };
        let span = timelines.of(served.environment).at(served.event_time, asked)?;
        let entry = timelines.entry(span.fact)?;
        Some(Current {
            deploy_id: entry.deploy_id.to_string(),
            deployed_at: span.start,
            previous_deploy_id: entry.previous.as_deref().map(str::to_owned),
        })
    }

    fn build(filed: Vec<Deploy>, mut posted: Vec<Deploy>) -> Self {
        let room = DEPLOYS_MAX.saturating_sub(filed.len());
        if posted.len() > room {
            posted.sort_by_key(|deploy| deploy.deployed_at);
            let oldest = posted.len() - room;
            tracing::warn!(dropped = oldest, "more deploys than are kept; dropped the oldest");
            posted.drain(..oldest);
        }
        let mut entries: BTreeMap<Key, Deploy> = BTreeMap::new();
        for deploy in filed.iter().chain(&posted) {
            let entry = entries.entry(Key::of(deploy)).or_insert_with(|| deploy.clone());
            *entry = merge(entry, deploy);
        }
        let backs = rollbacks(&entries);
        share(&mut entries, &backs);
        let repeats = repeats(&entries, &backs);
        let mut by_service: BTreeMap<&str, Vec<&Deploy>> = BTreeMap::new();
        for (_, deploy) in entries.iter().filter(|(key, _)| !repeats.contains(key)) {
            by_service.entry(&deploy.service).or_default().push(deploy);
        }
        let mut rows = Vec::new();
        let mut services = HashMap::new();
        for (service, deploys) in by_service {
            services.insert(service.into(), Timelines::new(deploys, &mut rows));
        }
        let facts = Facts::new(rows.iter().map(|(deploy, previous)| row(deploy, *previous)));
        Self { facts, services, filed, posted, entries, repeats }
    }
}

/// Of a repeat and what is known, the earlier; what it leaves out comes from the other.
fn merge(known: &Deploy, repeat: &Deploy) -> Deploy {
    if repeat.deployed_at < known.deployed_at {
        completed(repeat, known)
    } else {
        completed(known, repeat)
    }
}

/// What a deploy leaves out comes from another record of it.
fn completed(deploy: &Deploy, other: &Deploy) -> Deploy {
    let or = |one: &Option<String>, other: &Option<String>| one.clone().or_else(|| other.clone());
    Deploy {
        version: or(&deploy.version, &other.version),
        commit: or(&deploy.commit, &other.commit),
        change_id: or(&deploy.change_id, &other.change_id),
        repository: or(&deploy.repository, &other.repository),
        pipeline_run: or(&deploy.pipeline_run, &other.pipeline_run),
        owner: or(&deploy.owner, &other.owner),
        ..deploy.clone()
    }
}

/// The rollbacks to each deploy, in order of time.
fn rollbacks(entries: &BTreeMap<Key, Deploy>) -> Vec<Vec<Key>> {
    let mut backs: Vec<Vec<Key>> = Vec::new();
    for key in entries.keys().filter(|key| matches!(key.kind, Kind::Back(_))) {
        let of = |key: &Key| (key.service.clone(), key.environment.clone(), key.deploy_id.clone());
        match backs.last_mut().filter(|last| last.first().is_some_and(|one| of(one) == of(key))) {
            Some(last) => last.push(key.clone()),
            None => backs.push(vec![key.clone()]),
        }
    }
    backs
}

/// Rollbacks to one deploy say the same of it.
fn share(entries: &mut BTreeMap<Key, Deploy>, backs: &[Vec<Key>]) {
    for keys in backs.iter().filter(|keys| keys.len() > 1) {
        let all: Vec<Deploy> = keys.iter().filter_map(|key| entries.get(key)).cloned().collect();
        for key in keys {
            if let Some(deploy) = entries.get_mut(key) {
                *deploy = all.iter().fold(deploy.clone(), |deploy, of| completed(&deploy, of));
            }
        }
    }
}

/// Rollbacks that change nothing, since the one before to the same deploy stands.
fn repeats(entries: &BTreeMap<Key, Deploy>, backs: &[Vec<Key>]) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    for keys in backs.iter().filter(|keys| keys.len() > 1) {
        let of_service =
            |deploy: &&Deploy| keys.first().is_some_and(|key| key.service == deploy.service);
        let (gone, live): (Vec<&Deploy>, Vec<&Deploy>) = entries
            .values()
            .filter(of_service)
            .partition(|deploy| deploy.action == DeployAction::Removed);
        for (before, key) in keys.iter().zip(keys.iter().skip(1)) {
            let (Some(before), Some(deploy)) = (entries.get(before), entries.get(key)) else {
                continue;
            };
            let between = |other: &&Deploy| {
                other.deploy_id != deploy.deploy_id
                    && meets(other, deploy)
                    && (order(before)..order(deploy)).contains(&order(other))
            };
            let left = live.iter().copied().any(|other| between(&other))
                || end_of(before, &gone, &live) <= deploy.deployed_at;
            if !left {
                found.insert(key.clone());
            }
        }
    }
    found
}

/// Drops what is older, but for the last of each service in each environment.
fn forget(deploys: &mut Vec<Deploy>, before: EventTime) {
    let mut last: HashMap<(String, Option<String>), EventTime> = HashMap::new();
    for deploy in deploys.iter() {
        let of = (deploy.service.clone(), deploy.environment.clone());
        let last = last.entry(of).or_insert(deploy.deployed_at);
        *last = (*last).max(deploy.deployed_at);
    }
    deploys.retain(|deploy| {
        let of = (deploy.service.clone(), deploy.environment.clone());
        deploy.deployed_at >= before || last.get(&of) == Some(&deploy.deployed_at)
    });
}

/// The columns that a deploy fills.
fn row<'a>(deploy: &'a Deploy, previous: Option<&'a str>) -> Event<'a> {
    let text = |field: &'a Option<String>| field.as_deref().map(Into::into);
    Event {
        deploy_id: Some(deploy.deploy_id.as_str().into()),
        deployed_at: Some(deploy.deployed_at),
        previous_deploy_id: previous.map(Into::into),
        commit: text(&deploy.commit),
        change_id: text(&deploy.change_id),
        repository: text(&deploy.repository),
        pipeline_run: text(&deploy.pipeline_run),
        owner: text(&deploy.owner),
        ..Event::default()
    }
}

#[cfg(test)]
pub(crate) mod tests;
