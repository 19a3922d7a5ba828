//! What is wrong with something that a person wrote.
//!
//! Owns: the four answers a person needs (what, where, why, what next) and their text.
//! Never: decides what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A mistake in the context folder or in a posted deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file; absent where it was not a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The address; absent where it was not fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Box<str>>,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What follows from it.
    pub what: Box<str>,
    /// The cause.
    pub why: Box<str>,
    /// What to do.
    pub next: Box<str>,
}

impl Problem {
    pub(crate) fn new(what: &str, why: impl Into<Box<str>>, next: &str) -> Self {
        Self {
            file: None,
            url: None,
            line: None,
            column: None,
            what: what.into(),
            why: why.into(),
            next: next.into(),
        }
    }

    /// The same, at a line and, where it is known, a column.
    pub(crate) fn at(mut self, line: usize, column: Option<usize>) -> Self {
        self.line = Some(line);
        self.column = column;
        self
    }

    /// The same, in a file.
    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// The same, in what an address answered.
    pub(crate) fn at_url(mut self, url: &str) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The same, further down: `line` is where its own first line stands.
    pub(crate) fn below(mut self, line: usize) -> Self {
        self.line = Some(self.line.unwrap_or(1) + line - 1);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.file.as_ref().map(|file| file.display().to_string());
        if let Some(place) = place.as_deref().or(self.url.as_deref()) {
            write!(out, "{place}")?;
            if let Some(line) = self.line {
                write!(out, ":{line}")?;
            }
            if let Some(column) = self.column {
                write!(out, ":{column}")?;
            }
            write!(out, ": ")?;
        } else if let Some(line) = self.line {
            write!(out, "line {line}")?;
            if let Some(column) = self.column {
                write!(out, ", column {column}")?;
            }
            write!(out, ": ")?;
        }
        write!(out, "{}: {}; next: {}", self.what, self.why, self.next)
    }
}

/// What serde_json found, without the place that its text ends in.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _place)) => reason.to_owned(),
        None => text,
    }
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Problem, line_and_column};

    #[test]
    fn a_problem_says_what_where_why_and_what_next() {
        let problem = Problem::new("the line is left out", "no service", "name one").at(3, Some(9));
        assert_eq!(
            problem.to_string(),
            "line 3, column 9: the line is left out: no service; next: name one"
        );
        assert_eq!(
            problem.clone().in_file(Path::new("ctx/deploys.jsonl")).to_string(),
            "ctx/deploys.jsonl:3:9: the line is left out: no service; next: name one"
        );
        assert_eq!(
            problem.at_url("http://shop.internal/openapi.json").to_string(),
            "http://shop.internal/openapi.json:3:9: the line is left out: no service; next: name one"
        );
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("a\nöx", 4), (2, 2));
        assert_eq!(line_and_column("", 0), (1, 1));
    }
}
