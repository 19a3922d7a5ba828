//! What was asked for: method, target and version of a request, taken apart and cleaned.
//!
//! Owns: the order in which parts of a request go before each other, the payload classes of its
//! target. Never: columns.

use std::borrow::Cow;

use crate::keys::Keys;
use crate::mask::Clear;
use crate::parts::{Part, Parts};
use crate::payload::{self, Class, Classes};
use crate::target::{self, Found, RequestLine, Target};

/// What was asked for, cleaned.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) method: Part<'a>,
    pub(super) host: Part<'a>,
    pub(super) path: Part<'a>,
    pub(super) query: Part<'a>,
    pub(super) query_keys: Option<Vec<Cow<'a, str>>>,
    pub(super) url_param_kind: Option<&'static str>,
    pub(super) version: Part<'a>,
    pub(super) classes: Classes,
    pub(super) found: Found<'a>,
}

impl Asked<'_> {
    fn into_owned(self) -> Asked<'static> {
        let owned = |part: Part<'_>| part.map(|text| Cow::Owned(text.into_owned()));
        let all = |list: Vec<Cow<'_, str>>| {
            list.into_iter().map(|text| Cow::Owned(text.into_owned())).collect()
        };
        Asked {
            method: owned(self.method),
            host: owned(self.host),
            path: owned(self.path),
            query: owned(self.query),
            query_keys: self.query_keys.map(all),
            url_param_kind: self.url_param_kind,
            version: owned(self.version),
            classes: self.classes,
            found: all(self.found),
        }
    }
}

/// The texts of a request as they were sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent<'s> {
    request: Option<&'s str>,
    method: Option<&'s str>,
    target: Option<&'s str>,
    path: Option<&'s str>,
    query: Option<&'s str>,
    version: Option<&'s str>,
    /// What all of them are clear of.
    clear: Clear,
}

/// What the parts of a line say was asked for.
pub(super) fn asked<'a>(parts: &Parts<'a>, keys: &Keys) -> Asked<'a> {
    if let Some(sent) = sent_borrowed(parts) {
        return ask(sent, keys);
    }
    let sent = Sent {
        request: parts.request.as_deref(),
        method: parts.method.as_deref(),
        target: parts.target.as_deref(),
        path: parts.path.as_deref(),
        query: parts.query.as_deref(),
        version: parts.version.as_deref(),
        // What was escaped may stand in them now.
        clear: Clear::default(),
    };
    ask(sent, keys).into_owned()
}

/// The texts, where all of them stand in the line.
fn sent_borrowed<'a>(parts: &Parts<'a>) -> Option<Sent<'a>> {
    Some(Sent {
        request: in_line(&parts.request)?,
        method: in_line(&parts.method)?,
        target: in_line(&parts.target)?,
        path: in_line(&parts.path)?,
        query: in_line(&parts.query)?,
        version: in_line(&parts.version)?,
        clear: parts.clear,
    })
}

/// A part as a slice of the line; nothing where it had to be copied.
pub(super) fn in_line<'a>(part: &Part<'a>) -> Option<Option<&'a str>> {
    match part {
        None => Some(None),
        Some(Cow::Borrowed(text)) => Some(Some(text)),
        Some(Cow::Owned(_)) => None,
    }
}

fn ask<'s>(sent: Sent<'s>, keys: &Keys) -> Asked<'s> {
    let mut asked = Asked::default();
    let line = sent.request.map(request_line).unwrap_or_default();
    if line.foreign {
        asked.classes.add(Class::Protocol);
    }
    let method = sent.method.or(line.method);
    asked.method = method.and_then(target::method);
    let version = sent.version.or(line.version);
    asked.version = version.and_then(target::version);
    if asked.version.is_none() && version.is_some_and(target::is_made_up_version) {
        asked.classes.add(Class::Protocol);
    }
    let Some(text) = sent.target.or(line.target).or(sent.path) else { return asked };
    // IIS writes the path decoded, beside its query: a `#` in it is the path's.
    let alone = sent.query.is_some() && line.target.is_none() && sent.target.is_none();
    let is_path = alone && !text.contains(['?', '%'])
        || sent.clear.queries && asked.method.as_deref() != Some("CONNECT");
    let parted = if is_path && text.starts_with('/') {
        Target { path: text, ..Target::default() }
    } else {
        target::target(text, asked.method.as_deref())
    };
    let given = sent.query.map(|query| query.trim_start_matches('?'));
    let query = parted.query.or(given).filter(|query| !query.is_empty());
    // A path without any word of its query may have lost it: then nothing is known of parameters.
    let is_whole = sent.target.or(line.target).is_some() || sent.query.is_some();
    asked.classes.join(payload::in_target(parted.path, query));
    asked.host = parted.host.map(Cow::Borrowed);
    if !parted.path.is_empty() {
        asked.path = Some(target::path(parted.path, keys, &mut asked.found));
    }
    if query.is_some() || is_whole {
        asked.query_keys =
            Some(query.map(|query| target::query_keys(query, keys)).unwrap_or_default());
        asked.url_param_kind = Some(target::url_param_kind(query).name());
    }
    asked.query = query.map(Cow::Borrowed);
    asked
}

/// A request line; some logs call the target alone so.
fn request_line(text: &str) -> RequestLine<'_> {
    let target_only = text.starts_with('/') && !text.contains(' ');
    if target_only {
        RequestLine { target: Some(text), ..RequestLine::default() }
    } else {
        target::request_line(text)
    }
}
