//! Callers from a directory that speaks SCIM 2.0 (RFC 7643, RFC 7644).
//!
//! Owns: asking again and again, and keeping what was known last while the directory is away.
//! Never: writes to the directory; the meaning of identities, which `identities` has.
//!
//! A full pull reads all users and groups; between two of them only what changed is asked for, by
//! `meta.lastModified gt`, where the directory knows that filter. Only a full pull notices who was
//! deleted. A pull counts as a whole or not at all.

mod pages;
mod people;

use std::time::Duration;

use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::config::{Secret, Span};
use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use schemas::EventTime;
use serde::Deserialize;
use tracing::{info, warn};

use crate::context::{ContextCell, TableState};
use crate::fetch;
use crate::metrics::EnrichMetrics;
pub use pages::ScimError;
use pages::{Directory, Kind};
use people::People;

/// The name of the table in metrics.
const TABLE: &str = "scim";

/// `[context.scim]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScimConfig {
    /// The base of the directory's routes, such as `https://idp.example.com/scim/v2`.
    pub url: String,
    /// The bearer token, read when the process starts.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Between two pulls.
    #[serde(default = "five_minutes")]
    pub every: Span,
    /// Between two full pulls.
    #[serde(default = "one_hour")]
    pub full_every: Span,
    /// Which attribute of a user the logs have as `principal`.
    #[serde(default)]
    pub principal: ScimPrincipal,
    /// The tenant of users whose `organization` is not set.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// An attribute that names a caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScimPrincipal {
    /// `userName`.
    #[default]
    UserName,
    /// `id`.
    Id,
    /// `externalId`.
    ExternalId,
    /// The primary one of `emails`, else the first.
    Email,
}

fn five_minutes() -> Span {
    Span::from_secs(300)
}

fn one_hour() -> Span {
    Span::from_secs(3600)
}

impl ScimConfig {
    /// The key that cannot be as it is, and why.
    #[must_use]
    pub fn check(&self) -> Option<(&'static str, String)> {
        let example = "https://idp.example.com/scim/v2";
        if let Some(why) = fetch::check_url(&self.url, self.token.is_some(), example) {
            return Some(("url", why));
        }
        let shortest = Span::from_secs(1);
        if self.every < shortest || self.full_every < shortest {
            return Some(("every", "less than a second would be a flood; write `5m`".to_owned()));
        }
        None
    }
}

/// Keeps identities in step with a directory.
#[derive(Debug)]
pub struct ScimPull {
    config: ScimConfig,
    directory: Directory,
    context: ContextCell,
    clock: Clock,
    metrics: EnrichMetrics,
    people: People,
    full_at_ms: Option<i64>,
    /// The directory has refused the filter.
    unfiltered: bool,
    read_at_ms: Option<i64>,
}

impl ScimPull {
    /// For this directory. Nothing is asked before the first [`ScimPull::pull`].
    ///
    /// # Errors
    /// Where the address is none.
    pub fn new(
        config: ScimConfig,
        context: ContextCell,
        clock: Clock,
        metrics: EnrichMetrics,
    ) -> Result<Self, ScimError> {
        let directory = Directory::new(&config.url, config.token.clone())?;
        Ok(Self {
            people: People::new(config.principal, config.tenant.clone()),
            config,
            directory,
            context,
            clock,
            metrics,
            full_at_ms: None,
            unfiltered: false,
            read_at_ms: None,
        })
    }

    /// Asks once, and puts in force what is told. How many identities there are then.
    ///
    /// # Errors
    /// Where the directory is away or says what cannot be used; what it said before stays in force.
    pub async fn pull(&mut self) -> Result<usize, ScimError> {
        let now_ms = self.clock.unix_ms();
        let outcome = self.asked(now_ms).await;
        if outcome.is_ok() {
            self.read_at_ms = Some(now_ms);
        }
        let lines = self.people.lines();
        let rows = lines.len();
        let state = TableState {
            table: TABLE,
            rows,
            problems: usize::from(outcome.is_err()),
            read_at_ms: self.read_at_ms,
        };
        if matches!(outcome, Ok(true)) {
            self.context.set_pulled_identities(lines);
        }
        self.context.set_pulled_table(state);
        for table in self.context.load().report(now_ms) {
            self.metrics.table(&table);
        }
        outcome.map(|_changed| rows)
    }

    /// Whether anything changed.
    async fn asked(&mut self, now_ms: i64) -> Result<bool, ScimError> {
        let full_every_ms = self.config.full_every.as_ms_i64();
        let fresh = self.full_at_ms.is_some_and(|at| now_ms.saturating_sub(at) < full_every_ms);
        if fresh && !self.unfiltered {
            match self.changes(now_ms).await {
                Err(error) if error.refuses_filter() => {
                    self.unfiltered = true;
                    warn!(%error, "the directory has no filter by time; every pull is a full one");
                }
                told => return told,
            }
        }
        let users = self.directory.all(Kind::Users, None).await?;
        let groups = self.directory.all(Kind::Groups, None).await?;
        let changed = self.people.replace(&users, &groups, EventTime(now_ms));
        self.full_at_ms = Some(now_ms);
        Ok(changed)
    }

    async fn changes(&mut self, now_ms: i64) -> Result<bool, ScimError> {
        let since = self.people.newest();
        let users = self.directory.all(Kind::Users, since).await?;
        let groups = self.directory.all(Kind::Groups, since).await?;
        Ok(self.people.change(&users, &groups, EventTime(now_ms)))
    }

    /// Asks again and again until told to stop. `ready` is met once the directory has answered.
    ///
    /// # Errors
    /// Never; a directory that is away is asked again.
    pub async fn run(mut self, ready: Condition, stop: CancellationToken) -> Result<(), ScimError> {
        let every = self.config.every.as_duration();
        let mut backoff = Backoff::new(Duration::from_secs(1).min(every), every);
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                asked = self.pull() => asked,
            };
            let wait = match asked {
                Ok(identities) => {
                    info!(identities, "read the directory");
                    ready.ready();
                    backoff.reset();
                    every
                }
                Err(error) => {
                    let known = self.people.len();
                    warn!(%error, known, "cannot read the directory; what it said before holds");
                    if self.read_at_ms.is_none() {
                        ready.waiting(&format!("the directory has not been read: {error}"));
                    }
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

impl Classified for ScimError {
    fn class(&self) -> Class {
        Class::Dependency
    }
}

#[cfg(test)]
mod tests;
