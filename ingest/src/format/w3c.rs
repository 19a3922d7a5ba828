//! W3C extended logs: IIS and CloudFront.
//!
//! Owns: the `#Fields:` directive, the layouts that are told without one, what their columns mean.
//! Never: other users of the directive's names. IIS writes `+` for a space and milliseconds,
//! CloudFront percent-encodes and writes seconds; both write when the response ended.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::aliases::{Meaning, Slot};
use super::json::{Filler, Style};
use super::{Desk, Failure};
use crate::address;
use crate::parts::Parts;
use crate::payload;
use crate::read::number::Unit;
use crate::read::words::present;

/// Layouts of IIS that are told by the number of their columns: a file that is followed from its
/// end, or a topic that is read on, has shown its directive before.
const IIS: [&str; 8] = [
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) \
     sc-status sc-substatus sc-win32-status",
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) \
     sc-status sc-substatus sc-win32-status time-taken",
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) \
     cs(Referer) sc-status sc-substatus sc-win32-status time-taken",
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) \
     cs(Referer) sc-status sc-substatus sc-win32-status time-taken X-Forwarded-For",
    "date time s-sitename cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip \
     cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status sc-substatus sc-win32-status sc-bytes \
     cs-bytes time-taken",
    "date time s-sitename s-computername s-ip cs-method cs-uri-stem cs-uri-query s-port \
     cs-username c-ip cs-version cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status \
     sc-substatus sc-win32-status time-taken",
    "date time s-sitename s-computername s-ip cs-method cs-uri-stem cs-uri-query s-port \
     cs-username c-ip cs-version cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status \
     sc-substatus sc-win32-status sc-bytes cs-bytes time-taken",
    "date time s-sitename s-computername s-ip cs-method cs-uri-stem cs-uri-query s-port \
     cs-username c-ip cs-version cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status \
     sc-substatus sc-win32-status sc-bytes cs-bytes time-taken X-Forwarded-For",
];

/// CloudFront's columns. It has only ever added to their end.
const CLOUDFRONT: &str = "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem \
    sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type \
    x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol \
    ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields \
    c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len \
    sc-range-start sc-range-end";

static KNOWN: LazyLock<Vec<Layout>> =
    LazyLock::new(|| IIS.iter().map(|names| Layout::of(names)).collect());
static EDGE: LazyLock<Layout> = LazyLock::new(|| Layout::of(CLOUDFRONT));

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Date,
    Time,
    /// A value without spaces or escapes.
    Plain(Meaning),
    /// A header, in which spaces are escaped.
    Header(Slot),
    Port,
    Substatus,
    /// CloudFront's word for how the response came to be.
    Result,
    /// A column of no use.
    Skip,
}

/// The columns of a log, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    columns: Vec<Column>,
    edge: bool,
}

impl Layout {
    /// The layout of a `#Fields:` line; none of another directive.
    pub(crate) fn of_directive(line: &str) -> Option<Self> {
        let names = line.strip_prefix("#Fields:")?;
        Some(Self::of(names))
    }

    /// The names of a usual layout with so many columns.
    pub(crate) fn usual(edge: bool, count: usize) -> Option<&'static str> {
        if edge {
            return Some(CLOUDFRONT);
        }
        IIS.into_iter().find(|names| names.split_ascii_whitespace().count() == count)
    }

    /// The columns that a layout's names fill.
    pub(crate) fn columns_of(names: &str) -> Vec<(&str, Option<&'static str>)> {
        let edge = names.contains("x-edge-");
        let column_of = |name| match column(name, edge) {
            Column::Date | Column::Time => Some("event_time"),
            Column::Plain(meaning) => super::column_of(meaning),
            Column::Header(slot) => super::column_of(Meaning::Text(slot)),
            Column::Port => Some("scheme"),
            Column::Substatus | Column::Result => Some("blocked_by"),
            Column::Skip => None,
        };
        names.split_ascii_whitespace().map(|name| (name, column_of(name))).collect()
    }

    fn of(names: &str) -> Self {
        let edge = names.contains("x-edge-");
        let columns = names.split_ascii_whitespace().map(|name| column(name, edge)).collect();
        Self { columns, edge }
    }
}

fn column(name: &str, edge: bool) -> Column {
    use Meaning::{Duration, RequestBytes, SentBytes, Status, Text};
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "date" => Column::Date,
        "time" => Column::Time,
        "c-ip" => Column::Plain(Text(Slot::Peer)),
        "cs-method" => Column::Plain(Text(Slot::Method)),
        "cs-uri-stem" => Column::Plain(Text(Slot::Path)),
        "cs-uri-query" => Column::Plain(Text(Slot::Query)),
        "cs-uri" => Column::Plain(Text(Slot::Target)),
        "cs-username" => Column::Plain(Text(Slot::User)),
        "cs-host" | "x-host-header" => Column::Plain(Text(Slot::Host)),
        "cs(host)" if edge => Column::Plain(Text(Slot::HostFallback)),
        "cs(host)" => Column::Plain(Text(Slot::Host)),
        "cs-version" | "cs-protocol-version" => Column::Plain(Text(Slot::Version)),
        "cs-protocol" => Column::Plain(Text(Slot::Scheme)),
        "s-port" => Column::Port,
        "s-computername" => Column::Plain(Text(Slot::ServiceInstance)),
        "sc-status" => Column::Plain(Status),
        "sc-substatus" => Column::Substatus,
        "sc-bytes" => Column::Plain(SentBytes),
        "cs-bytes" => Column::Plain(RequestBytes),
        "time-taken" if edge => Column::Plain(Duration(Some(Unit::Seconds))),
        "time-taken" => Column::Plain(Duration(Some(Unit::Millis))),
        "ssl-protocol" | "crypt-protocol" => Column::Plain(Text(Slot::TlsVersion)),
        "x-edge-request-id" => Column::Plain(Text(Slot::RequestId)),
        "x-edge-detailed-result-type" => Column::Result,
        "cs(user-agent)" => Column::Header(Slot::UserAgent),
        "cs(referer)" => Column::Header(Slot::Referrer),
        "cs(cookie)" => Column::Header(Slot::Cookie),
        "cs(authorization)" => Column::Header(Slot::Authorization),
        "x-forwarded-for" | "cs(x-forwarded-for)" => Column::Header(Slot::Chain),
        _ => Column::Skip,
    }
}

/// IIS, and others that write such logs with spaces.
pub(super) fn read_iis<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    if !is_stamped(line) || line.contains('\t') {
        return Err(Failure::other("no date and time in front"));
    }
    let count = line.split(' ').count();
    let shown = desk.fields.take();
    let of_count = |layout: &&Layout| layout.columns.len() == count && !layout.edge;
    let layout = shown.as_ref().filter(|layout| of_count(layout));
    let layout = layout.or_else(|| KNOWN.iter().find(of_count));
    let read = match layout {
        Some(layout) => columns(layout, line.split(' '), line, desk, parts),
        None => Err(Failure::telling("a W3C log whose `#Fields:` line was not seen")),
    };
    desk.fields = shown;
    read
}

/// CloudFront's standard log, with tabs.
pub(super) fn read_cloudfront<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    if !is_stamped(line) || !line.contains('\t') {
        return Err(Failure::other("no date and time in front, parted by tabs"));
    }
    let count = line.split('\t').count();
    let shown = desk.fields.take();
    let layout = shown.as_ref().filter(|layout| layout.columns.len() == count);
    let read = match layout {
        Some(layout) => columns(layout, line.split('\t'), line, desk, parts),
        None if (12..=EDGE.columns.len()).contains(&count) => {
            columns(&EDGE, line.split('\t'), line, desk, parts)
        }
        None => Err(Failure::telling("a W3C log whose `#Fields:` line was not seen")),
    };
    desk.fields = shown;
    read
}

fn columns<'a>(
    layout: &Layout,
    words: impl Iterator<Item = &'a str>,
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let (mut date, mut time, mut substatus, mut result) = ("", "", "", "");
    let style = Style { duration: Some(Unit::Millis), attrs: false, own: false };
    let mut filler = Filler::new(desk, parts, style);
    for (column, word) in layout.columns.iter().zip(words) {
        match *column {
            Column::Date => date = word,
            Column::Time => time = word,
            Column::Substatus => substatus = word,
            Column::Result => result = word,
            Column::Port if word == "443" => filler.parts.scheme = Some("https"),
            Column::Plain(meaning) => {
                if present(word).is_some() && !filler.put_word(meaning, word) {
                    return Err(Failure::value("a column holds what does not belong there"));
                }
            }
            Column::Header(slot) => {
                if let Some(word) = present(word) {
                    let sent = filler.parts.keep(header(slot, word, layout.edge));
                    *slot.of(filler.parts) = Some(sent);
                }
            }
            Column::Port | Column::Skip => {}
        }
    }
    let _extra = filler.end();
    let is_client = parts.peer.and_then(address::read).is_some_and(|a| a.ip.is_some());
    if parts.status.is_none() && parts.method.is_none() || !is_client {
        return Err(Failure::other("no client with a method or a status"));
    }
    let adjacent = line.get(..19).filter(|start| start.starts_with(date) && !layout.edge);
    parts.time = match adjacent.filter(|stamp| stamp.ends_with(time)) {
        Some(stamp) => desk.times.iso(stamp),
        None => desk.times.iso(&format!("{date}T{time}{}", if layout.edge { "Z" } else { "" })),
    };
    if parts.time.is_none() {
        return Err(Failure::value("date and time cannot be read"));
    }
    // Where the log has a column for it, a dash means that there was no query.
    if parts.query.is_none() && layout.columns.contains(&Column::Plain(Meaning::Text(Slot::Query)))
    {
        parts.query = Some("");
    }
    parts.blocked_by = refusal(parts.status, substatus, result);
    Ok(())
}

/// A header as it was sent.
fn header(slot: Slot, word: &str, edge: bool) -> Cow<'_, str> {
    match slot {
        // A browser's own `%20` was encoded once more.
        Slot::UserAgent | Slot::Cookie if edge => payload::decoded(word, false),
        Slot::UserAgent | Slot::Cookie if word.contains('+') => Cow::Owned(word.replace('+', " ")),
        _ => Cow::Borrowed(word),
    }
}

/// IIS says by its second status who refused; CloudFront by a word.
fn refusal(status: Option<i32>, substatus: &str, result: &str) -> Option<&'static str> {
    if result.ends_with("LimitExceeded") {
        return Some("cloudfront:limit");
    }
    match (status?, substatus.parse::<u32>().ok()?) {
        (403, 6 | 8 | 501 | 502 | 503) => Some("iis:ip-restriction"),
        (404, 5..=20) => Some("iis:request-filtering"),
        _ => None,
    }
}

/// `dddd-dd-dd hh:mm:ss`, parted by a space or a tab.
fn is_stamped(line: &str) -> bool {
    let bytes = line.as_bytes();
    let at = |place: usize| bytes.get(place).copied();
    at(4) == Some(b'-')
        && at(7) == Some(b'-')
        && matches!(at(10), Some(b' ' | b'\t'))
        && at(13) == Some(b':')
        && at(16) == Some(b':')
        && bytes.first().is_some_and(u8::is_ascii_digit)
}
