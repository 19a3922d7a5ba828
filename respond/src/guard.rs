//! Guardrails: what keeps a block from running away.
//!
//! Owns: each guardrail as a pure function of its limits and the facts, and the reason it gives.
//! Never: gathers the facts; decides which of several rulings wins, which the module `decide` does.

mod never_block;

use runtime::config::Span;
use schemas::EventTime;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use never_block::{NeverBlock, NeverBlockError, NeverBlockLists, never_block};

/// What a guardrail says about one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing against it.
    Pass,
    /// Not at all.
    Refuse(String),
    /// Only when a person agrees.
    Approve(String),
    /// A ticket instead.
    Ticket(String),
}

/// What comes in the place of an order that would hit the wrong ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instead {
    /// The order waits for a person.
    Approve,
    /// A ticket.
    Ticket,
}

impl Instead {
    fn ruling(self, reason: String) -> Ruling {
        match self {
            Self::Approve => Ruling::Approve(reason),
            Self::Ticket => Ruling::Ticket(reason),
        }
    }
}

/// When a subject is known to be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownGoodLimits {
    /// Successful authenticated requests in the last 24 hours; 0 switches the guardrail off.
    pub requests: u64,
    /// What comes instead.
    pub then: Instead,
}

impl Default for KnownGoodLimits {
    fn default() -> Self {
        Self { requests: 50, then: Instead::Approve }
    }
}

/// How many known-good callers one subject may cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlastLimits {
    /// From so many on; 0 switches the guardrail off.
    pub callers: usize,
    /// What comes instead.
    pub then: Instead,
}

impl Default for BlastLimits {
    fn default() -> Self {
        Self { callers: 3, then: Instead::Approve }
    }
}

/// How many subjects may be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Within a minute, by all rules.
    pub per_minute: usize,
    /// At a time, by all rules.
    pub total: usize,
    /// Within a minute, by one rule.
    pub rule_per_minute: usize,
    /// At a time, by one rule.
    pub rule_total: usize,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self { per_minute: 30, total: 1_000, rule_per_minute: 15, rule_total: 500 }
    }
}

/// How many subjects are acted on now, as [`BudgetLimits`] counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `BudgetLimits`")]
pub struct BudgetUse {
    pub per_minute: usize,
    pub total: usize,
    pub rule_per_minute: usize,
    pub rule_total: usize,
}

/// How long a block lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlLimits {
    /// Where neither rule nor policy says.
    pub default: Span,
    /// Never longer.
    pub max: Span,
    /// On each repetition so many times as long.
    pub factor: u32,
    /// What counts as a repetition.
    pub within: Span,
}

impl Default for TtlLimits {
    fn default() -> Self {
        Self {
            default: Span::from_secs(30 * 60),
            max: Span::from_secs(24 * 60 * 60),
            factor: 4,
            within: Span::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// A subject that is known to be good is not acted on by a machine alone.
#[must_use]
pub fn known_good(limits: KnownGoodLimits, successes: u64) -> Ruling {
    if limits.requests == 0 || successes < limits.requests {
        return Ruling::Pass;
    }
    limits.then.ruling(format!(
        "{successes} successful authenticated requests in the last 24 hours, \
         from {} on a person decides",
        limits.requests
    ))
}

/// A subject behind which several known-good callers sit is not acted on by a machine alone.
#[must_use]
pub fn blast_radius(limits: BlastLimits, callers: usize) -> Ruling {
    if limits.callers == 0 || callers < limits.callers {
        return Ruling::Pass;
    }
    limits.then.ruling(format!(
        "{callers} known-good callers used it in the last hour, the limit is {}",
        limits.callers
    ))
}

/// A subject behind which all callers of an input sit is not acted on by a machine alone: `told` says
/// why it is one, see [`crate::HiddenCallers`].
#[must_use]
pub fn hidden_callers(told: Option<String>) -> Ruling {
    told.map_or(Ruling::Pass, Ruling::Approve)
}

/// What somebody ended is not begun again for what had happened by then: `ended` says when that was,
/// by whom and why, and on what it was.
#[must_use]
pub fn released(ended: Option<(EventTime, String, String)>, last_event: EventTime) -> Ruling {
    match ended {
        Some((at, by, on)) if last_event <= at => Ruling::Refuse(format!(
            "an order on {on} was ended {by}, at {at}; the last event here, at {last_event}, is \
             from before"
        )),
        Some(_) | None => Ruling::Pass,
    }
}

/// A network of which somebody ended what was done about a part is not acted on by a machine alone:
/// `ended` says when that was, by whom and why, and which part.
#[must_use]
pub fn released_inside(ended: Option<(EventTime, String, String)>) -> Ruling {
    match ended {
        Some((at, by, part)) => Ruling::Approve(format!(
            "an order on {part}, which is in it, was ended {by}, at {at}: a person decides"
        )),
        None => Ruling::Pass,
    }
}

/// What would be over by now, had it begun at its last event, is not begun: an old log blocks nobody.
#[must_use]
pub fn over(last_event: EventTime, lasts: Span, now: EventTime) -> Ruling {
    if last_event.plus(lasts.as_ms_i64()) > now {
        return Ruling::Pass;
    }
    Ruling::Refuse(format!(
        "its time was over before it could be enforced: {lasts} from the last event, at {last_event}"
    ))
}

/// Above the budget a person decides.
#[must_use]
pub fn budget(limits: BudgetLimits, used: BudgetUse) -> Ruling {
    let checks = [
        (used.rule_per_minute, limits.rule_per_minute, "in the last minute by this rule"),
        (used.per_minute, limits.per_minute, "in the last minute"),
        (used.rule_total, limits.rule_total, "at a time by this rule"),
        (used.total, limits.total, "at a time"),
    ];
    match checks.into_iter().find(|(used, limit, _)| used >= limit) {
        Some((used, limit, what)) => {
            Ruling::Approve(format!("{used} subjects are acted on {what}, the limit is {limit}"))
        }
        None => Ruling::Pass,
    }
}

/// Why the last call is left out; none where it is made.
#[must_use]
pub fn dry_run(everywhere: bool, line: Option<&str>) -> Option<String> {
    if everywhere {
        return Some("`respond.dry_run` is on: nothing is carried out".to_owned());
    }
    line.map(|name| format!("policy line `{name}` is a dry run: nothing is carried out"))
}

/// How long a block lasts, and the reason where that is not what was asked for. `repeats` counts
/// earlier orders on the same subject.
#[must_use]
pub fn ttl(limits: TtlLimits, asked: Option<Span>, repeats: u32) -> (Span, Option<String>) {
    let base = asked.unwrap_or(limits.default).min(limits.max);
    let factor = u64::from(limits.factor).saturating_pow(repeats);
    let grown = Span::from_ms(base.as_ms().saturating_mul(factor)).min(limits.max);
    let reason = match asked {
        _ if grown > base => {
            let within = limits.within;
            Some(format!("{grown} in place of {base}: {repeats} earlier within {within}"))
        }
        Some(asked) if asked > limits.max => {
            Some(format!("{grown} in place of {asked}, which is above `ttl.max`"))
        }
        Some(_) => None,
        None => Some(format!("{grown}: neither rule nor policy says how long")),
    };
    (grown, reason)
}

/// Whether the key falls into the share of `percent`. The share of a key never changes, and a
/// larger share holds all keys of a smaller one.
#[must_use]
pub fn in_share(percent: u8, rule: &str, key: &Map<String, Value>) -> bool {
    let mut hasher = Sha256::new();
    hasher.update(b"tidegate/canary/1");
    hasher.update(rule.as_bytes());
    hasher.update([0]);
    let sorted: std::collections::BTreeMap<&String, &Value> = key.iter().collect();
    for (name, value) in sorted {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(value.to_string().as_bytes());
        hasher.update([0]);
    }
    let digest = hasher.finalize();
    let number = digest.iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    number % 100 < u32::from(percent)
}

#[cfg(test)]
mod tests;
