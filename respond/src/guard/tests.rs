#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use expect_test::{Expect, expect};
use runtime::config::Span;
use schemas::Subject;
use serde_json::json;

use super::{
    BlastLimits, BudgetLimits, BudgetUse, Instead, KnownGoodLimits, NeverBlock, NeverBlockLists,
    Ruling, TtlLimits, blast_radius, budget, dry_run, in_share, known_good, never_block, ttl,
};

fn lists() -> NeverBlock {
    let lists = NeverBlockLists {
        networks: vec!["198.51.100.0/24".into(), "192.0.2.7".into()],
        principals: vec!["billing-job".into()],
        tokens: vec!["9f31".into()],
        user_agents: vec!["kube-probe/*".parse().unwrap()],
    };
    NeverBlock::new(true, lists).unwrap()
}

#[track_caller]
fn check_never(subject: (&str, &str), agent: Option<&str>, expected: Expect) {
    let subject = Subject { kind: subject.0.into(), value: subject.1.into() };
    let told = match never_block(&lists(), &subject, agent) {
        Ruling::Pass => "pass".to_owned(),
        other => format!("{other:?}"),
    };
    expected.assert_eq(&told);
}

#[test]
fn the_never_block_list_refuses_with_the_reason() {
    check_never(("ip", "203.0.113.9"), None, expect!["pass"]);
    check_never(
        ("ip", "198.51.100.3"),
        None,
        expect![[
            r#"Refuse("198.51.100.3 shares addresses with 198.51.100.0/24, which is on the never-block list")"#
        ]],
    );
    check_never(
        ("ip", "::ffff:192.0.2.7"),
        None,
        expect![[r#"Refuse("192.0.2.7 is on the never-block list")"#]],
    );
    check_never(
        ("ip", "127.0.0.1"),
        None,
        expect![[
            r#"Refuse("127.0.0.1 shares addresses with 127.0.0.0/8, which is this machine")"#
        ]],
    );
    check_never(
        ("ip", "0.0.0.0"),
        None,
        expect![[
            r#"Refuse("0.0.0.0 shares addresses with 0.0.0.0/8, which is no address of a caller")"#
        ]],
    );
    check_never(
        ("network", "198.51.0.0/16"),
        None,
        expect![[
            r#"Refuse("198.51.0.0/16 shares addresses with 198.51.100.0/24, which is on the never-block list")"#
        ]],
    );
    check_never(
        ("network", "203.0.0.0/8"),
        None,
        expect![[r#"Refuse("203.0.0.0/8 is too wide: at most /16 for IPv4 and /32 for IPv6")"#]],
    );
    check_never(
        ("ip", "203.0.113.9 1; }"),
        None,
        expect![[r#"Refuse("the subject is neither an address nor a network")"#]],
    );
    check_never(
        ("principal", "billing-job"),
        None,
        expect![[r#"Refuse("principal `billing-job` is on the never-block list")"#]],
    );
    check_never(("principal", "ann"), None, expect!["pass"]);
    check_never(
        ("token", "9f31"),
        None,
        expect![[r#"Refuse("token `9f31` is on the never-block list")"#]],
    );
    check_never(
        ("ip", "203.0.113.9"),
        Some("kube-probe/1.29"),
        expect![[r#"Refuse("user agent fits `kube-probe/*`, which is on the never-block list")"#]],
    );
}

#[test]
fn a_list_entry_that_protects_nobody_is_refused() {
    let lists = NeverBlockLists { networks: vec!["10.0.0/8".into()], ..Default::default() };
    expect!["`10.0.0/8` is neither an address nor a network; write 10.0.0.0/8 or 192.0.2.7"]
        .assert_eq(&NeverBlock::new(false, lists).unwrap_err().to_string());
}

#[test]
fn without_own_a_test_may_block_loopback() {
    let subject = Subject { kind: "ip".into(), value: "127.0.0.5".into() };
    let lists = NeverBlock::new(false, NeverBlockLists::default()).unwrap();
    assert_eq!(never_block(&lists, &subject, None), Ruling::Pass);
}

#[test]
fn a_known_good_subject_needs_a_person_or_gets_a_ticket() {
    let limits = KnownGoodLimits { requests: 5, then: Instead::Approve };
    assert_eq!(known_good(limits, 4), Ruling::Pass);
    assert!(matches!(known_good(limits, 5), Ruling::Approve(_)));
    let limits = KnownGoodLimits { then: Instead::Ticket, ..limits };
    assert!(matches!(known_good(limits, 5), Ruling::Ticket(_)));
    assert_eq!(known_good(KnownGoodLimits { requests: 0, ..limits }, 500), Ruling::Pass);
}

#[test]
fn a_crowded_address_needs_a_person() {
    let limits = BlastLimits { callers: 3, then: Instead::Approve };
    assert_eq!(blast_radius(limits, 2), Ruling::Pass);
    assert!(matches!(blast_radius(limits, 3), Ruling::Approve(_)));
    assert_eq!(blast_radius(BlastLimits { callers: 0, ..limits }, 99), Ruling::Pass);
}

#[track_caller]
fn check_budget(used: BudgetUse, expected: Expect) {
    let limits = BudgetLimits { per_minute: 4, total: 8, rule_per_minute: 2, rule_total: 6 };
    expected.assert_eq(&format!("{:?}", budget(limits, used)));
}

#[test]
fn above_each_part_of_the_budget_a_person_decides() {
    let none = BudgetUse::default();
    check_budget(
        BudgetUse { per_minute: 3, total: 7, rule_per_minute: 1, rule_total: 5 },
        expect!["Pass"],
    );
    check_budget(
        BudgetUse { rule_per_minute: 2, ..none },
        expect![[
            r#"Approve("2 subjects are acted on in the last minute by this rule, the limit is 2")"#
        ]],
    );
    check_budget(
        BudgetUse { per_minute: 4, ..none },
        expect![[r#"Approve("4 subjects are acted on in the last minute, the limit is 4")"#]],
    );
    check_budget(
        BudgetUse { rule_total: 6, ..none },
        expect![[r#"Approve("6 subjects are acted on at a time by this rule, the limit is 6")"#]],
    );
    check_budget(
        BudgetUse { total: 8, ..none },
        expect![[r#"Approve("8 subjects are acted on at a time, the limit is 8")"#]],
    );
}

#[test]
fn a_dry_run_names_who_asked_for_it() {
    assert_eq!(dry_run(false, None), None);
    assert!(dry_run(true, None).unwrap().contains("respond.dry_run"));
    assert!(dry_run(false, Some("try out")).unwrap().contains("`try out`"));
}

#[track_caller]
fn check_ttl(asked: Option<&str>, repeats: u32, expected: Expect) {
    let limits = TtlLimits { default: "30m".parse().unwrap(), ..TtlLimits::default() };
    let (ttl, reason) = ttl(limits, asked.map(|text| text.parse().unwrap()), repeats);
    expected.assert_eq(&format!("{ttl}; {}", reason.unwrap_or_default()));
}

#[test]
fn a_block_grows_on_repetition_up_to_the_maximum_and_always_ends() {
    check_ttl(Some("30m"), 0, expect!["30m; "]);
    check_ttl(Some("30m"), 1, expect!["2h; 2h in place of 30m: 1 earlier within 7d"]);
    check_ttl(Some("30m"), 2, expect!["8h; 8h in place of 30m: 2 earlier within 7d"]);
    check_ttl(
        Some("30m"),
        u32::MAX,
        expect!["1d; 1d in place of 30m: 4294967295 earlier within 7d"],
    );
    check_ttl(None, 0, expect!["30m; 30m: neither rule nor policy says how long"]);
    check_ttl(Some("365d"), 0, expect!["1d; 1d in place of 365d, which is above `ttl.max`"]);
}

#[test]
fn a_growing_share_keeps_the_keys_it_had() {
    let key = |n: u32| json!({"client_ip": format!("203.0.113.{n}")}).as_object().unwrap().clone();
    let share = |percent| (0..200).filter(|n| in_share(percent, "auth/x", &key(*n))).collect();
    let (none, tenth, half, all): (Vec<u32>, Vec<u32>, Vec<u32>, Vec<u32>) =
        (share(0), share(10), share(50), share(100));
    assert_eq!((none.len(), all.len()), (0, 200));
    assert!((5..40).contains(&tenth.len()) && (70..130).contains(&half.len()));
    assert!(tenth.iter().all(|n| half.contains(n)));
    assert_eq!(Span::from_secs(60).as_ms(), 60_000);
}
