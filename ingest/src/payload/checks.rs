//! Recognisers: whether a candidate is what it looks like.
//!
//! Owns: the look around a needle. Never: needles, decoding.

use super::hosts::{HostKind, host_kind};
use super::{Class, Classes, Zone};

/// How far a recogniser looks, in bytes.
const REACH: usize = 256;

fn before(text: &str, at: usize) -> &str {
    text.get(..at).unwrap_or("")
}

fn after(text: &str, end: usize) -> &str {
    let rest = text.get(end..).unwrap_or("");
    rest.get(..rest.floor_char_boundary(REACH)).unwrap_or(rest)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn ends_in_word(text: &str) -> bool {
    text.bytes().next_back().is_some_and(is_word_byte)
}

/// No word goes over into the needle.
fn begins_anew(text: &str, at: usize) -> bool {
    !ends_in_word(before(text, at))
}

pub(super) fn always(_text: &str, _at: usize, _end: usize) -> bool {
    true
}

/// A call: the name stands by itself, something is given or the bracket closes, and it is not
/// prose, in which a space comes before the bracket.
pub(super) fn call(text: &str, at: usize, end: usize) -> bool {
    begins_anew(text, at) && after(text, end).contains([')', '`', '\'', '"']) || {
        begins_anew(text, at) && text.get(at..end).is_some_and(|needle| needle.ends_with(')'))
    }
}

/// `..` as a step of its own, not the end of a name.
pub(super) fn step_up(text: &str, at: usize, _end: usize) -> bool {
    !before(text, at).ends_with(|c: char| c.is_alphanumeric() || c == '.' || c == '-' || c == '_')
}

/// `/..` at the end of the text.
pub(super) fn last_step_up(text: &str, _at: usize, end: usize) -> bool {
    end == text.len()
}

/// `union select` with a list that only SQL has.
pub(super) fn union_select(text: &str, at: usize, end: usize) -> bool {
    let whole = after(text, end).trim_start();
    let rest = whole.split('"').next().unwrap_or("");
    let all = text.get(at..end).is_some_and(|needle| needle.len() > "union select".len());
    let list = rest.contains(['*', '(', '@', ',', '\'']) || rest.contains(" from ");
    let fixed = rest.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with("null");
    let bare = whole.is_empty() && (text.ends_with(' ') || before(text, at).ends_with(' '));
    begins_anew(text, at) && (all || list || fixed || bare)
}

pub(super) fn number_next(text: &str, at: usize, end: usize) -> bool {
    begins_anew(text, at)
        && after(text, end).trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '(')
}

/// The needle begins the text, a value or an attribute.
pub(super) fn starts_value(text: &str, at: usize, _end: usize) -> bool {
    matches!(
        before(text, at).bytes().next_back(),
        None | Some(b'=' | b'"' | b'\'' | b' ' | b'`' | b'(')
    )
}

/// `onload=`, `onload =`, behind a space, a quote or a slash.
pub(super) fn event_attribute(text: &str, at: usize, end: usize) -> bool {
    let rest = after(text, end).trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    let opens = matches!(
        before(text, at).bytes().next_back(),
        Some(b' ' | b'"' | b'\'' | b'/' | b'`' | b'<' | b'>')
    );
    opens && rest.trim_start().starts_with('=')
}

pub(super) fn meta_refresh(text: &str, _at: usize, end: usize) -> bool {
    let rest = after(text, end);
    rest.contains("http-equiv") || rest.contains("charset")
}

/// What stands on one side of a comparison.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Operand<'t> {
    text: &'t str,
    quoted: bool,
}

/// Takes an operand off the front: a quoted text, a number, a name, with brackets around.
fn operand(text: &str) -> Option<(Operand<'_>, &str)> {
    let text = text.trim_start_matches([' ', '(', '!', '~', '+', '@']);
    let text = text.strip_prefix("not ").unwrap_or(text).trim_start_matches([' ', '(']);
    if let Some(quote @ ('\'' | '"' | '`')) = text.chars().next() {
        let inner = text.get(1..)?;
        let end = inner.find(quote).unwrap_or(inner.len());
        let rest = inner.get(end + 1..).unwrap_or("");
        return Some((Operand { text: inner.get(..end)?, quoted: true }, rest));
    }
    let end = text.bytes().position(|b| !is_word_byte(b) && b != b'.').unwrap_or(text.len());
    let rest = text.get(end..)?;
    (end > 0).then_some((Operand { text: text.get(..end)?, quoted: false }, rest))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && (text.starts_with("0x") || text.bytes().all(|b| b.is_ascii_digit()))
}

/// `' or 1=1`, `1 and 'a'='a'`, `' or true--`: an operator behind a closed value, and a comparison
/// that a person would not write.
pub(super) fn sql_comparison(text: &str, at: usize, end: usize) -> bool {
    let needle = text.get(at..end).unwrap_or("");
    let ahead = before(text, at).trim_end();
    let quote_in_needle = needle.starts_with(')')
        || needle.starts_with(['\'', '"']) && breaks_out(text.get(..at + 1).unwrap_or(""));
    let closed = quote_in_needle
        || ahead.ends_with(['\'', '"', ')', '`', '%'])
        || ahead.bytes().next_back().is_some_and(|b| b.is_ascii_digit());
    if !closed {
        return false;
    }
    let quoted_tail = needle.ends_with('\'') || needle.ends_with('"');
    let rest = if quoted_tail { after(text, end.saturating_sub(1)) } else { after(text, end) };
    let Some((left, rest)) = operand(rest) else { return false };
    let rest = rest.trim_start_matches([' ', ')']);
    let fixed = left.quoted || is_number(left.text) || matches!(left.text, "true" | "false");
    let ends = rest.is_empty() || rest.starts_with("--") || rest.starts_with('#');
    let broken_out = quote_in_needle || breaks_out(ahead);
    if ends {
        return fixed && !left.quoted && (broken_out || !rest.is_empty());
    }
    let comparison = [
        "<=>",
        "<>",
        "!=",
        ">=",
        "<=",
        "=",
        "<",
        ">",
        "like ",
        "like'",
        "is ",
        "in(",
        "in (",
        "rlike ",
        "regexp ",
        "between ",
        "sounds like ",
    ];
    let Some(rest) = comparison.iter().find_map(|sign| rest.strip_prefix(sign)) else {
        return broken_out && rest.starts_with('(') && !left.quoted && rest.contains(')');
    };
    match operand(rest) {
        Some((right, _)) => fixed || left.text == right.text || broken_out && right.quoted,
        None => fixed && broken_out,
    }
}

/// A quote or number, and a comment that cuts the rest of the statement off.
pub(super) fn sql_comment(text: &str, at: usize, end: usize) -> bool {
    let needle = text.get(at..end).unwrap_or("");
    if needle.starts_with('1') && !before(text, at).trim_end().ends_with(['\'', '"', '=', ' ']) {
        return false;
    }
    let rest = after(text, end);
    let tail = rest.trim_start_matches(['-', '+', ' ', '/', '*']);
    tail.is_empty() && !before(text, at).is_empty()
}

/// Whether what stands before ends the value that it began with: a semicolon or a quote, unless
/// that opens or closes a text of its own, as in JSON or around a phrase.
fn breaks_out(ahead: &str) -> bool {
    let Some(quote @ ('"' | '\'' | '`')) = ahead.chars().next_back() else {
        return ahead.ends_with(';') || ahead.ends_with("')");
    };
    let before = ahead.get(..ahead.len() - 1).unwrap_or("").trim_end();
    let opens = before.ends_with([':', ',', '[', '{', '\\']);
    let closes = before.matches(quote).count() % 2 == 1;
    !opens && !closes
}

/// A statement behind a separator or quote, or with what makes it complete.
pub(super) fn sql_statement(text: &str, at: usize, end: usize) -> bool {
    if !begins_anew(text, at) {
        return false;
    }
    let ahead = before(text, at).trim_end();
    let stacked = breaks_out(ahead);
    let rest = after(text, end);
    let complete = match text.get(at..end).unwrap_or("").trim_end() {
        "insert into" | "replace into" => rest.contains(" values") || rest.contains("select "),
        "update" => rest.contains(" set ") && rest.contains('='),
        "delete from" => rest.contains(" where ") && rest.contains('='),
        "declare @" => rest.contains('='),
        "order by" | "group by" | "limit" => {
            let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            return stacked && number.len() < rest.len();
        }
        "exec(" | "shutdown" => false,
        _ => rest.contains(';') || rest.contains("--") || rest.contains('('),
    };
    stacked || complete
}

/// `select` with a list that only SQL has, and `from`; or a sub-query.
pub(super) fn select_from(text: &str, at: usize, end: usize) -> bool {
    if !begins_anew(text, at) {
        return false;
    }
    let ahead = before(text, at).trim_end();
    let rest = after(text, end.saturating_sub(1));
    let opened = ahead.ends_with('(') || breaks_out(ahead);
    let list = rest.split(" from ").next().unwrap_or("");
    let has_from = rest.contains(" from ") || rest.contains(" from(") || rest.contains("*from");
    let odd_list = list.contains(['*', '(', '@', '\'', '"']) || list.contains("null");
    has_from && (opened || odd_list) || opened && odd_list
}

/// `{{7*7}}`, `{{config.items()}}`: an expression, not a name that somebody forgot to fill in.
pub(super) fn template(text: &str, at: usize, end: usize) -> bool {
    let close = match text.get(at..end).unwrap_or("") {
        "{{" => "}}",
        "{%" => "%}",
        "[[" => "]]",
        "@(" => ")",
        _ => "}",
    };
    let Some((inner, _)) = after(text, end).split_once(close) else { return false };
    let product = inner.split_once('*').is_some_and(|(left, right)| {
        is_number(left.trim()) && is_number(right.trim().trim_matches('\''))
    });
    product
        || (close == "}}" || close == "%}" || close == "}")
            && !inner.contains("\":")
            && (inner.contains('(') && inner.contains(')')
                || inner.contains("config")
                || inner.contains("self.")
                || inner.contains('|')
                || inner.contains("__")
                || inner.contains("['"))
}

/// `${…}` that computes: calls, products, dotted names.
pub(super) fn code_expression(text: &str, _at: usize, end: usize) -> bool {
    let Some((inner, _)) = after(text, end).split_once('}') else { return false };
    inner.contains(['(', '*', '@', '"', '\''])
}

/// `${` inside `${…}`, by which lookups are hidden.
pub(super) fn nested_expression(text: &str, _at: usize, end: usize) -> bool {
    let rest = after(text, end);
    let inner = rest.split('}').next().unwrap_or("");
    inner.contains("${") || inner.trim_start().starts_with("jndi")
}

/// Commands that are worth an attacker's while.
const COMMANDS: &[&str] = &[
    "awk",
    "bash",
    "cat",
    "chmod",
    "chown",
    "cmd",
    "cp",
    "crontab",
    "curl",
    "dig",
    "dir",
    "echo",
    "env",
    "expr",
    "find",
    "gcc",
    "getent",
    "grep",
    "head",
    "host",
    "hostname",
    "id",
    "ifconfig",
    "ip",
    "ipconfig",
    "kill",
    "less",
    "ln",
    "ls",
    "more",
    "mv",
    "nc",
    "ncat",
    "net",
    "netstat",
    "nmap",
    "node",
    "nohup",
    "nslookup",
    "perl",
    "php",
    "ping",
    "pip",
    "powershell",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "python",
    "python3",
    "rm",
    "ruby",
    "sed",
    "set",
    "sh",
    "sleep",
    "ssh",
    "sudo",
    "tail",
    "tar",
    "telnet",
    "tftp",
    "time",
    "timeout",
    "top",
    "touch",
    "type",
    "uname",
    "unzip",
    "ver",
    "w",
    "wget",
    "which",
    "who",
    "whoami",
    "xargs",
    "zsh",
];

/// A separator of the shell and a command behind it: `;cat `, `|id`, `$(whoami)`, `` `ls` ``.
pub(super) fn command_after_separator(text: &str) -> bool {
    text.bytes().enumerate().any(|(at, byte)| {
        let rest = text.get(at + 1..).unwrap_or("");
        let rest = match byte {
            b';' | b'|' | b'&' | b'`' => rest.trim_start_matches([' ', '&', '|', ';']),
            b'$' if rest.starts_with('(') => rest.trim_start_matches(['(', ' ']),
            _ => return false,
        };
        begins_with_command(rest, byte)
    })
}

fn begins_with_command(text: &str, separator: u8) -> bool {
    let plain = text.trim_start_matches(['\'', '"', '\\', '(', '{', '@']);
    let end = plain
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b == b'_' || b == b'-'))
        .unwrap_or(plain.len());
    let (name, rest) = plain.split_at_checked(end).unwrap_or((plain, ""));
    if COMMANDS.binary_search(&name).is_err() {
        return false;
    }
    let closes = rest.starts_with(['`', ')', ';', '|', '<', '>', '$']);
    let argued = rest.strip_prefix(' ').is_some_and(|rest| {
        rest.starts_with(['-', '/', '.', '$', '"', '\'', '%', '*', '~', '>', '|', '&', ';'])
            || rest.starts_with(|c: char| c.is_ascii_digit())
            || matches!(separator, b'|' | b'`' | b'$') && !rest.is_empty()
            || rest.contains(['/', '.', '|', '>'])
    });
    closes || argued || rest.trim().is_empty() && matches!(separator, b';' | b'|' | b'`' | b'$')
}

/// Line breaks that would end a header or begin another, and bytes that no name holds.
pub(super) fn line_breaks(decoded: &str, zone: Zone, found: &mut Classes) {
    if matches!(zone, Zone::Path | Zone::Parameter) && decoded.contains('\0') {
        found.add(Class::Protocol);
    }
    let mut rest = decoded;
    while let Some(at) = rest.find(['\n', '\r']) {
        rest = rest.get(at + 1..).unwrap_or("");
        let line = rest.trim_start_matches(['\n', '\r', ' ', '\t']).to_ascii_lowercase();
        let header = [
            "set-cookie:",
            "location:",
            "content-",
            "http/1",
            "x-",
            "host:",
            "transfer-",
            "refresh:",
            "remote-addr:",
        ];
        let method = ["get /", "post /", "head /", "<html", "<script"];
        if header.iter().chain(&method).any(|start| line.starts_with(start)) {
            found.add(Class::Protocol);
        }
    }
}

/// Parameters through which programs take a file or page to include.
const INCLUDES: &[&str] = &[
    "file",
    "page",
    "include",
    "inc",
    "path",
    "template",
    "tpl",
    "document",
    "doc",
    "folder",
    "root",
    "dir",
    "pg",
    "style",
    "pdf",
    "layout",
    "conf",
    "config",
    "mod",
    "module",
    "theme",
    "skin",
    "language",
    "lang",
    "basepath",
    "absolute_path",
    "abs_path",
    "base_dir",
    "load",
];

/// Parameters that send a browser somewhere, where one's own machine is an honest answer.
const REDIRECTS: &[&str] = &[
    "redirect_uri",
    "redirect",
    "redirect_url",
    "callback",
    "return",
    "return_to",
    "returnto",
    "next",
    "origin",
    "referrer",
    "referer",
    "continue",
    "success_url",
    "cancel_url",
    "return_url",
    "post_logout_redirect_uri",
];

/// URLs in a decoded parameter: where they point, and whether they ask to be included.
pub(super) fn urls(part: &str, found: &mut Classes) {
    let (name, value) = part.split_once('=').unwrap_or(("", part));
    let name = name.rsplit(['[', '.', ';']).next().unwrap_or(name).trim_end_matches(']');
    let name = name.to_ascii_lowercase();
    let Some((scheme, host, rest)) = url(value) else { return };
    let kind = host_kind(host);
    let redirect = REDIRECTS.contains(&name.as_str());
    match kind {
        HostKind::Metadata | HostKind::LinkLocal => found.add(Class::Ssrf),
        HostKind::Loopback if !redirect => found.add(Class::Ssrf),
        HostKind::None | HostKind::Public | HostKind::Private | HostKind::Loopback => {}
    }
    let remote = matches!(scheme.as_str(), "http" | "https" | "ftp" | "ftps");
    let script = [".txt", ".php", ".inc", ".phtml", ".jsp", ".asp", ".gif?", ".txt?"];
    let ends_open =
        value.trim_end().ends_with('?') || value.ends_with("??") || value.ends_with("\0");
    let included = INCLUDES.contains(&name.as_str());
    let lures = ends_open || script.iter().any(|end| rest.ends_with(end)) || kind == HostKind::None;
    let by_address = host.split(':').next().is_some_and(|h| h.parse::<std::net::IpAddr>().is_ok());
    if remote && !redirect && (included && (lures || by_address) || ends_open) {
        found.add(Class::Rfi);
    }
}

/// Scheme, host and the rest of a URL that a value begins with.
fn url(value: &str) -> Option<(String, &str, &str)> {
    let value = value.trim_start_matches([' ', '"', '\'', '<', '(']);
    let (scheme, rest) = value.split_once("://")?;
    let scheme = scheme.trim_start_matches("url:").to_ascii_lowercase();
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
        return None;
    }
    let end = rest.find(['/', '?', '#', ' ', '\\', '"']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let host = authority.rsplit('@').next().unwrap_or(authority);
    Some((scheme, host, rest))
}

/// The innermost host that a decoded value's URLs point at; `//host` at its beginning is one too.
pub(crate) fn points_at(value: &str) -> HostKind {
    let mut kind = value.strip_prefix("//").map_or(HostKind::None, authority_kind);
    let mut rest = value;
    while let Some((_, after)) = rest.split_once("://") {
        kind = kind.max(authority_kind(after));
        rest = after;
    }
    kind
}

fn authority_kind(rest: &str) -> HostKind {
    let marks = ['/', '?', '#', ' ', '\\', '"', '\'', '&', '<', '>'];
    let authority = rest.split(marks).next().unwrap_or("");
    host_kind(authority.rsplit('@').next().unwrap_or(authority))
}
