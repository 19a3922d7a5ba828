//! What is to be done now, for one target.
//!
//! Owns: which orders of the state are due, in which sequence. Pure.
//! Never: waits after a failure, which the workers remember.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Action, EventTime, OutcomeState, Subject, Verdict};

use super::state::{Entry, Phase, State};
use crate::ask::enforces;

/// A ticket waits for the first outcome of its episode's blocks, so that it can tell it, but no
/// longer than this.
const TICKET_WAITS_MS: i64 = 2_000;

/// The whole of what a target that holds a set of subjects should hold, and what changes by it.
#[derive(Debug, Default)]
pub(crate) struct Enforcement {
    /// Subject → the order that stands longest.
    pub(crate) desired: BTreeMap<Subject, Entry>,
    /// Orders that are carried out by holding `desired`.
    pub(crate) starting: Vec<String>,
    /// Orders that end by holding `desired`.
    pub(crate) ending: Vec<Ending>,
    /// When the next one ends by itself.
    pub(crate) next_at: Option<EventTime>,
}

/// An order that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) order_id: String,
    pub(crate) subject: Option<Subject>,
    /// `released` or `expired`.
    pub(crate) state: OutcomeState,
    pub(crate) detail: Option<String>,
    /// Whether it was a dry run, so that there is nothing to undo.
    pub(crate) dry_run: bool,
}

/// What a target that is told each order by itself should be told now.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(crate) due: Vec<Message>,
    /// Dry runs that end: nobody is told.
    pub(crate) quiet: Vec<Ending>,
    /// When the next one is due.
    pub(crate) next_at: Option<EventTime>,
}

/// One order to be told.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) entry: Entry,
    pub(crate) kind: MessageKind,
    /// The last verdict of the episode.
    pub(crate) verdict: Option<Box<Verdict>>,
    /// All orders of the episode.
    pub(crate) siblings: Vec<Entry>,
    /// The target's name for the ticket of the episode.
    pub(crate) remote_id: Option<String>,
    /// Earlier orders on the same subject.
    pub(crate) earlier: usize,
    /// For a release: other orders that still stand on the subject.
    pub(crate) still: Vec<String>,
}

/// What to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Apply,
    End(Ending),
}

impl State {
    /// What the target should hold now. What waits for a person or is a dry run is not held.
    pub(crate) fn enforcement(&self, target: &str, now: EventTime) -> Enforcement {
        let mut enforcement = Enforcement::default();
        for entry in self.open_entries().filter(|entry| entry.order.target == target) {
            if let Some(ending) = ending(entry, now) {
                enforcement.ending.push(ending);
                continue;
            }
            if entry.phase == Phase::Waiting {
                continue;
            }
            enforcement.next_at = sooner(enforcement.next_at, entry.order.expires_at);
            if entry.order.dry_run {
                continue;
            }
            if entry.phase == Phase::Pending {
                enforcement.starting.push(entry.order.id.clone());
            }
            let Some(subject) = &entry.order.subject else { continue };
            let longer = enforcement
                .desired
                .get(subject)
                .is_none_or(|known| known.order.expires_at < entry.order.expires_at);
            if longer {
                enforcement.desired.insert(subject.clone(), entry.clone());
            }
        }
        enforcement
    }

    /// What the target should be told now: ends first, then the oldest; of a ticket only the lowest
    /// revision that is open.
    pub(crate) fn messages(&self, target: &str, now: EventTime) -> Messages {
        let mut messages = Messages::default();
        let mut tickets: BTreeMap<&str, &Entry> = BTreeMap::new();
        let mut due: Vec<(&Entry, MessageKind)> = Vec::new();
        for entry in self.open_entries().filter(|entry| entry.order.target == target) {
            if let Some(ending) = ending(entry, now) {
                if ending.dry_run {
                    messages.quiet.push(ending);
                } else {
                    due.push((entry, MessageKind::End(ending)));
                }
                continue;
            }
            messages.next_at = sooner(messages.next_at, entry.order.expires_at);
            if entry.phase != Phase::Pending || entry.order.dry_run {
                continue;
            }
            if entry.order.action != Action::Ticket {
                due.push((entry, MessageKind::Apply));
                continue;
            }
            let first = tickets.entry(&entry.order.verdict_id).or_insert(entry);
            if entry.order.revision < first.order.revision {
                *first = entry;
            }
        }
        for entry in tickets.into_values() {
            let ready_at = entry.order.decided_at.plus(TICKET_WAITS_MS);
            if now >= ready_at || self.blocks_have_begun(&entry.order.verdict_id) {
                due.push((entry, MessageKind::Apply));
            } else {
                messages.next_at = sooner(messages.next_at, Some(ready_at));
            }
        }
        due.sort_by_key(|(entry, kind)| {
            (*kind == MessageKind::Apply, entry.order.decided_at, entry.order.revision)
        });
        messages.due = due.into_iter().map(|(entry, kind)| self.message(entry, kind)).collect();
        messages
    }

    fn message(&self, entry: &Entry, kind: MessageKind) -> Message {
        let episode = self.episode(&entry.order.verdict_id);
        let subject = entry.order.subject.clone().or_else(|| {
            // A ticket acts on nobody, but tells about the subject of the episode's blocks.
            self.entries_of(&entry.order.verdict_id).find_map(|entry| entry.order.subject.clone())
        });
        let on_subject: Vec<&Entry> =
            subject.iter().flat_map(|subject| self.entries_on(subject)).collect();
        let earlier: BTreeSet<&str> = on_subject
            .iter()
            .map(|other| other.order.verdict_id.as_str())
            .filter(|id| *id != entry.order.verdict_id)
            .collect();
        let still = on_subject
            .iter()
            .filter(|other| other.phase == Phase::Standing && !other.order.dry_run)
            .filter(|other| other.order.id != entry.order.id)
            .filter(|other| other.order.target == entry.order.target)
            .map(|other| other.order.id.clone())
            .collect();
        Message {
            entry: entry.clone(),
            kind,
            verdict: episode.and_then(|episode| episode.verdict.clone()),
            siblings: self.entries_of(&entry.order.verdict_id).cloned().collect(),
            remote_id: episode
                .and_then(|episode| episode.remotes.get(&entry.order.target).cloned()),
            earlier: earlier.len(),
            still,
        }
    }

    /// Whether no block of the episode is still to be tried for the first time.
    fn blocks_have_begun(&self, verdict_id: &str) -> bool {
        !self.entries_of(verdict_id).any(|entry| {
            enforces(entry.order.action) && entry.phase == Phase::Pending && entry.attempt == 0
        })
    }

    /// Orders that waited too long for a person.
    pub(crate) fn unanswered(&self, now: EventTime, expires_ms: i64) -> Vec<String> {
        self.open_entries()
            .filter(|entry| entry.phase == Phase::Waiting)
            .filter(|entry| entry.order.decided_at.plus(expires_ms) <= now)
            .map(|entry| entry.order.id.clone())
            .collect()
    }
}

/// The end of an order, where somebody asked for it or its time is over.
fn ending(entry: &Entry, now: EventTime) -> Option<Ending> {
    let (state, detail) = match entry.phase {
        Phase::Releasing => {
            let asked = entry.asked.as_ref().map(|asker| format!("released {asker}"));
            (OutcomeState::Released, asked)
        }
        Phase::Pending | Phase::Standing if entry.is_expired(now) => (OutcomeState::Expired, None),
        Phase::Waiting | Phase::Pending | Phase::Standing | Phase::Finished(_) => return None,
    };
    Some(Ending {
        order_id: entry.order.id.clone(),
        subject: entry.order.subject.clone(),
        state,
        detail,
        dry_run: entry.order.dry_run,
    })
}

fn sooner(known: Option<EventTime>, other: Option<EventTime>) -> Option<EventTime> {
    match (known, other) {
        (Some(known), Some(other)) => Some(known.min(other)),
        (known, other) => known.or(other),
    }
}
