//! Callers joined to a batch.
//!
//! Owns: `principal_kind` and what follows from the caller. Never: who holds when; tracks say.

use arrow::error::ArrowError;
use schemas::EventTime;

use super::{Identities, Key, PrincipalKind};
use crate::columns::{Columns, Seen};
use crate::facts::{Facts, Picks};
use crate::missing::{Lack, Missing};

/// Facts of callers of whom only the kind is known, for when there is no table.
#[derive(Debug)]
pub(crate) struct Kinds(Facts);

impl Default for Kinds {
    fn default() -> Self {
        Self(Facts::new(PrincipalKind::ALL.map(|kind| super::of_kind(kind, None))))
    }
}

/// Callers whose hashes are made before they are looked up.
const AHEAD: usize = 32;

impl Identities {
    /// Fills the columns of the caller behind each event.
    pub(crate) fn join(
        &self,
        kinds: &Kinds,
        seen: &Seen,
        columns: &mut Columns,
        missing: &mut Missing,
    ) -> Result<(), ArrowError> {
        let mut people = Picks::with_capacity(seen.rows);
        let known = !self.people.is_empty() || !self.keys.is_empty();
        if !known {
            for row in 0..seen.rows {
                people.push(Some(stranger(seen, row)));
            }
            return kinds.0.fill(people, columns);
        }
        let mut keys = Picks::with_capacity(seen.rows);
        for first in (0..seen.rows).step_by(AHEAD) {
            // A few hashes first, so that the reaches into the table overlap.
            let mut principals = [None; AHEAD];
            for (principal, row) in principals.iter_mut().zip(first..seen.rows) {
                *principal = seen.principal.get(row).map(|name| self.people.key(name));
            }
            for (principal, row) in principals.into_iter().zip(first..seen.rows) {
                let token = seen.token_id.get(row).filter(|_| !self.keys.is_empty());
                let key = token.and_then(|token| self.keys.get(self.keys.key(token)));
                keys.push(key.map(|key| key.fact));
                let (person, found) = self.caller(seen, row, principal, key);
                people.push(Some(person));
                if !found {
                    missing.note(row, Lack::Identity);
                }
            }
        }
        // The key's own tenant says more than its owner's.
        self.key_facts.fill(keys, columns)?;
        self.people_facts.fill(people, columns)
    }

    /// The fact of a caller, and whether everything that could be looked up was found.
    fn caller(
        &self,
        seen: &Seen,
        row: usize,
        principal: Option<u128>,
        key: Option<&Key>,
    ) -> (u32, bool) {
        let moment = seen.event_time.get(row).unwrap_or(EventTime::MIN);
        if let Some(principal) = principal {
            let person = self.person(principal, moment);
            let found = person.is_some() || self.people.is_empty();
            return (person.unwrap_or_else(|| stranger(seen, row)), found);
        }
        match key {
            Some(key) if moment < key.from || key.until <= moment => {
                (PrincipalKind::Unknown.inactive(), true)
            }
            Some(key) => {
                let owner = self.person(key.owner, moment);
                (owner.unwrap_or(PrincipalKind::Unknown.alone()), true)
            }
            None => {
                let by_key = seen.auth_kind.get(row) == Some("api_key");
                let looked_up = by_key && seen.token_id.get(row).is_some();
                (stranger(seen, row), !looked_up || self.keys.is_empty())
            }
        }
    }
}

/// A caller of whom no table knows. A token that was issued to the caller itself is a program's, as
/// OAuth's client credentials are. Without a principal and without credentials a caller is
/// anonymous; `unknown` credentials are not none.
fn stranger(seen: &Seen, row: usize) -> u32 {
    let principal = seen.principal.get(row);
    if principal.is_some() && principal == seen.oauth_client.get(row) {
        PrincipalKind::Service.alone()
    } else if principal.is_none() && seen.auth_kind.get(row) == Some("none") {
        PrincipalKind::Anonymous.alone()
    } else {
        PrincipalKind::Unknown.alone()
    }
}
