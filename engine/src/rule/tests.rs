//! Rule files as analysts write them, right and wrong.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use schemas::{Mode, Severity};
use serde_json::{Value, json};

use super::test_case::{BASE, TestInput};
use super::{Rule, Settings, SourceFile, Window, json_schema, load};

/// The example of the rules page.
const EXAMPLE: &str = r#"title: Many accounts fail to log in from one address
severity: high                      # info | low | medium | high | critical
window: 5m                          # the query sees the last five minutes of event time
slide: 10s
sql: |
  SELECT client_ip, count(*) AS failures, count(DISTINCT account) AS accounts
  FROM events
  WHERE route_login AND status IN (400, 401, 403) AND blocked_by IS NULL
  GROUP BY client_ip
  HAVING count(*) >= $failures AND count(DISTINCT account) >= 10
with: {failures: 20}
subject: {ip: client_ip}
respond: [block 30m, ticket]
mode: canary 10%
rearm: 15m
owasp: [API2:2023]
attack: [T1110.004]
why: Password lists are tried by machine; people do not fail on ten accounts.
false_positives: [a shared office address after a password policy change]
now_what: Reset the accounts that logged in during the episode.
tests:
  - name: twenty failures on ten accounts fire once, at the twentieth
    events:
      - {each: 20, every: 3s, route_login: true, status: 401, client_ip: 203.0.113.9, account: "a{i%10}"}
    episodes: [{key: {client_ip: 203.0.113.9}, opens: 57s, values: {failures: 20, accounts: 10}}]
  - name: one person who forgot the password stays quiet
    events:
      - {each: 60, every: 5s, route_login: true, status: 401, client_ip: 203.0.113.9, account: ann}
    episodes: []
"#;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

fn load_one(text: &str) -> (Vec<Rule>, String) {
    let (rules, problems) = load(&[file("auth/x.yml", text)], &Settings::default());
    let rendered: Vec<String> = problems.iter().map(|problem| problem.render(false)).collect();
    (rules, rendered.join("\n\n"))
}

fn example() -> Rule {
    let (mut rules, problems) = load_one(EXAMPLE);
    assert_eq!(problems, "");
    rules.remove(0)
}

/// Each line of `change` replaces the line of the example with the same key.
#[track_caller]
fn check(change: &str, expected: &Expect) {
    let key = change.split(':').next().unwrap();
    let mut text = String::new();
    let mut skipping = false;
    for line in EXAMPLE.lines() {
        if !line.starts_with(' ') {
            skipping = line.split(':').next() == Some(key);
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(change);
    let (_, problems) = load_one(&text);
    expected.assert_eq(&problems);
}

#[test]
fn the_example_gives_a_rule() {
    let rule = example();
    assert_eq!((rule.id.as_str(), rule.severity), ("auth/x", Severity::High));
    assert_eq!(rule.window, Some(Window { size_ms: 300_000, slide_ms: 10_000 }));
    assert_eq!((rule.mode, rule.canary_percent), (Mode::Canary, Some(10)));
    assert_eq!((rule.rearm_ms, rule.memory_bytes_max), (900_000, 64 << 20));
    assert!(rule.sql.contains("HAVING count(*) >= 20 AND"), "{}", rule.sql);
    assert_eq!(rule.respond, ["block 30m", "ticket"]);
    assert_eq!(rule.subject, BTreeMap::from([("ip".to_owned(), "client_ip".to_owned())]));
    assert_eq!(rule.owasp, ["API2:2023"]);
    assert_eq!(rule.text_hash.len(), 32);
}

#[test]
fn the_example_gives_tests_with_their_events() {
    let rule = example();
    let [fires, quiet] = &rule.tests[..] else { panic!("two tests") };
    let TestInput::Events(events) = &fires.input else { panic!("events") };
    assert_eq!(events.len(), 20);
    assert_eq!(events[13].event_time, Some(BASE.plus(39_000)));
    assert_eq!(events[13].account.as_deref(), Some("a3"));
    assert_eq!((events[13].status, events[13].route_login), (Some(401), Some(true)));
    assert_ne!(events[0].event_id, events[1].event_id);
    assert_eq!((fires.line, fires.episodes.len(), quiet.episodes.len()), (22, 1, 0));
    let episode = &fires.episodes[0];
    assert_eq!(episode.opens_ms, Some(57_000));
    assert_eq!(Value::from(episode.values.clone()), json!({"failures": 20, "accounts": 10}));
    assert_eq!(Value::from(episode.key.clone()), json!({"client_ip": "203.0.113.9"}));
}

#[test]
fn defaults_are_the_published_ones() {
    let text = "title: t\nseverity: low\nsql: SELECT client_ip FROM events\nkey: client_ip\n\
                window: 10m\ntests: []";
    let (rules, problems) = load_one(text);
    assert_eq!(rules.len(), 1, "{problems}");
    let rule = &rules[0];
    assert_eq!(rule.window, Some(Window { size_ms: 600_000, slide_ms: 20_000 }));
    assert_eq!((rule.mode, rule.rearm_ms), (Mode::Shadow, 600_000));
    assert_eq!(rule.key.as_deref(), Some(&["client_ip".to_owned()][..]));
}

#[test]
fn a_rule_without_tests_loads_and_says_what_is_missing() {
    let text = "title: t\nseverity: low\nsql: SELECT client_ip FROM events\nkey: [client_ip]\n";
    let (rules, problems) = load_one(text);
    assert_eq!(rules.len(), 1);
    expect![[r#"
        error: no test in which the rule fires
         --> auth/x.yml:1:1
          |
        1 | title: t
          | ^
          |
          = help: add one under `tests:`

        error: no test in which the rule stays quiet (`episodes: []`)
         --> auth/x.yml:1:1
          |
        1 | title: t
          | ^
          |
          = help: add one under `tests:`"#]]
    .assert_eq(&problems);
}

#[test]
fn overrides_replace_values_and_change_the_version() {
    let settings = |rule: &str, params: Value| Settings {
        params: BTreeMap::from([(rule.to_owned(), serde_json::from_value(params).unwrap())]),
    };
    let files = [file("auth/x.yml", EXAMPLE)];
    let (rules, problems) = load(&files, &settings("auth/x", json!({"failures": 50})));
    assert!(problems.is_empty(), "{problems:?}");
    assert!(rules[0].sql.contains("count(*) >= 50"), "{}", rules[0].sql);
    assert_ne!(rules[0].text_hash, example().text_hash);
    let messages = |settings| {
        let (_, problems) = load(&files, &settings);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    expect!["auth/x.yml:11:7: unknown parameter `failure`, which the configuration overrides (did you mean `failures`?)"].assert_eq(&messages(settings("auth/x", json!({"failure": 50}))));
    expect!["configuration:1:1: parameters are given for the rule `auth/y`, which does not exist (did you mean `auth/x`?)"].assert_eq(&messages(settings("auth/y", json!({}))));
}

#[test]
fn a_misspelt_key_names_the_nearest() {
    check(
        "tittle: x",
        &expect![[r#"
        error: unknown key `tittle` in a rule file
          --> auth/x.yml:30:1
           |
        30 | tittle: x
           | ^^^^^^
           |
           = help: did you mean `title`?"#]],
    );
}

#[test]
fn all_mistakes_of_a_file_come_at_once() {
    check(
        "severity: hihg\nsevere: 1\nmode: canary\nrespond: [blok 30m, block, ticket now]",
        &expect![[r#"
            error: `mode` stands here twice
              --> auth/x.yml:31:1
               |
            31 | mode: canary
               | ^^^^
               |
               = help: keep one of the two"#]],
    );
}

#[test]
fn a_slide_that_does_not_divide_names_those_that_do() {
    check(
        "slide: 7s",
        &expect![[r#"
        error: the slide 7s does not divide the window 5m
          --> auth/x.yml:29:8
           |
        29 | slide: 7s
           |        ^^
           |
           = help: slides that fit: 10s"#]],
    );
    check(
        "slide: 1s",
        &expect![[r#"
        error: the slide 1s cuts the window 5m into 300 panes; at most 32
          --> auth/x.yml:29:8
           |
        29 | slide: 1s
           |        ^^
           |
           = help: slides that fit: 10s"#]],
    );
    check(
        "slide: 10m",
        &expect![[r#"
        error: the slide 10m is longer than the window 5m
          --> auth/x.yml:29:8
           |
        29 | slide: 10m
           |        ^^^
           |
           = help: slides that fit: 5m"#]],
    );
    check(
        "window: 7m13s\nslide: 1s",
        &expect![[r#"
        error: `slide` stands here twice
          --> auth/x.yml:30:1
           |
        30 | slide: 1s
           | ^^^^^
           |
           = help: keep one of the two"#]],
    );
}

#[test]
fn lengths_of_time_are_explained() {
    check(
        "rearm: 15",
        &expect![[r#"
        error: `rearm`: `15` has no unit; write `15s`, `15m` or `15h`
          --> auth/x.yml:29:8
           |
        29 | rearm: 15
           |        ^^"#]],
    );
    check(
        "rearm: 1 month",
        &expect![[r#"
        error: `rearm`: months and years differ in length; write days, such as `30d`
          --> auth/x.yml:29:8
           |
        29 | rearm: 1 month
           |        ^^^^^^^"#]],
    );
    check(
        "window: 0s",
        &expect![[r#"
        error: a window has a length
          --> auth/x.yml:29:9
           |
        29 | window: 0s
           |         ^^
           |
           = help: a rule that looks at one event at a time has no `window:`"#]],
    );
    check(
        "rearm: [5m]",
        &expect![[r#"
        error: `rearm` is a length of time such as `5m`, found a list
          --> auth/x.yml:29:8
           |
        29 | rearm: [5m]
           |        ^"#]],
    );
}

#[test]
fn parameters_have_values_and_are_used() {
    check(
        "with: {failure: 20, limit: 3}",
        &expect![[r#"
        error: `$failures` has no value
          --> auth/x.yml:10:22
           |
        10 |   HAVING count(*) >= $failures AND count(DISTINCT account) >= 10
           |                      ^^^^^^^^^
           |
           = help: did you mean `$failure`?

        warning: the SQL does not use `failure`
          --> auth/x.yml:29:8
           |
        29 | with: {failure: 20, limit: 3}
           |        ^^^^^^^
           |
           = help: write `$failure` in the SQL, or remove it

        warning: the SQL does not use `limit`
          --> auth/x.yml:29:21
           |
        29 | with: {failure: 20, limit: 3}
           |                     ^^^^^
           |
           = help: write `$limit` in the SQL, or remove it"#]],
    );
    check(
        "with: {failures: {a: 1}}",
        &expect![[r#"
        error: `$failures` has no value
          --> auth/x.yml:10:22
           |
        10 |   HAVING count(*) >= $failures AND count(DISTINCT account) >= 10
           |                      ^^^^^^^^^
           |
           = help: add `with: {failures: …}`

        error: `failures` is not a value for SQL
          --> auth/x.yml:29:18
           |
        29 | with: {failures: {a: 1}}
           |                  ^
           |
           = help: a number, a text, true or false, or a list of those"#]],
    );
}

#[test]
fn subjects_modes_and_memory_are_known_words() {
    check(
        "subject: {adress: client_ip}",
        &expect![[r#"
        error: unknown key `adress` in `subject`
          --> auth/x.yml:29:11
           |
        29 | subject: {adress: client_ip}
           |           ^^^^^^
           |
           = help: known: ip, network, principal, token, account, ja4, route, deploy"#]],
    );
    check(
        "mode: liv",
        &expect![[r#"
        error: unknown mode `liv`
          --> auth/x.yml:29:7
           |
        29 | mode: liv
           |       ^^^
           |
           = help: did you mean `live`?"#]],
    );
    check(
        "memory: 1TB",
        &expect![[r#"
        error: `1TB` is not an amount of memory
          --> auth/x.yml:30:9
           |
        30 | memory: 1TB
           |         ^^^
           |
           = help: write such as `128MiB`"#]],
    );
    check(
        "subject: none\nmemory: 128 MiB\nmode: off",
        &expect![[r#"
        error: `mode` stands here twice
          --> auth/x.yml:31:1
           |
        31 | mode: off
           | ^^^^
           |
           = help: keep one of the two"#]],
    );
}

#[test]
fn what_is_not_yaml_says_where() {
    check(
        "why: a: b",
        &expect![[r#"
        error: this is not YAML: mapping values are not allowed in this context
          --> auth/x.yml:29:7
           |
        29 | why: a: b
           |       ^
           |
           = help: check indentation, and put texts with `: ` or `{` in quotes"#]],
    );
    check(
        "title: again\ntitle: twice",
        &expect![[r#"
        error: `title` stands here twice
          --> auth/x.yml:30:1
           |
        30 | title: twice
           | ^^^^^
           |
           = help: keep one of the two"#]],
    );
    check(
        "why: x\n---\ntitle: y",
        &expect![[r#"
        error: a second document begins here
          --> auth/x.yml:31:1
           |
        31 | title: y
           | ^
           |
           = help: one file holds one rule; remove the `---`"#]],
    );
    let (_, problems) = load_one("- a\n- b\n");
    expect![[r#"
        error: a rule file is a map, found a list
         --> auth/x.yml:1:1
          |
        1 | - a
          | ^"#]]
    .assert_eq(&problems);
    let (_, problems) = load_one("");
    expect![[r#"
        error: a rule file is a map, found nothing
         --> auth/x.yml:1:1
          |
        1 |
          | ^"#]]
    .assert_eq(&problems);
}

#[test]
fn sql_with_an_open_quote_says_so() {
    check(
        "sql: SELECT 'a FROM events WHERE $failures > 1",
        &expect![[r#"
        error: the SQL cannot be read: Unterminated string literal
          --> auth/x.yml:24:13
           |
        24 | sql: SELECT 'a FROM events WHERE $failures > 1
           |             ^
           |
           = help: is a quote left open?"#]],
    );
}

#[test]
fn items_continue_where_the_item_before_them_ended() {
    let text = "tests:\n  - name: t\n    events:\n      - {each: 3, every: 2s}\n      - {status: 200}\n      \
                - {each: 2, every: 5s, object_number: \"{i+7}\"}\n      - {from: 1s, http_version: 1.10}\n    \
                episodes: []";
    let (rules, problems) = load_one(&changed(text));
    assert_eq!(rules.len(), 1, "{problems}");
    let TestInput::Events(events) = &rules[0].tests[0].input else { panic!("events") };
    let offsets: Vec<i64> = events
        .iter()
        .map(|event| event.event_time.unwrap().minus(BASE.millis()).millis())
        .collect();
    assert_eq!(offsets, [0, 1000, 2000, 4000, 5000, 10_000, 15_000]);
    assert_eq!(events[1].http_version.as_deref(), Some("1.10"));
    assert_eq!((events[5].object_number, events[6].object_number), (Some(7), Some(8)));
}

fn changed(tests: &str) -> String {
    let (head, _) = EXAMPLE.split_once("tests:").unwrap();
    format!("{head}{tests}")
}

#[track_caller]
fn check_tests(tests: &str, expected: &Expect) {
    let (_, problems) = load_one(&changed(&format!("tests:\n{tests}")));
    expected.assert_eq(&problems);
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of them are messages")]
fn mistakes_in_tests_name_the_value() {
    check_tests(
        "  - {name: a, events: [{statsu: 401, status: many}], episodes: []}",
        &expect![[r#"
        error: unknown column `statsu`
          --> auth/x.yml:22:25
           |
        22 |   - {name: a, events: [{statsu: 401, status: many}], episodes: []}
           |                         ^^^^^^
           |
           = help: did you mean `status`?

        error: `status`: is a whole number, found "many"
          --> auth/x.yml:22:46
           |
        22 |   - {name: a, events: [{statsu: 401, status: many}], episodes: []}
           |                                              ^^^^"#]],
    );
    check_tests(
        "  - {name: a, events: [{account: \"a{i%}\"}], episodes: []}",
        &expect![[r#"
        error: `account`: `{i%}` lacks a number
          --> auth/x.yml:22:34
           |
        22 |   - {name: a, events: [{account: "a{i%}"}], episodes: []}
           |                                  ^^^^^^^"#]],
    );
    check_tests(
        "  - {name: a, events: [{response_bytes: -1, each: 3}], episodes: []}",
        &expect![[r#"
        error: `response_bytes`: is a number of at least 0, found -1
          --> auth/x.yml:22:41
           |
        22 |   - {name: a, events: [{response_bytes: -1, each: 3}], episodes: []}
           |                                         ^^"#]],
    );
    check_tests(
        "  - {name: a, events: [{each: 0}, {from: -1s}, 7], episodes: []}",
        &expect![[r#"
        error: `each` is at least 1
          --> auth/x.yml:22:31
           |
        22 |   - {name: a, events: [{each: 0}, {from: -1s}, 7], episodes: []}
           |                               ^

        error: an event cannot come before the test's start
          --> auth/x.yml:22:35
           |
        22 |   - {name: a, events: [{each: 0}, {from: -1s}, 7], episodes: []}
           |                                   ^
           |
           = help: use `before:` with offsets such as `from: -1d`

        error: an event is a map, found a whole number
          --> auth/x.yml:22:48
           |
        22 |   - {name: a, events: [{each: 0}, {from: -1s}, 7], episodes: []}
           |                                                ^"#]],
    );
    check_tests(
        "  - {name: a, events: [{each: 200000}], episodes: []}",
        &expect![[r#"
        error: the test has more than 100000 events
          --> auth/x.yml:22:24
           |
        22 |   - {name: a, events: [{each: 200000}], episodes: []}
           |                        ^
           |
           = help: a smaller test proves as much"#]],
    );
    check_tests(
        "  - {events: [], episodes: []}\n  - {name: b}\n  - {name: c, events: []}",
        &expect![[r#"
        error: the test has no `name:`
          --> auth/x.yml:22:5
           |
        22 |   - {events: [], episodes: []}
           |     ^
           |
           = help: a sentence that says what it proves

        error: the test `b` has no `events:` and no `lines:`
          --> auth/x.yml:23:5
           |
        23 |   - {name: b}
           |     ^
           |
           = help: add what goes in

        error: the test `b` has no `episodes:`
          --> auth/x.yml:23:5
           |
        23 |   - {name: b}
           |     ^
           |
           = help: write `episodes: []` where nothing may fire

        error: the test `c` has no `episodes:`
          --> auth/x.yml:24:5
           |
        24 |   - {name: c, events: []}
           |     ^
           |
           = help: write `episodes: []` where nothing may fire"#]],
    );
    check_tests(
        "  - {name: a, lines: [x], episodes: [{open: 5s, span: [1s], key: [a]}]}",
        &expect![[r#"
            error: unknown key `open` in an episode
              --> auth/x.yml:22:39
               |
            22 |   - {name: a, lines: [x], episodes: [{open: 5s, span: [1s], key: [a]}]}
               |                                       ^^^^
               |
               = help: did you mean `opens`?

            error: `span` is two offsets
              --> auth/x.yml:22:55
               |
            22 |   - {name: a, lines: [x], episodes: [{open: 5s, span: [1s], key: [a]}]}
               |                                                       ^
               |
               = help: write such as `span: [0s, 5m10s]`

            error: `key` is a map, found a list
              --> auth/x.yml:22:66
               |
            22 |   - {name: a, lines: [x], episodes: [{open: 5s, span: [1s], key: [a]}]}
               |                                                                  ^"#]],
    );
}

#[test]
fn context_and_times_of_tests_are_read() {
    let text = r#"tests:
  - name: a
    before: [{each: 2, every: 1h}]
    deploys: [{service: shop, deploy_id: 7, deployed_at: -10m}]
    identities: [{principal: ann, roles: [admin], until: 5m}]
    events: [{token_expires: 30s, scopes: [a, "s{i}"], attrs: {k: 1}, synthetic: no}]
    episodes: [{span: [0s, 5m], totals: {n: 1}}]
  - name: b
    format: nginx
    lines: |
      one
      two
    episodes: []
"#;
    let (rules, problems) = load_one(&changed(text));
    assert_eq!(problems, "");
    let test = &rules[0].tests[0];
    assert_eq!(test.before[1].event_time, Some(BASE.plus(-82_800_000)));
    assert_eq!(test.deploys[0].deploy_id, "7");
    assert_eq!(test.deploys[0].deployed_at, BASE.plus(-600_000));
    assert_eq!(
        test.identities,
        [json!({"principal": "ann", "roles": ["admin"], "until": "2026-01-05T00:05:00.000Z"})]
    );
    let TestInput::Events(events) = &test.input else { panic!("events") };
    assert_eq!(
        serde_json::to_value(&events[0]).unwrap(),
        json!({"event_id": events[0].event_id, "event_time": "2026-01-05T00:00:00.000Z",
               "token_expires": "2026-01-05T00:00:30.000Z", "synthetic": false,
               "scopes": ["a", "s0"], "attrs": {"k": "1"}})
    );
    assert_eq!(test.episodes[0].span_ms, Some((0, 300_000)));
    assert_eq!(
        rules[0].tests[1].input,
        TestInput::Lines { format: Some("nginx".into()), lines: vec!["one".into(), "two".into()] }
    );
}

#[test]
fn mistakes_in_context_are_named() {
    check_tests(
        "  - {name: a, events: [], episodes: [], deploys: [{servce: shop}], identities: [{roles: []}]}",
        &expect![[r#"
            error: not a deploy: unknown field `servce`, expected one of `service`, `environment`, `deploy_id`, `deployed_at`, `version`, `commit`, `change_id`, `repository`, `pipeline_run`, `owner`, `action`
              --> auth/x.yml:22:51
               |
            22 |   - {name: a, events: [], episodes: [], deploys: [{servce: shop}], identities: [{roles: []}]}
               |                                                   ^

            error: an identity has a `principal:`
              --> auth/x.yml:22:81
               |
            22 |   - {name: a, events: [], episodes: [], deploys: [{servce: shop}], identities: [{roles: []}]}
               |                                                                                 ^"#]],
    );
    check_tests(
        "  - {name: a, events: [], episodes: [], deploys: [{service: a, deployed_at: noon}]}",
        &expect![[r#"
            error: `deployed_at`: `noon` is not a length of time; write such as `30s`, `5m`, `1h`
              --> auth/x.yml:22:77
               |
            22 |   - {name: a, events: [], episodes: [], deploys: [{service: a, deployed_at: noon}]}
               |                                                                             ^^^^"#]],
    );
}

#[test]
fn two_files_cannot_make_one_rule() {
    let files = [file("a/x.yml", EXAMPLE), file("a/x.yaml", EXAMPLE)];
    let (rules, problems) = load(&files, &Settings::default());
    assert_eq!((rules.len(), problems.len()), (1, 1));
    assert!(problems[0].message.contains("two rules with the id `a/x`"), "{}", problems[0]);
}

/// A judge of the few keywords that the schema uses.
fn fits(schema: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    let list = |name: &str| schema.get(name).and_then(Value::as_array);
    let typed = match schema.get("type") {
        None => true,
        Some(Value::String(name)) => is(name),
        Some(Value::Array(names)) => names.iter().any(|name| is(name.as_str().unwrap())),
        Some(other) => panic!("type {other}"),
    };
    let object = value.as_object();
    let known = object.is_none_or(|object| {
        object.iter().all(|(name, value)| {
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(schema), _) => fits(schema, value),
                (None, Some(Value::Bool(open))) => *open,
                (None, Some(schema)) => fits(schema, value),
                (None, None) => true,
            }
        })
    });
    let required = list("required").is_none_or(|names| {
        object.is_some_and(|o| names.iter().all(|name| o.contains_key(name.as_str().unwrap())))
    });
    let items = schema.get("items").is_none_or(|schema| {
        value.as_array().is_none_or(|items| items.iter().all(|item| fits(schema, item)))
    });
    typed
        && known
        && required
        && items
        && list("enum").is_none_or(|values| values.contains(value))
        && list("anyOf").is_none_or(|schemas| schemas.iter().any(|schema| fits(schema, value)))
        && schema.get("not").is_none_or(|schema| !fits(schema, value))
        && schema.get("const").is_none_or(|constant| constant == value)
}

#[test]
fn the_example_fits_the_schema_and_misspelt_keys_do_not() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let mut rule: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    assert!(fits(&schema, &rule));
    rule["tests"][0]["events"][0]["statsu"] = json!(1);
    assert!(!fits(&schema, &rule));
    rule["tests"] = json!([]);
    assert!(fits(&schema, &rule));
    rule["tittle"] = json!("x");
    assert!(!fits(&schema, &rule));
}
