//! The worker of one target: carries out its orders, one thing at a time.
//!
//! Owns: what is tried when, and the waits after a failure. They are not in the ledger: after a
//! restart everything is tried at once.
//! Never: touches another target.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::retry::Backoff;
use schemas::{EventTime, Outcome, OutcomeState, Subject};
use tokio::time::Instant;
use tracing::warn;

use super::{NAP_MAX, Responder, locked};
use crate::ledger::{Ending, Enforcement, Entry, LedgerError, Message, MessageKind, Record};
use crate::target::{Held, Manner, Target, Trouble};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(60);

/// How long the last look at the end of the process may take; a quarter of what all may.
const LAST_PASS_MAX: Duration = Duration::from_secs(5);

/// The wait after the ledger could not be written.
const LEDGER_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Worker {
    responder: Responder,
    index: usize,
    /// What the target held when it was last read back; none before the first time.
    held: Option<BTreeSet<Subject>>,
    /// After a failure of the target as a whole.
    away: Wait,
    /// After a failure of one order.
    waits: BTreeMap<String, Wait>,
    /// How far a target that records has come.
    recorded: Option<u64>,
    /// What went wrong since the last look.
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Wait {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Wait {
    fn new() -> Self {
        Self { backoff: Backoff::new(FIRST_WAIT, LAST_WAIT), until: None }
    }

    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    /// Forgets a wait that is over, so that nobody wakes up for it any more. The next one is longer.
    fn pass_by(&mut self) {
        if self.is_over() {
            self.until = None;
        }
    }

    /// Begins the next wait.
    fn begin(&mut self, hint: Option<Duration>) -> Duration {
        let wait = self.backoff.next_wait(hint);
        self.until = Some(Instant::now() + wait);
        wait
    }

    fn end(&mut self) {
        self.backoff.reset();
        self.until = None;
    }
}

impl Worker {
    /// The worker of the target with this index.
    pub(super) fn new(responder: Responder, index: usize) -> Option<Self> {
        responder.0.targets.get(index)?;
        Some(Self {
            responder,
            index,
            held: None,
            away: Wait::new(),
            waits: BTreeMap::new(),
            recorded: None,
            wrong: Vec::new(),
        })
    }

    pub(super) fn target(&self) -> &Target {
        #[expect(
            clippy::indexing_slicing,
            reason = "`new` looked the index up; targets never change"
        )]
        &self.responder.0.targets[self.index]
    }

    /// Works until told to stop; what is in hand is finished first.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), LedgerError> {
        let mut changed = self.responder.subscribe();
        while !stop.is_cancelled() {
            changed.mark_unchanged();
            let nap = match self.pass(&stop).await {
                Ok(next_at) => self.nap(next_at),
                Err(error) if error.class() == Class::Dependency => {
                    warn!(at = self.target().name, %error, "an outcome is not written down yet");
                    LEDGER_WAIT
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changed.changed() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
        // Orders that were taken in the last moment. What is not done in time is in the ledger.
        match tokio::time::timeout(LAST_PASS_MAX, self.pass(&CancellationToken::new())).await {
            Ok(Err(error)) if error.class() == Class::Bug => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// One look, and what went wrong.
    pub(super) async fn settle(&mut self) -> Result<Vec<String>, LedgerError> {
        self.pass(&CancellationToken::new()).await?;
        Ok(std::mem::take(&mut self.wrong))
    }

    fn nap(&self, next_at: Option<EventTime>) -> Duration {
        let now = self.responder.0.now();
        let due = next_at.map(|at| {
            let ms = at.millis().saturating_sub(now.millis());
            Duration::from_millis(u64::try_from(ms).unwrap_or(0))
        });
        let waits = self.waits.values().chain([&self.away]).filter_map(|wait| wait.until);
        let retry = waits.min().map(|until| until.saturating_duration_since(Instant::now()));
        due.into_iter()
            .chain(retry)
            .min()
            .unwrap_or(NAP_MAX)
            .clamp(Duration::from_millis(1), NAP_MAX)
    }

    /// Does all that is due. When the next is due by the clock.
    async fn pass(&mut self, stop: &CancellationToken) -> Result<Option<EventTime>, LedgerError> {
        self.away.pass_by();
        self.waits.values_mut().for_each(Wait::pass_by);
        match self.target().manner() {
            Manner::Holds => self.hold().await,
            Manner::IsTold => self.tell(stop).await,
            Manner::Records => self.record().await.map(|()| None),
        }
    }

    async fn hold(&mut self) -> Result<Option<EventTime>, LedgerError> {
        let now = self.responder.0.now();
        let enforcement = locked(&self.responder.0.state).enforcement(&self.target().name, now);
        let next_at = enforcement.next_at;
        let mut outcomes: Vec<Outcome> = Vec::new();
        for ending in enforcement.ending.iter().filter(|ending| ending.dry_run) {
            outcomes.push(self.ended(ending, None));
        }
        if self.must_hold(&enforcement) && self.away.is_over() {
            let began = Instant::now();
            let held = self.target().hold(&enforcement.desired).await;
            self.responder.0.metrics.target_took(&self.target().name, began.elapsed());
            match held {
                Ok(held) => outcomes.extend(self.held(&enforcement, held)),
                Err(trouble) => outcomes.extend(self.not_held(&enforcement, &trouble)),
            }
        }
        self.responder.0.metrics.standing(&self.target().name, enforcement.desired.len());
        self.write(outcomes).await?;
        Ok(next_at)
    }

    /// Whether the target holds something else than it should, as far as we know.
    fn must_hold(&self, enforcement: &Enforcement) -> bool {
        let undo = enforcement.ending.iter().any(|ending| !ending.dry_run);
        let Some(held) = &self.held else { return true };
        undo || !enforcement.starting.is_empty() || !enforcement.desired.keys().eq(held)
    }

    fn held(&mut self, enforcement: &Enforcement, held: Held) -> Vec<Outcome> {
        self.away.end();
        let Held { present, rejected } = held;
        let mut outcomes = Vec::new();
        for id in &enforcement.starting {
            let Some((entry, subject)) = self.entry(id) else { continue };
            let state = if let Some(reason) = rejected.get(&subject) {
                (OutcomeState::Refused, Some(reason.clone()))
            } else if present.contains(&subject) {
                (OutcomeState::Done, None)
            } else {
                (OutcomeState::Retrying, Some("it was not there when read back".to_owned()))
            };
            outcomes.extend(self.outcome(&entry, state));
        }
        for ending in enforcement.ending.iter().filter(|ending| !ending.dry_run) {
            let Some(subject) = &ending.subject else { continue };
            let still = enforcement.desired.get(subject).map(|entry| entry.order.id.clone());
            if still.is_none() && present.contains(subject) {
                if let Some((entry, _)) = self.entry(&ending.order_id) {
                    let detail = Some("it was still there when read back".to_owned());
                    outcomes.extend(self.outcome(&entry, (OutcomeState::Retrying, detail)));
                }
                continue;
            }
            outcomes.push(self.ended(ending, still));
        }
        let unconfirmed = outcomes.iter().any(|outcome| outcome.state == OutcomeState::Retrying);
        if unconfirmed {
            self.away.begin(None);
        }
        // What it rejects it will reject again: as if it held it.
        let mut known = present;
        known.extend(rejected.into_keys());
        self.held = Some(known);
        outcomes
    }

    fn not_held(&mut self, enforcement: &Enforcement, trouble: &Trouble) -> Vec<Outcome> {
        let after = match trouble {
            Trouble::Again { after, .. } => *after,
            Trouble::Park { .. } => None,
        };
        let wait = self.away.begin(after);
        let detail = trouble.detail().to_owned();
        self.responder.0.metrics.failed(&self.target().name, &detail, wait);
        self.wrong.push(format!("{}: {detail}", self.target().name));
        let ending = enforcement.ending.iter().filter(|ending| !ending.dry_run);
        let ids = ending.map(|ending| &ending.order_id).chain(&enforcement.starting);
        ids.filter_map(|id| {
            let (entry, _) = self.entry(id)?;
            self.outcome(&entry, (OutcomeState::Retrying, Some(detail.clone())))
        })
        .collect()
    }

    async fn tell(&mut self, stop: &CancellationToken) -> Result<Option<EventTime>, LedgerError> {
        let now = self.responder.0.now();
        let messages = locked(&self.responder.0.state).messages(&self.target().name, now);
        let quiet: Vec<Outcome> =
            messages.quiet.iter().map(|ending| self.ended(ending, None)).collect();
        self.write(quiet).await?;
        let due: BTreeSet<&String> =
            messages.due.iter().map(|message| &message.entry.order.id).collect();
        self.waits.retain(|id, _| due.contains(id));
        for message in &messages.due {
            if stop.is_cancelled() || !self.away.is_over() {
                break;
            }
            let id = &message.entry.order.id;
            if self.waits.get(id).is_some_and(|wait| !wait.is_over()) {
                continue;
            }
            let began = Instant::now();
            let told = self.target().tell(message).await;
            self.responder.0.metrics.target_took(&self.target().name, began.elapsed());
            let outcome = match told {
                Ok(told) => {
                    self.away.end();
                    let state = match &message.kind {
                        MessageKind::Apply => OutcomeState::Done,
                        MessageKind::End(ending) => ending.state,
                    };
                    let mut outcome = blank(message, state, told.detail);
                    outcome.remote_id = told.remote_id;
                    Some(outcome)
                }
                Err(trouble) => self.not_told(message, trouble),
            };
            self.write(outcome.into_iter().collect()).await?;
        }
        Ok(messages.next_at)
    }

    fn not_told(&mut self, message: &Message, trouble: Trouble) -> Option<Outcome> {
        let id = message.entry.order.id.clone();
        let name = self.target().name.clone();
        self.wrong.push(format!("{name}: {}", trouble.detail()));
        match trouble {
            Trouble::Park { detail } => {
                self.responder.0.metrics.parked(&name, &id, &detail);
                Some(blank(message, OutcomeState::Parked, Some(detail)))
            }
            Trouble::Again { detail, after, away } => {
                let wait = self.waits.entry(id).or_insert_with(Wait::new).begin(after);
                if away {
                    self.away.begin(after);
                }
                self.responder.0.metrics.failed(&name, &detail, wait);
                self.outcome(&message.entry, (OutcomeState::Retrying, Some(detail)))
            }
        }
    }

    async fn record(&mut self) -> Result<(), LedgerError> {
        if !self.away.is_over() {
            return Ok(());
        }
        if let Err(trouble) = self.record_all().await? {
            let wait = self.away.begin(None);
            let (name, detail) = (&self.target().name, trouble.detail());
            self.responder.0.metrics.failed(name, detail, wait);
            self.wrong.push(format!("{name}: {detail}"));
        }
        Ok(())
    }

    async fn record_all(&mut self) -> Result<Result<(), Trouble>, LedgerError> {
        let from = match self.recorded {
            Some(seq) => seq,
            None => match self.target().recorded().await {
                Ok(seq) => seq,
                Err(trouble) => return Ok(Err(trouble)),
            },
        };
        let lines = self.responder.lines_since(from).await?;
        let last = lines.last().map_or(from, |line| line.seq);
        if !lines.is_empty()
            && let Err(trouble) = self.target().record(lines).await
        {
            // How far it came is read from the file again.
            self.recorded = None;
            return Ok(Err(trouble));
        }
        self.away.end();
        self.recorded = Some(last);
        locked(&self.responder.0.recorded).insert(self.target().name.clone(), last);
        Ok(Ok(()))
    }

    fn entry(&self, id: &str) -> Option<(Entry, Subject)> {
        let state = locked(&self.responder.0.state);
        let entry = state.entry(id)?;
        Some((entry.clone(), entry.order.subject.clone()?))
    }

    /// An outcome of an order. That it is tried again is written down the first time and when the
    /// reason changes, not at every try.
    fn outcome(
        &self,
        entry: &Entry,
        (state, detail): (OutcomeState, Option<String>),
    ) -> Option<Outcome> {
        let known = entry.attempt > 0 && entry.detail == detail;
        if state == OutcomeState::Retrying && known {
            return None;
        }
        Some(Outcome {
            order_id: entry.order.id.clone(),
            target: entry.order.target.clone(),
            state,
            at: self.responder.0.now(),
            attempt: entry.attempt.saturating_add(1),
            remote_id: None,
            detail,
            more: serde_json::Map::new(),
        })
    }

    fn ended(&self, ending: &Ending, still: Option<String>) -> Outcome {
        let still = still.map(|id| format!("the subject is still held by order {id}"));
        let dry = ending.dry_run.then(|| "a dry run, there was nothing to undo".to_owned());
        let parts = [ending.detail.clone(), still, dry];
        let detail: Vec<String> = parts.into_iter().flatten().collect();
        Outcome {
            order_id: ending.order_id.clone(),
            target: self.target().name.clone(),
            state: ending.state,
            at: self.responder.0.now(),
            attempt: 0,
            remote_id: None,
            detail: (!detail.is_empty()).then(|| detail.join("; ")),
            more: serde_json::Map::new(),
        }
    }

    async fn write(&self, outcomes: Vec<Outcome>) -> Result<(), LedgerError> {
        self.responder.write_outcomes(outcomes).await
    }
}

fn blank(message: &Message, state: OutcomeState, detail: Option<String>) -> Outcome {
    Outcome {
        order_id: message.entry.order.id.clone(),
        target: message.entry.order.target.clone(),
        state,
        at: message.entry.order.decided_at,
        attempt: message.entry.attempt.saturating_add(1),
        remote_id: None,
        detail,
        more: serde_json::Map::new(),
    }
}

impl Responder {
    /// Writes outcomes down, stamped with the time of writing.
    pub(super) async fn write_outcomes(&self, outcomes: Vec<Outcome>) -> Result<(), LedgerError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let told: Vec<(String, String, OutcomeState)> = outcomes
            .iter()
            .map(|outcome| (outcome.order_id.clone(), outcome.target.clone(), outcome.state))
            .collect();
        self.transact(move |_state, now| {
            let stamped = outcomes.into_iter().map(|outcome| Outcome { at: now, ..outcome });
            (stamped.map(Record::Outcome).collect(), ())
        })
        .await?;
        for (order_id, target, state) in told {
            self.0.metrics.came(&order_id, &target, state);
        }
        Ok(())
    }
}
