//! The text of a policy file.
//!
//! Owns: its keys, and the messages about mistakes in it.
//! Never: leaves this module as it is; [`super::Policy`] holds what was checked.

use std::fmt;
use std::marker::PhantomData;

use runtime::config::Span;
use schemas::{Mode, Severity};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::{Line, Policy, PolicyError, Then, When};
use crate::ask::Ask;
use crate::guard::{
    BlastLimits, BudgetLimits, Instead, KnownGoodLimits, NeverBlock, NeverBlockLists, TtlLimits,
};
use crate::pattern::Pattern;

/// Kinds of subject that a rule may name.
pub(crate) const SUBJECT_KINDS: [&str; 9] =
    ["token", "key", "principal", "account", "ja4", "ip", "network", "route", "deploy"];

/// User agents of health checks, which no policy acts on unless it names others.
const HEALTH_CHECKS: [&str; 4] =
    ["kube-probe/*", "ELB-HealthChecker/*", "GoogleHC/*", "Prometheus/*"];

/// A policy file is read into memory whole; a thousand lines of policy have 200 KiB.
const BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    lines: Vec<RawLine>,
    #[serde(default)]
    never_block: RawNeverBlock,
    #[serde(default)]
    known_good: RawKnownGood,
    #[serde(default)]
    blast_radius: RawBlast,
    #[serde(default)]
    budget: RawBudget,
    #[serde(default)]
    ttl: RawTtl,
    #[serde(default)]
    approval: RawApproval,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    name: Option<String>,
    #[serde(default)]
    when: RawWhen,
    then: Several<String>,
    targets: Option<Several<String>>,
    #[serde(default)]
    dry_run: bool,
    canary: Option<u8>,
    scope: Option<Several<String>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawWhen {
    severity: Option<Several<Severity>>,
    rule: Option<Several<Pattern>>,
    subject: Option<Several<String>>,
    service: Option<Several<Pattern>>,
    environment: Option<Several<Pattern>>,
    mode: Option<Several<Mode>>,
    deploy_age_max: Option<Span>,
    deploy_age_min: Option<Span>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNeverBlock {
    own: bool,
    networks: Several<String>,
    principals: Several<String>,
    tokens: Several<String>,
    user_agents: Several<Pattern>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawKnownGood {
    requests: u64,
    then: Instead,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBlast {
    callers: usize,
    then: Instead,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBudget {
    per_minute: usize,
    total: usize,
    rule_per_minute: usize,
    rule_total: usize,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTtl {
    default: Span,
    max: Span,
    factor: u32,
    within: Span,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawApproval {
    expires: Span,
}

impl Default for RawNeverBlock {
    fn default() -> Self {
        Self {
            own: true,
            networks: Several::default(),
            principals: Several::default(),
            tokens: Several::default(),
            user_agents: Several(
                HEALTH_CHECKS.iter().filter_map(|text| text.parse().ok()).collect(),
            ),
        }
    }
}

impl Default for RawKnownGood {
    fn default() -> Self {
        let KnownGoodLimits { requests, then } = KnownGoodLimits::default();
        Self { requests, then }
    }
}

impl Default for RawBlast {
    fn default() -> Self {
        let BlastLimits { callers, then } = BlastLimits::default();
        Self { callers, then }
    }
}

impl Default for RawBudget {
    fn default() -> Self {
        let BudgetLimits { per_minute, total, rule_per_minute, rule_total } =
            BudgetLimits::default();
        Self { per_minute, total, rule_per_minute, rule_total }
    }
}

impl Default for RawTtl {
    fn default() -> Self {
        let TtlLimits { default, max, factor, within } = TtlLimits::default();
        Self { default, max, factor, within }
    }
}

impl Default for RawApproval {
    fn default() -> Self {
        Self { expires: Span::from_secs(60 * 60) }
    }
}

/// One value, or a list of them.
#[derive(Debug)]
struct Several<T>(Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct SeveralVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SeveralVisitor<T> {
    type Value = Several<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or a list of texts")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Several<T>, E> {
        T::deserialize(StrDeserializer::new(text)).map(|one| Several(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Several<T>, A::Error> {
        let mut several = Vec::new();
        while let Some(item) = items.next_element()? {
            several.push(item);
        }
        Ok(Several(several))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeveralVisitor(PhantomData))
    }
}

pub(super) fn parse(text: &str, path: &str) -> Result<Policy, PolicyError> {
    if text.len() > BYTES_MAX {
        let message = format!("{} bytes are more than the {BYTES_MAX} allowed", text.len());
        return Err(PolicyError::Value { path: path.to_owned(), message });
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let raw: RawPolicy = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| text_error(&error, path))?;
    checked(raw).map_err(|message| PolicyError::Value { path: path.to_owned(), message })
}

fn text_error(error: &serde_saphyr::Error, path: &str) -> PolicyError {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let message = match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let hint = crate::nearest::hint(field, expected.iter().copied());
            format!("unknown key `{field}`{hint}; keys here are {}", expected.join(", "))
        }
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
            let hint = crate::nearest::hint(variant, expected.iter().copied());
            format!("unknown value `{variant}`{hint}; write one of {}", expected.join(", "))
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            format!("`{field}` is missing here")
        }
        other => {
            let told = other.to_string();
            // The place stands before the message already.
            told.rsplit_once(" at line ").map_or(told.clone(), |(message, _)| message.to_owned())
        }
    };
    PolicyError::Text { path: path.to_owned(), line, column, message }
}

fn checked(raw: RawPolicy) -> Result<Policy, String> {
    let lines: Result<Vec<Line>, String> =
        raw.lines.into_iter().enumerate().map(|(index, raw)| line(index, raw)).collect();
    let lists = NeverBlockLists {
        networks: raw.never_block.networks.0,
        principals: raw.never_block.principals.0,
        tokens: raw.never_block.tokens.0,
        user_agents: raw.never_block.user_agents.0,
    };
    let never_block = NeverBlock::new(raw.never_block.own, lists)
        .map_err(|error| format!("never_block: {error}"))?;
    let ttl = TtlLimits {
        default: raw.ttl.default,
        max: raw.ttl.max,
        factor: raw.ttl.factor,
        within: raw.ttl.within,
    };
    if ttl.default > ttl.max || ttl.default.is_zero() {
        let TtlLimits { default, max, .. } = ttl;
        return Err(format!(
            "ttl.default is {default}; it must be above 0s and at most ttl.max, {max}"
        ));
    }
    if ttl.factor == 0 {
        return Err("ttl.factor is 0; write 1 for blocks that do not grow on repetition".to_owned());
    }
    Ok(Policy {
        lines: lines?,
        never_block,
        known_good: KnownGoodLimits {
            requests: raw.known_good.requests,
            then: raw.known_good.then,
        },
        blast_radius: BlastLimits {
            callers: raw.blast_radius.callers,
            then: raw.blast_radius.then,
        },
        budget: BudgetLimits {
            per_minute: raw.budget.per_minute,
            total: raw.budget.total,
            rule_per_minute: raw.budget.rule_per_minute,
            rule_total: raw.budget.rule_total,
        },
        ttl,
        approval_expires: raw.approval.expires,
    })
}

fn line(index: usize, raw: RawLine) -> Result<Line, String> {
    let name = raw.name.unwrap_or_else(|| format!("#{}", index + 1));
    let place = |message: String| format!("line `{name}`: {message}");
    let then: Result<Vec<Then>, String> = raw.then.0.iter().map(|text| granted(text)).collect();
    let then = then.map_err(place)?;
    if then.is_empty() {
        return Err(place("`then` is empty; write `observe` for nothing".to_owned()));
    }
    if raw.canary.is_some_and(|percent| percent > 100) {
        return Err(place("`canary` is a share in percent, from 0 to 100".to_owned()));
    }
    for kind in raw.scope.iter().chain(&raw.when.subject).flat_map(|kinds| &kinds.0) {
        if !SUBJECT_KINDS.contains(&kind.as_str()) {
            let hint = crate::nearest::hint(kind, SUBJECT_KINDS);
            let kinds = SUBJECT_KINDS.join(", ");
            return Err(place(format!("`{kind}` is no kind of subject{hint}; kinds are {kinds}")));
        }
    }
    let RawWhen { severity, rule, subject, service, environment, mode, .. } = raw.when;
    let when = When {
        severity: severity.map(|several| several.0),
        rule: rule.map(|several| several.0),
        subject: subject.map(|several| several.0),
        service: service.map(|several| several.0),
        environment: environment.map(|several| several.0),
        mode: mode.map(|several| several.0),
        deploy_age_max: raw.when.deploy_age_max,
        deploy_age_min: raw.when.deploy_age_min,
    };
    Ok(Line {
        name,
        when,
        then,
        targets: raw.targets.map(|several| several.0),
        dry_run: raw.dry_run,
        canary_percent: raw.canary,
        scope: raw.scope.map(|several| several.0),
    })
}

fn granted(text: &str) -> Result<Then, String> {
    if text.trim() == "asked" {
        return Ok(Then::Asked);
    }
    let ask: Ask = text.parse().map_err(|error| format!("{error}, or `asked`"))?;
    Ok(Then::Ask(ask))
}
