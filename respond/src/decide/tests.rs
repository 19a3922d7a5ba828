#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use expect_test::{Expect, expect};
use schemas::{EventTime, Mode, Subject, Verdict, VerdictKind};

use super::{Ability, CallerFacts, Decision, Scene, decide};
use crate::ask::action_name;
use crate::fixture::{verdict, verdict_on};
use crate::ledger::{Asker, Record, State, Taken};
use crate::policy::Policy;
use schemas::Action;

const NOW: EventTime = EventTime(1_800_000_000_000);

fn abilities() -> Vec<Ability> {
    let ability = |target: &str, actions: &[Action], subjects: Option<&[&'static str]>| Ability {
        target: target.into(),
        actions: actions.to_vec(),
        subjects: subjects.map(<[&str]>::to_vec),
    };
    vec![
        ability("nginx", &[Action::Block], Some(&["ip", "network"])),
        ability("authz", &[Action::Block], Some(&["ip", "network", "token", "principal"])),
        ability("tracker", &[Action::Ticket], None),
    ]
}

struct Stage {
    policy: Policy,
    dry_run: bool,
    state: State,
    facts: CallerFacts,
    now: EventTime,
}

impl Stage {
    fn with(policy: &str) -> Self {
        let policy = Policy::parse(policy, "policy.yml").unwrap();
        let facts = CallerFacts::default();
        Self { policy, dry_run: false, state: State::default(), facts, now: NOW }
    }

    fn decide(&self, verdict: &Verdict) -> Decision {
        let callers = |_: &Subject| self.facts.clone();
        decide(
            verdict,
            Scene {
                policy: &self.policy,
                dry_run: self.dry_run,
                abilities: &abilities(),
                state: &self.state,
                callers: &callers,
                now: self.now,
            },
        )
    }

    fn take(&mut self, verdict: &Verdict) -> Decision {
        let decision = self.decide(verdict);
        self.state.apply(Record::Taken(Box::new(Taken {
            at: self.now,
            verdict: verdict.clone(),
            orders: decision.orders.clone(),
            outcomes: decision.outcomes.clone(),
            notes: decision.notes.clone(),
        })));
        decision
    }
}

fn render(decision: &Decision) -> String {
    let mut lines = Vec::new();
    for order in &decision.orders {
        let mut line = format!("{} {}", action_name(order.action), order.target);
        if let Some(Subject { kind, value }) = &order.subject {
            line += &format!(" {kind}:{value}");
        }
        if let Some(expires) = order.expires_at {
            line += &format!(" for {}s", (expires.millis() - order.decided_at.millis()) / 1_000);
        }
        if order.needs_approval {
            line += " waits";
        }
        if order.dry_run {
            line += " dry";
        }
        for outcome in decision.outcomes.iter().filter(|outcome| outcome.order_id == order.id) {
            line += &format!(" -> {:?}", outcome.state);
        }
        lines.push(line);
        lines.extend(order.notes.iter().map(|note| format!("  {}: {}", note.guard, note.reason)));
    }
    lines.extend(decision.notes.iter().map(|note| format!("({}: {})", note.guard, note.reason)));
    lines.join("\n")
}

const ALL: &str = "lines: [{name: all, then: asked}]";

#[track_caller]
fn check(stage: &Stage, verdict: &Verdict, expected: Expect) {
    expected.assert_eq(&render(&stage.decide(verdict)));
}

#[test]
fn a_verdict_gets_what_its_rule_asks_for() {
    check(
        &Stage::with(ALL),
        &verdict("a", 1),
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s
        block authz ip:203.0.113.9 for 1800s
        ticket tracker"#]],
    );
}

#[test]
fn the_same_verdict_gives_the_same_orders_and_others_give_others() {
    let stage = Stage::with(ALL);
    let ids = |verdict: &Verdict| -> Vec<String> {
        stage.decide(verdict).orders.into_iter().map(|order| order.id).collect()
    };
    assert_eq!(ids(&verdict("a", 1)), ids(&verdict("a", 1)));
    let mut all: Vec<String> = ["a", "b"].iter().flat_map(|id| ids(&verdict(id, 1))).collect();
    all.extend(ids(&verdict("a", 2)));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 9);
}

#[test]
fn a_rule_in_shadow_and_a_key_outside_the_canary_get_nothing() {
    let mut shadow = verdict("a", 1);
    shadow.mode = Mode::Shadow;
    check(
        &Stage::with(ALL),
        &shadow,
        expect!["(policy: the rule is in shadow: verdicts, no orders)"],
    );
    let mut canary = verdict("a", 1);
    canary.mode = Mode::Canary;
    check(
        &Stage::with(ALL),
        &canary,
        expect!["(canary: the key is outside the canary share of 0 %)"],
    );
    canary.canary_percent = Some(100);
    assert_eq!(Stage::with(ALL).decide(&canary).orders.len(), 3);
    check(
        &Stage::with("lines: [{then: asked, canary: 0}]"),
        &canary,
        expect!["(canary: the key is outside the canary share of 0 %)"],
    );
}

#[test]
fn what_nobody_can_carry_out_is_noted() {
    let stage = Stage::with("lines: [{name: all, then: asked}]");
    let mut odd = verdict("a", 1);
    odd.respond = vec!["notify".into(), "blok 3m".into(), "throttle 5m".into()];
    check(
        &stage,
        &odd,
        expect![[r#"
        (policy: respond: `blok` is no action (did you mean `block`?); actions are observe, ticket, notify, throttle, step_up, block, page)
        (target: no target carries `notify`; add one to the configuration)
        (subject: `throttle 5m`: no target carries it; add one to the configuration)"#]],
    );
    let mut route = verdict("a", 1);
    route.subject.clear();
    route.subject.insert("route".into(), "POST /login".into());
    check(
        &stage,
        &route,
        expect![[r#"
        ticket tracker
        (subject: `block 30m`: policy line `all` acts on none of route)"#]],
    );
    route.subject.clear();
    check(
        &stage,
        &route,
        expect![[r#"
        ticket tracker
        (subject: `block 30m`: the rule names no subject, so there is nobody to act on)"#]],
    );
    check(
        &Stage::with("lines: [{when: {severity: low}, then: asked}]"),
        &route,
        expect!["(policy: no line of the policy matches)"],
    );
}

#[test]
fn the_narrowest_subject_is_acted_on_unless_the_line_says_otherwise() {
    let mut both = verdict("a", 1);
    both.subject.insert("token".into(), "9f31".into());
    check(
        &Stage::with(ALL),
        &both,
        expect![[r#"
        block authz token:9f31 for 1800s
        ticket tracker"#]],
    );
    check(
        &Stage::with("lines: [{name: x, then: asked, scope: [ip, token]}]"),
        &both,
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s
            block authz ip:203.0.113.9 for 1800s
            ticket tracker"#]],
    );
    check(
        &Stage::with("lines: [{name: x, then: asked, scope: ja4}]"),
        &both,
        expect![[r#"
        ticket tracker
        (subject: `block 30m`: policy line `x` acts on none of ip, token)"#]],
    );
    check(
        &Stage::with("lines: [{name: x, then: asked, targets: [nginx]}]"),
        &both,
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s
        (target: no target carries `ticket`; add one to the configuration)"#]],
    );
}

#[test]
fn a_guardrail_leaves_its_reason_on_the_order() {
    let never = format!("{ALL}\nnever_block: {{networks: [203.0.113.0/24]}}");
    check(
        &Stage::with(&never),
        &verdict("a", 1),
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s -> Refused
          never_block: 203.0.113.9 shares addresses with 203.0.113.0/24, which is on the never-block list
        block authz ip:203.0.113.9 for 1800s -> Refused
          never_block: 203.0.113.9 shares addresses with 203.0.113.0/24, which is on the never-block list
        ticket tracker"#]],
    );
    let mut crowded = Stage::with(&format!("{ALL}\nknown_good: {{requests: 50, then: ticket}}"));
    crowded.facts = CallerFacts { successes: 70, callers_behind: 4, hidden: None };
    let mut only_block = verdict("a", 1);
    only_block.respond = vec!["block 30m".into()];
    check(
        &crowded,
        &only_block,
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s -> Refused
              known_good: 70 successful authenticated requests in the last 24 hours, from 50 on a person decides
              blast_radius: 4 known-good callers used it in the last hour, the limit is 3
            block authz ip:203.0.113.9 for 1800s -> Refused
              known_good: 70 successful authenticated requests in the last 24 hours, from 50 on a person decides
              blast_radius: 4 known-good callers used it in the last hour, the limit is 3
            ticket tracker"#]],
    );
    crowded.policy.known_good.requests = 0;
    check(
        &crowded,
        &only_block,
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s waits -> Waiting
          blast_radius: 4 known-good callers used it in the last hour, the limit is 3
        block authz ip:203.0.113.9 for 1800s waits -> Waiting
          blast_radius: 4 known-good callers used it in the last hour, the limit is 3"#]],
    );
    let broke = Stage::with(&format!("{ALL}\nbudget: {{rule_per_minute: 0}}"));
    check(
        &broke,
        &only_block,
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s waits -> Waiting
              budget: 0 subjects are acted on in the last minute by this rule, the limit is 0
            block authz ip:203.0.113.9 for 1800s waits -> Waiting
              budget: 0 subjects are acted on in the last minute by this rule, the limit is 0"#]],
    );
    let mut dry = broke;
    dry.dry_run = true;
    check(
        &dry,
        &verdict("a", 1),
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s dry -> DryRun
              budget: 0 subjects are acted on in the last minute by this rule, the limit is 0
              dry_run: `respond.dry_run` is on: nothing is carried out
            block authz ip:203.0.113.9 for 1800s dry -> DryRun
              budget: 0 subjects are acted on in the last minute by this rule, the limit is 0
              dry_run: `respond.dry_run` is on: nothing is carried out
            ticket tracker"#]],
    );
}

#[test]
fn an_address_that_hides_all_callers_waits_for_a_person() {
    let mut behind_a_proxy = Stage::with(ALL);
    behind_a_proxy.facts.hidden = Some("input `shop`: nearly all requests come from it".into());
    let mut only_block = verdict("a", 1);
    only_block.respond = vec!["block 30m".into()];
    check(
        &behind_a_proxy,
        &only_block,
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s waits -> Waiting
              hidden_callers: input `shop`: nearly all requests come from it
            block authz ip:203.0.113.9 for 1800s waits -> Waiting
              hidden_callers: input `shop`: nearly all requests come from it"#]],
    );
}

#[test]
fn a_hostile_subject_is_refused() {
    check(
        &Stage::with(ALL),
        &verdict_on("a", 1, "203.0.113.9 1; } evil {"),
        expect![[r#"
        block nginx ip:203.0.113.9 1; } evil { for 1800s -> Refused
          never_block: the subject is neither an address nor a network
        block authz ip:203.0.113.9 1; } evil { for 1800s -> Refused
          never_block: the subject is neither an address nor a network
        ticket tracker"#]],
    );
    check(
        &Stage::with(ALL),
        &verdict_on("a", 1, &"9".repeat(600)),
        expect![[r#"
        ticket tracker
        (subject: `block 30m`: the `ip` has 600 bytes, more than 512)"#]],
    );
}

#[test]
fn an_update_of_an_episode_does_not_block_twice_but_adds_to_its_ticket() {
    let mut stage = Stage::with(ALL);
    stage.take(&verdict("a", 1));
    check(
        &stage,
        &verdict("a", 2),
        expect![[r#"
        ticket tracker
        (repeat: order 1ea236f6ae008f3945e44ebd75548acc of this episode is pending)
        (repeat: order 955ed39dcbbee3b55d25440a9d4da7de of this episode is pending)"#]],
    );
    let mut closed = verdict("a", 3);
    closed.kind = VerdictKind::Closed;
    check(&stage, &closed, expect!["ticket tracker"]);
}

#[test]
fn a_block_that_a_person_released_stays_released_for_the_episode() {
    let mut stage = Stage::with(ALL);
    let orders = stage.take(&verdict("a", 1)).orders;
    let by = Asker { by: "ann".into(), reason: "false positive".into() };
    let ids = orders.iter().map(|order| order.id.clone()).collect();
    stage.state.apply(Record::ReleaseAsked { orders: ids, at: NOW, by });
    check(
        &stage,
        &verdict("a", 2),
        expect![[r#"
        ticket tracker
        (repeat: order 1ea236f6ae008f3945e44ebd75548acc of this episode was ended by ann: false positive)
        (repeat: order 955ed39dcbbee3b55d25440a9d4da7de of this episode was ended by ann: false positive)"#]],
    );
}

#[test]
fn an_old_log_blocks_nobody_today() {
    let mut old = verdict("a", 1);
    old.last_event = NOW.minus(27 * 86_400_000);
    check(
        &Stage::with(ALL),
        &old,
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s -> Refused
          over: its time was over before it could be enforced: 30m from the last event, at 2026-12-19T08:00:00.000Z
        block authz ip:203.0.113.9 for 1800s -> Refused
          over: its time was over before it could be enforced: 30m from the last event, at 2026-12-19T08:00:00.000Z
        ticket tracker"#]],
    );
    let mut dry = Stage::with(ALL);
    dry.dry_run = true;
    old.last_event = NOW.minus(30 * 60_000);
    old.respond = vec!["block 30m".into()];
    check(
        &dry,
        &old,
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s dry -> Refused
          dry_run: `respond.dry_run` is on: nothing is carried out
          over: its time was over before it could be enforced: 30m from the last event, at 2027-01-15T07:30:00.000Z
        block authz ip:203.0.113.9 for 1800s dry -> Refused
          dry_run: `respond.dry_run` is on: nothing is carried out
          over: its time was over before it could be enforced: 30m from the last event, at 2027-01-15T07:30:00.000Z"#]],
    );
    old.last_event = NOW.minus(30 * 60_000 - 1);
    check(
        &Stage::with(ALL),
        &old,
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s
        block authz ip:203.0.113.9 for 1800s"#]],
    );
}

/// Another rule's verdict on the same subject, whose last event was then.
fn of_another_rule(last_event: EventTime) -> Verdict {
    let mut other = verdict("b", 1);
    other.rule = "auth/password-spray".into();
    other.respond = vec!["block 30m".into()];
    other.last_event = last_event;
    other
}

fn released(reason: &str) -> Stage {
    let mut stage = Stage::with(ALL);
    let orders = stage.take(&verdict("a", 1)).orders;
    let ids = orders.iter().map(|order| order.id.clone()).collect();
    let by = Asker { by: "ann".into(), reason: reason.into() };
    stage.state.apply(Record::ReleaseAsked { orders: ids, at: NOW, by });
    stage
}

#[test]
fn what_a_person_released_is_not_blocked_by_another_rule_for_what_was_before() {
    check(
        &released("false positive"),
        &of_another_rule(NOW),
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s -> Refused
          released: an order on this subject was ended by ann: false positive, at 2027-01-15T08:00:00.000Z; the last event here, at 2027-01-15T08:00:00.000Z, is from before
        block authz ip:203.0.113.9 for 1800s -> Refused
          released: an order on this subject was ended by ann: false positive, at 2027-01-15T08:00:00.000Z; the last event here, at 2027-01-15T08:00:00.000Z, is from before"#]],
    );
}

#[test]
fn what_happens_after_a_release_is_blocked_and_a_false_positive_is_no_repetition() {
    check(
        &released("False-positive, our scanner"),
        &of_another_rule(NOW.plus(1)),
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s
            block authz ip:203.0.113.9 for 1800s"#]],
    );
    check(
        &released("they promised to stop"),
        &of_another_rule(NOW.plus(1)),
        expect![[r#"
        block nginx ip:203.0.113.9 for 7200s
          ttl: 2h in place of 30m: 1 earlier within 7d
        block authz ip:203.0.113.9 for 7200s
          ttl: 2h in place of 30m: 1 earlier within 7d"#]],
    );
}

/// A verdict on the network around [`of_another_rule`]'s subject.
fn on_its_network(last_event: EventTime) -> Verdict {
    let mut wide = of_another_rule(last_event);
    wide.subject.clear();
    wide.subject.insert("network".into(), "203.0.113.0/24".into());
    wide
}

#[test]
fn a_network_waits_for_a_person_where_a_part_of_it_was_released() {
    check(
        &released("false positive"),
        &on_its_network(NOW.plus(1)),
        expect![[r#"
        block nginx network:203.0.113.0/24 for 1800s waits -> Waiting
          released: an order on 203.0.113.9, which is in it, was ended by ann: false positive, at 2027-01-15T08:00:00.000Z: a person decides
        block authz network:203.0.113.0/24 for 1800s waits -> Waiting
          released: an order on 203.0.113.9, which is in it, was ended by ann: false positive, at 2027-01-15T08:00:00.000Z: a person decides"#]],
    );
    let mut later = released("false positive");
    later.now = NOW.plus(8 * 86_400_000);
    check(
        &later,
        &on_its_network(later.now),
        expect![[r#"
        block nginx network:203.0.113.0/24 for 1800s
        block authz network:203.0.113.0/24 for 1800s"#]],
    );
}

#[test]
fn what_was_released_as_a_network_stays_released_for_its_addresses() {
    let mut stage = Stage::with(ALL);
    let orders = stage.take(&on_its_network(NOW)).orders;
    let ids = orders.iter().map(|order| order.id.clone()).collect();
    let by = Asker { by: "ann".into(), reason: "our office".into() };
    stage.state.apply(Record::ReleaseAsked { orders: ids, at: NOW, by });
    let mut before = verdict("c", 1);
    before.respond = vec!["block 30m".into()];
    before.last_event = NOW;
    check(
        &stage,
        &before,
        expect![[r#"
            block nginx ip:203.0.113.9 for 1800s -> Refused
              released: an order on 203.0.113.0/24 was ended by ann: our office, at 2027-01-15T08:00:00.000Z; the last event here, at 2027-01-15T08:00:00.000Z, is from before
            block authz ip:203.0.113.9 for 1800s -> Refused
              released: an order on 203.0.113.0/24 was ended by ann: our office, at 2027-01-15T08:00:00.000Z; the last event here, at 2027-01-15T08:00:00.000Z, is from before"#]],
    );
    before.last_event = NOW.plus(1);
    check(
        &stage,
        &before,
        expect![[r#"
        block nginx ip:203.0.113.9 for 1800s
        block authz ip:203.0.113.9 for 1800s"#]],
    );
}

#[test]
fn repetition_grows_the_block_and_the_budget_counts_subjects() {
    let mut stage = Stage::with(&format!("{ALL}\nbudget: {{rule_per_minute: 2}}"));
    let mut block = verdict("a", 1);
    block.respond = vec!["block 30m".into()];
    stage.take(&block);
    block.id = "b".into();
    check(
        &stage,
        &block,
        expect![[r#"
        block nginx ip:203.0.113.9 for 7200s
          ttl: 2h in place of 30m: 1 earlier within 7d
        block authz ip:203.0.113.9 for 7200s
          ttl: 2h in place of 30m: 1 earlier within 7d"#]],
    );
    let mut other = verdict_on("c", 1, "203.0.113.10");
    other.respond.clone_from(&block.respond);
    stage.take(&other);
    let mut third = verdict_on("d", 1, "203.0.113.11");
    third.respond.clone_from(&block.respond);
    check(
        &stage,
        &third,
        expect![[r#"
            block nginx ip:203.0.113.11 for 1800s waits -> Waiting
              budget: 2 subjects are acted on in the last minute by this rule, the limit is 2
            block authz ip:203.0.113.11 for 1800s waits -> Waiting
              budget: 2 subjects are acted on in the last minute by this rule, the limit is 2"#]],
    );
    stage.now = NOW.plus(60_001);
    check(
        &stage,
        &third,
        expect![[r#"
        block nginx ip:203.0.113.11 for 1800s
        block authz ip:203.0.113.11 for 1800s"#]],
    );
}
