//! What the records add up to.
//!
//! Owns: episodes, orders and their phases, as a pure function of the records.
//! Never: reads a clock or a file.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    Action, EventTime, GuardNote, Order, Outcome, OutcomeState, Subject, Verdict, VerdictKind,
};
use serde::{Deserialize, Serialize};

use super::record::{Asker, Record, Taken};
use crate::address;
use crate::ask::enforces;
use crate::guard::BudgetUse;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for a person.
    Waiting,
    /// To be carried out.
    Pending,
    /// Carried out, and in force until it expires; in a dry run, as if.
    Standing,
    /// To be undone, because somebody asked.
    Releasing,
    /// Over.
    Finished(OutcomeState),
}

impl Phase {
    /// Every name for people.
    pub(crate) const NAMES: [&str; 10] = [
        "waiting",
        "pending",
        "standing",
        "releasing",
        "done",
        "dry_run",
        "parked",
        "released",
        "expired",
        "refused",
    ];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Standing => "standing",
            Self::Releasing => "releasing",
            Self::Finished(OutcomeState::Done) => "done",
            Self::Finished(OutcomeState::DryRun) => "dry_run",
            Self::Finished(OutcomeState::Parked) => "parked",
            Self::Finished(OutcomeState::Released) => "released",
            Self::Finished(OutcomeState::Expired) => "expired",
            Self::Finished(OutcomeState::Refused) => "refused",
            Self::Finished(OutcomeState::Retrying | OutcomeState::Waiting) => "open",
        }
    }
}

/// An order and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As it was decided.
    pub order: Order,
    /// Where it stands.
    pub phase: Phase,
    /// Tries so far.
    #[serde(default)]
    pub attempt: u32,
    /// The target's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The last that the target said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it came to stand there.
    pub changed_at: EventTime,
    /// Who asked to undo it, agreed to it or refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asker>,
    /// Whether somebody asked to undo it.
    #[serde(default)]
    pub undo: bool,
    /// When that was; not known of what an older program wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_asked_at: Option<EventTime>,
}

impl Entry {
    /// Where it stands, for people; of a dry run that goes on, that it is one.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Pending | Phase::Standing if self.order.dry_run => "dry_run",
            phase => phase.name(),
        }
    }

    /// Whether nothing more is to be done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// When and by whom its end was asked for, or it was refused; none where nobody did.
    fn ended(&self) -> Option<(EventTime, &Asker)> {
        let asked = self.asked.as_ref().filter(|_| self.undo)?;
        Some((self.undo_asked_at.unwrap_or(self.changed_at), asked))
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: EventTime) -> bool {
        self.order.expires_at.is_some_and(|expires| expires <= now)
    }
}

/// An episode that verdicts arrived for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// The highest revision taken.
    pub revision: u32,
    /// When the first verdict was taken.
    pub first_taken: EventTime,
    /// When the last verdict was taken.
    pub last_taken: EventTime,
    /// The last verdict; gone once nothing can follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<Verdict>>,
    /// Target → its name for the ticket of this episode.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remotes: BTreeMap<String, String>,
    /// Why something asked for did not become an order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<GuardNote>,
}

impl Episode {
    /// Whether no further verdict is expected.
    fn is_over(&self) -> bool {
        let kind = self.verdict.as_ref().map(|verdict| verdict.kind);
        matches!(kind, Some(VerdictKind::Closed | VerdictKind::Merged))
    }
}

/// All that is known of episodes and orders.
#[derive(Debug, Default)]
pub struct State {
    pub(super) episodes: BTreeMap<String, Episode>,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Ids of orders that are not finished.
    pub(super) open: BTreeSet<String>,
    by_time: BTreeSet<(EventTime, String)>,
    by_subject: BTreeMap<Subject, BTreeSet<String>>,
    by_episode: BTreeMap<String, BTreeSet<String>>,
}

impl State {
    /// The state after the record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Header { .. } => {}
            Record::Taken(taken) => self.take(*taken),
            Record::Outcome(outcome) => self.outcome(outcome),
            Record::ReleaseAsked { orders, at, by } => {
                for id in orders {
                    self.release(&id, at, &by);
                }
            }
            Record::Approved { order_id, at, by, expires_at } => {
                if let Some(entry) = self.entries.get_mut(&order_id)
                    && entry.phase == Phase::Waiting
                {
                    entry.phase = Phase::Pending;
                    entry.changed_at = at;
                    entry.asked = Some(by);
                    entry.order.needs_approval = false;
                    entry.order.expires_at = expires_at;
                }
            }
            Record::RetryAsked { order_id, at, by } => self.retry(&order_id, at, by),
            Record::KeptEpisode { id, episode } => {
                self.episodes.insert(id, *episode);
            }
            Record::KeptOrder(entry) => self.insert(*entry),
        }
    }

    fn take(&mut self, taken: Taken) {
        let Taken { at, verdict, orders, outcomes, notes } = taken;
        let id = verdict.id.clone();
        let episode = self.episodes.entry(id).or_insert_with(|| Episode {
            revision: 0,
            first_taken: at,
            last_taken: at,
            verdict: None,
            remotes: BTreeMap::new(),
            notes: Vec::new(),
        });
        episode.revision = episode.revision.max(verdict.revision);
        episode.last_taken = episode.last_taken.max(at);
        episode.notes = notes;
        episode.verdict = Some(Box::new(verdict));
        for order in orders {
            let phase = if order.needs_approval { Phase::Waiting } else { Phase::Pending };
            self.insert(Entry {
                order,
                phase,
                attempt: 0,
                remote_id: None,
                detail: None,
                changed_at: at,
                asked: None,
                undo: false,
                undo_asked_at: None,
            });
        }
        for outcome in outcomes {
            self.outcome(outcome);
        }
    }

    fn insert(&mut self, entry: Entry) {
        let id = entry.order.id.clone();
        self.by_time.insert((entry.order.decided_at, id.clone()));
        if let Some(subject) = &entry.order.subject {
            self.by_subject.entry(subject.clone()).or_default().insert(id.clone());
        }
        self.by_episode.entry(entry.order.verdict_id.clone()).or_default().insert(id.clone());
        if !entry.is_finished() {
            self.open.insert(id.clone());
        }
        self.entries.insert(id, entry);
    }

    fn outcome(&mut self, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(&outcome.order_id) else { return };
        let lasts = enforces(entry.order.action) && entry.order.expires_at.is_some();
        entry.phase = match outcome.state {
            OutcomeState::Retrying => entry.phase,
            OutcomeState::Waiting => Phase::Waiting,
            // Somebody may have asked to undo it while it was being carried out.
            OutcomeState::Done | OutcomeState::DryRun if lasts && entry.undo => Phase::Releasing,
            OutcomeState::Done | OutcomeState::DryRun if lasts => Phase::Standing,
            state @ (OutcomeState::Done
            | OutcomeState::DryRun
            | OutcomeState::Parked
            | OutcomeState::Released
            | OutcomeState::Expired
            | OutcomeState::Refused) => Phase::Finished(state),
        };
        entry.attempt = entry.attempt.max(outcome.attempt);
        entry.changed_at = outcome.at;
        entry.detail = outcome.detail;
        if outcome.remote_id.is_some() {
            entry.remote_id = outcome.remote_id;
        }
        let finished = entry.is_finished();
        if let (Action::Ticket, Some(remote)) = (entry.order.action, entry.remote_id.clone())
            && let Some(episode) = self.episodes.get_mut(&entry.order.verdict_id)
        {
            episode.remotes.insert(entry.order.target.clone(), remote);
        }
        if finished {
            self.open.remove(&outcome.order_id);
        }
    }

    fn release(&mut self, id: &str, at: EventTime, by: &Asker) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.phase = match entry.phase {
            Phase::Waiting => Phase::Finished(OutcomeState::Refused),
            Phase::Pending if !enforces(entry.order.action) => {
                Phase::Finished(OutcomeState::Released)
            }
            Phase::Pending | Phase::Standing | Phase::Releasing => Phase::Releasing,
            // Undoing what failed to be undone, or may have been done before it was given up.
            Phase::Finished(OutcomeState::Parked) => Phase::Releasing,
            finished @ Phase::Finished(_) => finished,
        };
        entry.changed_at = at;
        entry.asked = Some(by.clone());
        entry.undo = true;
        entry.undo_asked_at = Some(at);
        self.reopen(id);
    }

    fn retry(&mut self, id: &str, at: EventTime, by: Asker) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.phase != Phase::Finished(OutcomeState::Parked) {
            return;
        }
        entry.phase = if entry.undo { Phase::Releasing } else { Phase::Pending };
        entry.changed_at = at;
        // Who wanted it undone, and why, counts for more than who tries it again.
        if !entry.undo {
            entry.asked = Some(by);
        }
        self.reopen(id);
    }

    fn reopen(&mut self, id: &str) {
        let finished = self.entries.get(id).is_none_or(Entry::is_finished);
        if finished {
            self.open.remove(id);
        } else {
            self.open.insert(id.to_owned());
        }
    }

    /// The episode of a verdict id.
    #[must_use]
    pub fn episode(&self, verdict_id: &str) -> Option<&Episode> {
        self.episodes.get(verdict_id)
    }

    /// An order.
    #[must_use]
    pub fn entry(&self, order_id: &str) -> Option<&Entry> {
        self.entries.get(order_id)
    }

    /// All orders, newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.by_time.iter().rev().filter_map(|(_, id)| self.entries.get(id))
    }

    /// The last verdicts of the episodes that are not over.
    pub fn open_episodes(&self) -> impl Iterator<Item = &Verdict> {
        let open = self.episodes.values().filter(|episode| !episode.is_over());
        open.filter_map(|episode| episode.verdict.as_deref())
    }

    /// The orders of an episode.
    pub fn entries_of(&self, verdict_id: &str) -> impl Iterator<Item = &Entry> {
        self.by_episode.get(verdict_id).into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// The orders on a subject.
    pub fn entries_on(&self, subject: &Subject) -> impl Iterator<Item = &Entry> {
        self.by_subject.get(subject).into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// The orders that are not finished.
    pub fn open_entries(&self) -> impl Iterator<Item = &Entry> {
        self.open.iter().filter_map(|id| self.entries.get(id))
    }

    /// When and by whom what was done about this subject, or a network that holds it, was last
    /// ended or refused, and which of them.
    #[must_use]
    pub fn last_ended(&self, subject: &Subject) -> Option<(EventTime, &Asker, &str)> {
        let acting = self.entries_on(subject).chain(self.entries_around(subject));
        let acting = acting.filter(|entry| enforces(entry.order.action));
        let ended = acting.filter_map(|entry| {
            let (at, by) = entry.ended()?;
            Some((at, by, entry.order.subject.as_ref()?.value.as_str()))
        });
        ended.max_by_key(|(at, ..)| *at)
    }

    /// The last time since then that what was done about a part of this network was ended or
    /// refused, by whom, and which part.
    #[must_use]
    pub fn last_ended_inside(
        &self,
        subject: &Subject,
        since: EventTime,
    ) -> Option<(EventTime, &Asker, &str)> {
        let net = address::network(&subject.value).filter(|_| subject.kind == "network")?;
        let parts = self.by_subject.iter().filter(|(part, _)| {
            let is_place = matches!(part.kind.as_str(), "ip" | "network");
            let inside = address::network(&part.value).filter(|_| is_place);
            inside.is_some_and(|inside| net != inside && net.contains(&inside))
        });
        let entries = parts.flat_map(|(part, ids)| ids.iter().map(move |id| (part, id)));
        let ended = entries.filter_map(|(part, id)| {
            let entry = self.entries.get(id).filter(|entry| enforces(entry.order.action))?;
            let (at, by) = entry.ended().filter(|(at, _)| *at >= since)?;
            Some((at, by, part.value.as_str()))
        });
        ended.max_by_key(|(at, ..)| *at)
    }

    /// Earlier times that this subject was acted on since then, one for each verdict. What ended as
    /// a false positive was none.
    #[must_use]
    pub fn repeats(&self, subject: &Subject, since: EventTime, dry_run: bool) -> u32 {
        let earlier: BTreeSet<(&str, u32)> = self
            .entries_on(subject)
            .filter(|entry| enforces(entry.order.action) && entry.order.decided_at >= since)
            .filter(|entry| entry.order.dry_run == dry_run && was_acted_on(entry))
            .filter(|entry| !entry.ended().is_some_and(|(_, by)| by.says_false_positive()))
            .map(|entry| (entry.order.verdict_id.as_str(), entry.order.revision))
            .collect();
        u32::try_from(earlier.len()).unwrap_or(u32::MAX)
    }

    /// The order that had this subject blocked at that time, or a network that holds it.
    #[must_use]
    pub fn blocked_by(&self, subject: &Subject, at: EventTime) -> Option<&str> {
        let held = self.entries_on(subject).chain(self.entries_around(subject));
        held.filter(|entry| had_blocked(entry, at)).map(|entry| entry.order.id.as_str()).next()
    }

    /// What was decided about networks that hold an address or a network: those in the ledger are
    /// few.
    fn entries_around(&self, subject: &Subject) -> impl Iterator<Item = &Entry> {
        let first = Subject { kind: "network".to_owned(), value: String::new() };
        let is_place = matches!(subject.kind.as_str(), "ip" | "network");
        let inside = address::network(&subject.value).filter(|_| is_place);
        self.by_subject
            .range(first..)
            .take_while(move |(known, _)| inside.is_some() && known.kind == "network")
            .filter(move |(known, _)| {
                let net = address::network(&known.value);
                inside.zip(net).is_some_and(|(inside, net)| net.contains(&inside))
            })
            .flat_map(|(_, ids)| ids)
            .filter_map(|id| self.entries.get(id))
    }

    /// How many subjects are acted on. Dry runs count among themselves, so that a dry run shows
    /// what would happen.
    #[must_use]
    pub fn budget_use(&self, rule: &str, now: EventTime, dry_run: bool) -> BudgetUse {
        const MINUTE_MS: i64 = 60_000;
        let counts = |entry: &&Entry| {
            enforces(entry.order.action) && entry.order.dry_run == dry_run && was_acted_on(entry)
        };
        let minute = (now.minus(MINUTE_MS), String::new());
        let recent = self.by_time.range(minute..).filter_map(|(_, id)| self.entries.get(id));
        let (per_minute, rule_per_minute) = subjects(recent.filter(counts), rule);
        let (total, rule_total) = subjects(self.open_entries().filter(counts), rule);
        BudgetUse { per_minute, total, rule_per_minute, rule_total }
    }

    /// Forgets finished orders and closed episodes from before `since`, and the oldest finished
    /// ones above `orders_max`. How many orders went.
    pub fn forget(&mut self, since: EventTime, orders_max: usize) -> usize {
        let mut excess = self.entries.len().saturating_sub(orders_max);
        let mut gone = Vec::new();
        for (decided_at, id) in &self.by_time {
            let old = *decided_at < since;
            if !old && excess == 0 {
                break;
            }
            if !self.open.contains(id) {
                gone.push((*decided_at, id.clone()));
                excess = excess.saturating_sub(1);
            }
        }
        for key in &gone {
            self.remove(key);
        }
        let by_episode = &self.by_episode;
        self.episodes
            .retain(|id, episode| episode.last_taken >= since || by_episode.contains_key(id));
        let open: BTreeSet<&str> =
            self.open_entries().map(|entry| entry.order.verdict_id.as_str()).collect();
        let spare: Vec<String> = self
            .episodes
            .iter()
            .filter(|(id, episode)| episode.is_over() && !open.contains(id.as_str()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in spare {
            if let Some(episode) = self.episodes.get_mut(&id) {
                episode.verdict = None;
            }
        }
        gone.len()
    }

    fn remove(&mut self, key: &(EventTime, String)) {
        self.by_time.remove(key);
        let Some(entry) = self.entries.remove(&key.1) else { return };
        if let Some(subject) = &entry.order.subject {
            remove_from(&mut self.by_subject, subject, &key.1);
        }
        remove_from(&mut self.by_episode, &entry.order.verdict_id, &key.1);
    }

    /// The records that give this state again.
    pub(super) fn snapshot(&self) -> Vec<Record> {
        let episodes = self.episodes.iter().map(|(id, episode)| Record::KeptEpisode {
            id: id.clone(),
            episode: Box::new(episode.clone()),
        });
        let entries = self.entries.values().cloned().map(Box::new).map(Record::KeptOrder);
        episodes.chain(entries).collect()
    }
}

/// Whether the order was in force at that time.
fn had_blocked(entry: &Entry, at: EventTime) -> bool {
    let order = &entry.order;
    let until = match entry.phase {
        Phase::Standing | Phase::Releasing => order.expires_at,
        Phase::Finished(OutcomeState::Released | OutcomeState::Expired) => Some(entry.changed_at),
        Phase::Waiting | Phase::Pending | Phase::Finished(_) => None,
    };
    order.action == Action::Block
        && !order.dry_run
        && order.decided_at <= at
        && until.is_some_and(|until| at < until)
}

/// Whether it was not refused, given up or left waiting.
fn was_acted_on(entry: &Entry) -> bool {
    !matches!(
        entry.phase,
        Phase::Waiting | Phase::Finished(OutcomeState::Refused | OutcomeState::Parked)
    )
}

/// Distinct subjects over all, and of one rule.
fn subjects<'e>(entries: impl Iterator<Item = &'e Entry>, rule: &str) -> (usize, usize) {
    let mut all = BTreeSet::new();
    let mut of_rule = BTreeSet::new();
    for entry in entries {
        all.insert(&entry.order.subject);
        if entry.order.rule == rule {
            of_rule.insert(&entry.order.subject);
        }
    }
    (all.len(), of_rule.len())
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, id: &str) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
