//! Rulesets by their numbers, as a topic gives them.
//!
//! Owns: which are known, and waiting for one. Never: reading the topic; making a ruleset of a text,
//! which whoever sets this up knows.
//!
//! A number is an offset of that topic, so that a greater one is a later one. An owner maps by one
//! ruleset as long as it lives and says by which when it opens; other rules take a new owner. A
//! reducer takes the greatest that an owner has opened with, at that open. So a switch stands in
//! the exchange, and whoever folds it switches at the same place.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engine::ruleset::Ruleset;
use tokio::sync::watch;

/// Makes a ruleset of its record, or says why it cannot.
pub type MakeRuleset = dyn Fn(&[u8]) -> Result<Arc<Ruleset>, String> + Send + Sync;

/// Rulesets kept at most. Older ones are needed only for frames from before as many changes.
const KNOWN_MAX: usize = 64;

/// A ruleset with its number.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// Its number.
    pub number: i64,
    /// The ruleset.
    pub ruleset: Arc<Ruleset>,
}

/// The rulesets that are known. Clones are one.
#[derive(Clone)]
pub struct Rules {
    make: Arc<MakeRuleset>,
    known: watch::Sender<BTreeMap<i64, Entry>>,
    /// The latest that runs here.
    latest: watch::Sender<Numbered>,
}

#[derive(Clone)]
enum Entry {
    Text(Bytes),
    Made(Arc<Ruleset>),
}

/// A ruleset that an owner maps by cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rules number {number}: {why}")]
pub struct RulesError {
    /// Its number.
    pub number: i64,
    /// Why.
    pub why: String,
}

impl fmt::Debug for Rules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rules").field("latest", &self.latest.borrow().number).finish()
    }
}

/// Forgets the oldest where there are too many.
fn trim(known: &mut BTreeMap<i64, Entry>) {
    while known.len() > KNOWN_MAX {
        known.pop_first();
    }
}

impl Rules {
    /// Those that a topic begins with; this one is the latest.
    #[must_use]
    pub fn new(latest: Numbered, make: Arc<MakeRuleset>) -> Self {
        let known = BTreeMap::from([(latest.number, Entry::Made(Arc::clone(&latest.ruleset)))]);
        Self { make, known: watch::Sender::new(known), latest: watch::Sender::new(latest) }
    }

    /// One from before the latest, by its record. It is made when it is asked for.
    pub fn remember(&self, number: i64, record: Bytes) {
        self.known.send_modify(|known| {
            known.entry(number).or_insert(Entry::Text(record));
            trim(known);
        });
    }

    /// Another that is to run from now on. Not one that is older than the latest.
    pub fn publish(&self, next: Numbered) {
        self.known.send_modify(|known| {
            known.insert(next.number, Entry::Made(Arc::clone(&next.ruleset)));
            trim(known);
        });
        self.latest.send_if_modified(|latest| {
            let later = next.number > latest.number;
            if later {
                *latest = next;
            }
            later
        });
    }

    /// The latest.
    #[must_use]
    pub fn latest(&self) -> Numbered {
        self.latest.borrow().clone()
    }

    /// The first that is known and can run.
    pub(super) fn first(&self) -> Numbered {
        let known = self.known.borrow().clone();
        let made = |(number, entry): (&i64, &Entry)| {
            Some(Numbered { number: *number, ruleset: self.made(*number, entry).ok()? })
        };
        known.iter().find_map(made).unwrap_or_else(|| self.latest())
    }

    /// The one of this number, once the topic has brought it.
    pub(super) async fn get(&self, number: i64) -> Result<Numbered, RulesError> {
        let mut known = self.known.subscribe();
        let reached = |known: &BTreeMap<i64, Entry>| {
            known.last_key_value().is_some_and(|(last, _)| *last >= number)
        };
        // The sender lives in `self`.
        let entry = match known.wait_for(reached).await {
            Ok(known) => known.get(&number).cloned(),
            Err(_closed) => None,
        };
        let Some(entry) = entry else {
            let why = "the topic of rules does not hold it any more".to_owned();
            return Err(RulesError { number, why });
        };
        let ruleset = self.made(number, &entry).map_err(|why| RulesError { number, why })?;
        Ok(Numbered { number, ruleset })
    }

    fn made(&self, number: i64, entry: &Entry) -> Result<Arc<Ruleset>, String> {
        match entry {
            Entry::Made(ruleset) => Ok(Arc::clone(ruleset)),
            Entry::Text(record) => {
                let ruleset = (self.make)(record)?;
                self.known.send_modify(|known| {
                    known.insert(number, Entry::Made(Arc::clone(&ruleset)));
                });
                Ok(ruleset)
            }
        }
    }
}
