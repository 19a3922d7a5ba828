//! Formats of the user's own, by a template in a gateway's own language.
//!
//! Owns: nginx's `$name`, Envoy's `%NAME%`, Apache's `%h` and HAProxy's `%ci` to steps, and the walk
//! along them. Never: what a variable means to us, which is `variables`'.
//!
//! A template is compiled once. Between two variables stands text, which ends the first of them; two
//! without any between could not be told apart and are refused. Where a variable stands between
//! quotes, a quote after a backslash is a part of its value.

mod compile;
mod variables;

use std::borrow::Cow;

use memchr::{memchr, memmem};

pub use compile::TemplateError;

use super::aliases::Meaning;
use super::json::{Filler, Style};
use super::{Desk, Failure};
use crate::parts::Parts;
use crate::read::number::Unit;
use crate::read::words::{Words, present};

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    steps: Vec<Step>,
    /// The unit of spans whose variable names none.
    duration: Option<Unit>,
    /// Whether it is a JSON object, whose names are read instead of its layout.
    json: Option<Vec<(String, Meaning)>>,
    /// As it was written.
    text: String,
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// This text.
    Text(String),
    /// A value up to the next text, or to the end.
    Value(Variable),
}

/// What a variable of a template stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    /// As it was written.
    name: String,
    meaning: Meaning,
    shape: Shape,
}

/// Where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Before the text that follows.
    Word,
    /// As [`Shape::Word`], but a quote after a backslash is inside.
    Quoted,
    /// At the end of a time such as `20/Nov/2026:08:00:00 +0000`, which holds a space.
    CommonTime,
    /// As [`Shape::CommonTime`], brackets included.
    BracketedTime,
    /// A list of tries, `a, b : c`.
    Tries,
    /// A request line: up to ` HTTP/…`.
    Request,
}

impl Template {
    /// Names that a JSON template gives to variables; nothing for others.
    pub(crate) fn names(&self) -> Option<&[(String, Meaning)]> {
        self.json.as_deref()
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The variables and the columns that they fill, in order; none where a value goes to `attrs` or
    /// to no column.
    #[must_use]
    pub fn columns(&self) -> Vec<(&str, Option<&'static str>)> {
        if let Some(names) = &self.json {
            return names.iter().map(|(name, m)| (name.as_str(), super::column_of(*m))).collect();
        }
        let variables = self.steps.iter().filter_map(|step| match step {
            Step::Value(variable) => {
                Some((variable.name.as_str(), super::column_of(variable.meaning)))
            }
            Step::Text(_) => None,
        });
        variables.collect()
    }

    pub(super) fn read<'a>(
        &self,
        line: &'a str,
        desk: &mut Desk,
        parts: &mut Parts<'a>,
    ) -> Result<(), Failure> {
        if self.json.is_some() {
            return super::json::read(line, desk, parts);
        }
        let style = Style { duration: self.duration, attrs: true, own: false };
        let mut filler = Filler::new(desk, parts, style);
        let mut rest = line;
        let mut attrs = Vec::new();
        for (place, step) in self.steps.iter().enumerate() {
            match step {
                Step::Text(text) => {
                    rest = rest.strip_prefix(text.as_str()).ok_or(Failure::malformed(
                        "not as the input's template: the text between two values is another",
                    ))?;
                }
                Step::Value(variable) => {
                    let next = match self.steps.get(place + 1) {
                        Some(Step::Text(text)) => text.as_str(),
                        _ => "",
                    };
                    let (value, after) = take(variable.shape, rest, next).ok_or(
                        Failure::malformed("not as the input's template: a value does not end"),
                    )?;
                    rest = after;
                    let Some(value) = filled(variable.meaning, value) else { continue };
                    if variable.meaning == Meaning::Unknown {
                        attrs.push((Cow::Owned(variable.name.clone()), Cow::Borrowed(value)));
                    } else if !filler.put_word(variable.meaning, value) {
                        let what = format!("`{}` has a value of another kind", variable.name);
                        return Err(Failure::value(what));
                    }
                }
            }
        }
        let extra = filler.end();
        super::json::need_time(parts, &extra)?;
        parts.no_upstream = extra.names_upstream_status && parts.upstream_status.is_none();
        let (flags, details) = (extra.flags.as_deref(), extra.details.as_deref());
        let by = super::envoy::refusal(flags.unwrap_or("-"), details.unwrap_or(""));
        parts.blocked_by = parts.blocked_by.or(by);
        parts.attrs = attrs;
        parts.rest = rest;
        Ok(())
    }
}

/// The value, if it says anything; an empty header says that none was sent.
fn filled(meaning: Meaning, value: &str) -> Option<&str> {
    match meaning {
        Meaning::Ignore => None,
        Meaning::Text(slot) if slot.keeps_empty() && (value == "-" || value.is_empty()) => Some(""),
        Meaning::UpstreamStatus => Some(value),
        _ => present(value),
    }
}

/// A value and what follows it.
fn take<'a>(shape: Shape, rest: &'a str, next: &str) -> Option<(&'a str, &'a str)> {
    match shape {
        Shape::CommonTime => {
            // A time that is not there is a dash.
            let len = rest.find(next).filter(|at| *at < 26 && !next.starts_with(' '));
            rest.split_at_checked(len.unwrap_or(26))
        }
        Shape::BracketedTime => {
            let end = memchr(b']', rest.as_bytes())?;
            Some((rest.get(1..end)?, rest.get(end + 1..)?))
        }
        Shape::Quoted if next.starts_with('"') => {
            let end = unescaped_quote(rest)?;
            rest.split_at_checked(end)
        }
        Shape::Tries if next == " " || next.is_empty() => Some(tries(rest)),
        Shape::Request if next.starts_with(' ') => {
            let version = memmem::find(rest.as_bytes(), b" HTTP/").map(|at| at + 1);
            let from = version.unwrap_or(0);
            let end = from + rest.get(from..)?.find(next)?;
            rest.split_at_checked(end)
        }
        _ if next.is_empty() => Some((rest, "")),
        _ => rest.split_at_checked(rest.find(next)?),
    }
}

fn unescaped_quote(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Words joined by `, ` or ` : `, and what follows them.
fn tries(rest: &str) -> (&str, &str) {
    let mut words = Words::new(rest);
    let Some(mut word) = words.word() else { return ("", rest) };
    loop {
        let ahead = words.rest();
        if word.ends_with(',') {
            word = words.word().unwrap_or("");
        } else if ahead.starts_with(": ") {
            words.word();
            word = words.word().unwrap_or("");
        } else {
            break;
        }
        if word.is_empty() {
            break;
        }
    }
    let used = rest.len() - words.rest().len();
    let value = rest.get(..used).unwrap_or(rest).trim_end();
    (value, rest.get(value.len()..).unwrap_or(""))
}

#[cfg(test)]
mod tests;
