//! The responder: takes verdicts, and sees to it that what follows from them happens and ends.
//!
//! Owns: the sequence *decide, write down, act, write down what came of it*, and the tasks that run
//! it: one worker for each target, so that a slow tracker holds up no block, and one housekeeper.
//! Never: acts on an order that is not in the ledger.

mod housekeeper;
mod people;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::clock::Clock;
use runtime::error::{Class, Classified};
use runtime::http::{
    HttpMetrics, Limits, ListenError, Listening, ServeError, Serving, listen, serve,
};
use runtime::metrics::Metrics;
use runtime::tasks::Tasks;
use schemas::{EventTime, Order, Subject, Verdict};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing::warn;

use crate::config::{Settings, SettingsError};
use crate::decide::{Ability, CallerFacts, Scene, decide};
use crate::hidden::HiddenCallers;
use crate::known_good::KnownGood;
use crate::ledger::{Ledger, LedgerError, LedgerFile, Line, Record, State, Taken, lines_after};
use crate::metrics::RespondMetrics;
use crate::target::{Target, Targets, on_disk};

pub use people::{Shown, Which};
use worker::Worker;

/// Lines of the ledger kept for those who read along. Beyond that they read the file.
/// 256 lines of about 4 KiB are 1 MiB.
const RECENT_MAX: usize = 256;

/// The longest sleep of a worker: the machine's clock may jump, and nobody tells.
const NAP_MAX: Duration = Duration::from_secs(1);

/// Takes verdicts. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Responder(Arc<Inner>);

/// What a responder is put together from, beside its settings.
#[derive(Debug)]
pub struct Parts {
    /// What was done before.
    pub ledger: Ledger,
    /// Who carries orders out.
    pub targets: Targets,
    /// For decisions and expiry.
    pub clock: Clock,
    /// Where the counts go.
    pub metrics: Metrics,
    /// Taught by the caller from events.
    pub known_good: KnownGood,
}

/// How a verdict was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Took {
    /// For the first time; these orders are in the ledger.
    New(Vec<Order>),
    /// This revision was taken before; nothing follows.
    Repeat,
    /// A later revision was taken before; nothing follows.
    Superseded,
}

/// Why the tasks of a responder do not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A decision service cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A decision service stopped.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The ledger does not work any more.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Classified for StartError {
    fn class(&self) -> Class {
        match self {
            Self::Listen(error) => error.class(),
            Self::Serve(error) => error.class(),
            Self::Ledger(error) => error.class(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    targets: Vec<Target>,
    abilities: Vec<Ability>,
    known_good: KnownGood,
    hidden_callers: HiddenCallers,
    clock: Clock,
    metrics: RespondMetrics,
    http: HttpMetrics,
    state: Mutex<State>,
    /// Held from reading the state for a decision until that decision is part of it.
    writer: Arc<AsyncMutex<()>>,
    file: Mutex<LedgerFile>,
    recent: Mutex<VecDeque<Line>>,
    /// How far each target that records has come.
    recorded: Mutex<BTreeMap<String, u64>>,
    /// The number of the last line.
    changed: watch::Sender<u64>,
}

impl Responder {
    /// Puts a responder together. Nothing runs before [`Responder::start`].
    ///
    /// # Errors
    /// When the policy names a target that there is not.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self, SettingsError> {
        let Parts { ledger, targets, clock, metrics, known_good } = parts;
        targets.check(&settings)?;
        let Targets(targets) = targets;
        let last = ledger.journal.last_seq();
        for verdict in ledger.state.open_episodes() {
            known_good.heard(verdict);
        }
        Ok(Self(Arc::new(Inner {
            settings,
            abilities: targets.iter().map(Target::ability).collect(),
            targets,
            known_good,
            hidden_callers: HiddenCallers::default(),
            clock,
            metrics: RespondMetrics::new(&metrics),
            http: HttpMetrics::new(&metrics, "authz"),
            state: Mutex::new(ledger.state),
            writer: Arc::default(),
            file: Mutex::new(ledger.journal),
            recent: Mutex::default(),
            recorded: Mutex::default(),
            changed: watch::Sender::new(last),
        })))
    }

    /// Takes a verdict. When this returns, its orders are in the ledger, and it may be acknowledged.
    /// A verdict that was taken before gives nothing new.
    ///
    /// # Errors
    /// When the ledger cannot be written; nothing has changed then, and the verdict is to be given
    /// again.
    pub async fn take(&self, verdict: Verdict) -> Result<Took, LedgerError> {
        let inner = Arc::clone(&self.0);
        let rule = verdict.rule.clone();
        let took = self.transact(move |state, now| inner.decide(verdict, state, now)).await?;
        let result = match &took {
            Took::New(_) => "new",
            Took::Repeat => "repeat",
            Took::Superseded => "superseded",
        };
        self.0.metrics.took(&rule, result);
        Ok(took)
    }

    /// Starts the workers and the decision services, which end with the shutdown of `tasks`. Gives
    /// the addresses that decision services listen on.
    ///
    /// # Errors
    /// When a decision service cannot listen.
    pub async fn start(&self, tasks: &Tasks) -> Result<Vec<SocketAddr>, ListenError> {
        let stop = tasks.shutdown().token();
        self.sweep().await;
        let mut addresses = Vec::new();
        for (address, router) in self.services() {
            let listening =
                Listening { what: "decision service", address, setting: "target.listen" };
            let listener = listen(listening).await?;
            addresses.extend(listener.local_addr().ok());
            let stop = stop.clone();
            // A gateway holds a connection for each of its workers.
            let limits =
                Limits { connections_max: 4_096, body_bytes_max: 64 * 1024, ..Limits::default() };
            let serving = Serving { limits, ..Serving::new(self.0.http.clone()) };
            tasks.spawn("respond-authz", async move {
                serve(listener, router, serving, stop).await.map_err(StartError::from)
            });
        }
        for index in 0..self.0.targets.len() {
            let Some(worker) = Worker::new(self.clone(), index) else { continue };
            let stop = stop.clone();
            let name = format!("respond-{}", worker.target().name);
            tasks.spawn(&name, async move { worker.run(stop).await.map_err(StartError::from) });
        }
        let (keeper, stop) = (self.clone(), stop.clone());
        tasks.spawn("respond-housekeeper", async move {
            keeper.keep_house(stop).await.map_err(StartError::from)
        });
        Ok(addresses)
    }

    /// A draft that cannot be removed stands in nobody's way: it is written over.
    async fn sweep(&self) {
        let inner = Arc::clone(&self.0);
        let work = move || {
            for target in &inner.targets {
                if let Err(error) = target.sweep() {
                    warn!(at = target.name, %error, "cannot remove a file written half");
                }
            }
        };
        if tokio::task::spawn_blocking(work).await.is_err() {
            warn!("looking for files written half ended early");
        }
    }

    fn services(&self) -> Vec<(SocketAddr, runtime::http::axum::Router)> {
        let metrics = &self.0.metrics;
        self.0.targets.iter().filter_map(|target| target.service(metrics)).collect()
    }

    /// Does once what is due now, without waiting for what failed: for a process in which nothing
    /// runs, and for tests. Gives what went wrong.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn settle(&self) -> Result<Vec<String>, LedgerError> {
        let mut wrong = Vec::new();
        for index in 0..self.0.targets.len() {
            let Some(mut worker) = Worker::new(self.clone(), index) else { continue };
            wrong.extend(worker.settle().await?);
        }
        self.tidy().await?;
        Ok(wrong)
    }

    /// Callers known to be good; to be taught from events.
    #[must_use]
    pub fn known_good(&self) -> &KnownGood {
        &self.0.known_good
    }

    /// Inputs whose callers sit behind one address; to be told by who reads them.
    #[must_use]
    pub fn hidden_callers(&self) -> &HiddenCallers {
        &self.0.hidden_callers
    }

    /// Tells the number of the ledger's last line whenever there is one more.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// What happened after the ledger's line numbered `seq`, and the number of the last line. For
    /// those who publish it elsewhere and know how far they have come.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn records_since(&self, seq: u64) -> Result<(u64, Vec<Record>), LedgerError> {
        let lines = self.lines_since(seq).await?;
        let last = lines.last().map_or(seq, |line| line.seq);
        Ok((last, lines.into_iter().flat_map(|line| line.records).collect()))
    }

    async fn lines_since(&self, seq: u64) -> Result<Vec<Line>, LedgerError> {
        let path = {
            let recent = locked(&self.0.recent);
            if recent.front().is_some_and(|first| first.seq <= seq + 1) {
                return Ok(recent.iter().filter(|line| line.seq > seq).cloned().collect());
            }
            locked(&self.0.file).path().to_owned()
        };
        if *self.0.changed.borrow() <= seq {
            return Ok(Vec::new());
        }
        let read = move || Ok(lines_after(&path, seq));
        on_disk(read, "read the ledger").await.unwrap_or(Err(LedgerError::Lost))
    }

    /// Decides on the state and makes the decision part of it, with nothing in between. Goes on to
    /// the end when the caller gives up waiting.
    async fn transact<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&State, EventTime) -> (Vec<Record>, T) + Send + 'static,
    ) -> Result<T, LedgerError> {
        let writing = Arc::clone(&self.0.writer).lock_owned().await;
        let inner = Arc::clone(&self.0);
        let work = move || {
            let (records, result) = decide(&locked(&inner.state), inner.now());
            let written = if records.is_empty() { Ok(()) } else { inner.write(records) };
            drop(writing);
            written.map(|()| result)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(LedgerError::Lost))
    }
}

impl Inner {
    fn now(&self) -> EventTime {
        EventTime(self.clock.unix_ms())
    }

    /// On the disk first, then in the state, then to those who wait. Blocks.
    fn write(&self, records: Vec<Record>) -> Result<(), LedgerError> {
        let began = tokio::time::Instant::now();
        let (seq, bytes) = {
            let mut file = locked(&self.file);
            (file.append(&records)?, file.bytes())
        };
        self.metrics.appended(began.elapsed(), bytes);
        {
            let mut state = locked(&self.state);
            for record in &records {
                state.apply(record.clone());
            }
        }
        let mut recent = locked(&self.recent);
        while recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Line { seq, records });
        drop(recent);
        self.changed.send_replace(seq);
        Ok(())
    }

    fn decide(&self, verdict: Verdict, state: &State, now: EventTime) -> (Vec<Record>, Took) {
        match state.episode(&verdict.id).map(|episode| episode.revision) {
            Some(known) if known == verdict.revision => return (Vec::new(), Took::Repeat),
            Some(known) if known > verdict.revision => return (Vec::new(), Took::Superseded),
            Some(_) | None => {}
        }
        self.known_good.heard(&verdict);
        let policy = &self.settings.policy;
        let callers = |subject: &Subject| CallerFacts {
            successes: self.known_good.successes(subject),
            callers_behind: self.known_good.callers_behind(subject, policy.known_good.requests),
            hidden: self.hidden_callers.behind(subject),
        };
        let decision = decide(
            &verdict,
            Scene {
                policy,
                dry_run: self.settings.dry_run,
                abilities: &self.abilities,
                state,
                callers: &callers,
                now,
            },
        );
        for order in &decision.orders {
            self.metrics.decided(order);
        }
        for note in &decision.notes {
            self.metrics.noted(note, &verdict.rule);
        }
        let orders = decision.orders.clone();
        let taken = Taken {
            at: now,
            verdict,
            orders: decision.orders,
            outcomes: decision.outcomes,
            notes: decision.notes,
        };
        (vec![Record::Taken(Box::new(taken))], Took::New(orders))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
