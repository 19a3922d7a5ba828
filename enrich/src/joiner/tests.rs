use expect_test::{Expect, expect};
use runtime::metrics::Metrics;
use schemas::{BatchBuilder, Event, EventTime, Field, Subject, event_at};
use serde_json::{Map, Value, json};

use super::{JoinOptions, Joiner};
use crate::blocks::{Block, Blocks};
use crate::columns::JoinError;
use crate::context::{Context, ContextCell};
use crate::deploys::Deploys;
use crate::identities::{Identities, Identity};
use crate::metrics::EnrichMetrics;

fn event(value: &Value) -> Event<'static> {
    let mut event = Event::default();
    for (name, value) in value.as_object().unwrap() {
        event.set(Field::named(name).unwrap(), value).unwrap();
    }
    event
}

fn deploys(lines: &[Value]) -> Deploys {
    Deploys::new(lines.iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect())
}

fn identities(people: &[Value], keys: &[Value]) -> Identities {
    let people: Vec<Identity> =
        people.iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect();
    let keys: Vec<_> =
        keys.iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect();
    Identities::new(&people, &keys)
}

fn joiner(context: Context) -> Joiner {
    let options = JoinOptions { object_key: [0; 16], learn_routes: false };
    Joiner::new(ContextCell::new(context), options, EnrichMetrics::new(&Metrics::new()))
}

/// What the join adds to each event, one line each.
#[track_caller]
fn check(context: Context, events: &[Value], expected: &Expect) {
    let joiner = joiner(context);
    let mut lines = Vec::new();
    for given in events {
        let given = event(given);
        let joined = serde_json::to_value(joiner.enrich_event(&given).unwrap()).unwrap();
        let given = serde_json::to_value(&given).unwrap();
        let added: Map<String, Value> = joined
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, value)| given.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        lines.push(Value::Object(added).to_string());
    }
    expected.assert_eq(&lines.join("\n"));
}

fn shop() -> Context {
    Context::default().with_deploys(deploys(&[
        json!({"service": "shop", "deploy_id": "d1", "deployed_at": "2026-11-20T08:00:00Z", "commit": "aaa111", "owner": "team-shop"}),
        json!({"service": "shop", "deploy_id": "d2", "deployed_at": "2026-11-20T09:00:00Z", "commit": "bbb222", "change_id": "481", "repository": "r", "pipeline_run": "7"}),
        json!({"service": "cart", "deploy_id": "c1", "deployed_at": "2026-11-20T09:00:00Z"}),
    ]))
}

#[test]
fn the_deploy_of_the_events_own_time_is_filled_in() {
    check(
        shop(),
        &[
            json!({"service": "shop", "event_time": "2026-11-20T08:59:59.999Z"}),
            json!({"service": "shop", "event_time": "2026-11-20T09:05:40.700Z"}),
            json!({"service": "shop", "event_time": "2026-11-20T07:00:00Z"}),
            json!({"service": "other", "event_time": "2026-11-20T09:05:40Z"}),
            json!({"event_time": "2026-11-20T09:05:40Z"}),
        ],
        &expect![[r#"
            {"commit":"aaa111","deploy_age_s":3599,"deploy_id":"d1","deployed_at":"2026-11-20T08:00:00.000Z","owner":"team-shop","principal_kind":"unknown"}
            {"change_id":"481","commit":"bbb222","deploy_age_s":340,"deploy_id":"d2","deployed_at":"2026-11-20T09:00:00.000Z","pipeline_run":"7","previous_deploy_id":"d1","principal_kind":"unknown","repository":"r"}
            {"context_missing":["deploy"],"principal_kind":"unknown"}
            {"context_missing":["deploy"],"principal_kind":"unknown"}
            {"context_missing":["deploy"],"principal_kind":"unknown"}"#]],
    );
}

#[test]
fn what_the_log_gave_stays_and_the_rest_is_filled() {
    check(
        shop(),
        &[
            json!({"service": "shop", "event_time": "2026-11-20T09:30:00Z", "deploy_id": "d1", "owner": "me"}),
            json!({"service": "shop", "event_time": "2026-11-20T09:30:00Z", "commit": "ccc333", "principal_kind": "service"}),
            json!({"service": "shop", "event_time": "2026-11-20T09:30:00Z", "deploy_id": "d9", "context_missing": []}),
        ],
        &expect![[r#"
            {"commit":"aaa111","deploy_age_s":5400,"deployed_at":"2026-11-20T08:00:00.000Z","principal_kind":"unknown"}
            {"change_id":"481","deploy_age_s":1800,"deploy_id":"d2","deployed_at":"2026-11-20T09:00:00.000Z","pipeline_run":"7","previous_deploy_id":"d1","repository":"r"}
            {"principal_kind":"unknown"}"#]],
    );
}

#[test]
fn an_event_without_a_service_is_of_the_only_one_there_is() {
    let context = Context::default().with_deploys(deploys(&[
        json!({"service": "shop", "deploy_id": "d1", "deployed_at": "2026-11-20T08:00:00Z"}),
    ]));
    check(
        context,
        &[
            json!({"event_time": "2026-11-20T09:00:00Z"}),
            json!({"event_time": "2026-11-20T09:00:00Z", "service": "cart"}),
        ],
        &expect![[r#"
            {"deploy_age_s":3600,"deploy_id":"d1","deployed_at":"2026-11-20T08:00:00.000Z","principal_kind":"unknown","service":"shop"}
            {"context_missing":["deploy"],"principal_kind":"unknown"}"#]],
    );
}

#[test]
fn callers_are_known_for_the_time_of_their_lines() {
    let context = Context::default().with_identities(identities(
        &[
            json!({"principal": "ann", "kind": "human", "tenant": "acme", "roles": ["buyer"], "scopes": []}),
            json!({"principal": "bob", "kind": "human", "roles": ["clerk"], "until": "2026-11-20T09:00:00Z"}),
            json!({"principal": "bob", "kind": "human", "roles": ["boss"], "from": "2026-11-20T09:00:00Z", "until": "2026-11-20T10:00:00Z"}),
            json!({"principal": "sync", "kind": "service", "active": false}),
        ],
        &[],
    ));
    check(
        context,
        &[
            json!({"principal": "ann", "event_time": "2026-11-20T09:30:00Z", "auth_kind": "jwt"}),
            json!({"principal": "ann", "event_time": "2026-11-20T09:30:00Z", "tenant": "globex", "roles": []}),
            json!({"principal": "bob", "event_time": "2026-11-20T08:30:00Z"}),
            json!({"principal": "bob", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"principal": "bob", "event_time": "2026-11-20T10:30:00Z"}),
            json!({"principal": "sync", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"principal": "eve", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"auth_kind": "none", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"auth_kind": "unknown", "event_time": "2026-11-20T09:30:00Z"}),
        ],
        &expect![[r#"
            {"principal_active":true,"principal_kind":"human","roles":["buyer"],"scopes":[],"tenant":"acme"}
            {"principal_active":true,"principal_kind":"human","scopes":[]}
            {"principal_active":true,"principal_kind":"human","roles":["clerk"]}
            {"principal_active":true,"principal_kind":"human","roles":["boss"]}
            {"principal_active":false,"principal_kind":"human"}
            {"principal_active":false,"principal_kind":"service"}
            {"context_missing":["identity"],"principal_kind":"unknown"}
            {"principal_kind":"anonymous"}
            {"principal_kind":"unknown"}"#]],
    );
}

#[test]
fn an_api_key_names_its_owner_and_the_owners_kind() {
    let context = Context::default().with_identities(identities(
        &[json!({"principal": "acme-sync", "kind": "service", "tenant": "acme", "roles": ["sync"]})],
        &[
            json!({"key_hash": "k1", "owner": "acme-sync", "tenant": "acme-eu", "plan": "gold"}),
            json!({"key_hash": "k2", "owner": "who", "expires": "2026-11-20T09:00:00Z"}),
        ],
    ));
    check(
        context,
        &[
            json!({"token_id": "k1", "auth_kind": "api_key", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"token_id": "k2", "auth_kind": "api_key", "event_time": "2026-11-20T08:30:00Z"}),
            json!({"token_id": "k2", "auth_kind": "api_key", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"token_id": "k3", "auth_kind": "api_key", "event_time": "2026-11-20T09:30:00Z"}),
            json!({"token_id": "t9", "auth_kind": "jwt", "event_time": "2026-11-20T09:30:00Z"}),
        ],
        &expect![[r#"
            {"credential_owner":"acme-sync","principal_active":true,"principal_kind":"service","roles":["sync"],"tenant":"acme-eu"}
            {"credential_owner":"who","principal_kind":"unknown"}
            {"credential_owner":"who","principal_active":false,"principal_kind":"unknown"}
            {"context_missing":["identity"],"principal_kind":"unknown"}
            {"principal_kind":"unknown"}"#]],
    );
}

#[test]
fn without_any_table_only_the_kind_of_caller_is_said() {
    check(
        Context::default(),
        &[
            json!({"auth_kind": "none", "client_ip": "203.0.113.9", "path": "/x", "status": 200}),
            json!({"principal": "ann", "client_ip": "10.0.0.1"}),
        ],
        &expect![[r#"
            {"principal_kind":"anonymous"}
            {"client_kind":"private","principal_kind":"unknown"}"#]],
    );
}

#[test]
fn refusals_that_our_own_block_gave_say_so() {
    let block = |kind: &str, value: &str, order: &str, until: Option<i64>| Block {
        subject: Subject { kind: kind.to_owned(), value: value.to_owned() },
        order_id: order.to_owned(),
        from: EventTime(1_000),
        until: until.map(EventTime),
    };
    let (blocks, left_out) = Blocks::new([
        block("ip", "203.0.113.9", "o1", Some(2_000)),
        block("principal", "eve", "o2", None),
        block("network", "2001:db8::/32", "o3", None),
        block("token", "t1", "o4", None),
        block("account", "ann", "o5", None),
    ]);
    assert_eq!((blocks.len(), left_out), (4, 1));
    let context = Context::default().with_blocks(blocks);
    let refused = |mut given: Value, time: i64| {
        given["status"] = given.get("status").cloned().unwrap_or(json!(403));
        given["event_time"] = json!(time);
        let event = joiner(context.clone()).enrich_event(&event(&given)).unwrap();
        event.blocked_by.map(std::borrow::Cow::into_owned)
    };
    let ip = || json!({"client_ip": "203.0.113.9"});
    assert_eq!(refused(ip(), 999), None, "not yet");
    assert_eq!(refused(ip(), 1_000).as_deref(), Some("tidegate:o1"));
    assert_eq!(refused(ip(), 2_000), None, "over");
    assert_eq!(refused(json!({"client_ip": "203.0.113.9", "status": 401}), 1_500), None);
    assert_eq!(
        refused(json!({"client_ip": "203.0.113.9", "upstream_status": 403}), 1_500),
        None,
        "the application answered"
    );
    assert_eq!(
        refused(json!({"client_ip": "203.0.113.9", "blocked_by": "waf"}), 1_500).as_deref(),
        Some("waf")
    );
    assert_eq!(refused(json!({"principal": "eve"}), 1_500).as_deref(), Some("tidegate:o2"));
    assert_eq!(refused(json!({"client_ip": "2001:db8::7"}), 1_500).as_deref(), Some("tidegate:o3"));
    assert_eq!(refused(json!({"token_id": "t1"}), 1_500).as_deref(), Some("tidegate:o4"));
    assert_eq!(refused(json!({"client_ip": "198.51.100.1"}), 1_500), None);
}

#[test]
fn a_batch_gives_each_row_what_it_gives_alone_and_twice_gives_no_more() {
    let context = shop().with_identities(identities(
        &[json!({"principal": "ann", "kind": "human", "tenant": "acme"})],
        &[],
    ));
    let joiner = joiner(context);
    let rows: Vec<Event<'_>> = (0..500)
        .map(|row| {
            event(&json!({
                "service": (["shop", "cart", "none"][row % 3]),
                "event_time": 1_795_000_000_000_i64 + 1_000_000 * i64::try_from(row).unwrap(),
                "principal": (["ann", "eve"][row % 2]),
                "tenant": if row % 5 == 0 { json!("globex") } else { Value::Null },
                "deploy_id": if row % 7 == 0 { json!("d1") } else { Value::Null },
                "path": "/x",
            }))
        })
        .collect();
    let mut builder = BatchBuilder::default();
    rows.iter().for_each(|row| builder.push(row));
    let joined = joiner.enrich(&builder.finish().unwrap()).unwrap();
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(event_at(&joined, place), joiner.enrich_event(row).unwrap(), "row {place}");
    }
    assert_eq!(joiner.enrich(&joined).unwrap(), joined);
}

#[test]
fn a_batch_of_other_columns_is_a_bug_of_the_caller() {
    let mut builder = BatchBuilder::default();
    builder.push(&Event::default());
    let batch = builder.finish().unwrap().project(&[0, 1]).unwrap();
    let error = joiner(Context::default()).enrich(&batch).unwrap_err();
    assert!(matches!(error, JoinError::Columns { found: 2, .. }), "{error}");
    let empty = BatchBuilder::default().finish().unwrap();
    assert_eq!(joiner(Context::default()).enrich(&empty).unwrap().num_rows(), 0);
}

#[test]
fn missing_context_is_counted_by_table() {
    let metrics = Metrics::new();
    let options = JoinOptions { object_key: [0; 16], learn_routes: false };
    let joiner = Joiner::new(ContextCell::new(shop()), options, EnrichMetrics::new(&metrics));
    joiner.enrich_event(&event(&json!({"service": "none", "event_time": 1}))).unwrap();
    let text = metrics.encode();
    assert!(text.contains("tidegate_enrich_joined_events_total 1"), "{text}");
    assert!(
        text.contains("tidegate_enrich_context_missing_events_total{table=\"deploy\"} 1"),
        "{text}"
    );
}
