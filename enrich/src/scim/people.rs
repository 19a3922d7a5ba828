//! Users and groups as identities.
//!
//! Owns: which attributes mean what to us, and since when. Never: HTTP.
//!
//! `active` → whether the principal is active; `roles` and the names of groups → `roles`;
//! `entitlements` → `scopes`; `organization` of the enterprise extension → `tenant`; a `userType`
//! of `service`, `bot` or `application` → kind `service`, else `human`.
//!
//! What is known at the first pull holds for all time before it. A change holds from
//! `meta.lastModified` of the user, where that moved, else from the pull that brought it; what was
//! known before holds until then. Who is deleted is known and not active from then on.

use std::collections::{BTreeMap, BTreeSet};

use schemas::EventTime;
use serde_json::Value;

use super::ScimPrincipal;
use crate::identities::{Identity, PrincipalKind};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Earlier lines kept of a person.
const PAST_MAX: usize = 8;

/// All that a directory told.
#[derive(Debug)]
pub(super) struct People {
    principal: ScimPrincipal,
    tenant: Option<String>,
    users: BTreeMap<String, Value>,
    groups: BTreeMap<String, Group>,
    /// By id of the user.
    persons: BTreeMap<String, Person>,
}

#[derive(Debug)]
struct Group {
    name: String,
    members: Vec<String>,
    modified: Option<EventTime>,
}

#[derive(Debug)]
struct Person {
    /// What holds now; `until` is set once the user is gone.
    line: Identity,
    past: Vec<Identity>,
    modified: Option<EventTime>,
}

impl People {
    pub(super) fn new(principal: ScimPrincipal, tenant: Option<String>) -> Self {
        Self {
            principal,
            tenant,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            persons: BTreeMap::new(),
        }
    }

    /// How many users are known.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// The latest change that is known of.
    pub(super) fn newest(&self) -> Option<EventTime> {
        let users = self.users.values().filter_map(modified);
        users.chain(self.groups.values().filter_map(|group| group.modified)).max()
    }

    /// Takes these as all there are. Whether anything changed.
    pub(super) fn replace(&mut self, users: &[Value], groups: &[Value], now: EventTime) -> bool {
        self.users.clear();
        self.groups.clear();
        self.change(users, groups, now)
    }

    /// Takes these beside what is known. Whether anything changed.
    pub(super) fn change(&mut self, users: &[Value], groups: &[Value], now: EventTime) -> bool {
        for user in users {
            if let Some(id) = text(user, "/id") {
                self.users.insert(id.to_owned(), user.clone());
            }
        }
        for group in groups {
            let (Some(id), Some(name)) = (text(group, "/id"), text(group, "/displayName")) else {
                continue;
            };
            let members = list(group, "members").filter_map(|member| text(member, "/value"));
            let group = Group {
                name: name.to_owned(),
                members: members.map(str::to_owned).collect(),
                modified: modified(group),
            };
            self.groups.insert(id.to_owned(), group);
        }
        self.settle(now)
    }

    /// The lines of all persons, earlier ones first.
    pub(super) fn lines(&self) -> Vec<Identity> {
        let of = |person: &Person| {
            let past = person.past.iter().cloned();
            past.chain([person.line.clone()]).collect::<Vec<_>>()
        };
        self.persons.values().flat_map(of).collect()
    }

    fn settle(&mut self, now: EventTime) -> bool {
        let mut groups_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for group in self.groups.values() {
            for member in &group.members {
                groups_of.entry(member).or_default().insert(&group.name);
            }
        }
        let mut changed = false;
        for (id, user) in &self.users {
            let groups = groups_of.get(id.as_str());
            let Some(line) = self.line(user, groups) else { continue };
            let modified = modified(user);
            match self.persons.get_mut(id) {
                None => {
                    let person = Person { line, past: Vec::new(), modified };
                    self.persons.insert(id.clone(), person);
                    changed = true;
                }
                Some(person) => changed |= person.take(line, modified, now),
            }
        }
        for (id, person) in &mut self.persons {
            if !self.users.contains_key(id) && person.line.until.is_none() {
                person.line.until = Some(after(&person.line, now));
                changed = true;
            }
        }
        changed
    }

    /// What a user is now; none where nothing names it.
    fn line(&self, user: &Value, groups: Option<&BTreeSet<&str>>) -> Option<Identity> {
        let principal = match self.principal {
            ScimPrincipal::UserName => text(user, "/userName"),
            ScimPrincipal::Id => text(user, "/id"),
            ScimPrincipal::ExternalId => text(user, "/externalId"),
            ScimPrincipal::Email => list(user, "emails")
                .find(|email| email.get("primary") == Some(&Value::Bool(true)))
                .or_else(|| list(user, "emails").next())
                .and_then(value),
        }?;
        let mut roles: BTreeSet<&str> = list(user, "roles").filter_map(value).collect();
        roles.extend(groups.into_iter().flatten());
        let scopes: BTreeSet<&str> = list(user, "entitlements").filter_map(value).collect();
        let organization = user.get(ENTERPRISE).and_then(|more| text(more, "/organization"));
        let program = text(user, "/userType").map(str::to_ascii_lowercase);
        let program = program.is_some_and(|kind| {
            matches!(kind.as_str(), "service" | "bot" | "application" | "service account")
        });
        let owned = |texts: BTreeSet<&str>| {
            (!texts.is_empty()).then(|| texts.into_iter().map(str::to_owned).collect())
        };
        Some(Identity {
            principal: principal.to_owned(),
            kind: if program { PrincipalKind::Service } else { PrincipalKind::Human },
            tenant: organization.map(str::to_owned).or_else(|| self.tenant.clone()),
            roles: owned(roles),
            scopes: owned(scopes),
            active: Some(active(user)),
            from: None,
            until: None,
        })
    }
}

impl Person {
    /// What holds from now on. Whether that is something else.
    fn take(&mut self, line: Identity, modified: Option<EventTime>, now: EventTime) -> bool {
        let bare = Identity { from: None, until: None, ..self.line.clone() };
        let back = self.line.until.is_some();
        if bare == line && !back {
            self.modified = modified;
            return false;
        }
        let told = modified.filter(|_| modified > self.modified).unwrap_or(now);
        let when = after(&self.line, told.min(now));
        self.modified = modified;
        let mut old = std::mem::replace(&mut self.line, Identity { from: Some(when), ..line });
        old.until = Some(old.until.map_or(when, |until| until.min(when)));
        self.past.push(old);
        if self.past.len() > PAST_MAX {
            self.past.remove(0);
        }
        true
    }
}

/// A moment, but after the line has begun.
fn after(line: &Identity, moment: EventTime) -> EventTime {
    line.from.map_or(moment, |from| moment.max(EventTime(from.millis().saturating_add(1))))
}

/// Absent is active. Some directories write the flag as a text.
fn active(user: &Value) -> bool {
    match user.get("active") {
        Some(Value::Bool(active)) => *active,
        Some(Value::String(active)) => !active.eq_ignore_ascii_case("false"),
        _ => true,
    }
}

fn modified(resource: &Value) -> Option<EventTime> {
    text(resource, "/meta/lastModified")?.parse().ok()
}

fn text<'v>(resource: &'v Value, place: &str) -> Option<&'v str> {
    resource.pointer(place)?.as_str().filter(|text| !text.is_empty())
}

fn list<'v>(resource: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    resource.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// `{"value": "x"}`, or `"x"` alone.
fn value(item: &Value) -> Option<&str> {
    item.as_str().or_else(|| text(item, "/value"))
}
