//! The rules that run together.
//!
//! Owns: what map and reduce need to know of each rule, worked out once. Never: planning SQL.

mod index;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};

use crate::key::HashKey;
use crate::plan::{CompiledRule, Panes, Possible, Program, Query, State};
use crate::window::{Link, WindowError, Windows};
use index::Index;
pub(crate) use index::{Atoms, Unit, Wanted};

/// A rule that cannot run, although it compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesetError {
    /// Its window and slide do not fit.
    #[error("rule `{rule}`")]
    Window {
        /// Rule id.
        rule: String,
        /// What is wrong with them.
        source: WindowError,
    },
    /// State and program do not go together, or a key is no column of the answer.
    #[error("rule `{rule}`: {what}; this is a mistake of the planner")]
    Inconsistent {
        /// Rule id.
        rule: String,
        /// What does not fit.
        what: String,
    },
    /// Two rules of one id.
    #[error("rule `{rule}` is there twice")]
    Twice {
        /// Rule id.
        rule: String,
    },
}

/// A rule with what map and reduce look up for every batch.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) rule: CompiledRule,
    pub(crate) id: Arc<str>,
    /// Hash of what makes its episodes comparable, and of whose key finds its state. Episodes are
    /// named without the latter.
    pub(crate) version: Arc<str>,
    pub(crate) windows: Option<Windows>,
    pub(crate) link: Link,
    /// Places of the key in the answer.
    pub(crate) keys_out: Vec<usize>,
    /// Places of the values in the answer.
    pub(crate) values_out: Vec<usize>,
    /// Places of the key in retained rows, where it is made of plain columns.
    pub(crate) keys_in: Option<Vec<usize>>,
    /// Whether rows of different keys may be judged apart.
    pub(crate) spreads: bool,
    /// Whether HAVING stays true once it is, for each key alone.
    pub(crate) monotone: bool,
    /// Whether the answer depends on the window's bounds and not only on its rows.
    pub(crate) reads_window: bool,
}

/// Rules, ready to run.
#[derive(Debug)]
pub struct Ruleset {
    rules: Vec<Arc<Prepared>>,
    by_name: HashMap<(Arc<str>, Arc<str>), usize>,
    index: Index,
    hash_key: HashKey,
}

impl Ruleset {
    /// The rules whose mode is not `off`, in the order given.
    ///
    /// # Errors
    /// Where two have one id, or the planner contradicts itself.
    pub fn new(rules: Vec<CompiledRule>) -> Result<Self, RulesetError> {
        Self::with_hash_key(rules, HashKey::PUBLISHED)
    }

    /// As [`Ruleset::new`], with an installation's own key for the hash of rule keys.
    ///
    /// # Errors
    /// As [`Ruleset::new`].
    pub fn with_hash_key(
        rules: Vec<CompiledRule>,
        hash_key: HashKey,
    ) -> Result<Self, RulesetError> {
        let (by_name, index) = (HashMap::new(), Index::default());
        let mut set = Self { rules: Vec::new(), by_name, index, hash_key };
        for mut rule in rules {
            if rule.rule.mode == schemas::Mode::Off {
                continue;
            }
            if set.rules.iter().any(|known| known.rule.id() == rule.id()) {
                return Err(RulesetError::Twice { rule: rule.id().to_owned() });
            }
            rule.unit = hash_key.own(&rule.unit);
            let mut prepared = Prepared::new(rule)?;
            prepared.version = Arc::from(hash_key.own(&prepared.version));
            let name = (Arc::clone(&prepared.id), Arc::clone(&prepared.version));
            set.by_name.insert(name, set.rules.len());
            set.rules.push(Arc::new(prepared));
        }
        set.index = Index::of(&set.rules);
        Ok(set)
    }

    /// How many run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that run, in order.
    pub fn rules(&self) -> impl Iterator<Item = &CompiledRule> {
        self.rules.iter().map(|prepared| &prepared.rule)
    }

    /// The longest window of any rule and its re-arm gap, in milliseconds: how far back a log must
    /// be read to rebuild what is open.
    #[must_use]
    pub fn memory_ms(&self) -> i64 {
        let span = |rule: &Arc<Prepared>| rule.link.over_at(0);
        self.rules.iter().map(span).max().unwrap_or(0)
    }

    pub(crate) fn prepared(&self) -> &[Arc<Prepared>] {
        &self.rules
    }

    /// The place of the rule with this id and episode version.
    pub(crate) fn find(&self, id: &Arc<str>, version: &Arc<str>) -> Option<usize> {
        self.by_name.get(&(Arc::clone(id), Arc::clone(version))).copied()
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// What keys of rules are hashed under.
    #[must_use]
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }
}

impl Prepared {
    fn new(rule: CompiledRule) -> Result<Self, RulesetError> {
        let id: Arc<str> = Arc::from(rule.id());
        let inconsistent =
            |what: &str| RulesetError::Inconsistent { rule: id.to_string(), what: what.to_owned() };
        let windows = rule
            .window
            .map(Windows::try_from)
            .transpose()
            .map_err(|source| RulesetError::Window { rule: id.to_string(), source })?;
        let fits = match (&rule.program, rule.state) {
            (Program::None(_), State::None) => windows.is_none(),
            (Program::Rows(_), State::Rows) | (Program::Panes(..), State::Panes) => {
                windows.is_some()
            }
            _ => false,
        };
        if !fits {
            return Err(inconsistent("state, program and window do not go together"));
        }
        let link = match windows {
            Some(windows) => Link::Windows { windows, rearm_ms: rule.rearm_ms },
            None => Link::Events { rearm_ms: rule.rearm_ms },
        };
        let out = |names: &[String]| places(&rule.output, names.iter().map(String::as_str));
        let keys_out = out(&rule.keys).ok_or_else(|| inconsistent("a key is not in its answer"))?;
        let values_out =
            out(&rule.values).ok_or_else(|| inconsistent("a value is not in its answer"))?;
        let keys_in = match &rule.key_columns {
            Some(fields) => {
                let found = places(&rule.input, fields.iter().map(|field| field.name()));
                let found = found.ok_or_else(|| inconsistent("a key column is not retained"))?;
                Some(found).filter(|found| same_bytes(&rule, found, &keys_out))
            }
            None => None,
        };
        // One aggregate by key over plain columns: each key is judged by its own rows.
        let by_key = rule.by_key && keys_in.is_some();
        if keys_in.is_none() && rule.learns() {
            return Err(inconsistent("what is usual needs a key of plain columns"));
        }
        // Groups are found by the key that rows carry.
        let rule = if keys_in.is_some() { rule } else { rule.into_rows() };
        let monotone = by_key && rule.early == Some(Possible::Yes);
        let sql = rule.rule.sql.to_ascii_lowercase();
        Ok(Self {
            version: Arc::from(rule.episode_version.as_str()),
            // What is remembered of the past is in one place.
            spreads: (by_key || rule.state == State::None) && rule.past.is_none(),
            reads_window: sql.contains("window_start") || sql.contains("window_end"),
            id,
            windows,
            link,
            keys_out,
            values_out,
            keys_in,
            monotone,
            rule,
        })
    }

    /// The folds of a rule with state in panes.
    pub(crate) fn folded(&self) -> Option<&Panes> {
        match &self.rule.program {
            Program::Panes(panes, _) => Some(panes),
            Program::None(_) | Program::Rows(_) => None,
        }
    }

    /// The windows and the query of a rule over rows.
    pub(crate) fn query(&self) -> Option<(Windows, &Query)> {
        match (&self.rule.program, self.windows) {
            (Program::Rows(query) | Program::Panes(_, query), Some(windows)) => {
                Some((windows, query))
            }
            _ => None,
        }
    }
}

/// Whether a key has the same canonical bytes in a retained row and in the answer: a query may
/// cast what it groups by, and then rows cannot be found by key.
fn same_bytes(rule: &CompiledRule, keys_in: &[usize], keys_out: &[usize]) -> bool {
    let kind = |schema: &Schema, place: &usize| {
        let data_type = schema.fields().get(*place).map(|field| field.data_type().clone())?;
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            whole if whole.is_integer() => DataType::Int64,
            other => other,
        })
    };
    let pairs = keys_in.iter().zip(keys_out);
    pairs.into_iter().all(|(row, out)| kind(&rule.input, row) == kind(&rule.output, out))
}

fn places<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> Option<Vec<usize>> {
    names.map(|name| schema.index_of(name).ok()).collect()
}
