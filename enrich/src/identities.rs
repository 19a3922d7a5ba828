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
mod parse;

use std::collections::{BTreeMap, HashMap};

use schemas::{Event, EventTime};
use serde::Deserialize;

use crate::facts::Facts;
use crate::track::{Span, Track};

pub(crate) use join::Kinds;
pub(crate) use parse::{api_key_line, identity_line};

/// What a caller is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
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
    people: HashMap<Box<str>, Person>,
    keys: HashMap<Box<str>, Key>,
    /// First the kinds alone, then the inactive kinds, then the lines.
    people_facts: Facts,
    key_facts: Facts,
}

#[derive(Debug)]
struct Person {
    track: Track,
    /// The kind of each line, by its fact.
    kinds: Vec<(u32, PrincipalKind)>,
}

#[derive(Debug)]
struct Key {
    fact: u32,
    owner: Box<str>,
    from: EventTime,
    until: EventTime,
}

impl Identities {
    /// Of these lines, in the order of the files. Of two lines that begin together, and of two with
    /// one `key_hash`, the later holds.
    #[must_use]
    pub fn new(identities: &[Identity], keys: &[ApiKey]) -> Self {
        let mut rows: Vec<Event<'_>> = Vec::with_capacity(identities.len() + 8);
        rows.extend(PrincipalKind::ALL.map(|kind| of_kind(kind, None)));
        rows.extend(PrincipalKind::ALL.map(|kind| of_kind(kind, Some(false))));
        let mut spans: BTreeMap<&str, Vec<(Span, PrincipalKind)>> = BTreeMap::new();
        for identity in identities {
            let span = Span {
                start: identity.from.unwrap_or(EventTime::MIN),
                end: identity.until.unwrap_or(EventTime::MAX),
                fact: number(rows.len()),
            };
            spans.entry(&identity.principal).or_default().push((span, identity.kind));
            rows.push(identity_row(identity));
        }
        let people = spans.into_iter().map(|(principal, spans)| {
            let kinds = spans.iter().map(|(span, kind)| (span.fact, *kind)).collect();
            let track = Track::new(spans.into_iter().map(|(span, _)| span).collect());
            (principal.into(), Person { track, kinds })
        });
        let key = |(place, key): (usize, &ApiKey)| {
            let (from, until) = (key.created, key.expires);
            let known = Key {
                fact: number(place),
                owner: key.owner.as_str().into(),
                from: from.unwrap_or(EventTime::MIN),
                until: until.unwrap_or(EventTime::MAX),
            };
            (key.key_hash.as_str().into(), known)
        };
        Self {
            people: people.collect(),
            keys: keys.iter().enumerate().map(key).collect(),
            people_facts: Facts::new(rows),
            key_facts: Facts::new(keys.iter().map(key_row)),
        }
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
    fn person(&self, principal: &str, moment: EventTime) -> Option<u32> {
        let Person { track, kinds } = self.people.get(principal)?;
        if let Some(span) = track.at(moment) {
            return Some(span.fact);
        }
        let near = track.near(moment)?;
        let kind = kinds.iter().find(|(fact, _)| *fact == near.fact);
        Some(kind.map_or(PrincipalKind::Unknown, |(_, kind)| *kind).inactive())
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
