//! The rules that run, and others that are to take their place.
//!
//! Owns: looking at the folder, refusing what cannot run, asking for a switch, saying what runs.
//! Never: the switch itself, which happens where its record stands in the log, so that reading the
//! log again switches at the same place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::key::HashKey;
use engine::plan::Identity;
use engine::rule::Problem;
use engine::ruleset::Ruleset;
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::http::axum::extract::State;
use runtime::http::axum::routing::get;
use runtime::http::axum::{Json, Router};
use runtime::metrics::{Counter, Gauge, Metrics, Unit};
use runtime::ready::Condition;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};
use transport::LogError;

use crate::pack::{Texts, counted};

/// Between two looks at the folder. What two of them find alike is no longer being written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Mistakes of one folder that are logged at most.
const SHOWN_MAX: usize = 20;

/// What is told of the rules that run.
#[derive(Debug, Clone)]
struct Running {
    hash: String,
    rules: Vec<Identity>,
    /// Whether everything that was in the log at the start has been used, so that no switch that
    /// stands there is still to come.
    settled: bool,
}

/// The rules that run, as others see them. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct InForce(watch::Sender<Running>);

/// What is counted.
#[derive(Debug, Clone)]
pub(super) struct RulesMetrics {
    running: Gauge,
    switched: Counter,
    refused: Counter,
}

impl RulesMetrics {
    /// Declares them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let part = metrics.component("rules");
        let unit = || Unit::Of("rulesets");
        Self {
            running: part.gauge("running", Unit::Of("rules"), "Rules that run"),
            switched: part.counter(
                "switched",
                unit(),
                "Times that other rules took the place of those that ran",
            ),
            refused: part.counter(
                "refused",
                unit(),
                "Changes of the rules folder that cannot run; the rules before them go on",
            ),
        }
    }
}

impl InForce {
    pub(super) fn new(hash: String, ruleset: &Ruleset) -> Self {
        let rules = identities(ruleset);
        Self(watch::Sender::new(Running { hash, rules, settled: false }))
    }

    /// Other rules run from here on.
    pub(super) fn switched(&self, hash: String, ruleset: &Ruleset) {
        let rules = identities(ruleset);
        self.0.send_modify(|running| {
            running.hash = hash;
            running.rules = rules;
        });
    }

    /// What was in the log at the start has been used.
    pub(super) fn settled(&self) {
        self.0.send_modify(|running| running.settled = true);
    }

    /// `GET /v1/rules`: what runs, as `rules check --against live` asks for it.
    pub(super) fn router(&self) -> Router {
        Router::new().route("/v1/rules", get(shown)).with_state(self.clone())
    }
}

fn identities(ruleset: &Ruleset) -> Vec<Identity> {
    ruleset.rules().map(Identity::of).collect()
}

async fn shown(State(in_force): State<InForce>) -> Json<Value> {
    let running = in_force.0.borrow();
    Json(json!({ "ruleset": running.hash, "rules": running.rules }))
}

/// Writes the record that asks for a switch; done when it is durable.
pub(super) trait Ask: Send + 'static {
    fn ask(&self, texts: &Texts) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// Looks after the folder of rules.
pub(super) struct Watched<A> {
    pub(super) folder: Option<PathBuf>,
    pub(super) in_force: InForce,
    pub(super) metrics: RulesMetrics,
    pub(super) condition: Condition,
    pub(super) ask: A,
}

/// Why looking after the folder ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchedError {
    #[error("ask for other rules")]
    Log(#[from] LogError),
    #[error("listen for SIGHUP")]
    Signal(#[from] std::io::Error),
}

impl Classified for WatchedError {
    fn class(&self) -> Class {
        match self {
            Self::Log(error) => error.class(),
            Self::Signal(_) => Class::Bug,
        }
    }
}

/// What the last look came to.
#[derive(Default)]
struct Seen {
    /// Of the look before.
    hash: String,
    /// What runs, was asked for, or was refused: only another is a change. Where several processes
    /// have folders of their own, they would otherwise ask by turns for ever.
    answered: String,
}

impl<A: Ask> Watched<A> {
    /// Looks until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), WatchedError> {
        let mut hangups = signal(SignalKind::hangup())?;
        let mut seen = Seen::default();
        let mut settled = self.in_force.0.subscribe();
        self.metrics.running.set(count(settled.borrow().rules.len()));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            // The sender lives in `self`.
            waited = settled.wait_for(|running| running.settled) => drop(waited),
        }
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = hangups.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            if asked {
                info!("SIGHUP: reading the rules");
                seen = Seen::default();
            }
            self.look(&mut seen, asked).await?;
            self.metrics.running.set(count(self.in_force.0.borrow().rules.len()));
        }
    }

    async fn look(&mut self, seen: &mut Seen, at_once: bool) -> Result<(), LogError> {
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || Texts::read(folder.as_deref()));
        let texts = match reading.await {
            Ok(Ok(texts)) => texts,
            Ok(Err(fault)) => {
                self.condition.remark(&fault.to_string());
                return Ok(());
            }
            Err(gone) => {
                error!(error = %gone, "reading the rules panicked");
                return Ok(());
            }
        };
        let hash = texts.hash();
        let before = std::mem::replace(&mut seen.hash, hash.clone());
        if hash == self.in_force.0.borrow().hash {
            self.condition.ready();
            seen.answered = hash;
            return Ok(());
        }
        if (hash != before && !at_once) || hash == seen.answered {
            return Ok(());
        }
        seen.answered.clone_from(&hash);
        let checked = texts.clone();
        let ruleset =
            tokio::task::spawn_blocking(move || checked.ruleset(HashKey::PUBLISHED)).await;
        match ruleset {
            Ok(Ok(ruleset)) => {
                info!(ruleset = hash, rules = ruleset.len(), "other rules are to run");
                self.ask.ask(&texts).await?;
                self.condition.ready();
            }
            Ok(Err(problems)) => self.refuse(&hash, &problems),
            Err(gone) => error!(error = %gone, "checking the rules panicked"),
        }
        Ok(())
    }

    fn refuse(&self, hash: &str, problems: &[Problem]) {
        self.metrics.refused.inc();
        for problem in problems.iter().take(SHOWN_MAX) {
            error!(%problem, "a mistake in the rules");
        }
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let mistakes = counted(problems.len(), "mistake");
        let word = format!(
            "the rules in the folder are refused and those before go on: {mistakes}, the first at \
             {first}; `tidegate rules check` shows all"
        );
        warn!(
            ruleset = hash,
            mistakes = problems.len(),
            "the rules are refused; the old ones go on"
        );
        self.condition.remark(&word);
    }
}

impl RulesMetrics {
    /// Other rules have taken the place of those that ran.
    pub(super) fn switched(&self) {
        self.switched.inc();
    }
}

fn count(rules: usize) -> i64 {
    i64::try_from(rules).unwrap_or(i64::MAX)
}

/// The ruleset of texts that a log says are to run: they ran once, so that only another build can
/// refuse them.
pub(super) fn of_log(bytes: &[u8], hash_key: HashKey) -> Result<(Texts, Arc<Ruleset>), String> {
    let texts = Texts::decode(bytes)?;
    let ruleset = texts.ruleset(hash_key).map_err(|problems| {
        problems.first().map(ToString::to_string).unwrap_or_else(|| "they cannot run".to_owned())
    })?;
    Ok((texts, ruleset))
}
