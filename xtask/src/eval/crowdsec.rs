//! Sources that must be flagged, and sources that must not: CrowdSec hub's tests.
//!
//! Owns: which class a case is in, and its score. Never: how a rule finds somebody.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::report::{Count, Report};
use super::tidegate::{Address, Tidegate};
use super::{items, text};
use crate::trouble::Trouble;

/// What kind of evidence a case holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Several requests together, which is what rules over windows are for.
    Windowed,
    /// Several requests that differ only in the values of their query, which we do not keep.
    QueryValues,
    /// Lines of an error log, which is no access log.
    ErrorLog,
    /// One request whose content is the evidence.
    Single,
    /// Nobody must be flagged.
    Quiet,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Windowed => "windowed",
            Self::QueryValues => "windowed, evidence in query values",
            Self::ErrorLog => "windowed, evidence in error-log lines",
            Self::Single => "single request",
            Self::Quiet => "nobody to flag",
        }
    }

    fn of(case: &Value) -> Self {
        let expected = items(case, "expected");
        let events = |alert: &Value| alert.get("events").and_then(Value::as_u64).unwrap_or(0);
        if expected.is_empty() {
            return Self::Quiet;
        }
        if expected.iter().all(|alert| events(alert) <= 1) {
            return Self::Single;
        }
        let sources = sources(case);
        let theirs: Vec<&str> = lines(case)
            .into_iter()
            .filter(|line| sources.iter().any(|s| line.contains(s)))
            .collect();
        let half = theirs.len().div_ceil(2);
        if theirs.iter().filter(|line| is_error_line(line)).count() >= half {
            return Self::ErrorLog;
        }
        let paths: BTreeSet<&str> = theirs.iter().filter_map(|line| path(line)).collect();
        let queries = theirs.iter().filter(|line| target(line).is_some_and(|t| t.contains('?')));
        if paths.len() == 1 && queries.count() >= half { Self::QueryValues } else { Self::Windowed }
    }
}

/// What one class came to.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    found: Count,
    missed: Vec<String>,
}

/// Replays every case and adds the section to the report.
pub(super) fn score(
    tidegate: &Tidegate,
    cases: &[Value],
    report: &mut Report,
) -> Result<(), Trouble> {
    let mut tallies: BTreeMap<Class, Tally> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut lost = Vec::new();
    for case in cases {
        let (class, name, lines) = (Class::of(case), text(case, "test"), lines(case));
        let flagged = tidegate.flagged(&lines)?;
        let tally = tallies.entry(class).or_default();
        tally.cases += 1;
        for source in sources(case) {
            let found = flagged.contains(&Address::read(source));
            tally.found.add(found);
            if !found {
                tally.missed.push(format!("{}: {name}, {source}", class.name()));
            }
        }
        wrong.extend(wrongly(case, &flagged).map(|who| format!("{name}: {who}")));
        let read = tidegate.parse(&lines, &[])?.len();
        if read < lines.len() {
            lost.push(format!("{name}: {read} of {} lines came out of `parse`", lines.len()));
        }
    }
    write(report, &tallies, &wrong, &lost);
    Ok(())
}

fn write(report: &mut Report, tallies: &BTreeMap<Class, Tally>, wrong: &[String], lost: &[String]) {
    report.section(
        "Attackers found (crowdsec-hub)",
        "A source is flagged when any verdict of a replay of the case's lines names it. A case is \
         windowed when an expected alert has more than one event.",
    );
    let rows: Vec<Vec<String>> = tallies
        .iter()
        .map(|(class, tally)| {
            vec![class.name().to_owned(), tally.cases.to_string(), tally.found.text()]
        })
        .collect();
    report.table(&["class", "cases", "sources flagged"], &rows);
    let missed: Vec<String> = tallies.values().flat_map(|tally| tally.missed.clone()).collect();
    report.list("Not flagged:", &missed);
    report.list("Wrongly flagged:", wrong);
    report.list("Lines lost:", lost);
    let windowed = tallies.get(&Class::Windowed).map(|tally| tally.found).unwrap_or_default();
    report.mark("windowed: at least 80 % of sources flagged", windowed.reaches(80));
    report.mark("nobody wrongly flagged", wrong.is_empty());
    report.mark("no line of these cases lost", lost.is_empty());
}

/// Flagged sources that must not be: in a case for a whitelist anybody, else those listed as others.
fn wrongly<'a>(
    case: &'a Value,
    flagged: &'a BTreeSet<Address>,
) -> impl Iterator<Item = String> + 'a {
    let whitelist = case.get("whitelist_test").and_then(Value::as_bool) == Some(true);
    let others: BTreeSet<Address> = items(case, "other_first_ips")
        .iter()
        .filter_map(Value::as_str)
        .map(Address::read)
        .collect();
    let wrong = flagged.iter().filter(move |address| whitelist || others.contains(address));
    wrong.map(|address| match address {
        Address::Ip(ip) => ip.to_string(),
        Address::Text(text) => text.clone(),
    })
}

fn lines(case: &Value) -> Vec<&str> {
    items(case, "lines").iter().filter_map(Value::as_str).collect()
}

/// Every source that an alert names, once.
fn sources(case: &Value) -> BTreeSet<&str> {
    let alerts = items(case, "expected").iter();
    alerts.flat_map(|alert| items(alert, "sources")).filter_map(Value::as_str).collect()
}

/// nginx's error log starts with `2021/09/30 09:23:53 [error]`.
fn is_error_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let date = words.next().is_some_and(|word| word.matches('/').count() == 2);
    let level = words.nth(1);
    date && level.is_some_and(|word| word.starts_with('[') && word.ends_with(']'))
}

/// The target of the quoted request.
fn target(line: &str) -> Option<&str> {
    line.split('"').nth(1)?.split(' ').nth(1)
}

fn path(line: &str) -> Option<&str> {
    target(line)?.split('?').next()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{Address, Class, wrongly};

    fn case(lines: &[&str], events: u64) -> Value {
        json!({"test": "t", "lines": lines, "other_first_ips": ["192.0.2.9"],
               "whitelist_test": false,
               "expected": [{"sources": ["192.0.2.1"], "events": events}]})
    }

    #[test]
    fn evidence_over_paths_is_windowed_and_over_query_values_is_counted_apart() {
        let paths =
            ["192.0.2.1 - - [x] \"GET /a HTTP/1.1\"", "192.0.2.1 - - [x] \"GET /b?c=d HTTP/1.1\""];
        assert_eq!(Class::of(&case(&paths, 2)), Class::Windowed);
        let values = [
            "192.0.2.1 [x] \"GET /?author=1 HTTP/1.1\"",
            "192.0.2.1 [x] \"GET /?author=2 HTTP/1.1\"",
        ];
        assert_eq!(Class::of(&case(&values, 2)), Class::QueryValues);
        assert_eq!(Class::of(&case(&values, 1)), Class::Single);
    }

    #[test]
    fn the_same_request_again_and_again_is_windowed() {
        let same = ["192.0.2.1 - - [x] \"POST /login HTTP/1.1\" 401"; 6];
        assert_eq!(Class::of(&case(&same, 6)), Class::Windowed);
    }

    #[test]
    fn error_logs_are_told_by_their_opening() {
        let line = "2021/09/30 09:23:53 [error] 1#1: *17 user \"foo\", client: 192.0.2.1, x";
        assert_eq!(Class::of(&case(&[line, line], 6)), Class::ErrorLog);
    }

    #[test]
    fn a_case_without_alerts_is_quiet() {
        assert_eq!(Class::of(&json!({"expected": [], "lines": ["x"]})), Class::Quiet);
    }

    #[test]
    fn only_listed_others_count_as_wrong_and_in_a_whitelist_case_anybody() {
        let flagged: BTreeSet<Address> =
            ["192.0.2.1", "192.0.2.9"].into_iter().map(Address::read).collect();
        let mut case = case(&[], 2);
        assert_eq!(wrongly(&case, &flagged).collect::<Vec<_>>(), ["192.0.2.9"]);
        case["whitelist_test"] = json!(true);
        assert_eq!(wrongly(&case, &flagged).count(), 2);
    }
}
