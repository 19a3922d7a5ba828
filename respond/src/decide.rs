//! From a verdict to its orders.
//!
//! Owns: the sequence of policy and guardrails, and the ids of orders. Pure: the same verdict in the
//! same scene gives the same decision.
//! Never: carries anything out, reads a clock, or writes down what it decided.

use schemas::{
    Action, EventTime, GuardNote, Mode, Order, Outcome, OutcomeState, Subject, Verdict, VerdictKind,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::address;
use crate::ask::{Ask, action_name};
use crate::guard::{self, Ruling};
use crate::hex::hex;
use crate::ledger::{Phase, State};
use crate::policy::{Line, Policy};

/// What a target can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ability {
    pub(crate) target: String,
    pub(crate) actions: Vec<Action>,
    /// Kinds of subject; none: all.
    pub(crate) subjects: Option<Vec<&'static str>>,
}

/// What is known of a subject's callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CallerFacts {
    pub(crate) successes: u64,
    pub(crate) callers_behind: usize,
    /// Why it stands for all callers of an input; none where it does not.
    pub(crate) hidden: Option<String>,
}

/// All that a decision depends on, beside the verdict.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) dry_run: bool,
    pub(crate) abilities: &'a [Ability],
    pub(crate) state: &'a State,
    pub(crate) callers: &'a dyn Fn(&Subject) -> CallerFacts,
    pub(crate) now: EventTime,
}

/// What follows from a verdict.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decision {
    pub(crate) orders: Vec<Order>,
    /// Of orders that end at once.
    pub(crate) outcomes: Vec<Outcome>,
    /// Why something asked for did not become an order.
    pub(crate) notes: Vec<GuardNote>,
}

/// Kinds of subject, narrowest first.
const NARROWEST: [&str; 7] = ["token", "key", "principal", "account", "ja4", "ip", "network"];

/// Bytes of a subject's value; longer ones are none that a gateway could compare.
const SUBJECT_BYTES_MAX: usize = 512;

fn note(guard: &str, reason: impl Into<String>) -> GuardNote {
    GuardNote { guard: guard.to_owned(), reason: reason.into() }
}

/// Decides. The verdict must be of a revision that was not taken before.
pub(crate) fn decide(verdict: &Verdict, scene: Scene<'_>) -> Decision {
    let mut decision = Decision::default();
    if matches!(verdict.mode, Mode::Off | Mode::Shadow) {
        decision.notes.push(note("policy", "the rule is in shadow: verdicts, no orders"));
        return decision;
    }
    let asked = asks(verdict, &mut decision);
    let Some(line) = scene.policy.line_for(verdict) else {
        decision.notes.push(note("policy", "no line of the policy matches"));
        return decision;
    };
    if let Some(percent) = outside_canary(verdict, line) {
        let reason = format!("the key is outside the canary share of {percent} %");
        decision.notes.push(note("canary", reason));
        return decision;
    }
    let granted = line.grant(&asked);
    decision.notes.extend(granted.lowered.into_iter().map(|reason| note("policy", reason)));
    let mut wants_ticket = false;
    let first = scene.state.episode(&verdict.id).is_none();
    let runs = matches!(verdict.kind, VerdictKind::Opened | VerdictKind::Updated);
    for ask in &granted.asks {
        match ask.action {
            Action::Ticket => wants_ticket = true,
            Action::Throttle | Action::StepUp | Action::Block if runs => {
                let instead = enforce(verdict, line, *ask, scene, &mut decision);
                wants_ticket |= instead;
            }
            Action::Notify => tell(verdict, line, Action::Notify, scene, &mut decision),
            Action::Page if first => tell(verdict, line, Action::Page, scene, &mut decision),
            Action::Observe
            | Action::Page
            | Action::Throttle
            | Action::StepUp
            | Action::Block
            | Action::Release => {}
        }
    }
    if wants_ticket {
        tell(verdict, line, Action::Ticket, scene, &mut decision);
    }
    decision
}

/// What the rule asks for. What cannot be read is noted; a rule that was checked has none.
fn asks(verdict: &Verdict, decision: &mut Decision) -> Vec<Ask> {
    let mut asks = Vec::new();
    for text in &verdict.respond {
        match text.parse() {
            Ok(ask) => asks.push(ask),
            Err(error) => decision.notes.push(note("policy", format!("respond: {error}"))),
        }
    }
    asks
}

fn outside_canary(verdict: &Verdict, line: &Line) -> Option<u8> {
    let of_rule = match verdict.mode {
        Mode::Canary => Some(verdict.canary_percent.unwrap_or(0)),
        Mode::Off | Mode::Shadow | Mode::Live => None,
    };
    let share = of_rule.into_iter().chain(line.canary_percent).min()?;
    (!guard::in_share(share, &verdict.rule, &verdict.key)).then_some(share)
}

fn targets_for<'a>(
    line: &'a Line,
    action: Action,
    abilities: &'a [Ability],
) -> impl Iterator<Item = &'a Ability> {
    abilities.iter().filter(move |ability| {
        let named = line.targets.as_ref().is_none_or(|names| names.contains(&ability.target));
        named && ability.actions.contains(&action)
    })
}

/// Orders that act on nobody: tickets, notifications, pages.
fn tell(verdict: &Verdict, line: &Line, action: Action, scene: Scene<'_>, decision: &mut Decision) {
    let before = decision.orders.len();
    let dry_run = match action {
        Action::Page => guard::dry_run(scene.dry_run, line.dry_run.then_some(&line.name)),
        _ => None,
    };
    for ability in targets_for(line, action, scene.abilities) {
        let mut order = order(verdict, action, &ability.target, scene.now);
        if let Some(reason) = &dry_run {
            order.dry_run = true;
            order.notes.push(note("dry_run", reason.clone()));
            decision.outcomes.push(outcome(&order, OutcomeState::DryRun, None));
        }
        decision.orders.push(order);
    }
    if decision.orders.len() == before {
        let reason =
            format!("no target carries `{}`; add one to the configuration", action_name(action));
        decision.notes.push(note("target", reason));
    }
}

/// Orders that act on the verdict's subject. Whether there is to be a ticket instead.
fn enforce(
    verdict: &Verdict,
    line: &Line,
    ask: Ask,
    scene: Scene<'_>,
    decision: &mut Decision,
) -> bool {
    let targets: Vec<&Ability> = targets_for(line, ask.action, scene.abilities).collect();
    let (subject, able) = match subject_of(verdict, line, &targets) {
        Ok(found) => found,
        Err(reason) => {
            decision.notes.push(note("subject", format!("`{ask}`: {reason}")));
            return false;
        }
    };
    let ruled = rule_on(verdict, line, ask, &subject, scene);
    for ability in able {
        let standing = scene.state.entries_on(&subject).find(|entry| {
            entry.order.verdict_id == verdict.id
                && entry.order.target == ability.target
                && entry.order.action == ask.action
                && (!entry.is_finished() || entry.asked.is_some())
        });
        if let Some(entry) = standing {
            let id = &entry.order.id;
            let reason = match (&entry.asked, entry.phase) {
                (Some(asker), Phase::Finished(_) | Phase::Releasing) => {
                    format!("order {id} of this episode was ended {asker}")
                }
                _ => format!("order {id} of this episode is {}", entry.phase.name()),
            };
            decision.notes.push(note("repeat", reason));
            continue;
        }
        let mut order = order(verdict, ask.action, &ability.target, scene.now);
        order.subject = Some(subject.clone());
        order.id = order_id(&order);
        order.notes.clone_from(&ruled.notes);
        order.dry_run = ruled.dry_run;
        order.needs_approval = ruled.needs_approval;
        order.expires_at = Some(scene.now.plus(ruled.ttl_ms));
        if let Some(reason) = &ruled.refused {
            order.needs_approval = false;
            decision.outcomes.push(outcome(&order, OutcomeState::Refused, Some(reason.clone())));
        } else if order.dry_run {
            decision.outcomes.push(outcome(&order, OutcomeState::DryRun, None));
        } else if order.needs_approval {
            decision.outcomes.push(outcome(&order, OutcomeState::Waiting, None));
        }
        decision.orders.push(order);
    }
    ruled.ticket
}

/// The verdict's subject, of the first kind in the line's scope that a target can act on, and the
/// targets that can.
fn subject_of<'a>(
    verdict: &Verdict,
    line: &Line,
    targets: &[&'a Ability],
) -> Result<(Subject, Vec<&'a Ability>), String> {
    if targets.is_empty() {
        return Err("no target carries it; add one to the configuration".to_owned());
    }
    if verdict.subject.is_empty() {
        return Err("the rule names no subject, so there is nobody to act on".to_owned());
    }
    let scope: Vec<&str> = match &line.scope {
        Some(kinds) => kinds.iter().map(String::as_str).collect(),
        None => NARROWEST.to_vec(),
    };
    let mut reasons = Vec::new();
    for kind in scope {
        let Some(value) = verdict.subject.get(kind).and_then(text) else { continue };
        let able: Vec<&Ability> = targets
            .iter()
            .copied()
            .filter(|ability| ability.subjects.as_ref().is_none_or(|kinds| kinds.contains(&kind)))
            .collect();
        if able.is_empty() {
            reasons.push(format!("no target can act on a `{kind}`"));
            continue;
        }
        return canonical(kind, value).map(|subject| (subject, able));
    }
    if reasons.is_empty() {
        let kinds: Vec<&str> = verdict.subject.keys().map(String::as_str).collect();
        let kinds = kinds.join(", ");
        reasons.push(format!("policy line `{}` acts on none of {kinds}", line.name));
    }
    Err(reasons.join("; "))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// The one form of a subject, so that two verdicts on it meet in the ledger. An address that is
/// none stays as it is; the never-block guardrail refuses it.
fn canonical(kind: &str, value: String) -> Result<Subject, String> {
    if value.len() > SUBJECT_BYTES_MAX {
        let bytes = value.len();
        return Err(format!("the `{kind}` has {bytes} bytes, more than {SUBJECT_BYTES_MAX}"));
    }
    if let ("ip" | "network", Some(net)) = (kind, address::network(&value)) {
        let single = net.prefix_len() == net.max_prefix_len();
        let kind = if single { "ip" } else { "network" };
        return Ok(Subject { kind: kind.to_owned(), value: address::text(&net) });
    }
    Ok(Subject { kind: kind.to_owned(), value })
}

#[derive(Debug, Default)]
struct Ruled {
    notes: Vec<GuardNote>,
    refused: Option<String>,
    ticket: bool,
    needs_approval: bool,
    dry_run: bool,
    ttl_ms: i64,
}

impl Ruled {
    fn take(&mut self, guard: &str, ruling: Ruling) {
        let reason = match ruling {
            Ruling::Pass => return,
            Ruling::Refuse(reason) => {
                self.refused.get_or_insert_with(|| reason.clone());
                reason
            }
            Ruling::Approve(reason) => {
                self.needs_approval = true;
                reason
            }
            Ruling::Ticket(reason) => {
                self.refused.get_or_insert_with(|| format!("{reason}; a ticket instead"));
                self.ticket = true;
                reason
            }
        };
        self.notes.push(note(guard, reason));
    }
}

/// All guardrails, in their order.
fn rule_on(verdict: &Verdict, line: &Line, ask: Ask, subject: &Subject, scene: Scene<'_>) -> Ruled {
    let Policy { never_block, known_good, blast_radius, budget, ttl, .. } = scene.policy;
    let mut ruled = Ruled::default();
    let agent = [&verdict.key, &verdict.values]
        .into_iter()
        .find_map(|map| map.get("user_agent").and_then(Value::as_str));
    ruled.take("never_block", guard::never_block(never_block, subject, agent));
    let ended = scene.state.last_ended(subject).map(|(at, by, on)| {
        let on = if on == subject.value { "this subject" } else { on };
        (at, by.to_string(), on.to_owned())
    });
    ruled.take("released", guard::released(ended, verdict.last_event));
    let since = scene.now.minus(ttl.within.as_ms_i64());
    let inside = scene.state.last_ended_inside(subject, since);
    let inside = inside.map(|(at, by, part)| (at, by.to_string(), part.to_owned()));
    ruled.take("released", guard::released_inside(inside));
    let facts = (scene.callers)(subject);
    ruled.take("hidden_callers", guard::hidden_callers(facts.hidden));
    ruled.take("known_good", guard::known_good(*known_good, facts.successes));
    ruled.take("blast_radius", guard::blast_radius(*blast_radius, facts.callers_behind));
    let dry_run = guard::dry_run(scene.dry_run, line.dry_run.then_some(&line.name));
    ruled.dry_run = dry_run.is_some();
    let used = scene.state.budget_use(&verdict.rule, scene.now, ruled.dry_run);
    ruled.take("budget", guard::budget(*budget, used));
    if let Some(reason) = dry_run {
        ruled.notes.push(note("dry_run", reason));
        // A dry run shows that a person would have been asked, and asks nobody.
        ruled.needs_approval = false;
    }
    let repeats = scene.state.repeats(subject, since, ruled.dry_run);
    let (lasts, reason) = guard::ttl(*ttl, ask.ttl, repeats);
    ruled.notes.extend(reason.map(|reason| note("ttl", reason)));
    ruled.take("over", guard::over(verdict.last_event, lasts, scene.now));
    ruled.ttl_ms = lasts.as_ms_i64();
    ruled
}

fn order(verdict: &Verdict, action: Action, target: &str, now: EventTime) -> Order {
    let mut order = Order {
        id: String::new(),
        verdict_id: verdict.id.clone(),
        revision: verdict.revision,
        rule: verdict.rule.clone(),
        action,
        subject: None,
        target: target.to_owned(),
        decided_at: now,
        expires_at: None,
        dry_run: false,
        needs_approval: false,
        notes: Vec::new(),
    };
    order.id = order_id(&order);
    order
}

/// 128 bits of SHA-256 over what names an order, in hex.
fn order_id(order: &Order) -> String {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"tidegate/order/1");
    part(order.verdict_id.as_bytes());
    part(&order.revision.to_le_bytes());
    part(action_name(order.action).as_bytes());
    part(order.target.as_bytes());
    if let Some(subject) = &order.subject {
        part(subject.kind.as_bytes());
        part(subject.value.as_bytes());
    }
    hex(hasher.finalize().into_iter().take(16))
}

pub(crate) fn outcome(order: &Order, state: OutcomeState, detail: Option<String>) -> Outcome {
    Outcome {
        order_id: order.id.clone(),
        target: order.target.clone(),
        state,
        at: order.decided_at,
        attempt: 0,
        remote_id: None,
        detail,
        more: serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests;
