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

#[derive(Debug, Default)]
struct Tally {
    recall: Count,
    any: Count,
    false_positive: Count,
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
            json!({"cls": "sqli", "label": "neg"}),
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
    }
}
