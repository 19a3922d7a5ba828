#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use std::sync::Arc;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use expect_test::{Expect, expect};
use runtime::clock::Clock;
use runtime::http::axum::http::HeaderMap;
use runtime::metrics::Counter;
use schemas::{Action, EventTime, Order, Subject};

use super::{Authz, Desk, Fingerprint};
use crate::config::{AuthzConfig, TargetConfig};
use crate::guard::{NeverBlock, NeverBlockLists};
use crate::ledger::{Entry, Phase};
use crate::target::TargetParts;

fn config(text: &str) -> AuthzConfig {
    let config: TargetConfig = serde_json::from_str(&format!("{{\"authz\":{{{text}}}}}")).unwrap();
    let TargetConfig::Authz(config) = config else { panic!("not authz") };
    config
}

fn authz(clock: Clock) -> Authz {
    let lists = NeverBlockLists { networks: vec!["192.0.2.7".into()], ..Default::default() };
    let parts = TargetParts {
        base: Path::new("."),
        never_block: NeverBlock::new(false, lists).unwrap(),
        fingerprint: Some(Fingerprint::new(|secret| format!("h{}", secret.len()))),
        clock,
    };
    let config = config(r#""trusted_proxies": ["10.0.0.0/8"], "principal_header": "x-user""#);
    Authz::new(&config, &parts).unwrap()
}

fn block(authz: &Authz, subjects: &[(&str, &str)], until: i64) {
    let mut desired = BTreeMap::new();
    for (kind, value) in subjects {
        let subject = Subject { kind: (*kind).into(), value: (*value).into() };
        let order = Order {
            id: format!("{kind}-{value}"),
            verdict_id: "v".into(),
            revision: 1,
            rule: "auth/x".into(),
            action: Action::Block,
            subject: Some(subject.clone()),
            target: "authz".into(),
            decided_at: EventTime(0),
            expires_at: Some(EventTime(until)),
            dry_run: false,
            needs_approval: false,
            notes: Vec::new(),
        };
        let entry = Entry {
            order,
            phase: Phase::Standing,
            attempt: 0,
            remote_id: None,
            detail: None,
            changed_at: EventTime(0),
            asked: None,
            undo: false,
            undo_asked_at: None,
        };
        desired.insert(subject, entry);
    }
    authz.hold(&desired);
}

fn ask(authz: &Authz, peer: &str, headers: &[(&'static str, &str)]) -> String {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let desk = Desk {
        reader: authz.reader.clone(),
        never_block: authz.never_block.clone(),
        table: Arc::clone(&authz.table),
        clock: authz.clock.clone(),
        passed: Counter::default(),
        refused: Counter::default(),
    };
    let peer: IpAddr = peer.parse().unwrap();
    desk.blocked(Some(peer), &map).unwrap_or_else(|| "pass".to_owned())
}

#[track_caller]
fn check(blocked: &[(&str, &str)], peer: &str, headers: &[(&'static str, &str)], expected: Expect) {
    let authz = authz(Clock::manual(0).clock());
    block(&authz, blocked, 1_000);
    expected.assert_eq(&ask(&authz, peer, headers));
}

#[test]
fn the_address_comes_from_the_gateway() {
    let attacker = [("ip", "203.0.113.9")];
    check(&attacker, "127.0.0.1", &[("x-real-ip", "203.0.113.9")], expect!["ip-203.0.113.9"]);
    check(&attacker, "127.0.0.1", &[("x-real-ip", "203.0.113.10")], expect!["pass"]);
    check(
        &attacker,
        "10.1.1.1",
        &[("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.2.2.2")],
        expect!["ip-203.0.113.9"],
    );
    check(&attacker, "10.1.1.1", &[("x-forwarded-for", "203.0.113.9, 1.1.1.1")], expect!["pass"]);
    check(
        &attacker,
        "10.1.1.1",
        &[("x-forwarded-for", "203.0.113.9:4711")],
        expect!["ip-203.0.113.9"],
    );
    check(&attacker, "203.0.113.9", &[], expect!["ip-203.0.113.9"]);
}

#[test]
fn inventing_a_header_neither_evades_nor_blocks_others() {
    let attacker = [("ip", "203.0.113.9")];
    let both = [("x-real-ip", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")];
    check(&attacker, "127.0.0.1", &both, expect!["ip-203.0.113.9"]);
    check(&attacker, "198.51.100.1", &[("x-real-ip", "203.0.113.9")], expect!["pass"]);
    check(&attacker, "203.0.113.9", &[("x-real-ip", "1.1.1.1")], expect!["ip-203.0.113.9"]);
}

#[test]
fn networks_cover_their_addresses_in_both_families() {
    let nets = [("network", "203.0.113.0/24"), ("network", "2001:db8::/48"), ("ip", "2001:db9::1")];
    let real = |address| [("x-real-ip", address)];
    check(&nets, "127.0.0.1", &real("203.0.113.77"), expect!["network-203.0.113.0/24"]);
    check(&nets, "127.0.0.1", &real("::ffff:203.0.113.77"), expect!["network-203.0.113.0/24"]);
    check(&nets, "127.0.0.1", &real("2001:db8:0:1::5"), expect!["network-2001:db8::/48"]);
    check(&nets, "127.0.0.1", &real("2001:db9::1"), expect!["ip-2001:db9::1"]);
    check(&nets, "127.0.0.1", &real("2001:db9::2"), expect!["pass"]);
}

#[test]
fn tokens_keys_and_principals_are_found_in_their_headers() {
    let blocked = [("principal", "ann"), ("token", "h6"), ("token", "token-77")];
    let jwt = |claims: &str| format!("Bearer e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
    let authorized = |value: String| {
        let authz = authz(Clock::manual(0).clock());
        block(&authz, &blocked, 1_000);
        ask(&authz, "127.0.0.1", &[("authorization", &value)])
    };
    assert_eq!(authorized(jwt(r#"{"sub":"ann"}"#)), "principal-ann");
    assert_eq!(authorized(jwt(r#"{"sub":"bob","jti":"token-77"}"#)), "token-token-77");
    assert_eq!(authorized("Bearer opaque".to_owned()), "token-h6");
    assert_eq!(authorized(format!("Basic {}", STANDARD.encode("ann:pw"))), "principal-ann");
    assert_eq!(authorized("Bearer a.!!!.c".to_owned()), "pass");
    assert_eq!(authorized("nonsense".to_owned()), "pass");
    check(&blocked, "127.0.0.1", &[("x-api-key", "secret")], expect!["token-h6"]);
    check(&blocked, "127.0.0.1", &[("x-user", "ann")], expect!["principal-ann"]);
}

#[test]
fn the_never_block_list_holds_and_shields_nobody_else() {
    let authz = authz(Clock::manual(0).clock());
    block(&authz, &[("ip", "192.0.2.7"), ("ip", "203.0.113.9")], 1_000);
    assert_eq!(ask(&authz, "127.0.0.1", &[("x-real-ip", "192.0.2.7")]), "pass");
    let shielded = [("x-real-ip", "203.0.113.9"), ("x-forwarded-for", "192.0.2.7")];
    assert_eq!(ask(&authz, "127.0.0.1", &shielded), "ip-203.0.113.9");
}

#[test]
fn a_block_ends_on_time_without_being_told() {
    let hand = Clock::manual(0);
    let authz = authz(hand.clock());
    block(&authz, &[("ip", "203.0.113.9")], 1_000);
    let real = [("x-real-ip", "203.0.113.9")];
    assert_eq!(ask(&authz, "127.0.0.1", &real), "ip-203.0.113.9");
    hand.set_ms(999);
    assert_eq!(ask(&authz, "127.0.0.1", &real), "ip-203.0.113.9");
    hand.set_ms(1_000);
    assert_eq!(ask(&authz, "127.0.0.1", &real), "pass");
}
