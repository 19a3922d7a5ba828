//! The keys of a rule file.
//!
//! Owns: names, types, defaults and limits of the keys. Never: the meaning of the SQL.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use schemas::{Mode, Severity};
use serde_json::Value;

use super::params::{Template, byte_at, is_literal};
use super::problem::{Level, Problem, SourceFile};
use super::reader::Reader;
use super::source::{RuleSource, SqlPlace};
use super::yaml::{self, Node};
use super::{Rule, Window, duration, hash, test_case};

/// Every key of a rule file, in the order in which they are usually written.
pub(super) const KEYS: [&str; 18] = [
    "title",
    "severity",
    "window",
    "slide",
    "sql",
    "with",
    "key",
    "subject",
    "respond",
    "mode",
    "rearm",
    "memory",
    "owasp",
    "attack",
    "why",
    "false_positives",
    "now_what",
    "tests",
];

/// What a response can act on.
pub(super) const SUBJECTS: [&str; 8] =
    ["ip", "network", "principal", "token", "account", "ja4", "route", "deploy"];

/// What a rule can ask for, and whether it takes a length of time.
pub(super) const ACTIONS: [(&str, bool); 7] = [
    ("observe", false),
    ("ticket", false),
    ("notify", false),
    ("throttle", true),
    ("step_up", true),
    ("block", true),
    ("page", false),
];

/// How far a rule's verdicts go.
pub(super) const MODES: [&str; 4] = ["off", "shadow", "canary", "live"];

/// How bad it is.
pub(super) const SEVERITIES: [(&str, Severity); 5] = [
    ("info", Severity::Info),
    ("low", Severity::Low),
    ("medium", Severity::Medium),
    ("high", Severity::High),
    ("critical", Severity::Critical),
];

/// Re-arm gap of a rule without a window that names none: people come back to the same ticket
/// within a quarter of an hour.
const REARM_DEFAULT_MS: i64 = 15 * 60 * 1000;
/// State that a rule may hold unless it says more.
const MEMORY_DEFAULT_BYTES: usize = 64 * 1024 * 1024;
/// The window of a rule whose own cannot be read, so that its SQL can.
const WINDOW_STAND_IN: Window = Window { size_ms: 300_000, slide_ms: 300_000 };
/// Bytes of a rule file at most: a hundred times the longest one that a person wrote.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Overrides of one rule's parameters.
pub(super) type Overrides = BTreeMap<String, Value>;

/// What a file came to.
pub(super) enum Outcome {
    /// A rule that can be used.
    Rule(Box<Rule>),
    /// A rule that a mistake keeps from being used, but whose SQL can be looked at.
    Draft(Box<Rule>),
    /// Nothing to look at further.
    Nothing,
}

/// Reads one file, with every mistake in it.
pub(super) fn read(file: &SourceFile, overrides: &Overrides) -> (Outcome, Vec<Problem>) {
    if file.text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX}", file.text.len());
        return (Outcome::Nothing, vec![Problem::new(Level::Error, file, &(0..0), message)]);
    }
    let root = match yaml::parse(file) {
        Ok(root) => root,
        Err(problem) => return (Outcome::Nothing, vec![*problem]),
    };
    let mut reader = Reader::new(file);
    let rule = RuleReader::new(&mut reader, &root).and_then(|rule| rule.read(&root, overrides));
    let outcome = match rule.map(Box::new) {
        None => Outcome::Nothing,
        Some(rule) if !reader.failed() => Outcome::Rule(rule),
        Some(rule) => Outcome::Draft(Box::new(stood_in_for(*rule, &root))),
    };
    (outcome, reader.problems)
}

/// The rule with a window and a key where it may have meant to have them: that they are missing is
/// said already, or follows from a misspelt name.
fn stood_in_for(mut rule: Rule, root: &Node) -> Rule {
    let yaml::Content::Map(entries) = &root.content else { return rule };
    let misspelt = entries.iter().any(|entry| !KEYS.contains(&entry.name.as_str()));
    let written = |key: &str| entries.iter().any(|entry| entry.name == key);
    if rule.window.is_none() && (misspelt || written("window") || written("slide")) {
        rule.window = Some(WINDOW_STAND_IN);
    }
    if rule.key.is_none() && misspelt {
        rule.key = Some(Vec::new());
    }
    rule
}

const LOUD: &str = "no test in which the rule fires";
const QUIET: &str = "no test in which the rule stays quiet (`episodes: []`)";

struct RuleReader<'r, 'f> {
    reader: &'r mut Reader<'f>,
    values: BTreeMap<&'r str, &'r Node>,
}

impl<'r, 'f> RuleReader<'r, 'f> {
    fn new(reader: &'r mut Reader<'f>, root: &'r Node) -> Option<Self> {
        reader.map(root, "a rule file")?;
        let entries = reader.entries(root, "a rule file", &KEYS);
        let values = entries.into_iter().map(|entry| (entry.name.as_str(), &entry.value)).collect();
        Some(Self { reader, values })
    }

    fn read(mut self, root: &Node, overrides: &Overrides) -> Option<Rule> {
        let title = self.needed_text("title");
        let severity = self.severity();
        let (window, rearm_ms) = self.times();
        let params = self.params(overrides);
        let sql = self.sql(&params, overrides);
        let (mode, canary_percent) = self.mode();
        let subject = self.subject();
        let respond = self.respond();
        let key = self.values.get("key").copied().map(|node| self.reader.texts(node, "`key`"));
        let memory_bytes_max = self.memory();
        let tests = self.tests();
        let (owasp, attack) = (self.texts("owasp"), self.texts("attack"));
        let (why, now_what) = (self.text("why"), self.text("now_what"));
        let false_positives = self.texts("false_positives");
        let (place, template) = sql?;
        let file = self.reader.file;
        let sql = template.filled(&params);
        let source = RuleSource { file: file.clone(), root: root.clone(), sql: place, template };
        Some(Rule {
            id: rule_id(&file.path),
            title: title.unwrap_or_default(),
            severity: severity.unwrap_or(Severity::Info),
            window,
            sql,
            text_hash: hash::text(&[&file.text, &Value::from_iter(overrides.clone()).to_string()]),
            params,
            key,
            subject,
            respond,
            mode,
            canary_percent,
            rearm_ms,
            memory_bytes_max,
            owasp,
            attack,
            why,
            false_positives,
            now_what,
            tests,
            source: Arc::new(source),
        })
    }

    fn needed(&mut self, key: &str, hint: &str) -> Option<&'r Node> {
        let node = self.values.get(key).copied();
        if node.is_none() {
            self.reader.error(&(0..0), format!("the rule has no `{key}:`"), hint);
        }
        node
    }

    fn needed_text(&mut self, key: &str) -> Option<String> {
        let node = self.needed(key, "one line that says what it found")?;
        self.reader.text(node, &format!("`{key}`"))
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let node = self.values.get(key).copied()?;
        self.reader.text(node, &format!("`{key}`"))
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        match self.values.get(key).copied() {
            Some(node) => self.reader.texts(node, &format!("`{key}`")),
            None => Vec::new(),
        }
    }

    fn severity(&mut self) -> Option<Severity> {
        let names = SEVERITIES.map(|(name, _)| name);
        let node = self.needed("severity", &format!("one of {}", names.join(", ")))?;
        let text = self.reader.text(node, "`severity`")?;
        let found = SEVERITIES.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            self.reader.unknown(&node.span, &format!("severity `{text}`"), (&text, &names));
        }
        found.map(|(_, severity)| *severity)
    }

    fn times(&mut self) -> (Option<Window>, i64) {
        let size = self.length("window");
        let slide = self.length("slide");
        let window = match (size, slide) {
            (Some(size_ms), slide) => self.window(size_ms, slide),
            (None, Some(_)) if !self.values.contains_key("window") => {
                let span = self.span("slide");
                let hint = "add `window:`, or remove `slide:`";
                self.reader.error(&span, "a slide needs a window", hint);
                None
            }
            (None, _) => None,
        };
        let default = window.map_or(REARM_DEFAULT_MS, |window| window.size_ms);
        (window, self.length("rearm").unwrap_or(default))
    }

    fn length(&mut self, key: &str) -> Option<i64> {
        let node = self.values.get(key).copied()?;
        self.reader.length(node, &format!("`{key}`"))
    }

    fn span(&self, key: &str) -> Range<usize> {
        self.values.get(key).map_or(0..0, |node| node.span.clone())
    }

    fn window(&mut self, size_ms: i64, slide: Option<i64>) -> Option<Window> {
        if size_ms == 0 {
            let hint = "a rule that looks at one event at a time has no `window:`";
            self.reader.error(&self.span("window"), "a window has a length", hint);
            return None;
        }
        let Some(slide_ms) = slide else { return self.window_without_slide(size_ms) };
        let (size, wanted) = (duration::format(size_ms), duration::format(slide_ms));
        let wrong = if slide_ms == 0 {
            "a slide has a length".to_owned()
        } else if slide_ms > size_ms {
            format!("the slide {wanted} is longer than the window {size}")
        } else if size_ms % slide_ms != 0 {
            format!("the slide {wanted} does not divide the window {size}")
        } else if size_ms / slide_ms > duration::PANES_MAX {
            let panes = size_ms / slide_ms;
            let most = duration::PANES_MAX;
            format!("the slide {wanted} cuts the window {size} into {panes} panes; at most {most}")
        } else {
            return Some(Window { size_ms, slide_ms });
        };
        let hint = format!("slides that fit: {}", fitting(size_ms, slide_ms));
        self.reader.error(&self.span("slide"), wrong, &hint);
        None
    }

    fn window_without_slide(&mut self, size_ms: i64) -> Option<Window> {
        let slide = duration::default_slide(size_ms);
        if slide.is_none() {
            let size = duration::format(size_ms);
            let message = format!("no usual slide divides the window {size}");
            let near = fitting(size_ms, size_ms / duration::PANES_MAX);
            let hint = format!("choose a round window, or write `slide:` as one of {near}");
            self.reader.error(&self.span("window"), message, &hint);
        }
        slide.map(|slide_ms| Window { size_ms, slide_ms })
    }

    fn params(&mut self, overrides: &Overrides) -> BTreeMap<String, Value> {
        let mut params = BTreeMap::new();
        if let Some(node) = self.values.get("with").copied() {
            for entry in self.reader.map(node, "`with`").unwrap_or_default() {
                let value = entry.value.json();
                if is_literal(&value) {
                    params.insert(entry.name.clone(), value);
                } else {
                    let message = format!("`{}` is not a value for SQL", entry.name);
                    let hint = "a number, a text, true or false, or a list of those";
                    self.reader.error(&entry.value.span, message, hint);
                }
            }
        }
        let known: Vec<String> = params.keys().cloned().collect();
        for (name, value) in overrides {
            if !known.contains(name) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let what = format!("parameter `{name}`, which the configuration overrides");
                self.reader.unknown(&self.span("with"), &what, (name, &known));
            } else if is_literal(value) {
                params.insert(name.clone(), value.clone());
            } else {
                let message = format!("the configuration gives `{name}` a value unfit for SQL");
                self.reader.error(&self.span("with"), message, "a number, a text or a list");
            }
        }
        params
    }

    fn sql(
        &mut self,
        params: &BTreeMap<String, Value>,
        overrides: &Overrides,
    ) -> Option<(SqlPlace, Template)> {
        let node = self.needed("sql", "the query over `events`, as a block after `sql: |`")?;
        let text = self.reader.text(node, "`sql`")?;
        let place = SqlPlace::of(self.reader.file, node);
        let template = match Template::new(&text) {
            Ok(template) => template,
            Err(unreadable) => {
                let byte = byte_at(&text, unreadable.at).min(text.len().saturating_sub(1));
                let span = place.range(&text, byte..byte + 1);
                let message = format!("the SQL cannot be read: {}", unreadable.message);
                self.reader.error(&span, message, "is a quote left open?");
                return None;
            }
        };
        let known: Vec<&str> = params.keys().map(String::as_str).collect();
        let missing = template.missing(params);
        let complete = missing.is_empty();
        for missing in missing {
            let span = place.bytes(&template.written, missing.at);
            let name = &missing.name;
            let hint = match super::problem::nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `${near}`?"),
                None => format!("add `with: {{{name}: …}}`"),
            };
            self.reader.error(&span, format!("`${name}` has no value"), &hint);
        }
        let used = template.names();
        for name in params.keys().filter(|name| !used.contains(&name.as_str())) {
            let span = self.name_span("with", name);
            let more = if overrides.contains_key(name) { ", though it is overridden" } else { "" };
            let message = format!("the SQL does not use `{name}`{more}");
            let hint = format!("write `${name}` in the SQL, or remove it");
            self.reader.report(Level::Warning, &span, message, &hint);
        }
        complete.then_some((place, template))
    }

    fn name_span(&self, key: &str, name: &str) -> Range<usize> {
        let entries = self.values.get(key).and_then(|node| match &node.content {
            yaml::Content::Map(entries) => Some(entries),
            _ => None,
        });
        entries
            .and_then(|entries| entries.iter().find(|entry| entry.name == name))
            .map_or(0..0, |entry| entry.name_span.clone())
    }

    fn mode(&mut self) -> (Mode, Option<u8>) {
        let Some(node) = self.values.get("mode").copied() else { return (Mode::Shadow, None) };
        let Some(text) = self.reader.text(node, "`mode`") else { return (Mode::Shadow, None) };
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let share = rest.trim().strip_suffix('%').and_then(|share| share.parse::<u8>().ok());
        match (word, rest.trim(), share) {
            ("off", "", _) => (Mode::Off, None),
            ("shadow", "", _) => (Mode::Shadow, None),
            ("live", "", _) => (Mode::Live, None),
            ("canary", _, Some(share @ 1..=99)) => (Mode::Canary, Some(share)),
            ("canary", ..) => {
                let hint = "write such as `canary 10%`, from 1% to 99%";
                self.reader.error(&node.span, "a canary has a share of keys", hint);
                (Mode::Shadow, None)
            }
            (word, ..) => {
                self.reader.unknown(&node.span, &format!("mode `{text}`"), (word, &MODES));
                (Mode::Shadow, None)
            }
        }
    }

    fn subject(&mut self) -> BTreeMap<String, String> {
        let Some(node) = self.values.get("subject").copied() else { return BTreeMap::new() };
        if node.written(&self.reader.file.text) == Some("none") {
            return BTreeMap::new();
        }
        let entries = self.reader.entries(node, "`subject`", &SUBJECTS);
        let mut subject = BTreeMap::new();
        for entry in entries {
            if let Some(column) = self.reader.text(&entry.value, "a subject's column") {
                subject.insert(entry.name.clone(), column);
            }
        }
        subject
    }

    fn respond(&mut self) -> Vec<String> {
        let Some(node) = self.values.get("respond").copied() else { return Vec::new() };
        let names = ACTIONS.map(|(name, _)| name);
        let mut asked = Vec::new();
        for item in self.reader.list(node, "`respond`").unwrap_or_default() {
            let Some(text) = self.reader.text(item, "a response") else { continue };
            let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
            match ACTIONS.iter().find(|(name, _)| *name == word) {
                None => {
                    self.reader.unknown(&item.span, &format!("response `{word}`"), (word, &names));
                }
                Some((_, false)) if !rest.is_empty() => {
                    self.reader.error(&item.span, format!("`{word}` takes no `{rest}`"), "");
                }
                Some((_, true)) if !duration::parse(rest).is_ok_and(|ms| ms > 0) => {
                    let hint = format!("write such as `{word} 30m`");
                    self.reader.error(&item.span, format!("`{word}` needs an end"), &hint);
                }
                Some(_) => asked.push(text),
            }
        }
        asked
    }

    fn memory(&mut self) -> usize {
        let Some(node) = self.values.get("memory").copied() else { return MEMORY_DEFAULT_BYTES };
        let Some(text) = self.reader.text(node, "`memory`") else { return MEMORY_DEFAULT_BYTES };
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let bytes = units.iter().find_map(|(unit, factor)| {
            text.strip_suffix(unit)?.trim().parse::<usize>().ok()?.checked_mul(*factor)
        });
        if bytes.is_none() {
            let message = format!("`{text}` is not an amount of memory");
            self.reader.error(&node.span, message, "write such as `128MiB`");
        }
        bytes.unwrap_or(MEMORY_DEFAULT_BYTES)
    }

    fn tests(&mut self) -> Vec<super::TestCase> {
        let Some(node) = self.values.get("tests").copied() else {
            self.untested(&(0..0), LOUD);
            self.untested(&(0..0), QUIET);
            return Vec::new();
        };
        let before = self.reader.problems.len();
        let tests = test_case::read(self.reader, node);
        if self.reader.problems.len() == before {
            let fires = tests.iter().any(|test| !test.episodes.is_empty());
            let quiet = tests.iter().any(|test| test.episodes.is_empty());
            if !fires {
                self.untested(&node.span, LOUD);
            }
            if !quiet {
                self.untested(&node.span, QUIET);
            }
        }
        tests
    }

    fn untested(&mut self, span: &Range<usize>, missing: &str) {
        let hint = "add one under `tests:`";
        self.reader.report(Level::Incomplete, span, missing.to_owned(), hint);
    }
}

fn fitting(size_ms: i64, wanted_ms: i64) -> String {
    let slides = duration::nearest_slides(size_ms, wanted_ms);
    slides.into_iter().map(duration::format).collect::<Vec<_>>().join(" or ")
}

/// The path without its ending.
pub(super) fn rule_id(path: &str) -> String {
    let path = path.trim_start_matches("./");
    path.strip_suffix(".yml").or_else(|| path.strip_suffix(".yaml")).unwrap_or(path).to_owned()
}
