//! Who callers are.
//!
//! Owns: principals and API keys, each with its time of validity. Never: where they come from, and
//! what they may do.
//!
//! A principal may have several lines; the one that began last and has not ended at the event's
//! time holds. Where all have ended, or none has begun, the principal is known but not active, and
//! nothing but its kind is filled in. A key is found by `token_id`, which is the keyed hash that
//! `ingest` writes (or the token's `jti`); `key_hash` in the file is the same text. Where the log
//! names no principal, the key's owner is looked up instead, for the kind of caller.

mod join;
mod names;
mod parse;

use std::collections::{BTreeMap, HashMap};

use schemas::{Event, EventTime};
use serde::Deserialize;

use crate::facts::Facts;
use crate::track::{Span, Track};
use names::Names;

pub(crate) use join::Kinds;
pub(crate) use parse::{api_key_line, identity_line};

/// What a caller is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    Human,
    /// A program.
    Service,
    /// Nobody in particular.
    Anonymous,
    /// Not known.
    #[default]
    Unknown,
}

impl PrincipalKind {
    const ALL: [Self; 4] = [Self::Human, Self::Service, Self::Anonymous, Self::Unknown];

    fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
            Self::Anonymous => "anonymous",
            Self::Unknown => "unknown",
        }
    }

    /// The fact of a caller of whom only the kind is known.
    fn alone(self) -> u32 {
        match self {
            Self::Human => 0,
            Self::Service => 1,
            Self::Anonymous => 2,
            Self::Unknown => 3,
        }
    }

    /// The fact of a caller of this kind who is not active.
    fn inactive(self) -> u32 {
        self.alone() + 4
    }
}

/// A principal in a span of time: a line of `identities.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// As the log names it.
    pub principal: String,
    /// What it is.
    #[serde(default)]
    pub kind: PrincipalKind,
    /// The tenant it belongs to.
    pub tenant: Option<String>,
    /// Its roles.
    pub roles: Option<Vec<String>>,
    /// Its scopes.
    pub scopes: Option<Vec<String>>,
    /// Whether it may be used; so unless the line says otherwise.
    pub active: Option<bool>,
    /// From when on the line holds; absent: always.
    pub from: Option<EventTime>,
    /// Before when it holds; absent: for ever.
    pub until: Option<EventTime>,
}

/// An API key: a line of `api_keys.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// As `token_id` has it.
    pub key_hash: String,
    /// Whom it was given to.
    pub owner: String,
    /// The tenant of the owner.
    pub tenant: Option<String>,
    /// What was bought; kept, not joined.
    pub plan: Option<String>,
    /// When it was made.
    pub created: Option<EventTime>,
    /// When it ends.
    pub expires: Option<EventTime>,
}

/// All known callers, ready to be joined.
#[derive(Debug, Default)]
pub struct Identities {
    people: Names<Person>,
    keys: Names<Key>,
    /// First the kinds alone, then the inactive kinds, then what lines say, each thing once.
    people_facts: Facts,
    /// The kind in each row of `people_facts`.
    kinds: Vec<PrincipalKind>,
    key_facts: Facts,
}

/// A principal's facts. Nearly all have one line without a beginning or an end.
#[derive(Debug)]
enum Person {
    Always(u32),
    Lines(Box<Track>),
}

#[derive(Debug)]
struct Key {
    fact: u32,
    /// The owner's key in `people`.
    owner: u128,
    from: EventTime,
    until: EventTime,
}

impl Identities {
    /// Of these lines, in the order of the files. Of two lines that begin together, and of two with
    /// one `key_hash`, the later holds.
    #[must_use]
    pub fn new(identities: &[Identity], keys: &[ApiKey]) -> Self {
        let mut known = Self { kinds: PrincipalKind::ALL.repeat(2), ..Self::default() };
        let mut rows: Vec<Event<'_>> = Vec::new();
        rows.extend(PrincipalKind::ALL.map(|kind| of_kind(kind, None)));
        rows.extend(PrincipalKind::ALL.map(|kind| of_kind(kind, Some(false))));
        let mut facts = HashMap::new();
        let mut spans: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for identity in identities {
            let Identity { kind, active, tenant, roles, scopes, .. } = identity;
            let fact = *facts.entry((kind, active, tenant, roles, scopes)).or_insert_with(|| {
                rows.push(identity_row(identity));
                known.kinds.push(*kind);
                number(rows.len() - 1)
            });
            spans.entry(&identity.principal).or_default().push(Span {
                start: identity.from.unwrap_or(EventTime::MIN),
                end: identity.until.unwrap_or(EventTime::MAX),
                fact,
            });
        }
        for (principal, spans) in spans {
            let person = match spans.as_slice() {
                [Span { start: EventTime::MIN, end: EventTime::MAX, fact }] => {
                    Person::Always(*fact)
                }
                _ => Person::Lines(Box::new(Track::new(spans))),
            };
            known.people.insert(principal, person);
        }
        for (place, key) in keys.iter().enumerate() {
            let of_key = Key {
                fact: number(place),
                owner: known.people.key(&key.owner),
                from: key.created.unwrap_or(EventTime::MIN),
                until: key.expires.unwrap_or(EventTime::MAX),
            };
            known.keys.insert(&key.key_hash, of_key);
        }
        known.people_facts = Facts::new(rows);
        known.key_facts = Facts::new(keys.iter().map(key_row));
        known
    }

    /// How many principals are known.
    #[must_use]
    pub fn principals(&self) -> usize {
        self.people.len()
    }

    /// How many API keys are known.
    #[must_use]
    pub fn api_keys(&self) -> usize {
        self.keys.len()
    }

    /// The fact of a principal at a moment; none where it is not known at all.
    fn person(&self, key: u128, moment: EventTime) -> Option<u32> {
        let track = match self.people.get(key)? {
            Person::Always(fact) => return Some(*fact),
            Person::Lines(track) => track,
        };
        if let Some(span) = track.at(moment) {
            return Some(span.fact);
        }
        let near = usize::try_from(track.near(moment)?.fact).ok()?;
        Some(self.kinds.get(near).copied().unwrap_or_default().inactive())
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn of_kind(kind: PrincipalKind, active: Option<bool>) -> Event<'static> {
    Event { principal_kind: Some(kind.name().into()), principal_active: active, ..Event::default() }
}

fn identity_row(identity: &Identity) -> Event<'_> {
    let list = |list: &Option<Vec<String>>| {
        list.as_ref().map(|list| list.iter().map(|text| text.clone().into()).collect())
    };
    Event {
        tenant: identity.tenant.as_deref().map(Into::into),
        roles: list(&identity.roles),
        scopes: list(&identity.scopes),
        ..of_kind(identity.kind, Some(identity.active.unwrap_or(true)))
    }
}

fn key_row(key: &ApiKey) -> Event<'_> {
    Event {
        credential_owner: Some(key.owner.as_str().into()),
        tenant: key.tenant.as_deref().map(Into::into),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
