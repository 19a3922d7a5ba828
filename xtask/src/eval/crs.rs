//! Attack payloads in access-log lines, and near misses: the OWASP Core Rule Set's tests.
//!
//! Owns: which of our classes stands for which of theirs, and the score. Never: recognising them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::report::{Count, Report};
use super::tidegate::Tidegate;
use super::{items, text};
use crate::trouble::Trouble;

/// Our classes for one of theirs; none where we do not look for it.
fn ours(class: &str) -> &'static [&'static str] {
    match class {
        "sqli" => &["sql_injection"],
        "xss" => &["xss"],
        "lfi" => &["path_traversal"],
        "rce" => &["command_injection"],
        "php" => &["code_injection"],
        "java" => &["code_injection", "log4shell"],
        "ssrf/ssti/nodejs" => &["ssrf", "code_injection"],
        "rfi" => &["rfi"],
        "scanner" => &["scanner"],
        "protocol-attack" => &["protocol"],
        _ => &[],
    }
}

/// What is wanted of a class: so many of a hundred found, and where it is held to that, so many of a
/// hundred near misses taken for it at most.
fn wanted(class: &str) -> Option<(usize, Option<usize>)> {
    match class {
        "sqli" | "lfi" => Some((80, Some(5))),
        "php" => Some((65, Some(5))),
        // What is taken of the near misses of these is a payload of the class.
        "xss" => Some((80, None)),
        "rce" | "ssrf/ssti/nodejs" => Some((65, None)),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Tally {
    recall: Count,
    any: Count,
    false_positive: Count,
    /// Rule and number of each near miss that was taken for the class.
    taken: Vec<String>,
}

/// Parses every line and adds the section to the report.
pub(super) fn score(
    tidegate: &Tidegate,
    cases: &[Value],
    report: &mut Report,
) -> Result<(), Trouble> {
    let lines: Vec<&str> = cases.iter().map(|case| text(case, "line")).collect();
    let events = tidegate.parse(&lines, &[])?;
    let tallies = tally(cases, &events);
    report.section(
        "Payload classes (crs)",
        "`attack_class` of each line. A near miss means \"not this class\", not \"harmless\". \
         Many of the payloads came in bodies or cookies and stand in a query here.",
    );
    let rows: Vec<Vec<String>> = tallies
        .iter()
        .map(|(class, tally)| {
            let looks = ours(class);
            vec![
                (*class).to_owned(),
                if looks.is_empty() { "not looked for".to_owned() } else { looks.join(", ") },
                tally.recall.text(),
                tally.any.text(),
                tally.false_positive.text(),
            ]
        })
        .collect();
    let head = ["class", "ours", "found", "found as any class", "near misses taken for it"];
    report.table(&head, &rows);
    let taken = tallies
        .iter()
        .flat_map(|(class, tally)| tally.taken.iter().map(move |case| format!("{class}: {case}")));
    report.list(
        "Near misses taken, by rule and test of the Core Rule Set. Those of XSS, commands and SSRF \
         are payloads of their class that another rule of the set is for \
         (decisions/2026-11-23-payload-shapes.md says of each what it does), so no bar is held to \
         them:",
        &taken.collect::<Vec<_>>(),
    );
    for (class, tally) in &tallies {
        let Some((found, near_misses)) = wanted(class) else { continue };
        report.mark(&format!("{class}: at least {found} % found"), tally.recall.reaches(found));
        if let Some(most) = near_misses {
            let Count { hits, of } = tally.false_positive;
            let what = format!("{class}: at most {most} % of near misses taken");
            report.mark(&what, hits * 100 <= of * most);
        }
    }
    report.mark("one answer for each line", events.len() == lines.len());
    Ok(())
}

fn tally<'a>(cases: &'a [Value], events: &[Value]) -> BTreeMap<&'a str, Tally> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (case, event) in cases.iter().zip(events) {
        let class = text(case, "cls");
        let found: Vec<&str> =
            items(event, "attack_class").iter().filter_map(Value::as_str).collect();
        let hit = ours(class).iter().any(|own| found.contains(own));
        let tally = tallies.entry(class).or_default();
        if text(case, "label") == "pos" {
            tally.recall.add(hit);
            tally.any.add(!found.is_empty());
        } else {
            tally.false_positive.add(hit);
            if hit {
                let test = case.get("test").and_then(Value::as_u64).unwrap_or_default();
                tally.taken.push(format!("{}-{test}", text(case, "rule")));
            }
        }
    }
    tallies
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::Count;
    use super::tally;

    #[test]
    fn hits_near_misses_and_other_classes_are_counted_apart() {
        let cases = [
            json!({"cls": "sqli", "label": "pos"}),
            json!({"cls": "sqli", "label": "pos"}),
            json!({"cls": "sqli", "label": "pos"}),
            json!({"cls": "sqli", "label": "neg", "rule": "942100", "test": 4}),
        ];
        let events = [
            json!({"attack_class": ["sql_injection"]}),
            json!({"attack_class": ["xss"]}),
            json!({}),
            json!({"attack_class": ["sql_injection"]}),
        ];
        let tallies = tally(&cases, &events);
        let sqli = &tallies["sqli"];
        assert_eq!(sqli.recall, Count { hits: 1, of: 3 });
        assert_eq!(sqli.any, Count { hits: 2, of: 3 });
        assert_eq!(sqli.false_positive, Count { hits: 1, of: 1 });
        assert_eq!(sqli.taken, ["942100-4"]);
    }
}
