//! What is said where a query compares or computes with what does not go together.

use expect_test::{Expect, expect};

use super::{check_wrong, compiled};

/// The messages with their places and hints, a line each, without the excerpts.
#[track_caller]
fn check(conditions: &[&str], expected: &Expect) {
    use crate::rule::{Settings, load};
    let mut said = String::new();
    for condition in conditions {
        let sql = format!("SELECT path\nFROM events\nWHERE {condition}");
        let (rules, mut problems) = load(&[super::file("key: path", &sql)], &Settings::default());
        problems.extend(super::compile(&rules, &super::lists()).1);
        said.push_str(&format!("{condition}\n"));
        for problem in problems {
            let place = format!("{}:{}+{}", problem.line, problem.column, problem.width);
            let hint = problem.hint.unwrap_or_default();
            said.push_str(&format!("  {place} {}; {hint}\n", problem.message));
        }
    }
    expected.assert_eq(&said);
}

#[test]
fn a_comparison_with_another_kind_says_what_to_write() {
    check_wrong(
        "key: path",
        "SELECT path FROM events
         WHERE roles = 'admin' AND status = 'abc'",
        &expect![[r#"
            error: `roles` is a list and is compared with the text 'admin'
             --> x/rule.yml:6:9
              |
            6 |   WHERE roles = 'admin' AND status = 'abc'
              |         ^^^^^^^^^^^^^^^
              |
              = help: write `array_has(roles, 'admin')`

            error: `status` is a number and is compared with the text 'abc'
             --> x/rule.yml:6:29
              |
            6 |   WHERE roles = 'admin' AND status = 'abc'
              |                             ^^^^^^^^^^^^^^
              |
              = help: write a number, such as `status = 404`"#]],
    );
    check(
        &[
            "'abc' <> status",
            "status IN (404, 'abc')",
            "status BETWEEN 'a' AND 499",
            "response_bytes > 'many'",
            "roles <> 'admin'",
            "roles IN ('admin', 'root')",
            "roles NOT IN ('admin')",
            "route_login = 'yes'",
            "route_login = 1",
            "event_time > 'yesterday'",
            "length(path) = 'x'",
        ],
        &expect![[r#"
            'abc' <> status
              7:9+15 `status` is a number and is compared with the text 'abc'; write a number, such as `404 <> status`
            status IN (404, 'abc')
              7:25+5 `status` is a number and is compared with the text 'abc'; write a number, such as `status = 404`
            status BETWEEN 'a' AND 499
              7:24+3 `status` is a number and is compared with the text 'a'; write a number, such as `status >= 404`
            response_bytes > 'many'
              7:9+23 `response_bytes` is a number and is compared with the text 'many'; write a number, such as `response_bytes > 100`
            roles <> 'admin'
              7:9+16 `roles` is a list and is compared with the text 'admin'; write `NOT array_has(roles, 'admin')`
            roles IN ('admin', 'root')
              7:9+25 `roles` is a list, and IN looks for one value; write `array_has(roles, 'admin') OR array_has(roles, 'root')`
            roles NOT IN ('admin')
              7:9+21 `roles` is a list, and IN looks for one value; write `NOT (array_has(roles, 'admin'))`
            route_login = 'yes'
              7:9+19 `route_login` is true or false and is compared with the text 'yes'; write `route_login` or `NOT route_login`
            route_login = 1
              7:9+15 `route_login` is true or false and is compared with `1`; write `route_login` or `NOT route_login`
            event_time > 'yesterday'
              7:9+24 `event_time` is a time and is compared with the text 'yesterday'; write a time, such as `event_time > TIMESTAMP '2026-01-31T12:00:00Z'`
            length(path) = 'x'
              7:9+18 `length(path)` is a number and is compared with the text 'x'; write a number, such as `length(path) = 100`
        "#]],
    );
}

#[test]
fn patterns_sums_and_conditions_say_what_they_take() {
    check(
        &[
            "status LIKE '4%'",
            "roles ILIKE '%admin%'",
            "path + 1 > 2",
            "status",
            "NOT path",
            "roles OR status = 404",
            "'admin' IN roles",
            "path ~ 5",
        ],
        &expect![[r#"
            status LIKE '4%'
              7:9+16 `status` is a number, and LIKE matches texts; write `status BETWEEN 400 AND 499`, or `CAST(status AS VARCHAR) LIKE '4%'`
            roles ILIKE '%admin%'
              7:9+21 `roles` is a list, and ILIKE matches texts; one value: `array_has(roles, 'a')`; a pattern over all: `array_to_string(roles, ' ') ILIKE '%admin%'`
            path + 1 > 2
              7:9+4 `path` is a text, and `+` computes with numbers; the length of a text is `length(path)`
            status
              7:9+6 `status` is a number and no condition; compare it, such as `status >= 404`
            NOT path
              7:13+4 `path` is a text and no condition; compare it, such as `path = 'a'`
            roles OR status = 404
              7:9+5 `roles` is a list and no condition; write such as `array_has(roles, 'a')`
            'admin' IN roles
              7:20+1 this is not SQL: expected (, found roles; a list is asked with `array_has(roles, 'a')`
            path ~ 5
              7:16+1 `5` is a number, and ~ takes a text; write it as one: `'5'`
        "#]],
    );
}

#[test]
fn a_function_says_what_it_takes() {
    check(
        &[
            "array_has('admin', roles)",
            "lower(status) = 'x'",
            "upper(lower(roles)) = 'x'",
            "cidr_match(client_ip)",
            "status = CAST('abc' AS INT)",
        ],
        &expect![[r#"
            array_has('admin', roles)
              7:9+9 `array_has` does not take a text and a list; the list comes first, such as `array_has(roles, 'admin')`
            lower(status) = 'x'
              7:9+5 `lower` does not take a number; there is `lower` of a text
            upper(lower(roles)) = 'x'
              7:15+5 `lower` does not take a list; there is `lower` of a text
            cidr_match(client_ip)
              7:9+10 `cidr_match` does not take a text; there is `cidr_match` of a text, a text
            status = CAST('abc' AS INT)
              7:23+5 the text 'abc' stands where a number is expected; compare what is of one kind
        "#]],
    );
}

#[test]
fn a_text_that_is_read_as_a_number_is_a_warning() {
    check(
        &[
            "account = 5",
            "client_ip IN (1, 2)",
            "status >= account",
            "status = '404' AND length(path) > 5",
        ],
        &expect![[r#"
            account = 5
              7:9+11 `account` is a text and is compared with `5`, a number: an event whose text is no number cannot be judged; write it as a text: `'5'`
            client_ip IN (1, 2)
              7:23+1 `client_ip` is a text and is compared with `1`, a number: an event whose text is no number cannot be judged; write it as a text: `'1'`
              7:26+1 `client_ip` is a text and is compared with `2`, a number: an event whose text is no number cannot be judged; write it as a text: `'2'`
            status >= account
              7:9+17 `account` is a text and is compared with `status`, a number: an event whose text is no number cannot be judged; write such as `CAST(status AS VARCHAR) >= account`
            status = '404' AND length(path) > 5
        "#]],
    );
}

#[test]
fn what_the_hints_propose_can_be_planned() {
    let proposed = [
        "status = 404",
        "NOT array_has(roles, 'admin')",
        "array_has(roles, 'admin') OR array_has(roles, 'root')",
        "CAST(status AS VARCHAR) LIKE '4%'",
        "array_to_string(roles, ' ') ILIKE '%admin%'",
        "event_time > TIMESTAMP '2026-01-31T12:00:00Z'",
        "NOT route_login",
        "account = '5' AND account <= CAST(status AS VARCHAR)",
        "CASE WHEN route_login THEN 1 ELSE 0 END > cardinality(roles) + length(path)",
        "status = '404'",
    ];
    for condition in proposed {
        let rule = compiled("key: path", &format!("SELECT path FROM events WHERE {condition}"));
        assert!(rule.filter.is_some(), "{condition}");
    }
}
