//! Targets: what carries orders out.
//!
//! Owns: what every target has in common. A target *holds* a set of subjects (nginx, the decision
//! service), is *told* each order by itself (webhook, tickets), or *records* all that happens (file).
//! Never: decides who is acted on; retries, which is the worker's.

mod authz;
mod http;
mod journal;
mod nginx;
mod redmine;
mod ticket;
mod tickets;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use runtime::clock::Clock;
use runtime::http::axum::Router;
use schemas::{Action, Subject};

use crate::config::{Settings, SettingsError, TargetConfig};
use crate::decide::Ability;
use crate::guard::NeverBlock;
use crate::ledger::{Entry, Line, Message};
use crate::metrics::RespondMetrics;

pub use authz::Fingerprint;
pub use webhook::{SIGNATURE_HEADER, signature};

/// All targets of a responder.
#[derive(Debug)]
pub struct Targets(pub(crate) Vec<Target>);

/// What targets are built from, beside their settings.
#[derive(Debug, Clone)]
pub struct TargetParts<'a> {
    /// The folder of the configuration file; relative paths start there.
    pub base: &'a Path,
    /// Checked by every target before it acts.
    pub never_block: NeverBlock,
    /// How keys and tokens become what events show; without it the decision service cannot act on
    /// keys and tokens.
    pub fingerprint: Option<Fingerprint>,
    /// For times of expiry.
    pub clock: Clock,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Nginx(nginx::Nginx),
    Authz(authz::Authz),
    Webhook(webhook::Webhook),
    Redmine(redmine::Redmine),
    Tickets(tickets::Tickets),
    Journal(journal::Journal),
}

/// How a target works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Holds,
    IsTold,
    Records,
}

/// What a target holds now, read back from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) present: BTreeSet<Subject>,
    /// What it will not hold, and why.
    pub(crate) rejected: BTreeMap<Subject, String>,
}

/// What came of telling a target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) remote_id: Option<String>,
    pub(crate) detail: Option<String>,
}

/// Why a target did not do what it was to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Trying again may help.
    Again {
        detail: String,
        /// How long the target asks us to wait.
        after: Option<Duration>,
        /// Whether the target is away as a whole, so that other orders need not be tried.
        away: bool,
    },
    /// Trying again does not help; a person is shown this.
    Park { detail: String },
}

impl Trouble {
    pub(crate) fn again(detail: impl Into<String>) -> Self {
        Self::Again { detail: detail.into(), after: None, away: true }
    }

    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Again { detail, .. } | Self::Park { detail } => detail,
        }
    }
}

impl Targets {
    /// Builds all targets. Nothing is written, opened or asked yet.
    ///
    /// # Errors
    /// When a setting makes no sense, or two targets have one name.
    pub fn build(configs: &[TargetConfig], parts: &TargetParts<'_>) -> Result<Self, SettingsError> {
        let mut targets: Vec<Target> = Vec::new();
        for config in configs {
            let name = config.name().to_owned();
            if name.is_empty() || targets.iter().any(|known| known.name == name) {
                let message =
                    format!("there are two targets `{name}`; give one a `name` of its own");
                return Err(SettingsError::value("target.name", message));
            }
            let kind = match config {
                TargetConfig::Nginx(config) => Kind::Nginx(nginx::Nginx::new(config, parts)?),
                TargetConfig::Authz(config) => Kind::Authz(authz::Authz::new(config, parts)?),
                TargetConfig::Webhook(config) => {
                    Kind::Webhook(webhook::Webhook::new(config, parts)?)
                }
                TargetConfig::Redmine(config) => Kind::Redmine(redmine::Redmine::new(config)?),
                TargetConfig::Tickets(config) => {
                    Kind::Tickets(tickets::Tickets::new(&parts.base.join(&config.folder)))
                }
                TargetConfig::File(config) => {
                    Kind::Journal(journal::Journal::new(&parts.base.join(&config.path)))
                }
            };
            targets.push(Target { name, kind });
        }
        Ok(Self(targets))
    }

    /// Whether all targets that the policy names are there.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let Self(targets) = self;
        for line in &settings.policy.lines {
            for name in line.targets.iter().flatten() {
                if targets.iter().any(|target| target.name == *name) {
                    continue;
                }
                let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
                let hint = crate::nearest::hint(name, names.iter().copied());
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let message = format!(
                    "policy line `{}` names the target `{name}`, which is not configured{hint}; \
                     targets are {known}",
                    line.name
                );
                return Err(SettingsError::value("respond.policy", message));
            }
        }
        Ok(())
    }
}

impl Target {
    /// The decision service, to be served: where, and what.
    pub(crate) fn service(&self, metrics: &RespondMetrics) -> Option<(SocketAddr, Router)> {
        match &self.kind {
            Kind::Authz(authz) => Some((authz.listen(), authz.router(metrics))),
            Kind::Nginx(_)
            | Kind::Webhook(_)
            | Kind::Redmine(_)
            | Kind::Tickets(_)
            | Kind::Journal(_) => None,
        }
    }

    pub(crate) fn manner(&self) -> Manner {
        match &self.kind {
            Kind::Nginx(_) | Kind::Authz(_) => Manner::Holds,
            Kind::Webhook(_) | Kind::Redmine(_) | Kind::Tickets(_) => Manner::IsTold,
            Kind::Journal(_) => Manner::Records,
        }
    }

    pub(crate) fn ability(&self) -> Ability {
        let (actions, subjects) = match &self.kind {
            Kind::Nginx(nginx) => (vec![Action::Block], Some(nginx.subjects())),
            Kind::Authz(authz) => (vec![Action::Block], Some(authz.subjects())),
            Kind::Webhook(webhook) => (webhook.actions().to_vec(), None),
            Kind::Redmine(_) | Kind::Tickets(_) => (vec![Action::Ticket], None),
            Kind::Journal(_) => (Vec::new(), None),
        };
        Ability { target: self.name.clone(), actions, subjects }
    }

    /// Removes what a process that was killed left half written. Blocks.
    pub(crate) fn sweep(&self) -> std::io::Result<()> {
        match &self.kind {
            Kind::Nginx(nginx) => nginx.files().try_for_each(sweep),
            Kind::Tickets(tickets) => sweep_folder(tickets.folder()),
            Kind::Authz(_) | Kind::Webhook(_) | Kind::Redmine(_) | Kind::Journal(_) => Ok(()),
        }
    }

    /// Makes the target hold exactly these subjects, and reads back what it holds.
    pub(crate) async fn hold(&self, desired: &BTreeMap<Subject, Entry>) -> Result<Held, Trouble> {
        match &self.kind {
            Kind::Nginx(nginx) => nginx.hold(desired).await,
            Kind::Authz(authz) => Ok(authz.hold(desired)),
            Kind::Webhook(_) | Kind::Redmine(_) | Kind::Tickets(_) | Kind::Journal(_) => {
                Ok(Held::default())
            }
        }
    }

    /// Tells the target of an order.
    pub(crate) async fn tell(&self, message: &Message) -> Result<Told, Trouble> {
        match &self.kind {
            Kind::Webhook(webhook) => webhook.tell(message).await,
            Kind::Redmine(redmine) => redmine.tell(message).await,
            Kind::Tickets(tickets) => tickets.tell(message).await,
            Kind::Nginx(_) | Kind::Authz(_) | Kind::Journal(_) => Ok(Told::default()),
        }
    }

    /// Records lines of the ledger.
    pub(crate) async fn record(&self, lines: Vec<Line>) -> Result<(), Trouble> {
        match &self.kind {
            Kind::Journal(journal) => journal.record(lines).await,
            _ => Ok(()),
        }
    }

    /// The last line of the ledger that was recorded.
    pub(crate) async fn recorded(&self) -> Result<u64, Trouble> {
        match &self.kind {
            Kind::Journal(journal) => journal.recorded().await,
            _ => Ok(u64::MAX),
        }
    }
}

/// Runs code that blocks on the disk away from the async threads.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    what: &str,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Trouble::again(format!("cannot {what}: {error}"))),
        Err(_lost) => Err(Trouble::again(format!("cannot {what}: the thread was lost"))),
    }
}

/// What a draft's name ends with.
const DRAFT: &str = ".tidegate-new";

/// Where a file is written before it takes its place.
fn draft(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(DRAFT);
    path.with_file_name(name)
}

/// Removes the draft of this file, which a process leaves that is killed while it writes.
fn sweep(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(draft(path)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The same for all files of a folder that is ours. One that is not there holds none.
fn sweep_folder(folder: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.as_os_str().as_encoded_bytes().ends_with(DRAFT.as_bytes()) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Writes the whole of a file so that a reader sees the old or the new one, and neither half.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let new = draft(path);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&new, path)?;
    crate::ledger::sync_folder(path.parent().unwrap_or(Path::new(".")))
}
