//! What a test expected beside what came out.
//!
//! Owns: pairing episodes, the differences, a small time line. Never: running the test.

use std::fmt;

use schemas::{EventTime, Verdict, VerdictKind};
use serde_json::{Map, Value};

use super::ExpectedEpisode;
use crate::rule::duration;

/// Columns of the time line.
const WIDTH: i64 = 48;

/// How a run is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Offset 0 of the test.
    pub base: EventTime,
    /// Whether the events came in order and as a whole: only then `opens`, `values` and the order
    /// of episodes are compared.
    pub in_order: bool,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What differs, for people.
    pub text: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// An episode that closed.
#[derive(Debug, Clone, Copy)]
struct Got<'v> {
    opened: &'v Verdict,
    closed: &'v Verdict,
}

/// The differences between the episodes that a test expects and those that closed. `verdicts` are
/// those of one rule in order of emission.
///
/// `opens` is the event time at which the rule fired. A rule that fires when its window closes is
/// held to the last event it had seen by then, or to the close itself.
#[must_use]
pub fn compare(
    expected: &[ExpectedEpisode],
    verdicts: &[Verdict],
    how: Comparison,
) -> Vec<Mismatch> {
    let got = closed(verdicts);
    let mut open: Vec<Option<Got<'_>>> = got.iter().copied().map(Some).collect();
    let mut pairs: Vec<Option<usize>> = Vec::with_capacity(expected.len());
    for want in expected {
        let place = open.iter().position(|got| {
            got.is_some_and(|got| same_key(want, got) && differences(want, got, how).is_empty())
        });
        pairs.push(place);
        take(&mut open, place);
    }
    let mut mismatches = Vec::new();
    for (number, (want, pair)) in expected.iter().zip(&mut pairs).enumerate() {
        if pair.is_some() {
            continue;
        }
        let near = open.iter().position(|got| got.is_some_and(|got| same_key(want, got)));
        let name = format!("episode {} {}", number + 1, shown(&want.key));
        match near.and_then(|near| open.get(near).copied().flatten()) {
            None => mismatches.push(format!("{name}: expected, but none closed")),
            Some(got) => {
                let wrong = differences(want, got, how);
                mismatches.extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}")));
            }
        }
        *pair = near;
        take(&mut open, near);
    }
    for got in open.into_iter().flatten() {
        mismatches.push(format!("not expected: {}", described(got, how.base)));
    }
    if how.in_order && mismatches.is_empty() && !pairs.is_sorted() {
        let order: Vec<String> = got.iter().map(|got| shown(&got.opened.key)).collect();
        mismatches.push(format!("the episodes open in another order: {}", order.join(", ")));
    }
    mismatches.into_iter().map(|text| Mismatch { text }).collect()
}

fn take<T>(places: &mut [Option<T>], place: Option<usize>) {
    if let Some(taken) = place.and_then(|place| places.get_mut(place)) {
        *taken = None;
    }
}

/// Episodes that closed, in order of opening.
fn closed(verdicts: &[Verdict]) -> Vec<Got<'_>> {
    let opened = verdicts.iter().filter(|verdict| verdict.kind == VerdictKind::Opened);
    let mut episodes = Vec::new();
    for opened in opened {
        let closing = verdicts
            .iter()
            .find(|verdict| verdict.kind == VerdictKind::Closed && verdict.id == opened.id);
        if let Some(closed) = closing {
            episodes.push(Got { opened, closed });
        }
    }
    episodes
}

fn same_key(want: &ExpectedEpisode, got: Got<'_>) -> bool {
    unequal(&want.key, &got.closed.key).is_empty()
}

fn differences(want: &ExpectedEpisode, got: Got<'_>, how: Comparison) -> Vec<String> {
    let mut wrong = Vec::new();
    if how.in_order {
        if let Some(opens) = want.opens_ms
            && !opens_at(got.opened, how.base).contains(&opens)
        {
            let [at, _] = opens_at(got.opened, how.base);
            let (at, opens) = (duration::format(at), duration::format(opens));
            wrong.push(format!("opens at {at}, expected {opens}"));
        }
        wrong.extend(unequal(&want.values, &got.opened.values));
    }
    if let Some((from, to)) = want.span_ms {
        let (start, end) = span(got.closed, how.base);
        if (start, end) != (from, to) {
            let (got, want) = (range(start, end), range(from, to));
            wrong.push(format!("spans {got}, expected {want}"));
        }
    }
    let totals = unequal(&want.totals, &got.closed.values);
    wrong.extend(totals.into_iter().map(|total| format!("at the close {total}")));
    wrong
}

/// When it opened; for one that fired at close, also the last event it had seen.
fn opens_at(opened: &Verdict, base: EventTime) -> [i64; 2] {
    let fired = offset(opened.fired_at, base);
    if opened.early { [fired; 2] } else { [offset(opened.last_event, base), fired] }
}

/// Start of the first and end of the last firing window, or first and last firing event.
fn span(closed: &Verdict, base: EventTime) -> (i64, i64) {
    let (start, end) = match &closed.window {
        Some(window) => (window.start, window.end),
        None => (closed.first_event, closed.last_event),
    };
    (offset(start, base), offset(end, base))
}

fn offset(time: EventTime, base: EventTime) -> i64 {
    time.minus(base.millis()).millis()
}

fn range(start: i64, end: i64) -> String {
    format!("{}..{}", duration::format(start), duration::format(end))
}

fn unequal(want: &Map<String, Value>, got: &Map<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, want) in want {
        match got.get(name) {
            Some(got) if same(want, got) => {}
            Some(got) => wrong.push(format!("`{name}` is {got}, expected {want}")),
            None if want.is_null() => {}
            None => wrong.push(format!("`{name}` is absent, expected {want}")),
        }
    }
    wrong
}

/// Equal as JSON, as numbers, or as written.
fn same(want: &Value, got: &Value) -> bool {
    if want == got {
        return true;
    }
    match (want, got) {
        (Value::Number(want), Value::Number(got)) => {
            let gap = want.as_f64().zip(got.as_f64()).map(|(want, got)| (want - got).abs());
            // Averages and ratios are written with a few digits.
            gap.is_some_and(|gap| gap <= 1e-6 * want.as_f64().unwrap_or(1.0).abs().max(1.0))
        }
        (Value::String(text), other) | (other, Value::String(text)) => {
            let written = other.to_string();
            *text == written
        }
        _ => false,
    }
}

fn shown(values: &Map<String, Value>) -> String {
    let shown = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    };
    format!("{{{}}}", values.iter().map(shown).collect::<Vec<_>>().join(", "))
}

fn described(got: Got<'_>, base: EventTime) -> String {
    let (start, end) = span(got.closed, base);
    let opened = duration::format(opens_at(got.opened, base)[0]);
    let (key, values) = (shown(&got.opened.key), shown(&got.opened.values));
    format!("{key} opened at {opened} with {values}, spans {}", range(start, end))
}

/// The episodes that closed, a line each, in an order of their own: the same for every way in which
/// the same events can come. Key, span and values at the close.
#[must_use]
pub fn outcome(verdicts: &[Verdict], base: EventTime) -> Vec<String> {
    let line = |got: Got<'_>| {
        let (from, to) = span(got.closed, base);
        let (key, values) = (shown(&got.closed.key), shown(&got.closed.values));
        format!("{key} spans {}, at the close {values}", range(from, to))
    };
    let mut lines: Vec<String> = closed(verdicts).into_iter().map(line).collect();
    lines.sort_unstable();
    lines
}

/// Expected and closed episodes on one axis, a line each.
#[must_use]
pub fn timeline(expected: &[ExpectedEpisode], verdicts: &[Verdict], base: EventTime) -> String {
    let mut bars: Vec<(&str, i64, i64, String)> = Vec::new();
    for want in expected {
        let from = want.opens_ms.or(want.span_ms.map(|(from, _)| from)).unwrap_or(0);
        let (from, to) = want.span_ms.unwrap_or((from, from));
        bars.push(("expected", from, to, shown(&want.key)));
    }
    for got in closed(verdicts) {
        let (from, to) = span(got.closed, base);
        bars.push(("closed", from, to, shown(&got.closed.key)));
    }
    let first = bars.iter().map(|(_, from, ..)| *from).min().unwrap_or(0);
    let last = bars.iter().map(|(_, _, to, _)| *to).max().unwrap_or(0);
    let length = last.saturating_sub(first).max(1);
    let column = |at: i64| at.saturating_sub(first).saturating_mul(WIDTH) / length;
    let axis = format!("{:>8}  {:<48}  {}", "", duration::format(first), duration::format(last));
    let mut text = format!("{axis}\n");
    for (what, from, to, key) in bars {
        let (start, end) = (column(from), column(to).max(column(from) + 1).min(WIDTH + 1));
        let bar: String =
            (0..=WIDTH).map(|at| if (start..end).contains(&at) { '=' } else { '.' }).collect();
        text.push_str(&format!("{what:>8}  {bar} {} {key}\n", range(from, to)));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use schemas::{Mode, Severity, Verdict, VerdictKind, WindowSpan};
    use serde_json::{Value, json};

    use super::super::{BASE, ExpectedEpisode};
    use super::{Comparison, compare, outcome, timeline};

    fn verdict(kind: VerdictKind, id: &str, opened_s: i64, values: Value) -> Verdict {
        let at = |seconds: i64| BASE.plus(seconds * 1000);
        let Value::Object(values) = values else { panic!("values are a map") };
        Verdict {
            id: id.into(),
            revision: 1,
            kind,
            rule: "r".into(),
            rule_version: "v".into(),
            title: "t".into(),
            severity: Severity::Low,
            mode: Mode::Live,
            key: serde_json::Map::from_iter([("ip".to_owned(), json!(id))]),
            subject: serde_json::Map::new(),
            values,
            window: Some(WindowSpan { start: at(0), end: at(opened_s + 60), size_ms: 60_000 }),
            first_event: at(0),
            last_event: at(opened_s),
            fired_at: at(opened_s),
            early: true,
            degraded: false,
            into: None,
            service: Vec::new(),
            route: Vec::new(),
            deploy: None,
            deploys: serde_json::Map::new(),
            context_missing: Vec::new(),
            events: Vec::new(),
            origin: None,
            respond: Vec::new(),
            why: None,
            now_what: None,
            canary_percent: None,
        }
    }

    fn run() -> Vec<Verdict> {
        vec![
            verdict(VerdictKind::Opened, "a", 57, json!({"n": 20})),
            verdict(VerdictKind::Opened, "b", 70, json!({"n": 21})),
            verdict(VerdictKind::Closed, "b", 70, json!({"n": 30, "ratio": 0.5})),
            verdict(VerdictKind::Closed, "a", 57, json!({"n": 25})),
        ]
    }

    fn want(ip: &str, opens_s: i64, n: i64) -> ExpectedEpisode {
        ExpectedEpisode {
            key: serde_json::Map::from_iter([("ip".to_owned(), json!(ip))]),
            opens_ms: Some(opens_s * 1000),
            values: serde_json::Map::from_iter([("n".to_owned(), json!(n))]),
            ..ExpectedEpisode::default()
        }
    }

    #[track_caller]
    fn check(expected: &[ExpectedEpisode], in_order: bool, answer: &Expect) {
        let mismatches = compare(expected, &run(), Comparison { base: BASE, in_order });
        let lines: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
        answer.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn what_was_expected_gives_no_difference() {
        check(&[want("a", 57, 20), want("b", 70, 21)], true, &expect![[""]]);
        let mut spanned = want("b", 1, 1);
        spanned.span_ms = Some((0, 130_000));
        spanned.totals = serde_json::Map::from_iter([("ratio".to_owned(), json!(0.500_000_1))]);
        check(&[spanned, want("a", 1, 1)], false, &expect![[""]]);
    }

    #[test]
    fn an_outcome_does_not_depend_on_the_order_of_verdicts() {
        let mut turned = run();
        turned.reverse();
        let lines = outcome(&turned, BASE);
        assert_eq!(lines, outcome(&run(), BASE));
        let first = "{ip: a} spans 0s..1m57s, at the close {n: 25}";
        assert_eq!(lines.first().map(String::as_str), Some(first));
    }

    #[test]
    fn differences_name_the_episode_and_both_sides() {
        check(
            &[want("a", 54, 19), want("c", 1, 1)],
            true,
            &expect![[r#"
                episode 1 {ip: a}: opens at 57s, expected 54s
                episode 1 {ip: a}: `n` is 20, expected 19
                episode 2 {ip: c}: expected, but none closed
                not expected: {ip: b} opened at 1m10s with {n: 21}, spans 0s..2m10s"#]],
        );
        let mut spanned = want("a", 57, 20);
        spanned.span_ms = Some((0, 60_000));
        spanned.totals = serde_json::Map::from_iter([("m".to_owned(), json!(1))]);
        check(
            &[spanned, want("b", 70, 21)],
            false,
            &expect![[r#"
                episode 1 {ip: a}: spans 0s..1m57s, expected 0s..1m
                episode 1 {ip: a}: at the close `m` is absent, expected 1"#]],
        );
    }

    #[test]
    fn order_counts_in_the_plain_run_only() {
        let swapped = [want("b", 70, 21), want("a", 57, 20)];
        check(&swapped, true, &expect!["the episodes open in another order: {ip: a}, {ip: b}"]);
        check(&swapped, false, &expect![""]);
    }

    #[test]
    fn the_time_line_shows_both_sides() {
        let text = timeline(&[want("a", 30, 1)], &run(), BASE);
        expect![[r#"
                      0s                                                2m10s
            expected  ...........=..................................... 30s..30s {ip: a}
              closed  ===========================================...... 0s..1m57s {ip: a}
              closed  ================================================. 0s..2m10s {ip: b}
        "#]]
        .assert_eq(&text);
    }
}
