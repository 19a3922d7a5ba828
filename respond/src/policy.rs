//! The policy: which verdicts get what.
//!
//! Owns: the lines, how a verdict matches one, and what a line leaves of what the rule asks.
//! Never: raises what a rule asks for; facts about callers, which are [`crate::guard`]'s.

mod file;

use std::path::Path;

use runtime::config::Span;
use runtime::error::{Class, Classified};
use schemas::{Action, Mode, Severity, Verdict};
use serde_json::Value;

use crate::ask::{Ask, enforces};
use crate::guard::{
    BlastLimits, BudgetLimits, KnownGoodLimits, NeverBlock, NeverBlockLists, TtlLimits,
};
use crate::pattern::Pattern;

/// The policy that is in force without a file; also the commented reference.
pub const DEFAULT_POLICY: &str = include_str!("policy/default.yml");

/// What a policy file says, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// First match wins.
    pub lines: Vec<Line>,
    /// What is never acted on, whatever a line says.
    pub never_block: NeverBlock,
    /// Callers known to be good.
    pub known_good: KnownGoodLimits,
    /// How many known-good callers one subject may cover.
    pub blast_radius: BlastLimits,
    /// How much may be blocked.
    pub budget: BudgetLimits,
    /// How long a block may last.
    pub ttl: TtlLimits,
    /// How long an order waits for a person.
    pub approval_expires: Span,
}

/// One line of a policy.
#[derive(Debug, Clone)]
pub struct Line {
    /// For people, in notes and messages.
    pub name: String,
    /// Which verdicts.
    pub when: When,
    /// What they get.
    pub then: Vec<Then>,
    /// Only these targets; none: all that carry the action.
    pub targets: Option<Vec<String>>,
    /// Whether the last call is left out for what acts on a subject.
    pub dry_run: bool,
    /// Only this share of the keys, in percent.
    pub canary_percent: Option<u8>,
    /// Kinds of subject to act on, the first that the verdict has; none: the narrowest.
    pub scope: Option<Vec<String>>,
}

/// What a line grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// All that the rule asks for.
    Asked,
    /// This, as far as the rule asks for it or for more.
    Ask(Ask),
}

/// The conditions of a line; all must hold, and an absent one holds.
#[derive(Debug, Clone, Default)]
pub struct When {
    /// One of these severities.
    pub severity: Option<Vec<Severity>>,
    /// A rule id that fits one of these.
    pub rule: Option<Vec<Pattern>>,
    /// A subject of one of these kinds.
    pub subject: Option<Vec<String>>,
    /// A service that fits one of these.
    pub service: Option<Vec<Pattern>>,
    /// The key or value `environment` fits one of these.
    pub environment: Option<Vec<Pattern>>,
    /// One of these modes.
    pub mode: Option<Vec<Mode>>,
    /// The deploy was at most so old at the first event.
    pub deploy_age_max: Option<Span>,
    /// The deploy was at least so old at the first event.
    pub deploy_age_min: Option<Span>,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}; set `respond.policy` to a readable file")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file says something that is no policy.
    #[error("{path}:{line}:{column}: {message}")]
    Text {
        /// The file.
        path: String,
        /// From 1; 0 when the place is not known.
        line: u64,
        /// From 1; 0 when the place is not known.
        column: u64,
        /// What is wrong and what to do.
        message: String,
    },
    /// The file is in order as text, but a value is not.
    #[error("{path}: {message}")]
    Value {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl Classified for PolicyError {
    fn class(&self) -> Class {
        Class::Input
    }
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or a value that makes no sense.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::Read { path: name.clone(), source })?;
        Self::parse(&text, &name)
    }

    /// Reads the text of a policy; `path` is for messages.
    ///
    /// # Errors
    /// When the text has an unknown key, or a value that makes no sense.
    pub fn parse(text: &str, path: &str) -> Result<Self, PolicyError> {
        file::parse(text, path)
    }

    /// The policy that comes with the program.
    ///
    /// # Errors
    /// Never in a released program: a test reads it.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::parse(DEFAULT_POLICY, "the built-in policy")
    }

    /// The first line that the verdict matches.
    #[must_use]
    pub fn line_for(&self, verdict: &Verdict) -> Option<&Line> {
        self.lines.iter().find(|line| line.when.holds(verdict))
    }

    /// The policy with further addresses that are never acted on, such as gateways.
    #[must_use]
    pub fn protecting(mut self, lists: NeverBlockLists) -> Self {
        self.never_block = self.never_block.with(lists);
        self
    }
}

/// What a line leaves of what a rule asks, and what it left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) asks: Vec<Ask>,
    pub(crate) lowered: Vec<String>,
}

impl Line {
    /// What the line grants of `asked`: each ask lowered to the strongest thing that the line
    /// offers and the ask allows, one of each action.
    pub(crate) fn grant(&self, asked: &[Ask]) -> Granted {
        let mut granted = Granted::default();
        for ask in asked {
            let lowered = self.then.iter().filter_map(|then| then.within(*ask));
            let lowered = lowered.max_by_key(|ask| (ask.action, ask.ttl));
            let Some(lowered) = lowered.filter(|ask| ask.action != Action::Observe) else {
                granted.lowered.push(format!("policy line `{}` drops `{ask}`", self.name));
                continue;
            };
            if lowered != *ask {
                let name = &self.name;
                granted.lowered.push(format!("policy line `{name}` lowers `{ask}` to `{lowered}`"));
            }
            granted.add(lowered);
        }
        granted
    }
}

impl Then {
    /// What this offers to somebody who asks for `ask`; none where it is more than that.
    fn within(self, ask: Ask) -> Option<Ask> {
        let offered = match self {
            Self::Asked => return Some(ask),
            Self::Ask(offered) if ask.allows(offered.action) => offered,
            Self::Ask(_) => return None,
        };
        let ttl = match (offered.ttl, ask.ttl) {
            _ if !enforces(offered.action) => None,
            (Some(offered), Some(asked)) => Some(offered.min(asked)),
            (offered, asked) => offered.or(asked),
        };
        Some(Ask { ttl, ..offered })
    }
}

impl Granted {
    fn add(&mut self, ask: Ask) {
        if !self.asks.iter().any(|known| known.action == ask.action) {
            self.asks.push(ask);
        }
    }
}

impl When {
    /// Whether all conditions hold. A condition on what the verdict does not say does not.
    #[must_use]
    pub fn holds(&self, verdict: &Verdict) -> bool {
        one_of(self.severity.as_deref(), &verdict.severity)
            && one_of(self.mode.as_deref(), &verdict.mode)
            && fits(self.rule.as_deref(), &[&verdict.rule])
            && fits(self.service.as_deref(), &texts(&verdict.service))
            && fits(self.environment.as_deref(), &environment(verdict))
            && self.subject_holds(verdict)
            && self.deploy_holds(verdict)
    }

    fn subject_holds(&self, verdict: &Verdict) -> bool {
        let Some(kinds) = &self.subject else { return true };
        kinds.iter().any(|kind| verdict.subject.contains_key(kind))
    }

    fn deploy_holds(&self, verdict: &Verdict) -> bool {
        if self.deploy_age_max.is_none() && self.deploy_age_min.is_none() {
            return true;
        }
        let age_s = verdict.deploy.as_ref().and_then(|deploy| deploy.age_s);
        let Some(age_ms) = age_s.map(|seconds| seconds.saturating_mul(1_000)) else { return false };
        self.deploy_age_max.is_none_or(|max| age_ms <= max.as_ms_i64())
            && self.deploy_age_min.is_none_or(|min| age_ms >= min.as_ms_i64())
    }
}

fn one_of<T: PartialEq>(allowed: Option<&[T]>, found: &T) -> bool {
    allowed.is_none_or(|allowed| allowed.contains(found))
}

fn fits(patterns: Option<&[Pattern]>, found: &[&str]) -> bool {
    let Some(patterns) = patterns else { return true };
    found.iter().any(|text| patterns.iter().any(|pattern| pattern.matches(text)))
}

fn texts(found: &[String]) -> Vec<&str> {
    found.iter().map(String::as_str).collect()
}

fn environment(verdict: &Verdict) -> Vec<&str> {
    [&verdict.key, &verdict.values]
        .into_iter()
        .filter_map(|map| map.get("environment").and_then(Value::as_str))
        .collect()
}

#[cfg(test)]
mod tests;
