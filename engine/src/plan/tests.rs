//! Queries as analysts write them: what they become, and what they answer.

mod kinds;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use expect_test::{Expect, expect};
use schemas::{BatchBuilder, Event, EventTime, Field};
use serde_json::{Value, json};

use super::{CompiledRule, Possible, Program, Table, compile, explain, reference};
use crate::rule::{List, Lists, Rule, Settings, SourceFile, load, load_with_drafts};

const TESTS: &str = "tests:\n  - {name: a, events: [], episodes: [{}]}\n  \
                     - {name: b, events: [], episodes: []}\n";

fn lists() -> Lists {
    let mut lists = Lists::default();
    lists.insert("office", List::new(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]));
    lists.insert("bad-agents", List::new(["scan/1"]));
    lists
}

/// A rule file with this query; `head` holds further keys, a line each.
fn file(head: &str, sql: &str) -> SourceFile {
    let sql: String = sql.lines().map(|line| format!("  {}\n", line.trim())).collect();
    let text = format!("title: t\nseverity: low\n{head}\nsql: |\n{sql}{TESTS}");
    SourceFile { path: "x/rule.yml".into(), text }
}

#[track_caller]
fn rule(head: &str, sql: &str) -> Rule {
    let (mut rules, problems) = load(&[file(head, sql)], &Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    rules.remove(0)
}

#[track_caller]
fn compiled(head: &str, sql: &str) -> CompiledRule {
    let (mut rules, problems) = compile(&[rule(head, sql)], &lists());
    let rendered: Vec<String> = problems.iter().map(|problem| problem.render(false)).collect();
    assert_eq!(rules.len(), 1, "{}", rendered.join("\n"));
    rules.remove(0)
}

/// The explanation without the hashes.
#[track_caller]
fn check(head: &str, sql: &str, expected: &Expect) {
    let text = explain(&compiled(head, sql)).to_string();
    let lines = text.lines().filter(|l| !l.contains("  unit") && !l.contains("  episodes"));
    let lines = lines.map(|line| line.strip_prefix("  ").unwrap());
    expected.assert_eq(&lines.map(|line| format!("{line}\n")).collect::<String>());
}

#[track_caller]
fn check_wrong(head: &str, sql: &str, expected: &Expect) {
    let (rules, mut problems) = load(&[file(head, sql)], &Settings::default());
    problems.extend(compile(&rules, &lists()).1);
    let rendered: Vec<String> = problems.iter().map(|problem| problem.render(false)).collect();
    expected.assert_eq(&rendered.join("\n\n"));
}

fn events(rows: &[Value]) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    for (place, row) in rows.iter().enumerate() {
        let mut event = Event { event_id: Some(format!("e{place}").into()), ..Event::default() };
        event.event_time = Some(EventTime(i64::try_from(place).unwrap() * 1000));
        for (name, value) in row.as_object().unwrap() {
            event.set(Field::named(name).unwrap(), value).unwrap();
        }
        builder.push(&event);
    }
    builder.finish().unwrap()
}

/// What a rule answers on a window `[0, 60s)` with these events, by its program and by the
/// reference; both agree.
#[track_caller]
fn answer(compiled: &CompiledRule, rows: &[Value]) -> String {
    let batch = events(rows);
    let selected = compiled.select(&batch).unwrap();
    let window = (0, 60_000);
    let by_program = match &compiled.program {
        Program::None(projection) => vec![projection.run(&selected).unwrap()],
        Program::Rows(query) | Program::Panes(_, query) => {
            let first = query.run(std::slice::from_ref(&selected), window).unwrap();
            let again = query.run(&[selected], window).unwrap();
            assert_eq!(first, again, "a second run answers the same");
            first
        }
    };
    let by_reference = reference(&compiled.rule, &lists()).unwrap().run(&[batch], window).unwrap();
    let program = pretty_format_batches(&by_program).unwrap().to_string();
    if by_program.iter().any(|batch| batch.num_rows() > 0) {
        assert_eq!(program, pretty_format_batches(&by_reference).unwrap().to_string());
    } else {
        assert!(by_reference.is_empty(), "{by_reference:?}");
    }
    program
}

const STUFFING: &str = "SELECT client_ip, count(*) AS failures, count(DISTINCT account) AS accounts
    FROM events
    WHERE route_login AND status IN (400, 401, 403) AND blocked_by IS NULL
    GROUP BY client_ip
    HAVING count(*) >= 3 AND count(DISTINCT account) >= 2";

#[test]
fn a_threshold_rule_keeps_panes_and_fires_at_the_event() {
    check(
        "window: 5m",
        STUFFING,
        &expect![[r#"
            state    panes: aggregates by key and pane are kept, up to 64 MiB: some 440000 keys in a window; beyond that, how many events those with the fewest had
            fires    at the event that crosses: HAVING stays true once it is
            panes    used
            window   5m, moved by 10s (30 panes)
            re-arm   5m
            key      client_ip
            values   failures, accounts
            reads    events: event_id, event_time, client_ip, account
            filter   blocked_by IS NULL AND client_ip IS NOT NULL AND route_login AND (status = 400 OR status = 401 OR status = 403)
        "#]],
    );
}

#[test]
fn a_rule_without_a_window_looks_at_one_event() {
    check(
        "key: [principal, route]",
        "SELECT principal, method || ' ' || route AS route, object_tenant FROM events e
         WHERE e.object_tenant <> e.tenant AND status BETWEEN 200 AND 299",
        &expect![[r#"
            state    none: each event is judged alone
            fires    at the event
            panes    not needed
            window   (none)
            re-arm   15m
            key      principal, route
            values   object_tenant
            reads    events: event_id, event_time, method, route, principal, object_tenant
            filter   method || ' ' || route IS NOT NULL AND principal IS NOT NULL AND status <= 299 AND status >= 200 AND tenant <> object_tenant
        "#]],
    );
}

#[test]
fn ratios_and_upper_bounds_fire_at_close() {
    check(
        "window: 10m",
        "SELECT principal, count(*) AS n FROM events GROUP BY principal
         HAVING count(*) FILTER (WHERE status >= 400) * 1.0 / count(*) >= 0.5 AND count(*) > 10",
        &expect![[r#"
            state    panes: aggregates by key and pane are kept, up to 64 MiB: some 440000 keys in a window; beyond that, how many events those with the fewest had
            fires    when a window closes, every 20s; not earlier because of `count(1) FILTER (WHERE (status >= 400)) * 1.0 / count(1) >= 0.5`: a calculation on aggregates can rise and fall
            panes    used
            window   10m, moved by 20s (30 panes)
            re-arm   10m
            key      principal
            values   n
            reads    events: event_id, event_time, status, principal
            filter   principal IS NOT NULL
        "#]],
    );
}

fn early(having: &str) -> String {
    let sql =
        format!("SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip HAVING {having}");
    match compiled("window: 1m", &sql).early {
        Some(Possible::Yes) => "yes".to_owned(),
        Some(Possible::No { clause, why }) => format!("no: {clause}: {why}"),
        None => "none".to_owned(),
    }
}

#[test]
fn having_that_stays_true_is_told_from_having_that_does_not() {
    for stays in [
        "count(*) > 3",
        "3 <= count(DISTINCT account)",
        "max(duration_us) > 1000000 OR sum(response_bytes) > 50000000",
        "min(status) <= 200 AND count(*) >= 3",
        "bool_or(status = 200)",
        "bool_or(status = 200) = true",
        "bool_and(status = 200) = false",
        "NOT bool_and(status = 200)",
        "approx_distinct(path) >= 30",
        "sum(CASE WHEN status = 404 THEN 1 ELSE 0 END) >= 20",
        "count(*) >= 3 AND client_ip <> '::1'",
        "CAST(count(*) AS DOUBLE) >= 2.5",
    ] {
        assert_eq!(early(stays), "yes", "{stays}");
    }
    let not: Vec<String> = [
        "count(*) < 3",
        "count(*) = 3",
        "avg(duration_us) > 3",
        "sum(object_number) > 3",
        "count(*) >= 3 AND max(status) < 500",
        "count(DISTINCT account) * 2 >= count(*)",
        "min(status) >= 200",
        "bool_and(status = 200)",
    ]
    .into_iter()
    .map(early)
    .collect();
    expect![[r#"
        no: count(1) < 3: more events can make it false again
        no: count(1) = 3: more events can make it false again; compare with > or >=
        no: avg(duration_us) > 3: an average can rise and fall
        no: sum(object_number) > 3: a sum falls when a negative number comes in
        no: max(status) < 500: more events can make it false again
        no: count(DISTINCT account) * 2 >= count(1): a calculation on aggregates can rise and fall
        no: min(status) >= 200: more events can make it false again
        no: bool_and(status = 200): more events can make it false again"#]]
    .assert_eq(&not.join("\n"));
}

#[test]
fn joins_windows_and_subqueries_keep_rows() {
    check(
        "window: 10m\nkey: [principal]",
        "SELECT denied.principal, count(*) AS hits
         FROM (SELECT principal, path FROM events WHERE status = 403) denied
         JOIN events allowed ON allowed.principal = denied.principal AND allowed.path = denied.path
         WHERE allowed.status = 200
         GROUP BY denied.principal",
        &expect![[r#"
            state    rows: the rows of the window are kept, up to 64 MiB
            fires    when a window closes, every 20s; HAVING stays true once it is, so in panes it would fire at the event that crosses
            panes    not possible because of `a join`: it looks at other rows than the one at hand; `count(*) FILTER (WHERE …)` of the same key often says as much
            window   10m, moved by 20s (30 panes)
            re-arm   10m
            key      principal
            values   hits
            reads    events: event_id, event_time, path, status, principal
            filter   principal IS NOT NULL AND status = 200 OR principal IS NOT NULL AND status = 403
        "#]],
    );
    check(
        "window: 10m\nkey: principal",
        "SELECT principal, step FROM (
           SELECT principal, object_number - lag(object_number) OVER (
             PARTITION BY principal ORDER BY event_time, event_id) AS step
           FROM events WHERE object_number IS NOT NULL) steps
         WHERE step = 1",
        &expect![[r#"
            state    rows: the rows of the window are kept, up to 64 MiB
            fires    when a window closes, every 20s; not earlier because of `a window function`: only a grouping with a threshold can be known to stay true
            panes    not possible because of `a window function`: panes hold aggregates by key: SELECT … GROUP BY … HAVING …
            window   10m, moved by 20s (30 panes)
            re-arm   10m
            key      principal
            values   step
            reads    events: event_id, event_time, principal, object_number
            filter   object_number IS NOT NULL AND principal IS NOT NULL
        "#]],
    );
    check(
        "window: 10m",
        "SELECT ja4, count(*) AS n FROM events GROUP BY ja4
         HAVING count(*) >= 10 AND count(*) * 2 > (SELECT count(*) FROM events)",
        &expect![[r#"
            state    rows: the rows of the window are kept, up to 64 MiB
            fires    when a window closes, every 20s; not earlier because of `count(1) * 2 > (SELECT count(1) AS "count(*)" FROM events)`: a calculation on aggregates can rise and fall
            panes    not possible because of `a subquery`: it looks at other rows than the one at hand; `count(*) FILTER (WHERE …)` of the same key often says as much
            window   10m, moved by 20s (30 panes)
            re-arm   10m
            key      ja4
            values   n
            reads    events: event_id, event_time, ja4
            filter   (every row)
        "#]],
    );
}

#[test]
fn drops_can_be_read() {
    check(
        "window: 5m",
        "SELECT client_ip, count(*) AS late FROM drops WHERE reason = 'late'
         GROUP BY client_ip HAVING count(*) > 50",
        &expect![[r#"
            state    rows: the rows of the window are kept, up to 64 MiB
            fires    when a window closes, every 10s; HAVING stays true once it is, so in panes it would fire at the event that crosses
            panes    not possible because of `FROM drops`: panes are of events
            window   5m, moved by 10s (30 panes)
            re-arm   5m
            key      client_ip
            values   late
            reads    drops: event_id, event_time, client_ip
            filter   client_ip IS NOT NULL AND reason = 'late'
        "#]],
    );
    let rule = compiled("key: sensor", "SELECT sensor FROM drops WHERE reason = 'binary'");
    assert_eq!((rule.table, rule.key_columns), (Table::Drops, None));
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of them are messages")]
fn unknown_names_are_all_named_with_the_nearest() {
    check_wrong(
        "window: 5m",
        "SELECT client_ip, cuont(*) AS n, count(DISTINCT acount) AS accounts
         FROM events WHERE stat = 401 AND regexp_lik(path, 'x')
         GROUP BY client_ip",
        &expect![[r#"
            error: unknown function `cuont`
             --> x/rule.yml:5:21
              |
            5 |   SELECT client_ip, cuont(*) AS n, count(DISTINCT acount) AS accounts
              |                     ^^^^^
              |
              = help: did you mean `count`?

            error: unknown column `acount`
             --> x/rule.yml:5:51
              |
            5 |   SELECT client_ip, cuont(*) AS n, count(DISTINCT acount) AS accounts
              |                                                   ^^^^^^
              |
              = help: did you mean `account`?

            error: unknown column `stat`
             --> x/rule.yml:6:21
              |
            6 |   FROM events WHERE stat = 401 AND regexp_lik(path, 'x')
              |                     ^^^^
              |
              = help: did you mean `status`?

            error: unknown function `regexp_lik`
             --> x/rule.yml:6:36
              |
            6 |   FROM events WHERE stat = 401 AND regexp_lik(path, 'x')
              |                                    ^^^^^^^^^^
              |
              = help: did you mean `regexp_like`?"#]],
    );
    check_wrong(
        "window: 5m",
        "SELECT ip, count(*) AS n FROM evens GROUP BY ip",
        &expect![[r#"
        error: unknown table `evens`
         --> x/rule.yml:5:33
          |
        5 |   SELECT ip, count(*) AS n FROM evens GROUP BY ip
          |                                 ^^^^^
          |
          = help: did you mean `events`?"#]],
    );
    check_wrong(
        "key: a",
        "SELECT service AS a FROM deploys",
        &expect![[r#"
        error: the table `deploys` cannot be read yet
         --> x/rule.yml:5:28
          |
        5 |   SELECT service AS a FROM deploys
          |                            ^^^^^^^
          |
          = help: the columns of `events` carry deploy, identity and route already"#]],
    );
    check_wrong(
        "window: 5m\nkey: a",
        "SELECT e.sensor AS a FROM events e JOIN drops d ON d.sensor = e.sensor",
        &expect![[r#"
            error: a rule reads `events` or `drops`, not both
             --> x/rule.yml:6:43
              |
            6 |   SELECT e.sensor AS a FROM events e JOIN drops d ON d.sensor = e.sensor
              |                                           ^^^^^
              |
              = help: write two rules"#]],
    );
}

#[test]
fn what_is_usual_is_asked_of_a_group() {
    check(
        "window: 1m",
        "SELECT principal, count(*) AS n, round(baseline_max(count(*), 10, 600)) AS usual \
         FROM events GROUP BY principal \
         HAVING count(*) >= greatest(120, baseline_max(count(*), 10, 600))",
        &expect![[r#"
            state    panes: aggregates by key and pane are kept, up to 32 MiB: some 220000 keys in a window; beyond that, how many events those with the fewest had
            fires    at the event that crosses: HAVING stays true once it is
            panes    used
            past     `baseline_max(count(1), 10, 600)`: the greatest value of each hour, on weekdays or at weekends, by key, 24 B each; 600 holds for a key that was not seen on three days
            window   1m, moved by 2s (30 panes)
            re-arm   1m
            key      principal
            values   n, usual
            reads    events: event_id, event_time, principal
            filter   principal IS NOT NULL
        "#]],
    );
    check(
        "window: 1m",
        "SELECT principal, sum(response_bytes) AS bytes FROM events GROUP BY principal \
         HAVING sum(response_bytes) < baseline_max(sum(response_bytes), 2.5)",
        &expect![[r#"
            state    panes: aggregates by key and pane are kept, up to 32 MiB: some 220000 keys in a window; beyond that, how many events those with the fewest had
            fires    when a window closes, every 2s; not earlier because of `sum(response_bytes) < baseline_max(sum(response_bytes), 2.5)`: more events can make it false again
            panes    used
            past     `baseline_max(sum(response_bytes), 2.5)`: the greatest value of each hour, on weekdays or at weekends, by key, 24 B each; nothing is unusual for a key that was not seen on three days
            window   1m, moved by 2s (30 panes)
            re-arm   1m
            key      principal
            values   bytes
            reads    events: event_id, event_time, response_bytes, principal
            filter   principal IS NOT NULL
        "#]],
    );
}

/// A rule with this HAVING.
#[track_caller]
fn check_wrong_having(having: &str, expected: &Expect) {
    let sql =
        format!("SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING {having}");
    check_wrong("window: 1m", &sql, expected);
}

#[test]
fn what_baseline_max_cannot_take_is_said() {
    let wrong = check_wrong_having;
    wrong(
        "count(*) > baseline_max(count(*))",
        &expect![[r#"
        error: baseline_max takes an aggregate, how many deviations are usual, and perhaps what stands for a key that is not known yet: baseline_max(count(*), 6, 1000)
         --> x/rule.yml:5:3
          |
        5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(count(*))
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    wrong(
        "count(*) > baseline_max(count(*), -1)",
        &expect![[r#"
            error: how many deviations `baseline_max` takes is no number of 0 or more
             --> x/rule.yml:5:84
              |
            5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(count(*), -1)
              |                                                                                    ^^^^^^^^^^^^
              |
              = help: write such as baseline_max(count(*), 6)"#]],
    );
    wrong(
        "count(*) > baseline_max(count(*), 'ten')",
        &expect![[r#"
        error: baseline_max takes numbers after the aggregate, and not Utf8
         --> x/rule.yml:5:3
          |
        5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(count(*), 'ten')
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    wrong(
        "count(*) > baseline_max(avg(status), 3)",
        &expect![[r#"
        error: baseline_max learns whole numbers, such as count(*), and not Float64
         --> x/rule.yml:5:3
          |
        5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(avg(status), 3)
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn what_baseline_max_is_not_of_is_said() {
    let wrong = check_wrong_having;
    wrong(
        "count(*) > baseline_max(count(*) + 1, 3)",
        &expect![[r#"
            error: `baseline_max` is of one aggregate, not of `count(1) + 1`
             --> x/rule.yml:5:84
              |
            5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(count(*) + 1, 3)
              |                                                                                    ^^^^^^^^^^^^
              |
              = help: write such as baseline_max(count(*), 6)"#]],
    );
    wrong(
        "count(*) > baseline_max(count(*), count(*))",
        &expect![[r#"
            error: how many deviations `baseline_max` takes is no number of 0 or more
             --> x/rule.yml:5:84
              |
            5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(count(*), count(*))
              |                                                                                    ^^^^^^^^^^^^
              |
              = help: write such as baseline_max(count(*), 6)"#]],
    );
    wrong(
        "count(*) > baseline_max(min(status), 3)",
        &expect![[r#"
        error: `baseline_max` needs state in panes, which `min(status)` stands in the way of
         --> x/rule.yml:5:84
          |
        5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(min(status), 3)
          |                                                                                    ^^^^^^^^^^^^
          |
          = help: only whole numbers are learned: count, sum or max of whole numbers"#]],
    );
    wrong(
        "count(*) > baseline_max(count(*), 3) OR max(status) > baseline_max(max(status), 3)",
        &expect![[r#"
            error: `baseline_max` of two aggregates in one rule
             --> x/rule.yml:5:84
              |
            5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) > baseline_max(count(*), 3) OR max(status) > baselin...
              |                                                                                    ^^^^^^^^^^^^
              |
              = help: write two rules"#]],
    );
    wrong(
        "count(*) FILTER (WHERE baseline_max(1, 2) > 3) > 3",
        &expect![[r#"
        error: `baseline_max` compares a group with its past
         --> x/rule.yml:5:96
          |
        5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING count(*) FILTER (WHERE baseline_max(1, 2) > 3) > 3
          |                                                                                                ^^^^^^^^^^^^
          |
          = help: it belongs into HAVING or SELECT, and not into WHERE or FILTER"#]],
    );
}

#[test]
fn where_baseline_max_cannot_stand_is_said() {
    check_wrong(
        "key: principal",
        "SELECT principal FROM events WHERE baseline_max(1, 2) > 3",
        &expect![[r#"
            error: `baseline_max` says what is usual for a group
             --> x/rule.yml:5:38
              |
            5 |   SELECT principal FROM events WHERE baseline_max(1, 2) > 3
              |                                      ^^^^^^^^^^^^
              |
              = help: write SELECT … FROM events GROUP BY … HAVING …"#]],
    );
    check_wrong(
        "window: 1m",
        "SELECT lower(path) AS p, count(*) AS n FROM events GROUP BY lower(path) \
         HAVING count(*) > baseline_max(count(*), 3)",
        &expect![[r#"
            error: `baseline_max` needs state in panes, which `lower(path)` stands in the way of
             --> x/rule.yml:5:93
              |
            5 |   SELECT lower(path) AS p, count(*) AS n FROM events GROUP BY lower(path) HAVING count(*) > baseline_max(count(*), 3)
              |                                                                                             ^^^^^^^^^^^^
              |
              = help: it is computed from an event; group by a column of it"#]],
    );
}

#[test]
fn what_is_seen_for_the_first_time_is_a_condition_of_its_own() {
    check(
        "key: principal",
        "SELECT principal, route FROM events WHERE status < 400 AND first_seen('30d', principal, route)",
        &expect![[r#"
            state    none but the past: each event is compared with what was seen before it
            fires    once the watermark has passed the event: until then an earlier one may come
            panes    not needed
            past     `first_seen('30d', principal, route)`: what was seen in the 30d before, by combination, 12 to 16 B each; fires once it has learned for 7d12h
            window   (none)
            re-arm   15m
            key      principal
            values   route
            reads    events: event_id, event_time, route, principal
            filter   principal IS NOT NULL AND status < 400
        "#]],
    );
    check(
        "window: 10m\nkey: principal",
        "SELECT principal, count(*) AS n FROM (SELECT principal, lower(path) AS p FROM events) \
         WHERE first_seen('7d', principal, p) GROUP BY principal HAVING count(*) >= 5",
        &expect![[r#"
            state    rows: the rows of the window are kept, up to 64 MiB
            fires    when a window closes, every 20s; HAVING stays true once it is, so in panes it would fire at the event that crosses
            panes    not possible because of `first_seen(…)`: an event passes it once the watermark has; its row waits for that
            past     `first_seen('7d', principal, lower(path))`: what was seen in the 7d before, by combination, 12 to 16 B each; fires once it has learned for 1d18h
            window   10m, moved by 20s (30 panes)
            re-arm   10m
            key      principal
            values   n
            reads    events: event_id, event_time, principal
            filter   principal IS NOT NULL
        "#]],
    );
}

/// A rule with this WHERE.
#[track_caller]
fn check_wrong_condition(condition: &str, expected: &Expect) {
    let sql = format!("SELECT principal FROM events WHERE {condition}");
    check_wrong("key: principal", &sql, expected);
}

#[test]
fn what_first_seen_cannot_take_is_said() {
    let wrong = check_wrong_condition;
    wrong(
        "first_sen('30d', route)",
        &expect![[r#"
        error: unknown function `first_sen`
         --> x/rule.yml:5:38
          |
        5 |   SELECT principal FROM events WHERE first_sen('30d', route)
          |                                      ^^^^^^^^^
          |
          = help: did you mean `first_seen`?"#]],
    );
    wrong(
        "first_seen('30 x', route)",
        &expect![[r#"
        error: the span of `first_seen`: `x` is not a unit of time; write ms, s, m, h, d or w
         --> x/rule.yml:5:49
          |
        5 |   SELECT principal FROM events WHERE first_seen('30 x', route)
          |                                                 ^^^^^^"#]],
    );
    wrong(
        "first_seen('2s', route)",
        &expect![[r#"
        error: the span of `first_seen`: `2s` is not in whole minutes from 1m to 400d
         --> x/rule.yml:5:49
          |
        5 |   SELECT principal FROM events WHERE first_seen('2s', route)
          |                                                 ^^^^"#]],
    );
    wrong(
        "first_seen(30, route)",
        &expect![[r#"
        error: first_seen takes a span first, such as '30d', and not Int64
         --> x/rule.yml:5:3
          |
        5 |   SELECT principal FROM events WHERE first_seen(30, route)
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    wrong(
        "first_seen(route, method)",
        &expect![[r#"
        error: the span of `first_seen` is `route`, not a text
         --> x/rule.yml:5:38
          |
        5 |   SELECT principal FROM events WHERE first_seen(route, method)
          |                                      ^^^^^^^^^^
          |
          = help: write such as first_seen('30d', principal)"#]],
    );
    wrong(
        "first_seen('30d')",
        &expect![[r#"
        error: first_seen('30d') says of nothing that it is new: name columns after the span
         --> x/rule.yml:5:3
          |
        5 |   SELECT principal FROM events WHERE first_seen('30d')
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    wrong(
        "first_seen('30d', 'route')",
        &expect![[r#"
        error: `'route'` in `first_seen` is the same for every event
         --> x/rule.yml:5:38
          |
        5 |   SELECT principal FROM events WHERE first_seen('30d', 'route')
          |                                      ^^^^^^^^^^
          |
          = help: name columns after the span"#]],
    );
}

#[test]
fn where_first_seen_cannot_stand_is_said() {
    let wrong = check_wrong_condition;
    wrong(
        "NOT first_seen('30d', route)",
        &expect![[r#"
        error: `first_seen` is a condition of its own in WHERE
         --> x/rule.yml:5:42
          |
        5 |   SELECT principal FROM events WHERE NOT first_seen('30d', route)
          |                                          ^^^^^^^^^^
          |
          = help: join it to the others with AND, without NOT or OR"#]],
    );
    wrong(
        "status = 200 OR first_seen('30d', route)",
        &expect![[r#"
        error: `first_seen` is a condition of its own in WHERE
         --> x/rule.yml:5:54
          |
        5 |   SELECT principal FROM events WHERE status = 200 OR first_seen('30d', route)
          |                                                      ^^^^^^^^^^
          |
          = help: join it to the others with AND, without NOT or OR"#]],
    );
    wrong(
        "first_seen('30d', route) AND first_seen('1d', method)",
        &expect![[r#"
        error: `first_seen` is there more than once
         --> x/rule.yml:5:38
          |
        5 |   SELECT principal FROM events WHERE first_seen('30d', route) AND first_seen('1d', method)
          |                                      ^^^^^^^^^^
          |
          = help: write two rules, or one with all the columns"#]],
    );
    check_wrong(
        "window: 5m",
        "SELECT principal, count(*) AS n FROM events GROUP BY principal \
         HAVING bool_or(first_seen('30d', route))",
        &expect![[r#"
            error: `first_seen` is a condition of its own in WHERE
             --> x/rule.yml:5:81
              |
            5 |   SELECT principal, count(*) AS n FROM events GROUP BY principal HAVING bool_or(first_seen('30d', route))
              |                                                                                 ^^^^^^^^^^
              |
              = help: join it to the others with AND, without NOT or OR"#]],
    );
}

#[test]
fn steps_in_their_order_are_an_aggregate_and_what_is_none_is_said() {
    let steps = |conditions: &str| {
        format!(
            "SELECT client_ip, sequence(event_time, {conditions}) AS depth FROM events \
             GROUP BY client_ip HAVING sequence(event_time, {conditions}) >= 2"
        )
    };
    check(
        "window: 5m",
        &steps("status = 401, status = 200"),
        &expect![[r#"
            state    panes: aggregates by key and pane are kept, up to 64 MiB: some 440000 keys in a window; beyond that, how many events those with the fewest had
            fires    at the event that crosses: HAVING stays true once it is
            panes    used
            window   5m, moved by 10s (30 panes)
            re-arm   5m
            key      client_ip
            values   depth
            reads    events: event_id, event_time, status, client_ip
            filter   client_ip IS NOT NULL
        "#]],
    );
    check_wrong(
        "window: 5m",
        &steps("status, path"),
        &expect![[r#"
            error: condition 1 of sequence is Int32, not true or false
             --> x/rule.yml:5:3
              |
            5 |   SELECT client_ip, sequence(event_time, status, path) AS depth FROM events GROUP BY client_ip HAVING sequence(event_time, status, path) >= 2
              |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check_wrong(
        "window: 5m",
        &steps("status = 401"),
        &expect![[r#"
            error: sequence takes 2 to 62 conditions, found 1
             --> x/rule.yml:5:3
              |
            5 |   SELECT client_ip, sequence(event_time, status = 401) AS depth FROM events GROUP BY client_ip HAVING sequence(event_time, status = 401) >= 2
              |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn sql_that_is_not_sql_says_where() {
    check_wrong(
        "window: 5m",
        "SELECT client_ip, FROM events GROUP BY",
        &expect![[r#"
        error: this is not SQL: expected an expression, found EOF
         --> x/rule.yml:5:3
          |
        5 |   SELECT client_ip, FROM events GROUP BY
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check_wrong(
        "window: 5m",
        "DELETE FROM events",
        &expect![[r#"
        error: a rule is a query and changes nothing
         --> x/rule.yml:5:3
          |
        5 |   DELETE FROM events
          |   ^^^^^^^^^^^^^^^^^^
          |
          = help: write one SELECT"#]],
    );
    check_wrong(
        "window: 5m",
        "SELECT 1; SELECT 2",
        &expect![[r#"
        error: there is more than one statement
         --> x/rule.yml:5:3
          |
        5 |   SELECT 1; SELECT 2
          |   ^^^^^^^^^^^^^^^^^^
          |
          = help: write one SELECT"#]],
    );
    check_wrong(
        "key: a",
        "SELECT 1 AS a",
        &expect![[r#"
        error: the query reads no table
         --> x/rule.yml:5:3
          |
        5 |   SELECT 1 AS a
          |   ^^^^^^^^^^^^^
          |
          = help: write such as SELECT … FROM events WHERE …"#]],
    );
}

#[test]
fn keys_are_named_and_selected() {
    check_wrong(
        "window: 5m",
        "SELECT count(*) AS n FROM events GROUP BY client_ip",
        &expect![[r#"
            error: the GROUP BY column `client_ip` is not selected
             --> x/rule.yml:5:36
              |
            5 |   SELECT count(*) AS n FROM events GROUP BY client_ip
              |                                    ^^^^^
              |
              = help: add it to SELECT: a verdict names its key"#]],
    );
    check_wrong(
        "",
        "SELECT client_ip FROM events WHERE status = 500",
        &expect![[r#"
        error: the rule has no GROUP BY and no `key:`
         --> x/rule.yml:5:3
          |
        5 |   SELECT client_ip FROM events WHERE status = 500
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: name the output columns that tell episodes apart: `key: [client_ip]`"#]],
    );
    check_wrong(
        "window: 5m",
        "SELECT count(*) AS n FROM events",
        &expect![[r#"
        error: the query has no GROUP BY, so all events are one key
         --> x/rule.yml:5:3
          |
        5 |   SELECT count(*) AS n FROM events
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: add GROUP BY, or `key: []` if that is meant"#]],
    );
    check_wrong(
        "key: [client_ip, acount]\nsubject: {ip: cliet_ip}",
        "SELECT client_ip, account FROM events",
        &expect![[r#"
            error: the key `acount` is no output column of the query
             --> x/rule.yml:3:18
              |
            3 | key: [client_ip, acount]
              |                  ^^^^^^
              |
              = help: did you mean `account`?

            error: the subject `cliet_ip` is no output column of the query
             --> x/rule.yml:4:15
              |
            4 | subject: {ip: cliet_ip}
              |               ^^^^^^^^
              |
              = help: did you mean `client_ip`?"#]],
    );
    check_wrong(
        "window: 5m",
        "SELECT client_ip, path, count(*) AS n FROM events GROUP BY client_ip",
        &expect![[r#"
            error: 'path' must appear in GROUP BY clause because it's not an aggregate expression
             --> x/rule.yml:5:21
              |
            5 |   SELECT client_ip, path, count(*) AS n FROM events GROUP BY client_ip
              |                     ^^^^
              |
              = help: add it to GROUP BY, or take max() or min() of it"#]],
    );
}

#[test]
fn what_needs_a_window_says_so() {
    check_wrong(
        "key: client_ip",
        "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip",
        &expect![[r#"
            error: an aggregate needs a window
             --> x/rule.yml:5:3
              |
            5 |   SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip
              |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: add `window:`, such as `window: 5m`"#]],
    );
    check_wrong(
        "key: client_ip",
        "SELECT client_ip FROM events WHERE event_time > window_start()",
        &expect![[r#"
            error: `window_start()` has no meaning without a window
             --> x/rule.yml:5:51
              |
            5 |   SELECT client_ip FROM events WHERE event_time > window_start()
              |                                                   ^^^^^^^^^^^^
              |
              = help: add `window:`"#]],
    );
    check_wrong(
        "window: 48h",
        "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip",
        &expect![[r#"
            error: the window 2d is longer than 1d, which rows are kept for
             --> x/rule.yml:3:9
              |
            3 | window: 48h
              |         ^^^
              |
              = help: choose a shorter window"#]],
    );
}

#[test]
fn what_would_differ_between_runs_is_refused() {
    check_wrong(
        "window: 5m",
        "SELECT client_ip, first_value(path) AS path, approx_median(status) AS m,
           count(*) AS n
         FROM events WHERE event_time > now() AND random() < 0.5
         GROUP BY client_ip",
        &expect![[r#"
            error: `first_value` depends on the order of rows, which is not given
             --> x/rule.yml:5:21
              |
            5 |   SELECT client_ip, first_value(path) AS path, approx_median(status) AS m,
              |                     ^^^^^^^^^^^
              |
              = help: write such as first_value(path ORDER BY event_time)

            error: `approx_median` depends on the order in which parts are merged
             --> x/rule.yml:5:48
              |
            5 |   SELECT client_ip, first_value(path) AS path, approx_median(status) AS m,
              |                                                ^^^^^^^^^^^^^
              |
              = help: use median

            error: `now` depends on the clock, so a replay would differ
             --> x/rule.yml:7:34
              |
            7 |   FROM events WHERE event_time > now() AND random() < 0.5
              |                                  ^^^
              |
              = help: use event_time, window_start() or window_end()

            error: `random` differs from run to run
             --> x/rule.yml:7:44
              |
            7 |   FROM events WHERE event_time > now() AND random() < 0.5
              |                                            ^^^^^^
              |
              = help: a rule gives the same answer on the same events"#]],
    );
    check_wrong(
        "window: 5m\nkey: client_ip",
        "SELECT client_ip, row_number() OVER (PARTITION BY client_ip) AS n FROM events",
        &expect![[r#"
            error: `row_number` depends on the order of rows, which is not given
             --> x/rule.yml:6:21
              |
            6 |   SELECT client_ip, row_number() OVER (PARTITION BY client_ip) AS n FROM events
              |                     ^^^^^^^^^^
              |
              = help: write such as OVER (PARTITION BY … ORDER BY event_time)"#]],
    );
    check_wrong(
        "key: client_ip",
        "SELECT client_ip FROM events
         WHERE event_time - INTERVAL '1 month' > TIMESTAMP '2026-01-01T00:00:00Z'",
        &expect![[r#"
            error: months and years differ in length
             --> x/rule.yml:6:22
              |
            6 |   WHERE event_time - INTERVAL '1 month' > TIMESTAMP '2026-01-01T00:00:00Z'
              |                      ^^^^^^^^
              |
              = help: write days, such as INTERVAL '30 days'"#]],
    );
}

#[test]
fn order_and_limit_need_a_meaning() {
    check_wrong(
        "key: path",
        "SELECT path FROM events ORDER BY path",
        &expect![[r#"
        error: ORDER BY means nothing here: rows of a rule have no order
         --> x/rule.yml:5:36
          |
        5 |   SELECT path FROM events ORDER BY path
          |                                    ^^^^
          |
          = help: remove it"#]],
    );
    check_wrong(
        "window: 5m\nkey: path",
        "SELECT path FROM events LIMIT 5",
        &expect![[r#"
        error: LIMIT without ORDER BY keeps rows by chance
         --> x/rule.yml:6:27
          |
        6 |   SELECT path FROM events LIMIT 5
          |                           ^^^^^
          |
          = help: remove it, or say by what the rows are ordered"#]],
    );
    let top = compiled(
        "window: 5m",
        "SELECT path, count(*) AS n FROM events GROUP BY path ORDER BY n DESC, path LIMIT 1",
    );
    let rows = [json!({"path": "/a"}), json!({"path": "/b"}), json!({"path": "/b"})];
    expect![[r#"
        +------+---+
        | path | n |
        +------+---+
        | /b   | 2 |
        +------+---+"#]]
    .assert_eq(&answer(&top, &rows));
}

#[test]
fn types_lists_and_networks_are_checked() {
    check_wrong(
        "key: path",
        "SELECT path FROM events WHERE path + 1 > status",
        &expect![[r#"
            error: `path` is a text, and `+` computes with numbers
             --> x/rule.yml:5:33
              |
            5 |   SELECT path FROM events WHERE path + 1 > status
              |                                 ^^^^
              |
              = help: the length of a text is `length(path)`"#]],
    );
    check_wrong(
        "key: path",
        "SELECT path FROM events WHERE cidr_match(status, 4)",
        &expect![[r#"
            error: `cidr_match` does not take a number and a number
             --> x/rule.yml:5:33
              |
            5 |   SELECT path FROM events WHERE cidr_match(status, 4)
              |                                 ^^^^^^^^^^
              |
              = help: there is `cidr_match` of a text, a text"#]],
    );
    check_wrong(
        "key: path",
        "SELECT path FROM events
         WHERE cidr_match(client_ip, '10.0.0.0/33') OR in_list('offce', client_ip)
           OR in_list(path, client_ip)",
        &expect![[r#"
            error: `10.0.0.0/33` is neither a network nor an address
             --> x/rule.yml:6:31
              |
            6 |   WHERE cidr_match(client_ip, '10.0.0.0/33') OR in_list('offce', client_ip)
              |                               ^^^^^^^^^^^^^
              |
              = help: write such as 10.0.0.0/8 or 2001:db8::/32

            error: the name of a list is a text, not a column
             --> x/rule.yml:6:49
              |
            6 |   WHERE cidr_match(client_ip, '10.0.0.0/33') OR in_list('offce', client_ip)
              |                                                 ^^^^^^^
              |
              = help: write such as in_list('known-bots', user_agent)

            error: there is no list `offce`
             --> x/rule.yml:6:57
              |
            6 |   WHERE cidr_match(client_ip, '10.0.0.0/33') OR in_list('offce', client_ip)
              |                                                         ^^^^^^^
              |
              = help: did you mean `office`?"#]],
    );
}

#[test]
fn output_columns_have_names_of_their_own() {
    check_wrong(
        "window: 5m\nkey: principal",
        "SELECT a.principal, b.principal, count(*) FROM events a JOIN events b ON a.path = b.path
         GROUP BY a.principal, b.principal",
        &expect![[r#"
            warning: the output column `count(*)` has no name of its own
             --> x/rule.yml:6:3
              |
            6 |   SELECT a.principal, b.principal, count(*) FROM events a JOIN events b ON a.path = b.path
              |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: name it with AS: verdicts and tests use the name

            error: two output columns are named `principal`
             --> x/rule.yml:6:12
              |
            6 |   SELECT a.principal, b.principal, count(*) FROM events a JOIN events b ON a.path = b.path
              |            ^^^^^^^^^
              |
              = help: name them with AS"#]],
    );
}

#[test]
fn names_in_tests_are_output_columns() {
    let tests = "tests:\n  - {name: a, events: [], episodes: [{key: {ip: x}, values: {m: 1}}]}\n  \
                 - {name: b, events: [], episodes: []}\n";
    let mut file = file(
        "window: 5m",
        "SELECT client_ip, count(*) AS n FROM events GROUP BY client_ip HAVING count(*) > 1",
    );
    file.text = file.text.replace(TESTS, tests);
    let (rules, _) = load(&[file], &Settings::default());
    let (_, problems) = compile(&rules, &lists());
    let rendered: Vec<String> = problems.iter().map(|problem| problem.render(false)).collect();
    expect![[r#"
        error: in this test, `ip` is no output column of the query
         --> x/rule.yml:7:3
          |
        7 |   - {name: a, events: [], episodes: [{key: {ip: x}, values: {m: 1}}]}
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: it gives client_ip, n

        error: in this test, `m` is no output column of the query
         --> x/rule.yml:7:3
          |
        7 |   - {name: a, events: [], episodes: [{key: {ip: x}, values: {m: 1}}]}
          |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: did you mean `n`?"#]]
    .assert_eq(&rendered.join("\n\n"));
}

fn login(ip: &str, account: &str, status: i64) -> Value {
    json!({"client_ip": ip, "account": account, "status": status, "route_login": true})
}

#[test]
fn a_threshold_rule_answers_with_the_rows_that_cross() {
    let rule = compiled("window: 5m", STUFFING);
    let mut rows = vec![
        login("203.0.113.9", "a", 401),
        login("203.0.113.9", "b", 403),
        login("198.51.100.1", "c", 401),
        login("203.0.113.9", "a", 401),
        login("203.0.113.9", "z", 200),
    ];
    for account in ["a", "b", "c", "d"] {
        let mut row = login("", account, 401);
        row.as_object_mut().unwrap().remove("client_ip");
        rows.push(row);
    }
    expect![[r#"
        +-------------+----------+----------+
        | client_ip   | failures | accounts |
        +-------------+----------+----------+
        | 203.0.113.9 | 3        | 2        |
        +-------------+----------+----------+"#]]
    .assert_eq(&answer(&rule, &rows));
    assert_eq!(answer(&rule, &[login("::1", "a", 401)]).lines().count(), 2);
    assert_eq!(rule.matching(&events(&rows)).unwrap(), [0, 1, 2, 3]);
    assert_eq!(rule.key_columns.as_deref(), Some(&[Field::ClientIp][..]));
}

#[test]
fn a_rule_without_state_answers_row_by_row() {
    let rule = compiled(
        "key: [who]",
        "SELECT principal AS who, upper(method) AS m, status + 1 AS s FROM events
         WHERE status >= 500 AND principal IS NOT NULL",
    );
    let rows = [
        json!({"principal": "ann", "method": "get", "status": 500}),
        json!({"principal": "bob", "method": "put", "status": 200}),
        json!({"method": "get", "status": 503}),
        json!({"principal": "eve", "status": 599}),
    ];
    expect![[r#"
        +-----+-----+-----+
        | who | m   | s   |
        +-----+-----+-----+
        | ann | GET | 501 |
        | eve |     | 600 |
        +-----+-----+-----+"#]]
    .assert_eq(&answer(&rule, &rows));
    assert_eq!(rule.key_columns, Some(vec![Field::Principal]));
}

#[test]
fn self_joins_with_different_filters_answer_as_the_reference() {
    let rule = compiled(
        "window: 10m\nkey: [principal, path]",
        "SELECT allowed.principal, allowed.path, count(DISTINCT denied.event_id) AS refusals
         FROM events denied JOIN events allowed
           ON allowed.principal = denied.principal AND allowed.path = denied.path
          AND allowed.event_time > denied.event_time
         WHERE denied.status = 403 AND allowed.status = 200
         GROUP BY allowed.principal, allowed.path HAVING count(DISTINCT denied.event_id) >= 2",
    );
    let row = |who: &str, path: &str, status: i64| json!({"principal": who, "path": path, "status": status});
    let rows = [
        row("ann", "/a", 403),
        row("ann", "/a", 403),
        row("bob", "/a", 403),
        row("ann", "/b", 500),
        row("ann", "/a", 200),
        row("bob", "/a", 200),
    ];
    expect![[r#"
        +-----------+------+----------+
        | principal | path | refusals |
        +-----------+------+----------+
        | ann       | /a   | 2        |
        +-----------+------+----------+"#]]
    .assert_eq(&answer(&rule, &rows));
    assert_eq!(rule.matching(&events(&rows)).unwrap(), [0, 1, 2, 4, 5]);
    assert_eq!(rule.key_columns, Some(vec![Field::Principal, Field::Path]));
}

#[test]
fn unions_and_scalar_subqueries_run_without_tasks() {
    let rule = compiled(
        "window: 10m\nkey: [who]",
        "SELECT who, count(*) AS n FROM (
           SELECT principal AS who FROM events WHERE status = 401
           UNION ALL SELECT account AS who FROM events WHERE status = 403) both
         GROUP BY who HAVING count(*) >= 2",
    );
    let rows = [
        json!({"principal": "ann", "status": 401}),
        json!({"account": "ann", "status": 403}),
        json!({"principal": "bob", "status": 403}),
    ];
    expect![[r#"
        +-----+---+
        | who | n |
        +-----+---+
        | ann | 2 |
        +-----+---+"#]]
    .assert_eq(&answer(&rule, &rows));
    let top = compiled(
        "window: 10m\nkey: [who]",
        "SELECT principal AS who FROM events WHERE status = 401
         UNION ALL SELECT account AS who FROM events WHERE status = 403",
    );
    expect![[r#"
        +-----+
        | who |
        +-----+
        | ann |
        | ann |
        +-----+"#]]
    .assert_eq(&answer(&top, &rows));
    let share = compiled(
        "window: 10m",
        "SELECT status, count(*) AS n FROM events GROUP BY status
         HAVING count(*) * 3 > (SELECT count(*) FROM events)",
    );
    expect![[r#"
        +--------+---+
        | status | n |
        +--------+---+
        | 403    | 2 |
        +--------+---+"#]]
    .assert_eq(&answer(&share, &rows));
}

#[test]
fn a_plan_that_runs_again_sees_only_its_new_rows() {
    let rule = compiled(
        "window: 10m\nkey: [principal]",
        "SELECT a.principal FROM events a JOIN events b ON a.principal = b.principal
         WHERE a.status = 403 AND b.status = 200",
    );
    let Program::Rows(query) = &rule.program else { panic!("rows") };
    let both =
        [json!({"principal": "ann", "status": 403}), json!({"principal": "ann", "status": 200})];
    let run = |rows: &[Value]| {
        let batch = rule.select(&events(rows)).unwrap();
        query.run(&[batch], (0, 1)).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    assert_eq!(
        [run(&both), run(&both[..1]), run(&both[1..]), run(&[]), run(&both)],
        [1, 0, 0, 0, 1]
    );
}

#[test]
fn window_bounds_are_those_of_the_run() {
    let rule = compiled(
        "window: 1m",
        "SELECT client_ip, count(*) AS n, window_start() AS s FROM events
         WHERE event_time >= window_end() - INTERVAL '2 seconds'
         GROUP BY client_ip",
    );
    assert_eq!(rule.filter_sql.as_deref(), Some("client_ip IS NOT NULL"));
    let Program::Rows(query) = &rule.program else { panic!("rows") };
    let rows = vec![json!({"client_ip": "::1"}); 10];
    let batch = rule.select(&events(&rows)).unwrap();
    let run = |end| {
        let batches = query.run(std::slice::from_ref(&batch), (end - 60_000, end)).unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    };
    expect![[r#"
        +-----------+---+----------------------+
        | client_ip | n | s                    |
        +-----------+---+----------------------+
        | ::1       | 6 | 1969-12-31T23:59:06Z |
        +-----------+---+----------------------+
        ++
        ++"#]]
    .assert_eq(&format!("{}\n{}", run(6_000), run(60_000)));
}

#[test]
fn addresses_match_networks_and_lists() {
    let rule = compiled(
        "key: [client_ip]",
        "SELECT client_ip, cidr_match(client_ip, '10.0.0.0/8') AS ten,
           cidr_match(client_ip, peer_ip) AS peer, in_list('office', client_ip) AS office,
           NOT in_list('bad-agents', user_agent) AS fine
         FROM events WHERE client_ip IS NOT NULL",
    );
    let row = |ip: &str, peer: Option<&str>| json!({"client_ip": ip, "peer_ip": peer, "user_agent": peer.map(|_| "scan/1")});
    let rows = [
        row("10.1.2.3", Some("10.1.0.0/16")),
        row("::ffff:10.1.2.3", Some("::/0")),
        row("2001:db8::7", Some("2001:db8::/64")),
        row("192.0.2.7", Some("192.0.2.7")),
        row("10.300.0.1", Some("nonsense")),
        row("", None),
    ];
    expect![[r#"
        +-----------------+-------+-------+--------+-------+
        | client_ip       | ten   | peer  | office | fine  |
        +-----------------+-------+-------+--------+-------+
        | 10.1.2.3        | true  | true  | true   | false |
        | ::ffff:10.1.2.3 | true  | false | true   | false |
        | 2001:db8::7     | false | true  | true   | false |
        | 192.0.2.7       | false | true  | true   | false |
        | 10.300.0.1      | false | false | false  | false |
        |                 | false |       | false  |       |
        +-----------------+-------+-------+--------+-------+"#]]
    .assert_eq(&answer(&rule, &rows));
}

#[test]
fn lists_and_maps_of_events_can_be_asked() {
    let rule = compiled(
        "key: [principal]",
        "SELECT principal, attrs['zone'] AS zone, cardinality(scopes) AS scopes FROM events
         WHERE array_has(attack_class, 'sqli') AND attrs['zone'] IS NOT NULL",
    );
    let rows = [
        json!({"principal": "a", "attack_class": ["xss", "sqli"], "scopes": ["s"],
               "attrs": {"zone": "dmz"}}),
        json!({"principal": "b", "attack_class": [], "attrs": {"zone": "dmz"}}),
        json!({"principal": "c", "attrs": {"zone": "dmz"}}),
    ];
    expect![[r#"
        +-----------+------+--------+
        | principal | zone | scopes |
        +-----------+------+--------+
        | a         | dmz  | 1      |
        +-----------+------+--------+"#]]
    .assert_eq(&answer(&rule, &rows));
}

fn versions(head: &str, sql: &str) -> (String, String) {
    let rule = compiled(head, sql);
    (rule.unit, rule.episode_version)
}

#[test]
fn thresholds_keep_episodes_and_filters_fork_them() {
    let sql = |filter: &str, having: i64| {
        format!(
            "SELECT client_ip, count(*) AS n FROM events WHERE {filter}
             GROUP BY client_ip HAVING count(*) > {having}"
        )
    };
    let base = versions("window: 5m", &sql("status = 401 AND route_login", 3));
    assert_eq!(versions("window: 5m", &sql("route_login AND 401 = status", 99)), base);
    let other = [
        versions("window: 5m", &sql("status = 403 AND route_login", 3)),
        versions("window: 5m\nslide: 30s", &sql("status = 401 AND route_login", 3)),
    ];
    for (unit, episodes) in &other {
        assert!(*unit != base.0 && *episodes != base.1);
    }
    let longer = versions("window: 2m\nslide: 10s", &sql("status = 401 AND route_login", 3));
    assert_eq!(longer.0, base.0, "rules with one slide can share panes");
    assert_ne!(longer.1, base.1);
    let rearmed = versions("window: 5m\nrearm: 1h", &sql("status = 401 AND route_login", 3));
    assert_eq!(rearmed.0, base.0);
    assert_ne!(rearmed.1, base.1);
}

#[test]
fn a_pack_compiles_as_far_as_it_can() {
    let good = file("window: 5m", STUFFING);
    let mut bad = file("key: x", "SELECT x FROM events");
    bad.path = "a.yml".into();
    let mut worse = file("key: status", "SELECT status FROM events WHERE statsu = 1");
    worse.path = "b.yml".into();
    let (rules, problems) = load(&[good, worse, bad], &Settings::default());
    assert_eq!((rules.len(), problems.len()), (3, 0));
    let (compiled, problems) = compile(&rules, &lists());
    assert_eq!(compiled.len(), 1);
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    expect![[r#"
        a.yml:5:10: unknown column `x` (docs/fields.md lists the columns of `events`)
        b.yml:5:35: unknown column `statsu` (did you mean `status`?)"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn a_filter_that_nothing_passes_selects_nothing() {
    let rule = compiled("key: path", "SELECT path FROM events WHERE status = 1 AND status = 2");
    assert_eq!(rule.select(&events(&[json!({"status": 1})])).unwrap().num_rows(), 0);
}

/// A task of Tokio has a budget of polls until it must yield; the engine never yields.
#[tokio::test]
async fn a_query_answers_within_a_task_as_often_as_it_is_asked() {
    let compiled = compiled("window: 5m", STUFFING).into_rows();
    let failure = json!({"route_login": true, "status": 401, "client_ip": "192.0.2.1"});
    let Program::Rows(query) = &compiled.program else { panic!("it has a window") };
    let rows = compiled.select(&events(&vec![failure; 10])).unwrap();
    for turn in 0..500 {
        let answer = query.run(std::slice::from_ref(&rows), (0, 300_000));
        assert!(answer.is_ok(), "turn {turn}: {answer:?}");
    }
}

#[test]
fn what_panes_cannot_hold_is_named() {
    let why = |head: &str, sql: &str| match compiled(head, sql).panes {
        Some(Possible::No { clause, why }) => format!("{clause}: {why}"),
        other => panic!("{other:?}"),
    };
    let found = [
        why(
            "window: 5m",
            "SELECT client_ip, approx_distinct(path) AS paths FROM events GROUP BY client_ip",
        ),
        why(
            "window: 5m",
            "SELECT client_ip, sum(response_bytes / 7.0) AS took FROM events GROUP BY client_ip",
        ),
        why(
            "window: 5m",
            "SELECT client_ip, first_value(path ORDER BY event_time) AS first FROM events \
             GROUP BY client_ip",
        ),
        why(
            "window: 5m",
            "SELECT lower(path) AS path, count(*) AS n FROM events GROUP BY lower(path)",
        ),
        why(
            "window: 5m\nkey: client_ip",
            "SELECT client_ip, path, count(*) AS n FROM events GROUP BY client_ip, path",
        ),
        why(
            "window: 5m",
            "SELECT client_ip, count(*) AS n FROM events WHERE event_time > window_start() \
             GROUP BY client_ip",
        ),
        why("window: 5m", "SELECT sensor, count(*) AS n FROM drops GROUP BY sensor"),
        why(
            "window: 5m",
            "SELECT client_ip, sequence(started_at, status = 403, status = 200) AS depth \
             FROM events GROUP BY client_ip",
        ),
    ];
    expect![[r#"
        approx_distinct(path): panes do not hold this aggregate
        sum(response_bytes / 7.0): adding fractions up depends on the order of events; whole numbers do not
        first_value(path): its value depends on the order of events; `min` and `max` do not
        lower(path): it is computed from an event; group by a column of it
        key: it is another than the query groups by; leave `key:` out
        window_start(): it is another for each window that an event is in; a verdict names its window anyway
        FROM drops: panes are of events
        sequence(started_at, status = 403, status = 200): panes follow each other in `event_time`, and in no other time
    "#]]
    .assert_eq(&(found.join("\n") + "\n"));
}

#[test]
fn a_mistake_beside_the_sql_does_not_hide_those_in_it() {
    let text = "title: t\nseverty: low\nwindw: 5m\nsql: |\n  SELECT client_ip, count(*) AS n\n  \
                FROM events WHERE stats = 404 GROUP BY client_ip\nrespond: [blok]\n";
    let file = SourceFile { path: "x/rule.yml".into(), text: format!("{text}{TESTS}") };
    let loaded = load_with_drafts(&[file], &Settings::default());
    assert_eq!((loaded.rules.len(), loaded.drafts.len()), (0, 1));
    let said = loaded.problems.iter().chain(&compile(&loaded.drafts, &lists()).1).fold(
        String::new(),
        |said, problem| {
            said + &format!("{}:{} {}\n", problem.line, problem.column, problem.message)
        },
    );
    expect![[r#"
        1:1 the rule has no `severity:`
        2:1 unknown key `severty` in a rule file
        3:1 unknown key `windw` in a rule file
        7:11 unknown response `blok`
        6:21 unknown column `stats`
    "#]]
    .assert_eq(&said);
    // What is missing because its name is misspelt is said once.
    let text = text.replace("stats", "status");
    let file = SourceFile { path: "x/rule.yml".into(), text: format!("{text}{TESTS}") };
    let loaded = load_with_drafts(&[file], &Settings::default());
    assert_eq!(compile(&loaded.drafts, &lists()).1, Vec::new());
}
