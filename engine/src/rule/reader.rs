//! Reading values out of a rule file's tree, collecting every mistake on the way.
//!
//! Owns: types and names of values. Never: stops at the first mistake.

use std::ops::Range;

use serde_json::Value;

use super::duration;
use super::problem::{Level, Problem, SourceFile, nearest};
use super::yaml::{Content, Entry, Node};

/// A file being read, with what was found wrong so far.
#[derive(Debug)]
pub(super) struct Reader<'f> {
    pub(super) file: &'f SourceFile,
    pub(super) problems: Vec<Problem>,
}

impl<'f> Reader<'f> {
    pub(super) fn new(file: &'f SourceFile) -> Self {
        Self { file, problems: Vec::new() }
    }

    pub(super) fn error(&mut self, span: &Range<usize>, message: impl Into<String>, hint: &str) {
        self.report(Level::Error, span, message.into(), hint);
    }

    pub(super) fn report(
        &mut self,
        level: Level,
        span: &Range<usize>,
        message: String,
        hint: &str,
    ) {
        let problem = Problem::new(level, self.file, span, message);
        self.problems.push(if hint.is_empty() { problem } else { problem.hint(hint) });
    }

    /// The line that a value stands on, from 1.
    pub(super) fn line(&self, node: &Node) -> usize {
        let before = self.file.text.get(..node.span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    /// Whether anything so far keeps the rule from being used.
    pub(super) fn failed(&self) -> bool {
        self.problems.iter().any(|problem| problem.level == Level::Error)
    }

    /// The entries of a map whose keys are among `known`; others are reported and left out.
    pub(super) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
    ) -> Vec<&'n Entry> {
        let Some(entries) = self.map(node, what) else { return Vec::new() };
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if known.contains(&entry.name.as_str()) {
                kept.push(entry);
            } else {
                self.unknown(&entry.name_span, &format!("key `{}` in {what}", entry.name), {
                    (&entry.name, known)
                });
            }
        }
        kept
    }

    /// Reports a name that is not among `known`, with the nearest of them or all.
    pub(super) fn unknown(
        &mut self,
        span: &Range<usize>,
        what: &str,
        (name, known): (&str, &[&str]),
    ) {
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        self.error(span, format!("unknown {what}"), &hint);
    }

    fn wrong(&mut self, node: &Node, what: &str, wanted: &str) {
        let found = node.content.kind();
        let message = format!("{what} is {wanted}, found {found}");
        self.error(&node.span, message, "");
    }

    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        if let Content::Map(entries) = &node.content {
            return Some(entries);
        }
        self.wrong(node, what, "a map");
        None
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        if let Content::List(items) = &node.content {
            return Some(items);
        }
        self.wrong(node, what, "a list");
        None
    }

    /// A text that is not empty. Numbers are taken as they are written.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match node.written(&self.file.text) {
            Some(text) if !text.trim().is_empty() => Some(text.trim_end().to_owned()),
            _ => {
                self.wrong(node, what, "a text");
                None
            }
        }
    }

    /// A list of texts, or one text alone.
    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        if !matches!(node.content, Content::List(_)) {
            return self.text(node, what).into_iter().collect();
        }
        let items = self.list(node, what).unwrap_or_default();
        items.iter().filter_map(|item| self.text(item, what)).collect()
    }

    pub(super) fn whole(&mut self, node: &Node, what: &str) -> Option<i64> {
        if let Content::Whole(number) = node.content {
            return Some(number);
        }
        self.wrong(node, what, "a whole number");
        None
    }

    /// A length of time in milliseconds.
    pub(super) fn duration(&mut self, node: &Node, what: &str) -> Option<i64> {
        let Some(text) = node.written(&self.file.text) else {
            self.wrong(node, what, "a length of time such as `5m`");
            return None;
        };
        match duration::parse(text) {
            Ok(millis) => Some(millis),
            Err(wrong) => {
                self.error(&node.span, format!("{what}: {wrong}"), "");
                None
            }
        }
    }

    /// A length of time that is not negative.
    pub(super) fn length(&mut self, node: &Node, what: &str) -> Option<i64> {
        let millis = self.duration(node, what)?;
        if millis < 0 {
            self.error(&node.span, format!("{what} cannot be negative"), "");
            return None;
        }
        Some(millis)
    }

    /// A scalar as JSON; a number that is not written the way JSON writes it stays a text.
    pub(super) fn scalar(&mut self, node: &Node, what: &str) -> Option<Value> {
        let value = match &node.content {
            Content::List(_) | Content::Map(_) => {
                self.wrong(node, what, "a text, a number, true or false");
                return None;
            }
            Content::Null | Content::Text(_) | Content::Flag(_) => node.json(),
            Content::Whole(_) | Content::Ratio(_) => {
                let json = node.json();
                let usual = json.to_string();
                match node.written(&self.file.text) {
                    Some(written) if usual != written => Value::from(written),
                    _ => json,
                }
            }
        };
        Some(value)
    }
}
