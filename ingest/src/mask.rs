//! Takes secrets and query values out of a raw line.
//!
//! Owns: what of a line may travel. Never: columns, which are cleaned where they are made.
//!
//! One rule set for lines of events and of dead letters, whatever their format, so it works on the
//! bytes alone:
//! - values of a query go, names stay;
//! - what follows `=` anywhere else goes;
//! - values of keys and headers with the name of a secret go;
//! - JWTs, tokens of well-known issuers, what follows `Bearer` or `Basic`, the user part of a URL go;
//! - what the columns' cleaning found secret goes wherever it stands.
//!
//! A part of a query that carries a payload may stay as evidence, 256 bytes of it, without what the
//! other rules take.

mod holes;
mod stems;

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::read::number::is_plain;

use holes::Holes;
pub(crate) use holes::is_bare_name;

/// Bytes of a line that are kept.
pub(crate) const LINE_BYTES_MAX: usize = 2 * 1024;

/// Bytes of a line that are looked at: more than are kept, since masking shortens.
const LOOKED_AT_MAX: usize = 16 * 1024;

/// What stands where something was taken.
const HOLE: &str = "*";

/// How a line is masked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How<'k> {
    /// Texts that were found to be secret.
    pub(crate) known: &'k [Cow<'k, str>],
    /// Whether parts of queries that carry payloads may stay.
    pub(crate) evidence: bool,
    /// Whether to look at every word, as where nothing is known of the line.
    pub(crate) thorough: bool,
    /// What the line was found to be clear of, piece by piece.
    pub(crate) clear: Clear,
}

/// What a piece of a line was found to be clear of, so that nobody need look for it again. By
/// default nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clear {
    /// Of marks of secrets.
    pub(crate) marks: bool,
    /// Of what begins a query, `?` and `#`, of `=`, and of `%`, which may hide any of them.
    pub(crate) queries: bool,
}

impl Clear {
    /// Nothing in the piece needs masking.
    pub(crate) const OF_ALL: Self = Self { marks: true, queries: true };

    /// What this piece and another are both clear of.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self { marks: self.marks & other.marks, queries: self.queries & other.queries }
    }
}

/// The line without what must not travel, at most 2 KiB of it.
pub(crate) fn line<'a>(text: &'a str, how: How<'_>) -> Cow<'a, str> {
    let looked_at = head(text, LOOKED_AT_MAX);
    let queries = |text: &str| {
        memchr2(b'?', b'=', text.as_bytes()).is_some() || holes::has_escaped_mark(text)
    };
    let clean = !how.thorough
        && how.known.is_empty()
        && (how.clear.queries || !queries(looked_at))
        && (how.clear.marks || !stems::any(looked_at));
    if clean {
        return Cow::Borrowed(head(text, LINE_BYTES_MAX));
    }
    let mut holes = Holes::default();
    holes.queries(looked_at, how.evidence);
    holes.assignments(looked_at);
    if !how.clear.marks {
        stems::holes(looked_at, &mut holes);
    }
    for secret in how.known.iter().filter(|secret| secret.len() >= 4) {
        holes.each(looked_at, secret);
    }
    if how.thorough {
        holes.words(looked_at);
    }
    if looked_at.len() < text.len() {
        holes.last_word(looked_at);
    }
    let masked = holes.cut_out(looked_at);
    match masked {
        Cow::Borrowed(masked) => Cow::Borrowed(head(masked, LINE_BYTES_MAX)),
        Cow::Owned(mut masked) => {
            masked.truncate(masked.floor_char_boundary(LINE_BYTES_MAX));
            Cow::Owned(masked)
        }
    }
}

/// A text of a column without secrets: a User-Agent, a value of `attrs`. Assignments stay, since
/// they are no secrets by themselves.
pub(crate) fn value(text: &str) -> Cow<'_, str> {
    let query = memchr(b'?', text.as_bytes()).map(|mark| mark + 1..text.len());
    let query = query.filter(|query| text.get(query.clone()).is_some_and(|q| q.contains('=')));
    if query.is_none() && !stems::any(text) {
        return Cow::Borrowed(text);
    }
    let mut holes = Holes::default();
    if let Some(query) = query {
        holes.parameters(text, &query, &mut 0);
    }
    stems::holes(text, &mut holes);
    holes.cut_out(text)
}

/// What a short text is clear of, with the bytes that it stands between. In a plain one nothing can
/// stand: every stem has another byte, that is no quote, and none of them begins a query or assigns.
#[inline]
pub(crate) fn clear(before: u8, text: &str, after: u8) -> Clear {
    if is_plain(text) { Clear::OF_ALL } else { stems::clear(before, text, after) }
}

/// What a text is clear of that is known not to be plain.
#[inline]
pub(crate) fn clear_of_words(before: u8, text: &str, after: u8) -> Clear {
    stems::clear(before, text, after)
}

/// At most so many bytes of a text, whole letters.
pub(crate) fn head(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
