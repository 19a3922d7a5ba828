//! The parts of a line that are taken out.
//!
//! Owns: where queries, assignments and words begin and end. Never: names of secrets.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::HOLE;
use crate::payload;
use crate::secret;

/// Bytes of evidence in a line.
const EVIDENCE_BYTES_MAX: usize = 256;

/// How some writers of JSON put `&`.
const ESCAPED_AND: &str = "\\u0026";

/// Letters of a parameter without `=` that is taken for a name.
const BARE_NAME_LEN_MAX: usize = 40;

/// Ranges of a text, in any order.
#[derive(Debug, Default)]
pub(super) struct Holes {
    ranges: Vec<Range<usize>>,
    /// Queries, within which an assignment is a parameter.
    queries: Vec<Range<usize>>,
}

impl Holes {
    pub(super) fn add(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.ranges.push(range);
        }
    }

    /// The values of every query.
    pub(super) fn queries(&mut self, text: &str, evidence: bool) {
        let bytes = text.as_bytes();
        let mut budget = if evidence { EVIDENCE_BYTES_MAX } else { 0 };
        let mut done = 0;
        for mark in memchr_iter(b'?', bytes) {
            if mark < done {
                continue;
            }
            let query = mark + 1..query_end(text, mark + 1);
            done = query.end;
            self.parameters(text, &query, &mut budget);
            self.queries.push(query);
        }
        // A question mark may be escaped, to be one again behind the gateway.
        for mark in memmem::find_iter(bytes, "%3").filter(|at| is_escaped_mark(bytes, *at)) {
            let query = mark + 3..query_end(text, mark + 3);
            let inner = text.get(query.clone()).unwrap_or("");
            let assigns = inner.contains(['=']) || inner.contains("%3D") || inner.contains("%3d");
            if mark >= done && assigns {
                done = query.end;
                self.add(query);
            }
        }
    }

    /// The values of one query; `budget` bytes of what carries payloads may stay.
    pub(super) fn parameters(&mut self, text: &str, query: &Range<usize>, budget: &mut usize) {
        let mut start = query.start;
        let inner = text.get(query.clone()).unwrap_or("");
        let escaped = memmem::find(inner.as_bytes(), ESCAPED_AND.as_bytes()).is_some();
        while start < query.end {
            let rest = text.get(start..query.end).unwrap_or("");
            let (len, separator) = separator(rest, escaped);
            let part = start..start + len;
            self.parameter(text, part, budget);
            start += len + separator;
        }
    }

    fn parameter(&mut self, text: &str, part: Range<usize>, budget: &mut usize) {
        let sent = text.get(part.clone()).unwrap_or("");
        let (value_at, name) = match memchr(b'=', sent.as_bytes()) {
            Some(at) => (part.start + at + 1, sent.get(..at).unwrap_or("")),
            None if is_bare_name(sent) => return,
            None => (part.start, ""),
        };
        if *budget > 0 && !secret::is_name(name) && !payload::in_parameter(sent).is_empty() {
            let end = text.floor_char_boundary(part.end.min(part.start + *budget));
            *budget = budget.saturating_sub(end.saturating_sub(part.start));
            self.add(end..part.end);
            return;
        }
        if secret::is_value(name) || name.len() > 2 * BARE_NAME_LEN_MAX {
            self.add(part);
        } else {
            self.add(value_at..part.end);
        }
    }

    /// What follows `=` outside queries.
    pub(super) fn assignments(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut done = 0;
        let queries = std::mem::take(&mut self.queries);
        let mut queries = queries.iter().peekable();
        for mark in memchr_iter(b'=', bytes) {
            while queries.next_if(|query| query.end <= mark).is_some() {}
            if mark < done || queries.peek().is_some_and(|query| query.contains(&mark)) {
                continue;
            }
            let start = mark + 1;
            let rest = bytes.get(start..).unwrap_or(&[]);
            let (open, closing) = match rest {
                [b'"', ..] => (1, memchr(b'"', rest.get(1..).unwrap_or(&[])).map(|at| at + 1)),
                [b'\\', b'"', ..] => {
                    (2, memmem::find(rest.get(2..).unwrap_or(&[]), b"\\\"").map(|at| at + 2))
                }
                _ => (0, value_end(rest)),
            };
            // A quote right behind `=` may also be the end of the text around it, which is then
            // masked up to the next quote: too much rather than too little.
            let end = start + closing.unwrap_or(rest.len());
            self.add(start + open..end);
            done = end;
        }
    }

    /// Every place where a secret stands.
    pub(super) fn each(&mut self, text: &str, secret: &str) {
        for at in memmem::find_iter(text.as_bytes(), secret.as_bytes()) {
            self.add(at..at + secret.len());
        }
    }

    /// Every word that looks like a secret.
    pub(super) fn words(&mut self, text: &str) {
        let mut at = 0;
        for word in text.split(|letter: char| !is_word_letter(letter)) {
            if secret::is_value(word) {
                self.add(at..at + word.len());
            }
            at += word.len() + text.get(at + word.len()..).map_or(0, first_letter_len);
        }
        let mut announced = false;
        let mut at = 0;
        for segment in text.split(['/', ' ', '"', '?']) {
            if announced && secret::may_be_token(segment) {
                self.add(at..at + segment.len());
            }
            announced = secret::announces_token(segment);
            at += segment.len() + 1;
        }
    }

    /// The word that a cut went through.
    pub(super) fn last_word(&mut self, text: &str) {
        let start = text.rfind([' ', '"', '/']).unwrap_or(0);
        self.add(start..text.len());
    }

    /// The text with a mark in the place of every hole.
    pub(super) fn cut_out(mut self, text: &str) -> Cow<'_, str> {
        if self.ranges.is_empty() {
            return Cow::Borrowed(text);
        }
        self.ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        let mut open = 0..0;
        for range in self.ranges {
            if range.start <= open.end && !open.is_empty() {
                open.end = open.end.max(range.end);
                continue;
            }
            close(text, &mut out, &mut at, &open);
            open = range;
        }
        close(text, &mut out, &mut at, &open);
        out.push_str(text.get(at..).unwrap_or(""));
        Cow::Owned(out)
    }
}

/// Writes what stands before a hole, and the hole.
fn close(text: &str, out: &mut String, at: &mut usize, hole: &Range<usize>) {
    if !hole.is_empty() {
        out.push_str(text.get(*at..hole.start).unwrap_or(""));
        out.push_str(HOLE);
        *at = hole.end;
    }
}

/// Whether a text may hold a question mark as an escape.
pub(super) fn has_escaped_mark(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr(b'%', bytes).is_some_and(|from| {
        let rest = bytes.get(from..).unwrap_or(&[]);
        memmem::find_iter(rest, "%3").any(|at| is_escaped_mark(rest, at))
    })
}

fn is_escaped_mark(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at + 2), Some(b'F' | b'f'))
}

fn is_word_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '~' | '+' | '.')
}

fn first_letter_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// Where an assigned value ends.
pub(super) fn value_end(rest: &[u8]) -> Option<usize> {
    rest.iter().enumerate().position(|(at, byte)| match byte {
        b' ' | b'\t' | b'"' | b'\'' | b';' | b'&' | b',' | b')' | b']' | b'}' | b'<' | b'>' => true,
        b'\\' => matches!(rest.get(at + 1), Some(b'"' | b'n' | b'r' | b't' | b'u')),
        _ => false,
    })
}

/// Whether a parameter without `=` is a name and no value.
pub(crate) fn is_bare_name(part: &str) -> bool {
    part.len() <= BARE_NAME_LEN_MAX
        && !secret::is_value(part)
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']'))
        && part.bytes().filter(u8::is_ascii_digit).count() * 2 <= part.len()
}

/// Length of the first parameter and of what parts it from the next.
fn separator(rest: &str, escaped: bool) -> (usize, usize) {
    let plain = memchr(b'&', rest.as_bytes()).map(|at| (at, 1));
    let other =
        if escaped { rest.find(ESCAPED_AND).map(|at| (at, ESCAPED_AND.len())) } else { None };
    plain.into_iter().chain(other).min().unwrap_or((rest.len(), 0))
}

/// Where a query that begins at `start` ends: before ` HTTP/`, else with the text between quotes
/// that it stands in, else with the word.
fn query_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let rest = bytes.get(start..).unwrap_or(&[]);
    let quote = closing_quote(rest);
    let inside = quotes_before(bytes, start) % 2 == 1;
    let room = match quote {
        Some(quote) if inside => quote,
        _ if inside => rest.len(),
        Some(quote) => memchr(b' ', rest).map_or(quote, |space| space.min(quote)),
        None => memchr(b' ', rest).unwrap_or(rest.len()),
    };
    let query = rest.get(..room).unwrap_or(&[]);
    start + memmem::rfind(query, b" HTTP/").filter(|at| is_version(query, *at)).unwrap_or(room)
}

/// Whether nothing but a version follows.
fn is_version(query: &[u8], at: usize) -> bool {
    let rest = query.get(at + b" HTTP/".len()..).unwrap_or(&[]);
    let digits = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    matches!(rest.get(digits), None | Some(b'\\'))
}

/// Quotes before a place that no backslash escapes.
fn quotes_before(bytes: &[u8], end: usize) -> usize {
    let before = bytes.get(..end).unwrap_or(&[]);
    memchr_iter(b'"', before).filter(|at| !is_escaped(before, *at)).count()
}

fn closing_quote(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'"', bytes).find(|at| !is_escaped(bytes, *at))
}

fn is_escaped(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or(&[]);
    let slashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    slashes % 2 == 1
}

/// Where the text between quotes that holds `at` ends, or the text.
pub(super) fn enclosing_end(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or(&[]);
    at + closing_quote(rest).unwrap_or(rest.len())
}

/// Where the user part of a URL ends, whose authority begins at `start`.
pub(super) fn user_part_end(text: &str, start: usize) -> Option<usize> {
    let rest = text.as_bytes().get(start..)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b' ' | b'"' | b'<'));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    memrchr(b'@', authority).map(|at| start + at)
}
