//! Attack payloads in what a caller sent.
//!
//! Owns: the classes, and which of them a path, a query, a User-Agent or a Referer shows.
//! Never: keeps or changes the text; whether an attempt had an effect.
//!
//! A look at the bytes as sent decides whether anything could be there: ordinary traffic ends with
//! that. The rest is decoded as a server would, twice for double encoding; one automaton finds
//! candidates, and recognisers say whether a candidate is what it looks like. Payloads without a word
//! of their own are told by their shape.

mod checks;
mod decode;
mod hosts;
mod needles;
mod quick;
mod shapes;

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

pub(crate) use checks::points_at;
pub(crate) use decode::decoded;
pub(crate) use hosts::HostKind;

use needles::NEEDLES;

/// Bytes of one text that are looked at. Gateways refuse longer request lines (nginx: 8 KiB).
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Class {
    SqlInjection = 1,
    Xss = 1 << 1,
    PathTraversal = 1 << 2,
    CommandInjection = 1 << 3,
    CodeInjection = 1 << 4,
    Ssrf = 1 << 5,
    Rfi = 1 << 6,
    Log4shell = 1 << 7,
    Scanner = 1 << 8,
    Protocol = 1 << 9,
}

const NAMES: [(Class, &str); 10] = [
    (Class::SqlInjection, "sql_injection"),
    (Class::Xss, "xss"),
    (Class::PathTraversal, "path_traversal"),
    (Class::CommandInjection, "command_injection"),
    (Class::CodeInjection, "code_injection"),
    (Class::Ssrf, "ssrf"),
    (Class::Rfi, "rfi"),
    (Class::Log4shell, "log4shell"),
    (Class::Scanner, "scanner"),
    (Class::Protocol, "protocol"),
];

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Classes(u16);

impl Classes {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn add(&mut self, class: Class) {
        self.0 |= class as u16;
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The names, in a fixed order.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(class, _)| self.0 & *class as u16 != 0).map(|(_, name)| *name)
    }
}

/// Where a text stood in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Zone {
    Path = 1,
    /// One parameter, name and value.
    Parameter = 2,
    Agent = 4,
    Referer = 8,
}

/// Of the kinds of automata the one that is made soonest: few texts get here.
static AUTOMATON: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let kind = Some(AhoCorasickKind::NoncontiguousNFA);
    let needles = NEEDLES.iter().map(|needle| needle.text);
    AhoCorasick::builder().kind(kind).build(needles).ok()
});

/// What the target of a request, path and query as sent, shows.
pub(crate) fn in_target(path: &str, query: Option<&str>) -> Classes {
    let mut found = Classes::default();
    if quick::is_suspect(path) {
        found.join(in_text(path, Zone::Path));
    }
    if let Some(query) = query.filter(|query| quick::is_suspect(query)) {
        for part in query.split('&') {
            found.join(in_parameter(part));
        }
    }
    found
}

/// What one parameter, name and value as sent, shows.
pub(crate) fn in_parameter(part: &str) -> Classes {
    if quick::is_suspect(part) {
        let mut found = in_text(part, Zone::Parameter);
        checks::urls(&decoded(cut(part), true), &mut found);
        found
    } else {
        Classes::default()
    }
}

/// What a User-Agent shows.
pub(crate) fn in_agent(agent: &str) -> Classes {
    in_text(agent, Zone::Agent)
}

/// What a Referer shows.
pub(crate) fn in_referer(referer: &str) -> Classes {
    if quick::is_suspect(referer) { in_text(referer, Zone::Referer) } else { Classes::default() }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

/// What a text, as sent, shows where it stood.
fn in_text(text: &str, zone: Zone) -> Classes {
    let mut found = Classes::default();
    let text = decoded(cut(text), zone != Zone::Path);
    checks::line_breaks(&text, zone, &mut found);
    let plain = decode::plain(&text);
    if let Some(automaton) = AUTOMATON.as_ref() {
        for hit in automaton.find_overlapping_iter(plain.as_bytes()) {
            let Some(needle) = NEEDLES.get(hit.pattern().as_usize()) else { continue };
            if needle.zones & zone as u8 != 0 && (needle.check)(&plain, hit.start(), hit.end()) {
                found.add(needle.class);
            }
        }
    }
    shapes::find(&plain, zone, &mut found);
    if matches!(zone, Zone::Path | Zone::Parameter | Zone::Referer)
        && checks::command_after_separator(&plain)
    {
        found.add(Class::CommandInjection);
    }
    found
}

#[cfg(test)]
mod tests;
