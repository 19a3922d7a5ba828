//! What people ask of the responder: to see, release, approve, refuse, try again.
//!
//! Owns: the choice of orders, and what of them is shown.
//! Never: acts; the workers do, on what is in the ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use schemas::{EventTime, Order, OutcomeState, Subject};
use serde::Serialize;
use tokio::time::Instant;

use super::{Responder, locked};
use crate::address;
use crate::ask::enforces;
use crate::ledger::{Asker, Entry, LedgerError, Phase, Record, State};

/// Which orders to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// This one.
    Order(String),
    /// All on this subject.
    Subject(Subject),
    /// All of this rule.
    Rule(String),
    /// All.
    All,
}

/// An order as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// As it was decided.
    pub order: Order,
    /// `waiting`, `pending`, `standing`, `releasing`, `done`, `dry_run`, `parked`, `released`,
    /// `expired`, `refused`. A dry run is `dry_run` until it ends.
    pub state: &'static str,
    /// Since when.
    pub since: EventTime,
    /// Tries so far.
    pub attempt: u32,
    /// The target's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The last that the target said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who asked to undo it, agreed to it or refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asker>,
}

impl From<&Entry> for Shown {
    fn from(entry: &Entry) -> Self {
        Self {
            order: entry.order.clone(),
            state: entry.state_name(),
            since: entry.changed_at,
            attempt: entry.attempt,
            remote_id: entry.remote_id.clone(),
            detail: entry.detail.clone(),
            asked: entry.asked.clone(),
        }
    }
}

impl Responder {
    /// Orders that act on a subject and are not over, newest first; dry runs among them.
    #[must_use]
    pub fn blocks(&self) -> Vec<Shown> {
        let state = locked(&self.0.state);
        let acting = state.entries().filter(|entry| enforces(entry.order.action));
        acting.filter(|entry| !entry.is_finished()).map(Shown::from).collect()
    }

    /// The newest orders in a state, or in any; at most `max`.
    #[must_use]
    pub fn orders(&self, in_state: Option<&str>, max: usize) -> Vec<Shown> {
        let state = locked(&self.0.state);
        let fits = |entry: &&Entry| in_state.is_none_or(|name| entry.state_name() == name);
        state.entries().filter(fits).take(max).map(Shown::from).collect()
    }

    /// One order.
    #[must_use]
    pub fn order(&self, id: &str) -> Option<Shown> {
        locked(&self.0.state).entry(id).map(Shown::from)
    }

    /// The order that had this subject blocked at that time, for `blocked_by` of events.
    #[must_use]
    pub fn blocked_by(&self, subject: &Subject, at: EventTime) -> Option<String> {
        locked(&self.0.state).blocked_by(&canonical(subject), at).map(str::to_owned)
    }

    /// Asks to undo orders. They are undone by the workers (or by [`Responder::settle`]); see
    /// [`Responder::finished`]. Gives their ids.
    ///
    /// # Errors
    /// When the ledger cannot be written; nothing has changed then.
    pub async fn release(&self, which: Which, by: Asker) -> Result<Vec<String>, LedgerError> {
        self.transact(move |state, now| {
            let orders = chosen(state, &which);
            let record = Record::ReleaseAsked { orders: orders.clone(), at: now, by };
            (if orders.is_empty() { Vec::new() } else { vec![record] }, orders)
        })
        .await
    }

    /// Asks to undo what acts on addresses behind which all callers of an input sit, see
    /// [`Responder::hidden_callers`], unless a person agreed to it. Gives the orders' ids.
    ///
    /// # Errors
    /// When the ledger cannot be written; nothing has changed then.
    pub async fn release_hidden(&self) -> Result<Vec<String>, LedgerError> {
        let callers = self.hidden_callers().clone();
        self.transact(move |state, at| {
            let is_of_machine = |entry: &&Entry| {
                let acts = matches!(entry.phase, Phase::Pending | Phase::Standing);
                acts && enforces(entry.order.action) && entry.asked.is_none()
            };
            let hidden = state.open_entries().filter(is_of_machine).filter_map(|entry| {
                let reason = callers.behind(entry.order.subject.as_ref()?)?;
                let by = Asker { by: "tidegate".to_owned(), reason };
                Some(Record::ReleaseAsked { orders: vec![entry.order.id.clone()], at, by })
            });
            let records: Vec<Record> = hidden.collect();
            let asked = |record: &Record| match record {
                Record::ReleaseAsked { orders, .. } => orders.clone(),
                _ => Vec::new(),
            };
            let orders = records.iter().flat_map(asked).collect();
            (records, orders)
        })
        .await
    }

    /// Agrees to an order that waits; its time runs from now. Whether it did wait.
    ///
    /// # Errors
    /// When the ledger cannot be written; nothing has changed then.
    pub async fn approve(&self, order_id: &str, by: Asker) -> Result<bool, LedgerError> {
        let order_id = order_id.to_owned();
        self.transact(move |state, now| {
            let Some(entry) = waiting(state, &order_id) else { return (Vec::new(), false) };
            let lasts = |expires: EventTime| {
                now.plus(expires.millis().saturating_sub(entry.order.decided_at.millis()))
            };
            let expires_at = entry.order.expires_at.map(lasts);
            (vec![Record::Approved { order_id, at: now, by, expires_at }], true)
        })
        .await
    }

    /// Refuses an order that waits. Whether it did wait.
    ///
    /// # Errors
    /// When the ledger cannot be written; nothing has changed then.
    pub async fn refuse(&self, order_id: &str, by: Asker) -> Result<bool, LedgerError> {
        let order_id = order_id.to_owned();
        self.transact(move |state, now| {
            if waiting(state, &order_id).is_none() {
                return (Vec::new(), false);
            }
            (vec![Record::ReleaseAsked { orders: vec![order_id], at: now, by }], true)
        })
        .await
    }

    /// Has a parked order tried again. Whether it was parked.
    ///
    /// # Errors
    /// When the ledger cannot be written; nothing has changed then.
    pub async fn retry(&self, order_id: &str, by: Asker) -> Result<bool, LedgerError> {
        let order_id = order_id.to_owned();
        self.transact(move |state, now| {
            let parked = Phase::Finished(OutcomeState::Parked);
            if state.entry(&order_id).is_none_or(|entry| entry.phase != parked) {
                return (Vec::new(), false);
            }
            (vec![Record::RetryAsked { order_id, at: now, by }], true)
        })
        .await
    }

    /// Waits until these orders are over, at most so long, and shows them.
    pub async fn finished(&self, orders: &[String], at_most: Duration) -> Vec<Shown> {
        let until = Instant::now() + at_most;
        let mut changed = self.subscribe();
        loop {
            let shown: Vec<Shown> = {
                let state = locked(&self.0.state);
                let left = orders.iter().filter_map(|id| state.entry(id));
                if left.clone().all(Entry::is_finished) || Instant::now() >= until {
                    return left.map(Shown::from).collect();
                }
                Vec::new()
            };
            drop(shown);
            // The time being over is seen above.
            drop(tokio::time::timeout_at(until, changed.changed()).await);
        }
    }
}

fn waiting<'s>(state: &'s State, order_id: &str) -> Option<&'s Entry> {
    state.entry(order_id).filter(|entry| entry.phase == Phase::Waiting)
}

/// What can be released: what acts on a subject and is not over, and what could not be undone.
fn chosen(state: &State, which: &Which) -> Vec<String> {
    let parked = Phase::Finished(OutcomeState::Parked);
    let can_be = |entry: &&Entry| {
        let open = !entry.is_finished() && entry.phase != Phase::Releasing;
        enforces(entry.order.action) && (open || entry.phase == parked)
    };
    let entries: Vec<&Entry> = match which {
        Which::Order(id) => state.entry(id).into_iter().filter(can_be).collect(),
        Which::Subject(subject) => state.entries_on(&canonical(subject)).filter(can_be).collect(),
        Which::Rule(rule) => {
            state.entries().filter(can_be).filter(|entry| entry.order.rule == *rule).collect()
        }
        Which::All => state.entries().filter(can_be).collect(),
    };
    let ids: BTreeSet<String> = entries.iter().map(|entry| entry.order.id.clone()).collect();
    ids.into_iter().collect()
}

fn canonical(subject: &Subject) -> Subject {
    match (subject.kind.as_str(), address::network(&subject.value)) {
        ("ip" | "network", Some(net)) => {
            let single = net.prefix_len() == net.max_prefix_len();
            let kind = if single { "ip" } else { "network" };
            Subject { kind: kind.to_owned(), value: address::text(&net) }
        }
        _ => subject.clone(),
    }
}
