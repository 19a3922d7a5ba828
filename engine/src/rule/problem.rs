//! What is wrong with a rule file, where, and what to do about it.
//!
//! Owns: the message and its rendering. Never: finding the mistake.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level as Title, Renderer, Snippet};

/// What a problem means for the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The rule cannot be used.
    Error,
    /// The rule works, but `rules check` fails: something that proves it is missing.
    Incomplete,
    /// Worth a look.
    Warning,
}

/// One mistake, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it means for the rule.
    pub level: Level,
    /// The file, as it was given.
    pub path: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
    /// The line of the file.
    pub excerpt: String,
    /// Characters from `column` that the problem is about; at least 1.
    pub width: usize,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// The nearest name, or what to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with the bytes `span` of a file.
    #[must_use]
    pub fn new(level: Level, file: &SourceFile, span: &Range<usize>, message: String) -> Self {
        let place = Place::of(&file.text, span);
        Self {
            level,
            path: file.path.clone(),
            line: place.line,
            column: place.column,
            excerpt: place.excerpt,
            width: place.width,
            message,
            hint: None,
        }
    }

    /// The same problem with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether `rules check` fails because of it.
    #[must_use]
    pub fn fails_check(&self) -> bool {
        self.level < Level::Warning
    }

    /// The message with the line it is about, for people. `color` adds terminal colours.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let title = match self.level {
            Level::Error | Level::Incomplete => Title::ERROR,
            Level::Warning => Title::WARNING,
        };
        let mark = AnnotationKind::Primary.span(self.marked());
        let snippet = Snippet::source(self.excerpt.as_str())
            .line_start(self.line)
            .path(self.path.as_str())
            .annotation(mark);
        let mut group = title.primary_title(self.message.as_str()).element(snippet);
        if let Some(hint) = &self.hint {
            group = group.element(Title::HELP.message(hint.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }

    /// The marked bytes of the excerpt.
    fn marked(&self) -> Range<usize> {
        let byte = |chars: usize| {
            self.excerpt.char_indices().nth(chars).map_or(self.excerpt.len(), |(byte, _)| byte)
        };
        byte(self.column - 1)..byte(self.column - 1 + self.width)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: {}", self.path, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(out, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Sorts problems by place; those of one place stay in order of discovery.
pub fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| {
        (&a.path, a.line, a.column, a.level).cmp(&(&b.path, b.line, b.column, b.level))
    });
}

/// A file by its contents; nothing here reads a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the pack's folder, with `/`.
    pub path: String,
    /// The contents.
    pub text: String,
}

struct Place {
    line: usize,
    column: usize,
    excerpt: String,
    width: usize,
}

impl Place {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let start = floor(text, span.start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let excerpt = rest.lines().next().unwrap_or_default().trim_end();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let end = floor(text, span.end.max(start)).min(line_start + excerpt.len());
        let width = text.get(start..end).map_or(1, |marked| marked.chars().count().max(1));
        Self {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            excerpt: excerpt.to_owned(),
            width,
        }
    }
}

/// The nearest character boundary at or below `byte`.
fn floor(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// The known name nearest to `name`, if it is near enough to be meant.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= limit || (name.len() >= 4 && candidate.contains(&name))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{Level, Problem, SourceFile, nearest};

    #[test]
    fn a_place_counts_characters_and_stays_on_its_line() {
        let file = SourceFile { path: "a.yml".into(), text: "é: 1\nbéta: twø\nc: 3".into() };
        let start = file.text.find("twø").unwrap();
        let problem = Problem::new(Level::Error, &file, &(start..file.text.len()), "bad".into());
        assert_eq!((problem.line, problem.column, problem.width), (2, 7, 3));
        assert_eq!(problem.excerpt, "béta: twø");
        let past = Problem::new(Level::Error, &file, &(999..1005), "bad".into());
        assert_eq!((past.line, past.column, past.width), (3, 5, 1));
        assert!(past.render(false).contains("a.yml:3:5"), "{}", past.render(false));
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["account", "client_ip", "status"];
        assert_eq!(nearest("acount", known), Some("account"));
        assert_eq!(nearest("Client_IP", known), Some("client_ip"));
        assert_eq!(nearest("bytes", known), None);
    }
}
