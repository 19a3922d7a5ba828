//! What the pipeline says, as it says it.
//!
//! Owns: reading the JSON lines under `out/`, and what is shown of each. Never: judging it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::paint::{Ink, Paint};
use super::score::Finding;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Watch {
    folder: PathBuf,
    paint: Paint,
    read: BTreeMap<PathBuf, u64>,
    findings: BTreeSet<Finding>,
    verdicts: usize,
    orders: BTreeMap<String, Value>,
    blocks: usize,
    /// Orders that wait for a person.
    waiting: BTreeSet<String>,
    /// Episodes that have a ticket.
    tickets: BTreeSet<String>,
    notes: usize,
}

impl Watch {
    /// Watches the files below `out/` of a scene's folder.
    pub(super) fn new(scene: &Path, paint: Paint) -> Self {
        Self {
            folder: scene.join("out"),
            paint,
            read: BTreeMap::new(),
            findings: BTreeSet::new(),
            verdicts: 0,
            orders: BTreeMap::new(),
            blocks: 0,
            waiting: BTreeSet::new(),
            tickets: BTreeSet::new(),
            notes: 0,
        }
    }

    /// Prints what is new; says whether anything was.
    pub(super) fn show_new(&mut self) -> bool {
        let mut anything = false;
        for path in json_lines_below(&self.folder) {
            let from = self.read.entry(path.clone()).or_default();
            let text = whole_lines(&path, *from);
            *from += u64::try_from(text.len()).unwrap_or(0);
            for line in text.lines() {
                anything = true;
                let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
                for line in self.take(&record) {
                    println!("{line}");
                }
            }
        }
        anything
    }

    /// What verdicts were about.
    pub(super) fn findings(&self) -> &BTreeSet<Finding> {
        &self.findings
    }

    /// Orders that wait for a person.
    pub(super) fn waiting(&self) -> &BTreeSet<String> {
        &self.waiting
    }

    /// `9 verdicts, 3 blocks, 8 tickets with 11 notes`.
    pub(super) fn counts(&self) -> String {
        let (verdicts, blocks, tickets) = (self.verdicts, self.blocks, self.tickets.len());
        format!("{verdicts} verdicts, {blocks} blocks, {tickets} tickets with {} notes", self.notes)
    }

    /// Counts a record and says what to print of it.
    fn take(&mut self, record: &Value) -> Vec<String> {
        if let Some(verdict) = record.get("verdict") {
            self.findings.extend(Finding::read(verdict));
            return self.take_verdict(verdict);
        }
        if let Some(order) = record.get("order") {
            self.orders.insert(text(order, "id").to_owned(), order.clone());
            return Vec::new();
        }
        record.get("outcome").and_then(|outcome| self.take_outcome(outcome)).into_iter().collect()
    }

    fn take_verdict(&mut self, verdict: &Value) -> Vec<String> {
        if text(verdict, "kind") != "opened" {
            return Vec::new();
        }
        self.verdicts += 1;
        let whom: Vec<String> = fields(verdict, "key").map(|(_, value)| plain(value)).collect();
        let values =
            fields(verdict, "values").map(|(name, value)| format!("{name} {}", plain(value)));
        let mut about = vec![text(verdict, "rule").to_owned()];
        about.extend(values);
        let severity = text(verdict, "severity");
        let ink = match severity {
            "critical" | "high" => Ink::Red,
            "medium" => Ink::Yellow,
            _ => Ink::Plain,
        };
        let what = format!("{}: {}", text(verdict, "title"), whom.join(", "));
        vec![
            self.line(clock_part(text(verdict, "fired_at")), ink, severity, &what),
            self.line("", Ink::Plain, "", &self.paint.on(Ink::Dim, &about.join(" · "))),
        ]
    }

    /// What came of an order, once.
    fn take_outcome(&mut self, outcome: &Value) -> Option<String> {
        let order = self.orders.get(text(outcome, "order_id"))?.clone();
        let (action, state) = (text(&order, "action"), text(outcome, "state"));
        if action == "ticket" {
            let first = self.tickets.insert(text(&order, "verdict_id").to_owned());
            self.notes += usize::from(!first);
            let name = text(outcome, "remote_id");
            return first.then(|| self.line("", Ink::Green, "ticket", &format!("tickets/{name}")));
        }
        let subject = order.get("subject").unwrap_or(&Value::Null);
        let whom = format!("{} {}", text(subject, "kind"), text(subject, "value"));
        let target = text(outcome, "target");
        let what = match state {
            "done" => {
                self.blocks += usize::from(action == "block");
                let until = clock_part(text(&order, "expires_at"));
                if self.waiting.remove(text(&order, "id")) {
                    let approved = format!("{whom} · approved, in force at {target}");
                    return Some(self.line("", Ink::Green, action, &approved));
                }
                let at = of_day(text(outcome, "at")) - of_day(text(&order, "decided_at"));
                let took = at.rem_euclid(of_day("T24:00:00.000"));
                format!("{whom} · in force at {target} {took} ms after the verdict, until {until}")
            }
            "waiting" => {
                self.waiting.insert(text(&order, "id").to_owned());
                let why = order.pointer("/notes/0/reason").and_then(Value::as_str);
                format!("{whom} · waits for a person: {}", why.unwrap_or("the policy asks for one"))
            }
            other => format!("{whom} · {other} {}", text(outcome, "detail")),
        };
        Some(self.line("", Ink::Green, action, &what))
    }

    /// One line of the show: time, a word, the rest.
    pub(super) fn line(&self, time: &str, ink: Ink, word: &str, rest: &str) -> String {
        format!("{time:8}  {}  {rest}", self.paint.on(ink, &format!("{word:<8}")))
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn fields<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(name).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `08:03:20` of `2026-11-20T08:03:20.000Z`.
fn clock_part(time: &str) -> &str {
    time.get(11..19).unwrap_or_default()
}

/// Milliseconds since midnight of `2026-11-20T08:03:20.000Z`; 0 where it is no time.
fn of_day(time: &str) -> i64 {
    let clock = time.split_once('T').map_or("", |(_, clock)| clock).trim_end_matches('Z');
    let seconds = clock.split([':', '.']).zip([3_600_000, 60_000, 1_000, 1]);
    seconds.map(|(part, worth)| part.parse::<i64>().unwrap_or(0) * worth).sum()
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
    use serde_json::{Value, json};

    use super::{Watch, whole_lines};
    use crate::demo::paint::Paint;

    #[test]
    fn a_line_that_is_not_complete_is_read_later() {
        let path = std::env::temp_dir().join(format!("xtask-watch-{}", std::process::id()));
        std::fs::write(&path, "{\"a\":1}\n{\"b\"").unwrap();
        assert_eq!(whole_lines(&path, 0), "{\"a\":1}\n");
        std::fs::write(&path, "{\"a\":1}\n{\"b\":2}\n").unwrap();
        assert_eq!(whole_lines(&path, 8), "{\"b\":2}\n");
        std::fs::remove_file(&path).unwrap();
    }

    fn order(id: &str, action: &str) -> Value {
        json!({"order": {
            "id": id, "action": action, "verdict_id": "v", "decided_at": "2026-11-20T08:03:21.000Z",
            "expires_at": "2026-11-20T08:33:21.000Z", "subject": {"kind": "ip", "value": "a"},
        }})
    }

    fn outcome(id: &str, state: &str) -> Value {
        json!({"outcome": {
            "order_id": id, "state": state, "at": "2026-11-20T08:03:21.250Z", "target": "nginx",
            "remote_id": "v.md",
        }})
    }

    #[test]
    fn a_verdict_is_told_with_its_title_whom_and_numbers() {
        let mut watch = Watch::new(std::path::Path::new("/nowhere"), Paint::PLAIN);
        let verdict = json!({"verdict": {
            "kind": "opened", "rule": "recon/scan", "severity": "low", "key": {"client_ip": "a"},
            "title": "It scans", "values": {"paths": 30}, "fired_at": "2026-11-20T08:03:20.000Z",
        }});
        assert_eq!(
            watch.take(&verdict),
            ["08:03:20  low       It scans: a", "                    recon/scan · paths 30"]
        );
        assert_eq!(watch.findings().len(), 1);
    }

    #[test]
    fn an_order_is_told_when_it_is_carried_out_and_a_second_ticket_is_a_note() {
        let mut watch = Watch::new(std::path::Path::new("/nowhere"), Paint::PLAIN);
        for (id, action) in [("1", "block"), ("2", "ticket"), ("3", "ticket"), ("4", "block")] {
            assert!(watch.take(&order(id, action)).is_empty());
        }
        assert_eq!(
            watch.take(&outcome("1", "done")),
            [
                "          block     ip a · in force at nginx 250 ms after the verdict, until 08:33:21"
            ]
        );
        assert_eq!(watch.take(&outcome("2", "done")), ["          ticket    tickets/v.md"]);
        assert!(watch.take(&outcome("3", "done")).is_empty());
        let waits = watch.take(&outcome("4", "waiting"));
        assert!(waits.iter().all(|line| line.contains("waits for a person: ")));
        assert_eq!(
            watch.take(&outcome("4", "done")),
            ["          block     ip a · approved, in force at nginx"]
        );
        assert_eq!(watch.counts(), "0 verdicts, 2 blocks, 1 tickets with 1 notes");
    }
}
