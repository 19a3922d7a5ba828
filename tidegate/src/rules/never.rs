//! `tidegate rules check --sample FILE`: what can never fire over a log like this one.
//!
//! Owns: which rules lack what. Never: whether a rule is right; a sample may be too short to hold
//! what it looks for, so that nothing here fails a check.

use std::collections::BTreeSet;

use arrow::array::{Array, RecordBatch};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use engine::plan::{CompiledRule, Table as Read};
use schemas::{Field, Section};

use super::sample::Sample;
use crate::fault::Fault;
use crate::pack::{Pack, counted};
use crate::terminal;

/// Characters of a condition that are shown.
const SQL_CHARS_MAX: usize = 72;

/// What the sample says of one rule.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// Nothing stands in its way.
    Can,
    /// A condition that no event of a log like this meets, or a key that none has.
    Never(String),
    /// It reads what no event has: counts over it stay at zero.
    Hardly(String),
    /// The log could meet it, and this sample does not.
    NotHere(String),
}

/// Says of every rule of the pack what the sample lacks.
pub(super) fn found(pack: &Pack, sample: &Sample) -> Result<String, Fault> {
    let filled = filled(&sample.batches);
    let mut table = terminal::table(UTF8_BORDERS_ONLY);
    table.set_header(["rule", "over this log", "why"]);
    terminal::keep_whole(&mut table, &[0]);
    let (mut never, mut hardly) = (0, 0);
    for rule in &pack.compiled {
        let (word, why) = match judge(rule, &filled, sample)? {
            Word::Can => continue,
            Word::Never(why) => {
                never += 1;
                ("can never fire", why)
            }
            Word::Hardly(why) => {
                hardly += 1;
                ("may never fire", why)
            }
            Word::NotHere(why) => ("not here", why),
        };
        table.add_row([rule.id(), word, &why]);
    }
    let summary = format!(
        "{} of {}: {} can never fire over a log like this, {hardly} may never",
        counted(sample.events, "event"),
        sample.name,
        counted(never, "rule"),
    );
    Ok(if table.is_empty() { summary } else { format!("{table}\n{summary}") })
}

/// The columns that some event has.
fn filled(batches: &[RecordBatch]) -> BTreeSet<String> {
    let mut filled = BTreeSet::new();
    for batch in batches {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            if column.null_count() < column.len() {
                filled.insert(field.name().clone());
            }
        }
    }
    filled
}

fn judge(rule: &CompiledRule, filled: &BTreeSet<String>, sample: &Sample) -> Result<Word, Fault> {
    if rule.table != Read::Events {
        return Ok(Word::Can);
    }
    let lacks = |columns: &[String]| -> Vec<String> {
        columns.iter().filter(|column| !filled.contains(*column)).cloned().collect()
    };
    let mut not_here = None;
    for condition in rule.conditions() {
        let mut met = 0;
        for batch in &sample.batches {
            met += condition.met(batch).map_err(|error| Fault::bug(&error))?;
        }
        if met > 0 {
            continue;
        }
        let absent = lacks(&condition.columns);
        if !absent.is_empty() {
            return Ok(Word::Never(never_fills(&absent)));
        }
        not_here.get_or_insert(condition.sql);
    }
    if let Some(sql) = not_here {
        return Ok(Word::NotHere(format!("no event meets `{}`", cut(&sql))));
    }
    let read: Vec<String> = rule.input.fields().iter().map(|field| field.name().clone()).collect();
    let absent = lacks(&read);
    Ok(if absent.is_empty() { Word::Can } else { Word::Hardly(never_fills(&absent)) })
}

/// The beginning of a long condition.
fn cut(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SQL_CHARS_MAX) {
        Some((end, _)) => format!("{} …", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// ``your log never fills `account` ``, with where the column would come from.
fn never_fills(columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|column| format!("`{column}`")).collect();
    let joined = Field::ALL.iter().map(|field| field.spec());
    let joined = joined.filter(|spec| columns.iter().any(|column| column == spec.name));
    let from_context = joined.clone().any(|spec| spec.section == Section::Enriched);
    let hint = if from_context { "; deploys, identities and routes come by --context" } else { "" };
    format!("your log never fills {}{hint}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::found;
    use crate::pack::Pack;
    use crate::rules::sample::{read, tests::sampling};

    const LINE: &str =
        "203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"x\"\n";

    fn rule(sql: &str) -> String {
        format!("title: t\nseverity: low\nwindow: 5m\nsql: |\n  {sql}\n")
    }

    #[test]
    fn a_rule_that_lacks_a_column_is_told_from_one_that_lacks_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, sql: &str| {
            fs::write(folder.path().join(name), rule(sql)).unwrap();
        };
        let count = |what: &str, by: &str| {
            format!(
                "SELECT {by}, count(*) AS n FROM events {what} GROUP BY {by} HAVING count(*) >= 3"
            )
        };
        write("account.yml", &count("WHERE status = 200", "account"));
        write("busy.yml", &count("WHERE status = 200", "client_ip"));
        write("denied.yml", &count("WHERE status = 403", "client_ip"));
        write("unblocked.yml", &count("WHERE blocked_by IS NULL", "client_ip"));
        write(
            "distinct.yml",
            "SELECT client_ip, count(DISTINCT account) AS n FROM events GROUP BY client_ip \
             HAVING count(DISTINCT account) >= 3",
        );
        let log = folder.path().join("access.log");
        fs::write(&log, LINE.repeat(4)).unwrap();
        let pack = Pack::load(Some(folder.path())).unwrap();
        let sample = read(&[log], &sampling(100)).unwrap();
        let shown = found(&pack, &sample).unwrap();
        let line = |rule: &str| {
            shown.lines().find(|line| line.contains(rule)).unwrap_or_default().to_owned()
        };
        assert!(line(" account ").contains("can never fire"), "{shown}");
        assert!(line(" account ").contains("your log never fills `account`"), "{shown}");
        assert!(line(" denied ").contains("no event meets `status = 403`"), "{shown}");
        assert!(line(" distinct ").contains("may never fire"), "{shown}");
        assert!(line(" busy ").is_empty() && line(" unblocked ").is_empty(), "{shown}");
        assert!(shown.contains("4 events of"), "{shown}");
        assert!(shown.ends_with("1 rule can never fire over a log like this, 1 may never"));
    }
}
