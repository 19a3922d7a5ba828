//! What was asked for: the request line and its target, and the Referer.
//!
//! Owns: method, path, names of parameters, where a URL among them points. Never: payload classes.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem, memrchr};

use crate::address;
use crate::keys::Keys;
use crate::mask;
use crate::payload::{self, HostKind};
use crate::read::words::Bytes;
use crate::secret;

/// Parameters whose names are kept.
const QUERY_KEYS_MAX: usize = 32;
/// Bytes of a parameter's name that are kept.
const QUERY_KEY_BYTES_MAX: usize = 64;
/// Bytes of a path that are kept.
const PATH_BYTES_MAX: usize = 2 * 1024;
/// Segments shorter than this hold no secret that could be told from a name.
const SECRET_LEN_MIN: usize = 16;

/// A request line, taken apart. A part that is not there is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: Option<&'a str>,
    pub(crate) target: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    /// Whether it was no HTTP request at all.
    pub(crate) foreign: bool,
}

/// Takes a request line apart: `GET /path?query HTTP/1.1`. Spaces in the target are the target's.
pub(crate) fn request_line(text: &str) -> RequestLine<'_> {
    let text = text.trim();
    if text.is_empty() || text == "-" {
        return RequestLine::default();
    }
    let foreign = RequestLine { foreign: true, ..RequestLine::default() };
    let Some(space) = memchr(b' ', text.as_bytes()) else { return foreign };
    let (method, rest) = text.split_at_checked(space).unwrap_or((text, ""));
    let rest = rest.trim_start();
    if known_method(method).is_none() && !is_method(method) {
        return foreign;
    }
    // The version is the last word, but for oddities that a full search finds.
    let last = memrchr(b' ', rest.as_bytes())
        .filter(|at| rest.get(at + 1..).is_some_and(|word| word.starts_with("HTTP/")))
        .or_else(|| memmem::rfind(rest.as_bytes(), b" HTTP/"));
    let (target, version) = match last {
        Some(at) => (rest.get(..at).unwrap_or(rest), rest.get(at + 6..)),
        None => (rest, None),
    };
    // HTTP/0.9 has no version; without one only a path counts.
    if target.is_empty() || version.is_none() && !target.starts_with('/') {
        return foreign;
    }
    RequestLine { method: Some(method), target: Some(target), version, foreign: false }
}

/// Whether a word may be a method: a token of RFC 9110, not overlong.
pub(crate) fn is_method(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 32
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        && word.bytes().any(|b| b.is_ascii_alphabetic())
        && !secret::is_value(word)
}

/// A method as columns hold it: known ones in upper case, others as sent, for `geti` is no `GET`.
pub(crate) fn method(word: &str) -> Option<Cow<'_, str>> {
    if let Some(known) = known_method(word) {
        return Some(Cow::Borrowed(known));
    }
    if !is_method(word) {
        return None;
    }
    let upper = word.to_ascii_uppercase();
    Some(Cow::Borrowed(known_method(&upper).unwrap_or(word)))
}

fn known_method(word: &str) -> Option<&'static str> {
    Some(match word {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => return None,
    })
}

/// `1.1` of `HTTP/1.1`, `2.0` of `HTTP/2`, `h2` or `2`.
pub(crate) fn version(text: &str) -> Option<Cow<'static, str>> {
    if matches!(text, "1.1" | "HTTP/1.1") {
        return Some(Cow::Borrowed("1.1"));
    }
    let number = text.trim().trim_start_matches("HTTP/").trim_start_matches("http/");
    let known = match number.trim_start_matches(['h', 'H']) {
        "1.1" => "1.1",
        "2.0" | "2" => "2.0",
        "3.0" | "3" => "3.0",
        "1.0" => "1.0",
        "0.9" => "0.9",
        _ => return None,
    };
    Some(Cow::Borrowed(known))
}

/// Whether a version that is none of the above is written like one: `1.2`, `HTTP/2.1`.
pub(crate) fn is_made_up_version(text: &str) -> bool {
    let number = text.trim();
    let number = number.strip_prefix("HTTP/").unwrap_or(number);
    number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && version(number).is_none()
}

/// A target, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Target<'a> {
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

/// Takes a target apart: a path with or without query, a whole URL, `*`, or a host to connect to.
pub(crate) fn target<'a>(text: &'a str, method: Option<&str>) -> Target<'a> {
    if method == Some("CONNECT") {
        return Target { host: Some(text), path: "", query: None };
    }
    let whole = if text.starts_with('/') { None } else { text.split_once("://") };
    let (host, text) = match whole {
        Some((scheme, rest)) if scheme.len() <= 8 => {
            let end = memchr2(b'/', b'?', rest.as_bytes()).unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
            (authority.rsplit('@').next(), if path.is_empty() { "/" } else { path })
        }
        _ => (None, text),
    };
    let (path, query) = split_query(text);
    Target { host, path, query }
}

/// What ends a path, or hides such a byte.
static MARKS: Bytes = Bytes::of(b"?#%");

/// Path and query; a fragment, which no client should send, counts as query, and so does what
/// stands behind an escaped question mark and assigns.
pub(crate) fn split_query(text: &str) -> (&str, Option<&str>) {
    let Some(first) = MARKS.first_of(text) else { return (text, None) };
    if let Some(at) = memchr2(b'?', b'#', text.as_bytes().get(first..).unwrap_or(&[])) {
        let at = first + at;
        return (text.get(..at).unwrap_or(text), text.get(at + 1..));
    }
    let mark = text.find("%3F").or_else(|| text.find("%3f"));
    let hidden = mark.and_then(|at| Some((text.get(..at)?, text.get(at + 3..)?)));
    match hidden {
        Some((path, query))
            if query.contains(['=']) || query.contains("%3D") || query.contains("%3d") =>
        {
            (path, Some(query))
        }
        _ => (text, None),
    }
}

/// Secrets that were found in a line, to be taken out of its raw text too.
pub(crate) type Found<'a> = Vec<Cow<'a, str>>;

/// The path as a column holds it: as sent, with hashes in the place of secrets.
pub(crate) fn path<'a>(text: &'a str, keys: &Keys, found: &mut Found<'a>) -> Cow<'a, str> {
    let text = mask::head(text, PATH_BYTES_MAX);
    if !may_hold_secret(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut changed = false;
    let mut announced = false;
    for (place, segment) in text.split('/').enumerate() {
        if place > 0 {
            out.push('/');
        }
        let token = announced && secret::may_be_token(segment) || holds_token(segment);
        if token {
            out.push_str(&keys.hash(segment));
            found.push(Cow::Borrowed(segment));
            changed = true;
        } else {
            changed |= matrix(segment, keys, &mut out, found);
        }
        announced = secret::announces_token(segment);
    }
    if changed { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// Whether any segment is long or assigns.
fn may_hold_secret(path: &str) -> bool {
    if path.len() < SECRET_LEN_MIN {
        return path.bytes().any(|byte| byte == b'=');
    }
    let mut len = 0;
    path.bytes().any(|byte| {
        len = if byte == b'/' { 0 } else { len + 1 };
        byte == b'=' || len >= SECRET_LEN_MIN
    })
}

fn holds_token(segment: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~' | '+');
    secret::is_value(segment)
        || secret::holds_known_token(segment)
        || segment.contains(|c: char| !is_part(c))
            && segment.split(|c: char| !is_part(c)).any(secret::is_value)
}

/// Writes a segment; the values of its `;name=value` with names of secrets become hashes.
fn matrix<'a>(segment: &'a str, keys: &Keys, out: &mut String, found: &mut Found<'a>) -> bool {
    let mut changed = false;
    for (place, part) in segment.split(';').enumerate() {
        if place > 0 {
            out.push(';');
        }
        match part.split_once('=') {
            Some((name, value)) if secret::is_name(name) && !value.is_empty() => {
                out.push_str(name);
                out.push('=');
                out.push_str(&keys.hash(value));
                found.push(Cow::Borrowed(value));
                changed = true;
            }
            _ => out.push_str(part),
        }
    }
    changed
}

/// Names of the parameters of a query, in order. A parameter without a name shows as `*`.
pub(crate) fn query_keys<'a>(query: &'a str, keys: &Keys) -> Vec<Cow<'a, str>> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .take(QUERY_KEYS_MAX)
        .map(|part| query_key(part, keys))
        .collect()
}

fn query_key<'a>(part: &'a str, keys: &Keys) -> Cow<'a, str> {
    let part = part.strip_prefix("amp;").unwrap_or(part);
    let name = match memchr(b'=', part.as_bytes()) {
        Some(at) => part.get(..at).unwrap_or(part),
        None if mask::is_bare_name(part) => part,
        None => return Cow::Borrowed("*"),
    };
    let name =
        if name.contains(['%', '+']) { payload::decoded(name, true) } else { Cow::Borrowed(name) };
    if secret::is_value(&name) {
        return Cow::Owned(keys.hash(&name));
    }
    // A decoded name may be a whole query again.
    let plain = name.find(['=', '?', '&']).and_then(|at| name.get(..at));
    let plain = plain.map(str::to_owned);
    let name = plain.map_or(name, Cow::Owned);
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(mask::head(name, QUERY_KEY_BYTES_MAX)),
        Cow::Owned(name) => Cow::Owned(mask::head(&name, QUERY_KEY_BYTES_MAX).to_owned()),
    }
}

/// Where URLs among the values of a query point: at the innermost.
pub(crate) fn url_param_kind(query: Option<&str>) -> HostKind {
    let Some(query) = query else { return HostKind::None };
    let may_hold_url = memmem::find(query.as_bytes(), b"//").is_some()
        || memchr(b'%', query.as_bytes()).is_some()
        || memmem::find(query.as_bytes(), b"169.254.").is_some();
    if !may_hold_url {
        return HostKind::None;
    }
    query.split('&').map(value_kind).max().unwrap_or(HostKind::None)
}

fn value_kind(part: &str) -> HostKind {
    let value = part.split_once('=').map_or(part, |(_, value)| value);
    let value = payload::decoded(value, true);
    let kind = payload::points_at(&value);
    let bare_metadata = value.trim() == "169.254.169.254";
    if bare_metadata { HostKind::Metadata } else { kind }
}

/// Host and path of a Referer; absent where it is no URL.
pub(crate) fn referrer<'a>(
    text: &'a str,
    keys: &Keys,
    found: &mut Found<'a>,
) -> Option<Cow<'a, str>> {
    if text.contains("${") {
        return None;
    }
    let (text, _) = split_query(text.trim());
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.len() <= 20 => rest,
        _ => text,
    };
    let end = memchr(b'/', rest.as_bytes()).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let host = if authority.is_empty() { Cow::Borrowed("") } else { address::host(authority)? };
    if host.is_empty() && rest.is_empty() {
        return None;
    }
    let cleaned = path(rest, keys, found);
    let borrowed = matches!((&host, &cleaned), (Cow::Borrowed(_), Cow::Borrowed(_)));
    let start = text.len() - end - rest.len();
    match text.get(start..) {
        Some(whole) if borrowed && whole.len() == host.len() + cleaned.len() => {
            Some(Cow::Borrowed(mask::head(whole, PATH_BYTES_MAX)))
        }
        _ => Some(Cow::Owned(format!("{host}{cleaned}"))),
    }
}

#[cfg(test)]
mod tests;
