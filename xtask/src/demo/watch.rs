//! What the pipeline says, as it says it.
//!
//! Owns: reading the JSON lines under `out/`, and one line of text for each. Never: judging it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::score::Finding;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Watch {
    folder: PathBuf,
    read: BTreeMap<PathBuf, u64>,
    findings: BTreeSet<Finding>,
    orders: usize,
    tickets: usize,
}

impl Watch {
    /// Watches the files below `out/` of a scene's folder.
    pub(super) fn new(scene: &Path) -> Self {
        Self {
            folder: scene.join("out"),
            read: BTreeMap::new(),
            findings: BTreeSet::new(),
            orders: 0,
            tickets: 0,
        }
    }

    /// Prints what is new.
    pub(super) fn show_new(&mut self) {
        for path in json_lines_below(&self.folder) {
            let from = self.read.entry(path.clone()).or_default();
            let text = whole_lines(&path, *from);
            *from += u64::try_from(text.len()).unwrap_or(0);
            for line in text.lines() {
                if let Ok(value) = serde_json::from_str(line)
                    && let Some(text) = self.take(&value)
                {
                    println!("{text}");
                }
            }
        }
    }

    /// What verdicts were about.
    pub(super) fn findings(&self) -> &BTreeSet<Finding> {
        &self.findings
    }

    /// Orders that act on somebody.
    pub(super) fn orders(&self) -> usize {
        self.orders
    }

    /// Tickets.
    pub(super) fn tickets(&self) -> usize {
        self.tickets
    }

    /// Counts a record and says what to print of it. A record may hold verdict and order side by
    /// side, each under its name.
    fn take(&mut self, record: &Value) -> Option<String> {
        let order = record.get("order").or_else(|| record.get("action").map(|_| record));
        let verdict = record.get("verdict").unwrap_or(record);
        if let Some(order) = order {
            self.findings.extend(Finding::read(verdict));
            return self.take_order(order);
        }
        self.take_verdict(verdict)
    }

    fn take_verdict(&mut self, verdict: &Value) -> Option<String> {
        let finding = Finding::read(verdict)?;
        self.findings.insert(finding);
        let text = |name: &str| verdict.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("kind") != "opened" {
            return None;
        }
        let time = clock_part(text("fired_at"));
        let (severity, rule) = (text("severity").to_uppercase(), text("rule"));
        let (key, values) = (columns(verdict.get("key")), columns(verdict.get("values")));
        Some(format!("{time} verdict {severity:<8} {rule:<32} {key}  {values}"))
    }

    fn take_order(&mut self, order: &Value) -> Option<String> {
        let text = |name: &str| order.get(name).and_then(Value::as_str).unwrap_or_default();
        let action = text("action");
        match action {
            "ticket" => self.tickets += 1,
            "observe" => return None,
            _ => self.orders += 1,
        }
        let time = clock_part(text("decided_at"));
        let subject = order.get("subject").and_then(Value::as_object);
        let subject = subject.map_or_else(String::new, |subject| {
            let part = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{} {}", part("kind"), part("value"))
        });
        let waits = order.get("needs_approval").and_then(Value::as_bool) == Some(true);
        let note = if waits { " (waits for a person)" } else { "" };
        Some(format!("{time} order   {action:<8} {:<32} {subject}{note}", text("rule")))
    }
}

/// `08:03:20` of `2026-11-20T08:03:20.000Z`.
fn clock_part(time: &str) -> &str {
    time.get(11..19).unwrap_or("        ")
}

fn columns(value: Option<&Value>) -> String {
    let none = Map::new();
    let fields = value.and_then(Value::as_object).unwrap_or(&none).iter();
    let words: Vec<String> = fields
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={text}"),
            None => format!("{name}={value}"),
        })
        .collect();
    words.join(" ")
}

fn json_lines_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    files
}

/// The text from an offset on, as far as its last line is complete.
fn whole_lines(path: &Path, from: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new(); // it is asked again in a moment
    }
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(end);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Watch, whole_lines};

    #[test]
    fn a_line_that_is_not_complete_is_read_later() {
        let path = std::env::temp_dir().join(format!("xtask-watch-{}", std::process::id()));
        std::fs::write(&path, "{\"a\":1}\n{\"b\"").unwrap();
        assert_eq!(whole_lines(&path, 0), "{\"a\":1}\n");
        std::fs::write(&path, "{\"a\":1}\n{\"b\":2}\n").unwrap();
        assert_eq!(whole_lines(&path, 8), "{\"b\":2}\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn verdicts_orders_and_tickets_are_shown_and_counted() {
        let mut watch = Watch::new(std::path::Path::new("/nowhere"));
        let verdict = json!({
            "kind": "opened", "rule": "recon/scan", "severity": "low", "key": {"client_ip": "a"},
            "values": {"paths": 30}, "fired_at": "2026-11-20T08:03:20.000Z",
        });
        let text = watch.take(&verdict).unwrap();
        assert!(text.starts_with("08:03:20 verdict LOW      recon/scan"), "{text}");
        assert!(text.ends_with("client_ip=a  paths=30"), "{text}");
        let order = json!({
            "action": "block", "rule": "recon/scan", "decided_at": "2026-11-20T08:03:21.000Z",
            "subject": {"kind": "ip", "value": "a"}, "needs_approval": true,
        });
        let text = watch.take(&json!({ "order": order, "verdict": verdict })).unwrap();
        assert!(text.ends_with("ip a (waits for a person)"), "{text}");
        watch.take(&json!({"action": "ticket", "rule": "recon/scan"})).unwrap();
        assert_eq!((watch.orders(), watch.tickets(), watch.findings().len()), (1, 1, 1));
    }
}
