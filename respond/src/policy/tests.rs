#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use expect_test::{Expect, expect};
use schemas::{Subject, Verdict};

use super::Policy;
use crate::ask::Ask;
use crate::fixture::verdict;
use crate::guard::{Ruling, never_block};

fn policy(lines: &str) -> Policy {
    Policy::parse(&format!("lines:\n{lines}"), "policy.yml").unwrap()
}

#[track_caller]
fn check_error(text: &str, expected: Expect) {
    expected.assert_eq(&Policy::parse(text, "policy.yml").unwrap_err().to_string());
}

#[track_caller]
fn check_grant(then: &str, asked: &[&str], expected: Expect) {
    let policy = policy(&format!("  - {{name: x, then: {then}}}"));
    let asked: Vec<Ask> = asked.iter().map(|text| text.parse().unwrap()).collect();
    let granted = policy.lines[0].grant(&asked);
    let asks: Vec<String> = granted.asks.iter().map(Ask::to_string).collect();
    expected.assert_eq(&format!("[{}] {}", asks.join(", "), granted.lowered.join("; ")));
}

fn line_of(policy: &Policy, verdict: &Verdict) -> String {
    policy.line_for(verdict).map_or("none".to_owned(), |line| line.name.clone())
}

#[test]
fn the_built_in_policy_is_a_policy() {
    let policy = Policy::built_in().unwrap();
    assert_eq!(policy.lines.len(), 4);
    assert_eq!(line_of(&policy, &verdict("a", 1)), "high and critical get what the rule asks for");
}

#[test]
fn a_line_may_lower_and_never_raises() {
    check_grant("asked", &["block 30m", "ticket"], expect!["[block 30m, ticket] "]);
    check_grant(
        "[block 10m, ticket]",
        &["block 30m", "ticket"],
        expect!["[block 10m, ticket] policy line `x` lowers `block 30m` to `block 10m`"],
    );
    check_grant("[block 2h]", &["block 30m"], expect!["[block 30m] "]);
    check_grant(
        "[throttle]",
        &["block 30m", "ticket"],
        expect![
            "[throttle 30m] policy line `x` lowers `block 30m` to `throttle 30m`; policy line `x` drops `ticket`"
        ],
    );
    check_grant("[block 1h, page, ticket]", &["ticket"], expect!["[ticket] "]);
    check_grant(
        "ticket",
        &["block 30m", "ticket", "page"],
        expect![
            "[ticket] policy line `x` lowers `block 30m` to `ticket`; policy line `x` lowers `page` to `ticket`"
        ],
    );
    check_grant("observe", &["ticket"], expect!["[] policy line `x` drops `ticket`"]);
    check_grant("observe", &[], expect!["[] "]);
}

#[test]
fn the_first_line_that_matches_wins() {
    let policy = policy(
        "  - {name: other rule, when: {rule: 'bola/*'}, then: asked}
  - {name: other service, when: {service: [pay, bill]}, then: asked}
  - {name: old deploy, when: {deploy_age_min: 1h}, then: asked}
  - {name: principal, when: {subject: principal}, then: asked}
  - {name: production, when: {environment: production}, then: asked}
  - {name: this, when: {rule: 'auth/*', severity: high, service: 'sh*', deploy_age_max: 10m,
       subject: [ip], mode: live}, then: asked}
  - {name: all, then: asked}",
    );
    assert_eq!(line_of(&policy, &verdict("a", 1)), "this");
    let mut without_deploy = verdict("a", 1);
    without_deploy.deploy = None;
    assert_eq!(line_of(&policy, &without_deploy), "all");
    let mut in_production = verdict("a", 1);
    in_production.values.insert("environment".into(), "production".into());
    assert_eq!(line_of(&policy, &in_production), "production");
}

#[test]
fn a_verdict_that_no_line_matches_has_none() {
    let policy = policy("  - {when: {severity: low}, then: asked}");
    assert_eq!(line_of(&policy, &verdict("a", 1)), "none");
}

#[test]
fn a_mistake_is_told_with_its_place_and_the_nearest_name() {
    check_error(
        "lines:\n  - when: {severty: high}\n    then: asked\n",
        expect![
            "policy.yml:2:12: unknown key `severty` (did you mean `severity`?); keys here are severity, rule, subject, service, environment, mode, deploy_age_max, deploy_age_min"
        ],
    );
    check_error(
        "lines:\n  - when: {severity: hihg}\n    then: asked\n",
        expect![
            "policy.yml:2:12: unknown value `hihg` (did you mean `high`?); write one of info, low, medium, high, critical"
        ],
    );
    check_error(
        "lines:\n  - then: asked\nbudgte: {}\n",
        expect![
            "policy.yml:3:1: unknown key `budgte` (did you mean `budget`?); keys here are lines, never_block, known_good, blast_radius, budget, ttl, approval"
        ],
    );
    check_error(
        "lines:\n  - {then: [blok 3m]}\n",
        expect![
            "policy.yml: line `#1`: `blok` is no action (did you mean `block`?); actions are observe, ticket, notify, throttle, step_up, block, page, or `asked`"
        ],
    );
    check_error(
        "lines:\n  - {name: n, then: asked, scope: ipp}\n",
        expect![
            "policy.yml: line `n`: `ipp` is no kind of subject (did you mean `ip`?); kinds are token, key, principal, account, ja4, ip, network, route, deploy"
        ],
    );
    check_error("lines:\n  - {name: n}\n", expect!["policy.yml:2:6: `then` is missing here"]);
    check_error(
        "lines: []\nnever_block: {networks: [10.0.0/8]}\n",
        expect![
            "policy.yml: never_block: `10.0.0/8` is neither an address nor a network; write 10.0.0.0/8 or 192.0.2.7"
        ],
    );
    check_error(
        "lines: []\nttl: {default: 2d, max: 1d}\n",
        expect!["policy.yml: ttl.default is 2d; it must be above 0s and at most ttl.max, 1d"],
    );
    check_error(
        "lines: []\nttl: {default: 20}\n",
        expect![
            "policy.yml:2:16: `20` needs a unit, one of `d`, `h`, `m`, `s`, `ms`; write `10s`, `250ms` or `1h30m`"
        ],
    );
    check_error("lines: [\n", expect!["policy.yml:1:8: unclosed bracket '['"]);
}

#[test]
fn health_checks_are_never_acted_on_unless_the_file_names_others() {
    let subject = Subject { kind: "ip".into(), value: "203.0.113.9".into() };
    let acts = |table: &str, agent: &str| {
        let text = format!("lines:\n  - {{then: asked}}\n{table}");
        let lists = Policy::parse(&text, "policy.yml").unwrap().never_block;
        never_block(&lists, &subject, Some(agent)) == Ruling::Pass
    };
    let others = "never_block: {networks: [198.51.100.0/24]}\n";
    for never_block in ["", others] {
        assert!(!acts(never_block, "kube-probe/1.29"), "{never_block}");
        assert!(!acts(never_block, "ELB-HealthChecker/2.0"), "{never_block}");
        assert!(acts(never_block, "curl/8"), "{never_block}");
    }
    assert!(acts("never_block: {user_agents: []}\n", "kube-probe/1.29"));
    assert!(acts("never_block: {user_agents: [\"mine/*\"]}\n", "kube-probe/1.29"));
}
