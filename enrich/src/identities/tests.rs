use expect_test::{Expect, expect};

use super::{api_key_line, identity_line};

#[track_caller]
fn check(line: &str, expected: &Expect) {
    let text = match identity_line(line) {
        Ok(identity) => format!("{identity:?}"),
        Err(problem) => problem.to_string(),
    };
    expected.assert_eq(&text);
}

#[test]
fn a_line_names_a_principal_and_what_is_known() {
    check(
        r#"{"principal":"ann","kind":"human","tenant":"acme","roles":["buyer"]}"#,
        &expect![[
            r#"Identity { principal: "ann", kind: Human, tenant: Some("acme"), roles: Some(["buyer"]), scopes: None, active: None, from: None, until: None }"#
        ]],
    );
}

#[test]
fn mistakes_in_a_line_say_where_why_and_what_next() {
    check(
        r#"{"principal":"ann","kind":"robot"}"#,
        &expect![[
            r#"line 1, column 33: the line is left out: unknown variant `robot`, expected one of `human`, `service`, `anonymous`, `unknown`; next: write {"principal": …} with any of `kind` (human, service), `tenant`, `roles`, `scopes`, `active`, `from`, `until`"#
        ]],
    );
    check(
        r#"{"principal":"ann","from":"2026-11-20T08:00:00Z","until":"2026-11-20T08:00:00Z"}"#,
        &expect![
            "the line is left out: `until` (2026-11-20T08:00:00.000Z) is not after `from` (2026-11-20T08:00:00.000Z); next: exchange the two, or leave one out"
        ],
    );
    let problem = api_key_line(r#"{"key_hash":"h"}"#).unwrap_err();
    expect![[r#"line 1, column 16: the line is left out: missing field `owner`; next: write {"key_hash": …, "owner": …} with any of `tenant`, `plan`, `created`, `expires`; the hash is what `token_id` shows"#]].assert_eq(&problem.to_string());
}

#[test]
fn the_kind_of_a_caller_whom_no_table_knows_follows_from_the_log() {
    let options = crate::JoinOptions { object_key: [0; 16], learn_routes: false };
    let metrics = crate::EnrichMetrics::new(&runtime::metrics::Metrics::new());
    let identities = [super::Identity {
        principal: "sync".into(),
        kind: super::PrincipalKind::Human,
        tenant: None,
        roles: None,
        scopes: None,
        active: None,
        from: None,
        until: None,
    }];
    let known = super::Identities::new(&identities, &[]);
    let context = crate::Context::default().with_identities(known);
    for context in [crate::Context::default(), context] {
        let cell = crate::ContextCell::new(context);
        let joiner = crate::Joiner::new(cell, options, metrics.clone());
        let kind =
            |principal: Option<&'static str>, client: Option<&'static str>, auth: &'static str| {
                let event = schemas::Event {
                    principal: principal.map(Into::into),
                    oauth_client: client.map(Into::into),
                    auth_kind: Some(auth.into()),
                    ..schemas::Event::default()
                };
                joiner.enrich_event(&event).unwrap().principal_kind.unwrap().into_owned()
            };
        assert_eq!(kind(None, None, "none"), "anonymous");
        assert_eq!(kind(None, None, "unknown"), "unknown");
        assert_eq!(kind(Some("ann"), Some("web"), "jwt"), "unknown");
        assert_eq!(kind(Some("billing"), Some("billing"), "jwt"), "service");
        assert_eq!(kind(None, Some("billing"), "jwt"), "unknown");
    }
}
