//! What shippers put around a line.
//!
//! Owns: JSON with the line under `message` or `log`, syslog headers, the container runtime's
//! prefix. Never: the line itself.

use std::borrow::Cow;

use crate::read::json::{End, Object, Value};
use crate::read::words::Words;

/// Envelopes in envelopes that are opened: a syslog line in a container's log in Filebeat's JSON.
pub(crate) const DEPTH_MAX: usize = 3;

/// The line without its outermost envelope; nothing where there is none.
pub(crate) fn open(text: &str) -> Option<Cow<'_, str>> {
    let inner = if text.starts_with('{') {
        json(text)?
    } else {
        Cow::Borrowed(container(text).or_else(|| syslog(text)).or_else(|| tagged(text))?)
    };
    let inner = match inner {
        Cow::Borrowed(inner) => Cow::Borrowed(inner.trim()),
        Cow::Owned(inner) if inner.trim().len() == inner.len() => Cow::Owned(inner),
        Cow::Owned(inner) => Cow::Owned(inner.trim().to_owned()),
    };
    (!inner.is_empty() && inner.len() < text.len()).then_some(inner)
}

/// The line without so many envelopes.
pub(crate) fn open_all(text: &str, depth: usize) -> Option<Cow<'_, str>> {
    let mut line = Cow::Borrowed(text);
    for _ in 0..depth {
        line = match line {
            Cow::Borrowed(line) => open(line)?,
            Cow::Owned(line) => Cow::Owned(open(&line)?.into_owned()),
        };
    }
    Some(line)
}

/// `{"message": "…"}` of rsyslog, Filebeat and many others; `{"log": "…"}` of Docker and Fluent Bit.
fn json(text: &str) -> Option<Cow<'_, str>> {
    let mut object = Object::open(text)?;
    let mut found = None;
    while let Some((key, value)) = object.next() {
        if let (
            Value::Text(line),
            "message" | "log" | "MESSAGE" | "line" | "body" | "event.original",
        ) = (value, key.raw())
        {
            found = Some(line);
        }
    }
    found.map(crate::read::json::Text::read)
}

/// Whether a text is a JSON envelope that was cut before the line in it ended.
pub(crate) fn is_cut(text: &str) -> bool {
    let Some(mut object) = Object::open(text) else { return false };
    while object.next().is_some() {}
    object.end() == End::Cut
        && json(text).is_none()
        && (text.contains("\"message\":") || text.contains("\"log\":"))
}

/// `2025-12-31T17:37:40.493035218+01:00 stdout F …`, as containerd and CRI-O write.
fn container(text: &str) -> Option<&str> {
    let mut words = Words::new(text);
    let stamp = words.word()?;
    let stream = words.word()?;
    let whole = words.word()?;
    let fits = is_iso(stamp)
        && matches!(stream, "stdout" | "stderr")
        && (whole == "F" || whole == "P" || whole.starts_with("F:"));
    fits.then_some(words.rest())
}

/// RFC 5424, RFC 3164, and the latter with an ISO time, with or without `<priority>`.
fn syslog(text: &str) -> Option<&str> {
    let rest = priority(text);
    if let Some(rest) = rest.and_then(|rest| rest.strip_prefix("1 ")) {
        return rfc5424(rest);
    }
    let rest = rest.unwrap_or(text);
    let mut words = Words::new(rest);
    let first = words.word()?;
    if !is_iso(first) {
        if !is_month(first) {
            return None;
        }
        words.space();
        let day = words.word()?;
        let clock = words.word()?;
        if day.len() > 2 || clock.len() < 8 || clock.as_bytes().get(2) != Some(&b':') {
            return None;
        }
    }
    let _host = words.word()?;
    words.space();
    Some(without_tag(words.rest()))
}

/// What follows `<13>`.
fn priority(text: &str) -> Option<&str> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    (!digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then_some(rest)
}

/// `time host app process message-id [data]… line`, after the version.
fn rfc5424(text: &str) -> Option<&str> {
    let mut words = Words::new(text);
    for _ in 0..5 {
        words.word()?;
    }
    let mut rest = words.rest();
    if let Some(after) = rest.strip_prefix("- ") {
        rest = after;
    }
    while rest.starts_with('[') {
        let end = rest.find("] ").or_else(|| rest.find("]["))?;
        rest = rest.get(end + 1..)?;
    }
    Some(rest.trim_start().trim_start_matches('\u{feff}'))
}

/// `haproxy[32450]: line` without its tag.
fn without_tag(text: &str) -> &str {
    let end = text.find([' ', '{', '"']).unwrap_or(text.len());
    match text.split_at_checked(end) {
        Some((tag, line)) if tag.ends_with(':') => line.trim_start(),
        _ => text,
    }
}

/// `host program: line`, a header whose time is elsewhere.
fn tagged(text: &str) -> Option<&str> {
    let mut words = Words::new(text);
    let host = words.word()?;
    let tag = words.word()?.strip_suffix(':')?;
    let plain = |word: &str| {
        word.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']'))
    };
    (plain(host) && plain(tag) && !tag.is_empty()).then_some(words.rest())
}

fn is_iso(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 19
        && bytes.get(4) == Some(&b'-')
        && bytes.get(10) == Some(&b'T')
        && bytes.first().is_some_and(u8::is_ascii_digit)
}

fn is_month(word: &str) -> bool {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::{is_cut, open, open_all};

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(open(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn json_envelopes_open() {
        check(r#"{"host":"h","message":"GET \"x\" \/ y"}"#, Some(r#"GET "x" / y"#));
        check(r#"{"log":"a b\n","stream":"stdout","time":"t"}"#, Some("a b"));
        check(r#"{"message":{"a":1}}"#, None);
        check(r#"{"status":200}"#, None);
    }

    #[test]
    fn syslog_and_container_headers_open() {
        check("Jul 30 09:03:52 localhost haproxy[32450]: 1.2.3.4:1 [x]", Some("1.2.3.4:1 [x]"));
        check("<134>Apr  4 14:30:19 hap-1 haproxy[39]: x y", Some("x y"));
        check("2021-11-12T16:59:46.613304+00:00 1.1.1.1  { \"a\": 1 }", Some("{ \"a\": 1 }"));
        check("<13>1 2026-11-20T08:00:00Z h app 1 id [a b=\"c\"][d] line here", Some("line here"));
        check("<13>1 2026-11-20T08:00:00Z h app 1 id - line here", Some("line here"));
        check("2025-12-31T17:37:40.493035218+01:00 stdout F {\"a\":1}", Some("{\"a\":1}"));
        check("frontend.0 nginx: 203.0.113.1 - - x", Some("203.0.113.1 - - x"));
    }

    #[test]
    fn a_bare_line_has_no_envelope() {
        check("203.0.113.1 - - [29/Aug/2025:19:13:03 +0000] \"GET / HTTP/1.1\" 200 5", None);
        check("plain text", None);
    }

    #[test]
    fn envelopes_open_one_after_the_other() {
        let text = r#"{"message":"Jul 30 09:03:52 h haproxy[1]: inner line"}"#;
        assert_eq!(open_all(text, 2).as_deref(), Some("inner line"));
        assert_eq!(open_all(text, 3), None);
        assert_eq!(open_all(text, 0).as_deref(), Some(text));
    }

    #[test]
    fn a_cut_envelope_is_known() {
        assert!(is_cut(r#"{"host":"h","message":"1.2.3.4 - - "#));
        assert!(!is_cut(r#"{"message":"1.2.3.4 - - ","x":"y"#));
    }
}
