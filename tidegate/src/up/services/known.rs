//! Callers that succeed, and inputs that hide their callers, from the topic of enriched events.
//!
//! Owns: reading what was stored in the last day at each start, and going on. Never: who is good;
//! `respond` says.
//!
//! Nothing is committed, and every `respond` reads all partitions: what it learns is in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ingest::Watch;
use ingest::input::InputConfig;
use respond::Responder;
use runtime::CancellationToken;
use runtime::error::{Class, Classified, chain};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use runtime::tasks::Tasks;
use schemas::{Event, EventReader, event_at};
use tokio::sync::watch;
use tracing::{info, warn};
use transport::{Log, LogError, NextOffset, Partition, ReadLimits, Record};

use crate::up::clients::{Clients, spare};

/// For how long verdicts wait at a start until it is known who is good. Silence for longer would be
/// worse than what the other guardrails decide without it.
const LEARN_MAX: Duration = Duration::from_secs(30);

/// Inputs that are watched. An input has one name, which no caller chooses.
const INPUTS_MAX: usize = 1_000;

/// How the learning stands.
#[derive(Debug)]
pub(super) struct Learning(watch::Receiver<u32>);

impl Learning {
    /// Learns from all partitions of a topic, from what was stored since `since_ms` on.
    pub(super) fn begin(
        tasks: &Tasks,
        events: &Log,
        reader: &EventReader,
        students: &Students,
        since_ms: i64,
    ) -> Self {
        let (behind, learning) = watch::channel(events.partitions());
        for partition in (0..events.partitions()).map(Partition) {
            let lesson = Lesson {
                log: events.clone(),
                partition,
                reader: reader.clone(),
                students: students.clone(),
                since_ms,
                next: None,
                is_there: false,
                behind: behind.clone(),
            };
            let stop = tasks.shutdown().token();
            tasks.spawn(&format!("known callers of {partition}"), lesson.run(stop));
        }
        Self(learning)
    }

    /// Waits until all was read that was there at the start, for [`LEARN_MAX`] at most.
    pub(super) async fn done(mut self, condition: &Condition) {
        condition.waiting("learns who is known good from the events of the last day");
        let learned = tokio::time::timeout(LEARN_MAX, self.0.wait_for(|behind| *behind == 0));
        if learned.await.is_ok() {
            info!("it is known who was good in the last day");
        } else {
            warn!(
                partitions = *self.0.borrow(), waited = ?LEARN_MAX,
                "verdicts are acted on while it is still being learned who was good in the last \
                 day: until then only the never-block list, the budget and the time limit of \
                 blocks protect callers"
            );
        }
    }
}

/// Who learns from events. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Students {
    responder: Responder,
    inputs: Arc<Mutex<Inputs>>,
}

#[derive(Debug)]
struct Inputs {
    /// By name: its configuration, where this process has it, and its clients over all partitions.
    watched: BTreeMap<String, (Option<InputConfig>, Watch)>,
    clients: Clients,
}

impl Students {
    /// The responder; `told` says which inputs hide their clients.
    pub(super) fn new(responder: &Responder, inputs: &[InputConfig], told: Condition) -> Self {
        let watched =
            |input: &InputConfig| (input.sensor(), (Some(input.clone()), Watch::default()));
        let inputs = Inputs {
            watched: inputs.iter().map(watched).collect(),
            clients: Clients::unknown(responder.hidden_callers(), told),
        };
        Self { responder: responder.clone(), inputs: Arc::new(Mutex::new(inputs)) }
    }

    /// Sees an event. Whether its input turned out to hide its clients.
    fn see(&self, event: &Event<'_>) -> bool {
        self.responder.known_good().saw_event(event);
        let input = event.sensor.as_deref().unwrap_or_default();
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let Inputs { watched, clients } = &mut *inputs;
        if !watched.contains_key(input) {
            if watched.len() >= INPUTS_MAX {
                return false;
            }
            watched.insert(input.to_owned(), Default::default());
        }
        let Some((config, watch)) = watched.get_mut(input) else { return false };
        let trusted = config.iter().flat_map(|config| &config.trusted_proxies);
        let trusts = |ip| trusted.clone().any(|net| net.contains(&ip));
        let judges = watch.see(event.client_ip.as_deref(), trusts);
        judges && clients.judged(input, watch.advice())
    }
}

/// Whether reading can go on. What the topic forgot before it was read teaches nobody any more, and
/// is no reason to stop.
fn is_passing(failure: &LogError) -> bool {
    failure.class() == Class::Dependency || matches!(failure, LogError::OutOfRange { .. })
}

/// One partition.
struct Lesson {
    log: Log,
    partition: Partition,
    reader: EventReader,
    students: Students,
    since_ms: i64,
    /// Where it goes on, once it has begun.
    next: Option<NextOffset>,
    /// The past was read.
    is_there: bool,
    behind: watch::Sender<u32>,
}

impl Lesson {
    async fn run(mut self, stop: CancellationToken) -> Result<(), LogError> {
        let mut backoff = Backoff::network();
        while !stop.is_cancelled() {
            let failure = match self.read(&stop).await {
                Ok(()) => return Ok(()),
                Err(failure) if is_passing(&failure) => failure,
                Err(failure) => return Err(failure),
            };
            let wait = backoff.next_wait(None);
            warn!(
                topic = %self.log.topic(), failure = chain(&failure), ?wait,
                "events cannot be read, so nobody new becomes known good"
            );
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn read(&mut self, stop: &CancellationToken) -> Result<(), LogError> {
        let bounds = self.log.bounds(self.partition).await?;
        let next = match self.next {
            // What the topic has forgotten in the meantime cannot be learned any more.
            Some(next) => next.max(bounds.start),
            None => self.log.first_since(self.partition, self.since_ms).await?.max(bounds.start),
        };
        let mut reader = self.log.reader(self.partition, next).await?;
        loop {
            self.next = Some(reader.next_offset());
            if !self.is_there && reader.next_offset() >= bounds.end {
                self.is_there = true;
                self.behind.send_modify(|behind| *behind = behind.saturating_sub(1));
            }
            let fetched = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                fetched = reader.next(ReadLimits::default()) => fetched?,
            };
            self.learn(&fetched.records).await;
        }
    }

    /// What cannot be read is `detect`'s to tell: it reads the same records.
    async fn learn(&mut self, records: &[Record]) {
        let events = records.iter().map(|record| &*record.value).filter(|value| !value.is_empty());
        let mut is_news = false;
        for batch in self.reader.read(events).batches {
            for row in 0..batch.num_rows() {
                is_news |= self.students.see(&event_at(&batch, row));
            }
        }
        if is_news && let Err(error) = spare(&self.students.responder).await {
            warn!(%error, "orders on addresses behind which all clients sit are not ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use respond::{
        KnownGood, Ledger, Options, Parts, Policy, Responder, Settings, TargetParts, Targets,
    };
    use runtime::clock::Clock;
    use runtime::metrics::Metrics;
    use runtime::ready::Ready;
    use schemas::{Event, Subject};

    use super::Students;

    fn responder(folder: &Path) -> Responder {
        let (policy, clock) = (Policy::built_in().unwrap(), Clock::system());
        let never_block = policy.never_block.clone();
        let parts =
            TargetParts { base: folder, never_block, fingerprint: None, clock: clock.clone() };
        let targets = Targets::build(&[], &parts).unwrap();
        let ledger = Ledger::open(folder, Options::default()).unwrap();
        let (metrics, known_good) = (Metrics::new(), KnownGood::new());
        let parts = Parts { ledger, targets, clock, metrics, known_good };
        Responder::new(Settings { policy, dry_run: false }, parts).unwrap()
    }

    #[test]
    fn a_proxy_is_told_from_the_events_of_all_partitions() {
        let folder = tempfile::tempdir().unwrap();
        let (responder, ready) = (responder(folder.path()), Ready::new());
        let told = ready.condition("clients", "are not judged yet");
        let students = Students::new(&responder, &[], told);
        assert!(ready.report().ready);
        let event = Event {
            sensor: Some("access.raw".into()),
            client_ip: Some("10.77.0.5".into()),
            ..Event::default()
        };
        let other = students.clone();
        let news = (0..500).filter(|_| students.see(&event) | other.see(&event));
        assert_eq!(news.count(), 1);
        let proxy = Subject { kind: "ip".into(), value: "10.77.0.5".into() };
        let why = responder.hidden_callers().behind(&proxy).unwrap();
        assert!(why.starts_with("input `access.raw`: nearly all requests come from"), "{why}");
        assert!(ready.report().remarks[0].reason.contains("trusted_proxies"));
    }
}
