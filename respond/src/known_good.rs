//! Callers that have shown to be good: successful authenticated requests of the last 24 hours.
//!
//! Owns: counts by subject in hours of event time, who was seen behind an address, and who is under
//! suspicion: what a subject does from the first event of an episode on, until the episode is over,
//! makes nobody known.
//! Never: on disk. Over topics it is taught again at a start by the events of the last day; in one
//! process by those that follow, and until then the budget and the time limit of blocks are what
//! holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemas::{Event, EventTime, Mode, Subject, Verdict, VerdictKind};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Hours that are kept: the running one and the 24 before it.
const HOURS: i64 = 25;

/// Subjects counted in one hour. An entry takes about 24 bytes: 25 hours of 50,000 are 30 MB.
const SUBJECTS_PER_HOUR_MAX: usize = 50_000;

/// Addresses whose callers are told apart, and callers of each. An entry takes about 40 bytes:
/// 20,000 × 16 are 13 MB. More callers than 16 behind one address change no decision.
const ADDRESSES_MAX: usize = 20_000;
const CALLERS_PER_ADDRESS_MAX: usize = 16;

/// Subjects of open episodes. An entry takes about 150 bytes with its episode: 15 MB.
const SUSPECTS_MAX: usize = 100_000;

/// Who is known to be good. Cheap to clone; clones are one.
#[derive(Debug, Clone, Default)]
pub struct KnownGood(Arc<Mutex<Table>>);

/// A successful authenticated request.
#[derive(Debug, Clone, Copy)]
pub struct Success<'a> {
    /// When it happened.
    pub at: EventTime,
    /// From where.
    pub ip: Option<&'a str>,
    /// By whom.
    pub principal: Option<&'a str>,
    /// With which token or key, as its hash.
    pub token: Option<&'a str>,
}

#[derive(Debug, Default)]
struct Table {
    /// Keyed by chance: values come from attackers, and the hash never leaves the process.
    hasher: RandomState,
    /// Newest hour last. Hour → hash of the subject → successes.
    hours: VecDeque<(i64, HashMap<u64, u32>)>,
    /// Hash of the address → callers behind it, with the time each was last seen.
    behind: BTreeMap<u64, Vec<(u64, EventTime)>>,
    /// Hash of a subject → the open episodes that it is the subject of, each with the hour of its
    /// first event.
    suspects: BTreeMap<u64, BTreeMap<String, i64>>,
    /// Successes and suspects that found no room.
    overflowed: u64,
}

impl KnownGood {
    /// How long something counts, in milliseconds.
    pub const SPAN_MS: i64 = HOURS * HOUR_MS;

    /// Nobody is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from an event, where it is a successful authenticated request that reached the
    /// application. Whether it was.
    pub fn saw_event(&self, event: &Event<'_>) -> bool {
        let succeeded = event.status.is_some_and(|status| (200..400).contains(&status));
        let (principal, token) = (event.principal.as_deref(), event.token_id.as_deref());
        let refused_or_open =
            event.blocked_by.is_some() || event.auth_kind.as_deref() == Some("none");
        let Some(at) = event.event_time else { return false };
        if !succeeded || refused_or_open || (principal.is_none() && token.is_none()) {
            return false;
        }
        self.saw(&Success { at, ip: event.client_ip.as_deref(), principal, token });
        true
    }

    /// Learns who is under suspicion, and who no longer is. What the subjects of an episode did
    /// since the hour of its first event counts no more: it was their attack, or may have been. A
    /// rule in shadow has no say.
    pub fn heard(&self, verdict: &Verdict) {
        let mut table = self.table();
        let is_over = matches!(verdict.kind, VerdictKind::Closed | VerdictKind::Merged);
        for (kind, value) in &verdict.subject {
            let Some(value) = value.as_str() else { continue };
            let subject = Subject { kind: kind.clone(), value: value.to_owned() };
            let subject = table.subject_hash(&subject);
            if is_over {
                table.clear(subject, &verdict.id);
            } else if verdict.mode != Mode::Shadow {
                table.suspect(subject, verdict);
            }
        }
    }

    /// Learns a successful authenticated request.
    pub fn saw(&self, success: &Success<'_>) {
        let mut table = self.table();
        let hour = success.at.millis().div_euclid(HOUR_MS);
        if !table.open_hour(hour) {
            return;
        }
        let all = [("ip", success.ip), ("principal", success.principal), ("token", success.token)];
        let known = all.iter().filter_map(|(kind, value)| Some((kind, (*value)?)));
        let subjects: Vec<u64> = known.map(|(kind, value)| table.hash(kind, value)).collect();
        // A stolen account is no better for what the thief does with it. What is learned later than
        // the suspicion, and happened before it, counts.
        if !subjects.iter().any(|subject| table.is_suspect(*subject, hour)) {
            for subject in subjects {
                table.count(hour, subject);
            }
        }
        let caller = success
            .principal
            .map(|value| table.hash("principal", value))
            .or_else(|| success.token.map(|value| table.hash("token", value)));
        if let (Some(ip), Some(caller)) = (success.ip, caller) {
            let address = table.hash("ip", ip);
            table.sat_behind(address, caller, success.at);
        }
    }

    /// Successful authenticated requests of this subject in the last 24 hours of event time.
    #[must_use]
    pub fn successes(&self, subject: &Subject) -> u64 {
        let table = self.table();
        table.successes(table.subject_hash(subject))
    }

    /// Callers with at least `requests_min` successes that used this address within the last hour
    /// of event time.
    #[must_use]
    pub fn callers_behind(&self, subject: &Subject, requests_min: u64) -> usize {
        if subject.kind != "ip" {
            return 0;
        }
        let table = self.table();
        let since = table.newest().saturating_mul(HOUR_MS);
        let since = EventTime(since).minus(HOUR_MS);
        let Some(callers) = table.behind.get(&table.subject_hash(subject)) else { return 0 };
        let good = |caller: &u64| table.successes(*caller) >= requests_min.max(1);
        callers.iter().filter(|(caller, seen)| *seen >= since && good(caller)).count()
    }

    /// Successes and suspects that found no room in the table, since the start.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.table().overflowed
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn hash(&self, kind: &str, value: &str) -> u64 {
        self.hasher.hash_one((kind, value))
    }

    fn subject_hash(&self, subject: &Subject) -> u64 {
        let kind = if subject.kind == "key" { "token" } else { &subject.kind };
        self.hash(kind, &subject.value)
    }

    fn newest(&self) -> i64 {
        self.hours.back().map_or(i64::MIN, |(hour, _)| *hour)
    }

    /// Makes room for an hour; false for one that is too old. An hour far ahead of the others (a
    /// wrong stamp) forgets them, which only makes callers less known.
    fn open_hour(&mut self, hour: i64) -> bool {
        if hour <= self.newest().saturating_sub(HOURS) {
            return false;
        }
        if !self.hours.iter().any(|(known, _)| *known == hour) {
            let place = self.hours.partition_point(|(known, _)| *known < hour);
            self.hours.insert(place, (hour, HashMap::new()));
        }
        let newest = self.newest();
        while self.hours.front().is_some_and(|(hour, _)| *hour <= newest.saturating_sub(HOURS)) {
            self.hours.pop_front();
        }
        true
    }

    fn count(&mut self, hour: i64, subject: u64) {
        let Some((_, counts)) = self.hours.iter_mut().find(|(known, _)| *known == hour) else {
            return;
        };
        if let Some(count) = counts.get_mut(&subject) {
            *count = count.saturating_add(1);
        } else if counts.len() < SUBJECTS_PER_HOUR_MAX {
            counts.insert(subject, 1);
        } else {
            self.overflowed += 1;
        }
    }

    fn suspect(&mut self, subject: u64, verdict: &Verdict) {
        if !self.suspects.contains_key(&subject) && self.suspects.len() >= SUSPECTS_MAX {
            self.overflowed += 1;
            return;
        }
        let since = verdict.first_event.millis().div_euclid(HOUR_MS);
        let episodes = self.suspects.entry(subject).or_default();
        if episodes.insert(verdict.id.clone(), since) != Some(since) {
            for (_, counts) in self.hours.iter_mut().filter(|(hour, _)| *hour >= since) {
                counts.remove(&subject);
            }
        }
    }

    /// Whether what a subject did in an hour may have been an attack.
    fn is_suspect(&self, subject: u64, hour: i64) -> bool {
        let episodes = self.suspects.get(&subject);
        episodes.is_some_and(|episodes| episodes.values().any(|since| *since <= hour))
    }

    fn clear(&mut self, subject: u64, episode: &str) {
        let Some(episodes) = self.suspects.get_mut(&subject) else { return };
        episodes.remove(episode);
        if episodes.is_empty() {
            self.suspects.remove(&subject);
        }
    }

    fn successes(&self, subject: u64) -> u64 {
        self.hours
            .iter()
            .filter_map(|(_, counts)| counts.get(&subject))
            .copied()
            .map(u64::from)
            .sum()
    }

    fn sat_behind(&mut self, address: u64, caller: u64, at: EventTime) {
        if !self.behind.contains_key(&address) && self.behind.len() >= ADDRESSES_MAX {
            let hour_ago = EventTime(self.newest().saturating_mul(HOUR_MS)).minus(HOUR_MS);
            self.behind.retain(|_, callers| callers.iter().any(|(_, seen)| *seen >= hour_ago));
            if self.behind.len() >= ADDRESSES_MAX {
                self.overflowed += 1;
                return;
            }
        }
        let callers = self.behind.entry(address).or_default();
        if let Some((_, seen)) = callers.iter_mut().find(|(known, _)| *known == caller) {
            *seen = (*seen).max(at);
        } else if callers.len() < CALLERS_PER_ADDRESS_MAX {
            callers.push((caller, at));
        } else if let Some(oldest) = callers.iter_mut().min_by_key(|(_, seen)| *seen) {
            *oldest = (caller, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use schemas::{Event, EventTime, Mode, Subject, VerdictKind};

    use super::{HOUR_MS, KnownGood, Success};
    use crate::fixture;

    const START: i64 = 1_800_000_000_000;

    fn subject(kind: &str, value: &str) -> Subject {
        Subject { kind: kind.into(), value: value.into() }
    }

    fn saw(known: &KnownGood, hours: i64, principal: &str, times: u32) {
        for _ in 0..times {
            known.saw(&Success {
                at: EventTime(START + hours * HOUR_MS),
                ip: Some("203.0.113.9"),
                principal: Some(principal),
                token: None,
            });
        }
    }

    #[test]
    fn successes_count_for_24_hours_of_event_time() {
        let known = KnownGood::new();
        saw(&known, 0, "ann", 3);
        saw(&known, 1, "ann", 2);
        assert_eq!(known.successes(&subject("principal", "ann")), 5);
        assert_eq!(known.successes(&subject("ip", "203.0.113.9")), 5);
        assert_eq!(known.successes(&subject("principal", "bob")), 0);
        saw(&known, 25, "bob", 1);
        assert_eq!(known.successes(&subject("principal", "ann")), 2);
        saw(&known, 0, "ann", 1);
        assert_eq!(known.successes(&subject("principal", "ann")), 2, "too old to count");
    }

    #[test]
    fn an_attacker_is_not_known_for_what_the_attack_achieved() {
        let known = KnownGood::new();
        let (nat, ann) = (subject("ip", "203.0.113.9"), subject("principal", "ann"));
        saw(&known, 0, "ann", 3);
        saw(&known, 2, "ann", 40);
        let mut verdict = fixture::verdict("e", 1);
        verdict.first_event = EventTime(START + 2 * HOUR_MS);
        known.heard(&verdict);
        assert_eq!(known.successes(&nat), 3, "what it did before the episode counts");
        saw(&known, 2, "ann", 40);
        assert_eq!(known.successes(&nat), 3);
        assert_eq!(known.successes(&ann), 43, "the thief adds nothing to the account");
        assert_eq!(known.callers_behind(&nat, 3), 1, "and it is still seen behind the address");
        verdict.kind = VerdictKind::Closed;
        known.heard(&verdict);
        saw(&known, 2, "ann", 1);
        assert_eq!((known.successes(&nat), known.successes(&ann)), (4, 44));
    }

    #[test]
    fn after_a_restart_what_was_before_an_open_episode_counts_as_it_did() {
        let known = KnownGood::new();
        let mut verdict = fixture::verdict("e", 1);
        verdict.first_event = EventTime(START + 2 * HOUR_MS);
        // The ledger knows the episode; the events of the last day come after it.
        known.heard(&verdict);
        saw(&known, 0, "ann", 3);
        saw(&known, 2, "ann", 40);
        assert_eq!(known.successes(&subject("ip", "203.0.113.9")), 3);
    }

    #[test]
    fn a_rule_in_shadow_casts_no_suspicion_and_one_of_two_episodes_holds_it() {
        let known = KnownGood::new();
        let nat = subject("ip", "203.0.113.9");
        let mut verdict = fixture::verdict("e", 1);
        verdict.first_event = EventTime(START);
        verdict.mode = Mode::Shadow;
        known.heard(&verdict);
        saw(&known, 0, "ann", 2);
        assert_eq!(known.successes(&nat), 2);
        verdict.mode = Mode::Live;
        known.heard(&verdict);
        verdict.id = "f".into();
        known.heard(&verdict);
        verdict.kind = VerdictKind::Merged;
        known.heard(&verdict);
        saw(&known, 0, "ann", 2);
        assert_eq!(known.successes(&nat), 0);
    }

    #[test]
    fn only_known_good_callers_of_the_last_hour_sit_behind_an_address() {
        let known = KnownGood::new();
        let nat = subject("ip", "203.0.113.9");
        saw(&known, 0, "ann", 3);
        saw(&known, 0, "bob", 3);
        saw(&known, 0, "eve", 1);
        assert_eq!(known.callers_behind(&nat, 3), 2);
        assert_eq!(known.callers_behind(&subject("principal", "ann"), 3), 0);
        saw(&known, 3, "eve", 1);
        assert_eq!(known.callers_behind(&nat, 3), 0);
    }

    #[test]
    fn only_a_successful_authenticated_event_teaches() {
        let known = KnownGood::new();
        let good = Event {
            event_time: Some(EventTime(START)),
            status: Some(200),
            principal: Some(Cow::Borrowed("ann")),
            ..Event::default()
        };
        assert!(known.saw_event(&good));
        let denied = Event { status: Some(403), ..good.clone() };
        let anonymous = Event { principal: None, ..good.clone() };
        let ours = Event { blocked_by: Some(Cow::Borrowed("gateway")), ..good.clone() };
        let open = Event { auth_kind: Some("none".into()), ..good };
        assert_eq!(
            [denied, anonymous, ours, open].map(|event| known.saw_event(&event)),
            [false; 4]
        );
        assert_eq!(known.successes(&subject("principal", "ann")), 1);
    }
}
