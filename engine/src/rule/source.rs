//! Where the parts of a rule stand in its file.
//!
//! Owns: places for messages that come up after reading, such as those about the SQL.
//! Never: what the parts mean.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Location, Span, TokenWithSpan};

use super::params::{Template, byte_at};
use super::problem::{Level, Problem, SourceFile};
use super::yaml::{Content, Node};
use crate::rule::Rule;

/// A rule's file, its tree and its SQL.
#[derive(Debug)]
pub(crate) struct RuleSource {
    pub(crate) file: SourceFile,
    pub(super) root: Node,
    pub(super) sql: SqlPlace,
    pub(super) template: Template,
}

/// Where the SQL stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlPlace {
    span: Range<usize>,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `|`: line for line, each indented by so many bytes.
    Block { indent: usize },
    /// On one line, after an opening quote or not.
    Line { quote: usize },
    /// Folded or escaped: only the beginning is known.
    Folded,
}

impl SqlPlace {
    pub(super) fn of(file: &SourceFile, node: &Node) -> Self {
        let written = file.text.get(node.span.clone()).unwrap_or_default();
        let text = match &node.content {
            Content::Text(text) => text.trim_end(),
            _ => "",
        };
        let quote = usize::from(written.starts_with(['"', '\'']));
        let layout = if text.contains('\n') && quote == 0 {
            let before = file.text.get(..node.span.start).unwrap_or_default();
            Layout::Block { indent: before.len() - before.rfind('\n').map_or(0, |line| line + 1) }
        } else if written.trim_end().len() == text.len() + 2 * quote {
            Layout::Line { quote }
        } else {
            Layout::Folded
        };
        Self { span: node.span.clone(), layout }
    }

    /// The bytes of the file that a place in the SQL stands for.
    pub(super) fn bytes(&self, sql: &str, at: Span) -> Range<usize> {
        self.range(sql, byte_at(sql, at.start)..byte_at(sql, at.end))
    }

    /// The bytes of the file that bytes of the SQL stand for.
    pub(super) fn range(&self, sql: &str, bytes: Range<usize>) -> Range<usize> {
        let whole = self.span.clone();
        let Range { start, end } = bytes;
        let end = end.max(start);
        match self.layout {
            Layout::Line { quote } => {
                let offset = whole.start + quote;
                offset + start..offset + end
            }
            Layout::Block { indent } => {
                let lines = sql.get(..start).unwrap_or_default().matches('\n').count();
                let offset = whole.start + lines * indent;
                offset + start..offset + end
            }
            Layout::Folded => whole,
        }
    }
}

impl RuleSource {
    /// A problem with a part of the SQL.
    pub(crate) fn in_sql(&self, level: Level, at: Span, message: impl Into<String>) -> Problem {
        let span = if at.start.line == 0 {
            self.sql.span.clone()
        } else {
            self.sql.bytes(&self.template.written, at)
        };
        Problem::new(level, &self.file, &span, message.into())
    }

    /// A problem with the value at a path of keys, or with the file's beginning.
    pub(crate) fn at(&self, level: Level, path: &[&str], message: impl Into<String>) -> Problem {
        Problem::new(level, &self.file, &self.span(path), message.into())
    }

    /// A problem with a line.
    pub(crate) fn in_line(&self, level: Level, line: usize, message: impl Into<String>) -> Problem {
        let mut lines = self.file.text.split_inclusive('\n');
        let before: usize = lines.by_ref().take(line.saturating_sub(1)).map(str::len).sum();
        let whole = lines.next().unwrap_or_default().trim_end();
        let indent = whole.len() - whole.trim_start().len();
        let span = before + indent..before + whole.len();
        Problem::new(level, &self.file, &span, message.into())
    }

    fn span(&self, path: &[&str]) -> Range<usize> {
        let mut node = &self.root;
        let mut span = 0..0;
        for name in path {
            let found = match &node.content {
                Content::Map(entries) => entries.iter().find(|entry| entry.name == *name),
                Content::List(items) => {
                    let item = items.iter().find(|item| item.json().as_str() == Some(name));
                    return item.map_or(span, |item| item.span.clone());
                }
                _ => None,
            };
            let Some(entry) = found else { break };
            node = &entry.value;
            let whole = entry.value.span.clone();
            span = if whole.is_empty() { entry.name_span.clone() } else { whole };
        }
        span
    }

    /// The first place in the SQL where a word stands, whatever its case.
    pub(crate) fn word(&self, word: &str) -> Span {
        let is_word = |token: &&TokenWithSpan| {
            let text = token.token.to_string();
            text.trim_matches(['"', '\'']).eq_ignore_ascii_case(word)
        };
        self.template.written_tokens().iter().find(is_word).map_or_else(nowhere, |token| token.span)
    }
}

impl Rule {
    /// The tokens of the query with parameters in place, each where it stands in the file.
    pub(crate) fn tokens(&self) -> Vec<TokenWithSpan> {
        self.source.template.tokens(&self.params)
    }
}

/// No place in particular: the SQL as a whole.
pub(crate) fn nowhere() -> Span {
    Span::new(Location { line: 0, column: 0 }, Location { line: 0, column: 0 })
}
