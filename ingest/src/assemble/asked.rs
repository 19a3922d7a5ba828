//! What was asked for: method, target and version of a request, taken apart and cleaned.
//!
//! Owns: the order in which parts of a request go before each other, the payload classes of its
//! target. Never: columns.

use std::borrow::Cow;

use crate::keys::Keys;
use crate::mask::Clear;
use crate::parts::{Column, Part, Parts};
use crate::payload::{self, Class, Classes};
use crate::target::{self, Found, RequestLine, Target};

/// What was asked for, cleaned.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) method: Column<'a>,
    pub(super) host: Part<'a>,
    pub(super) path: Column<'a>,
    pub(super) query: Part<'a>,
    pub(super) query_keys: Option<Vec<Cow<'a, str>>>,
    pub(super) url_param_kind: Option<&'static str>,
    pub(super) version: Column<'a>,
    pub(super) classes: Classes,
    pub(super) found: Found<'a>,
}

/// What the parts of a line say was asked for.
pub(super) fn asked<'a>(parts: &Parts<'a>, keys: &Keys) -> Asked<'a> {
    // In what was rewritten may stand what the line is clear of.
    let clear = if parts.rewritten { Clear::default() } else { parts.clear };
    let mut asked = Asked::default();
    let line = parts.request.map(request_line).unwrap_or_default();
    if line.foreign {
        asked.classes.add(Class::Protocol);
    }
    let method = parts.method.or(line.method);
    asked.method = method.and_then(target::method);
    let version = parts.version.or(line.version);
    asked.version = version.and_then(target::version);
    if asked.version.is_none() && version.is_some_and(target::is_made_up_version) {
        asked.classes.add(Class::Protocol);
    }
    let Some(text) = parts.target.or(line.target).or(parts.path) else { return asked };
    // IIS writes the path decoded, beside its query: a `#` in it is the path's.
    let alone = parts.query.is_some() && line.target.is_none() && parts.target.is_none();
    let is_path = alone && !text.contains(['?', '%'])
        || clear.queries && asked.method.as_deref() != Some("CONNECT");
    let parted = if is_path && text.starts_with('/') {
        Target { path: text, ..Target::default() }
    } else {
        target::target(text, asked.method.as_deref())
    };
    let given = parts.query.map(|query| query.trim_start_matches('?'));
    let query = parted.query.or(given).filter(|query| !query.is_empty());
    // A path without any word of its query may have lost it: then nothing is known of parameters.
    let is_whole = parts.target.or(line.target).is_some() || parts.query.is_some();
    asked.classes.join(payload::in_target(parted.path, query));
    asked.host = parted.host;
    if !parted.path.is_empty() {
        asked.path = Some(target::path(parted.path, keys, &mut asked.found));
    }
    if query.is_some() || is_whole {
        asked.query_keys =
            Some(query.map(|query| target::query_keys(query, keys)).unwrap_or_default());
        asked.url_param_kind = Some(target::url_param_kind(query).name());
    }
    asked.query = query;
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
