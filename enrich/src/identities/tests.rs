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
