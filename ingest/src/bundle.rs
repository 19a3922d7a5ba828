//! Records that hold several lines.
//!
//! Owns: arrays of objects or texts, OTLP requests in JSON and protobuf, CloudWatch's `logEvents`.
//! Never: the lines. Their order is the record's.

use memchr::memmem;

use crate::clean;
use crate::otlp::{self, Lines};
use crate::read::json::{Object, Value, items};

/// Bytes of a record that is taken apart: what Kafka takes by default four times over, and half of
/// what the HTTP inputs take.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a record of very many lines is not read to its end.
pub(crate) const TOO_MANY: &str =
    "more lines than are taken out of one record; have its writer send fewer at once";

/// What was in a record.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Bundle {
    /// Its lines, in order.
    pub(crate) lines: Vec<String>,
    /// Why what follows them could not be read.
    pub(crate) broken: Option<&'static str>,
    /// Where that begins, in bytes, as far as it is known: at the end, where it is not.
    pub(crate) read_to: usize,
}

/// Takes a record apart; nothing where it is a line.
pub(crate) fn open(bytes: &[u8]) -> Option<Bundle> {
    match bytes.first()? {
        // The tag of the one field of an OTLP request; no text begins so but an empty line.
        b'\n' => protobuf(bytes),
        b'{' => {
            let inner = bytes.get(1..)?.trim_ascii_start();
            begins_record(inner).then_some(())?;
            json(bytes)
        }
        b'[' => {
            let inner = bytes.get(1..)?.trim_ascii_start();
            matches!(inner.first(), Some(b'{' | b'"')).then_some(())?;
            json(bytes)
        }
        _ => None,
    }
}

/// Whether the first name of an object is one of those that records begin with that hold several
/// lines.
fn begins_record(inner: &[u8]) -> bool {
    // Most lines are told by one byte.
    matches!(inner.get(1), Some(b'r' | b's' | b'm' | b'o' | b'l')) && is_name_of_record(inner)
}

fn is_name_of_record(inner: &[u8]) -> bool {
    inner.starts_with(b"\"resource")
        || inner.starts_with(b"\"scopeLogs")
        || inner.starts_with(b"\"messageType")
        || inner.starts_with(b"\"owner\":")
        || inner.starts_with(b"\"logEvents")
        || inner.starts_with(b"\"logGroup\":")
}

fn protobuf(bytes: &[u8]) -> Option<Bundle> {
    if bytes.len() > RECORD_BYTES_MAX || !otlp::is_request(bytes) {
        return None;
    }
    let mut lines = Lines::default();
    let broken = match otlp::lines(bytes, &mut lines) {
        _ if lines.end().is_some() => Some(TOO_MANY),
        false => Some("an OTLP request that ends within a record"),
        true => None,
    };
    Some(Bundle { lines: lines.done().0, broken, read_to: bytes.len() })
}

fn json(bytes: &[u8]) -> Option<Bundle> {
    if bytes.len() > RECORD_BYTES_MAX {
        return None;
    }
    let text = clean::text(bytes);
    let mut lines = Lines::default();
    let mut broken = None;
    if text.starts_with('[') {
        broken = array(&text, &mut lines)?;
    } else if otlp::records(&text, &mut lines).is_none() {
        events(&text, &mut lines)?;
    }
    if lines.end().is_some() {
        broken = Some(TOO_MANY);
    }
    if lines.is_empty() && broken.is_none() {
        // Nothing in it that was a line, so that it is one.
        return None;
    }
    Some(Bundle { lines: lines.done().0, broken, read_to: text.len() })
}

/// Items one after the other; what was cut stays behind. Gives why it is not whole.
fn array(text: &str, lines: &mut Lines) -> Option<Option<&'static str>> {
    let mut ends = text.ends_with(']');
    for item in items(text) {
        if lines.end().is_some() {
            break;
        }
        match item {
            Value::Object(object) => {
                // A cut object is a line: it is read as far as it goes.
                ends |= !object.ends_with('}');
                if otlp::records(object, lines).is_none() {
                    lines.push(object.to_owned());
                }
            }
            Value::Text(line) => lines.push(line.read().into_owned()),
            _ => return None,
        }
    }
    Some((!ends).then_some("a list that was cut; raise the shipper's limit"))
}

/// CloudWatch's subscription: `{"messageType":…,"logEvents":[{"id":…,"message":"<line>"}]}`.
fn events(text: &str, lines: &mut Lines) -> Option<()> {
    memmem::find(text.as_bytes(), b"\"logEvents\"")?;
    let mut object = Object::open(text)?;
    while let Some((key, value)) = object.next() {
        let ("logEvents", Value::List(list)) = (key.raw(), value) else { continue };
        for item in items(list) {
            if lines.end().is_some() {
                break;
            }
            let Value::Object(item) = item else { continue };
            lines.push(item.to_owned());
        }
        return Some(());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{TOO_MANY, open};
    use crate::otlp::LINES_MAX;

    #[track_caller]
    fn check(bytes: &[u8], expected: &[&str]) {
        let lines = open(bytes).map(|bundle| bundle.lines).unwrap_or_default();
        assert_eq!(lines, expected, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn lists_and_subscriptions_hold_lines() {
        check(br#"[{"a":1}, {"b":[2]}]"#, &[r#"{"a":1}"#, r#"{"b":[2]}"#]);
        check(br#"["one","two \"x\""]"#, &["one", "two \"x\""]);
        check(
            br#"{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","message":"GET"}]}"#,
            &[r#"{"id":"1","message":"GET"}"#],
        );
    }

    #[test]
    fn lines_are_no_records_of_several() {
        for line in [
            "[2026-11-20T08:00:00.310Z] \"GET / HTTP/1.1\" 200",
            "[20/Nov/2026:08:00:00 +0200] 203.0.113.9 TLSv1.2",
            "{\"message\":\"x\"}",
            "{\"resource\":\"/a\",\"status\":200}",
            "",
            "\n",
            "[]",
        ] {
            assert_eq!(open(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_record_of_very_many_lines_is_read_up_to_a_bound_and_the_rest_is_said() {
        let many = format!("[{}]", vec!["{}"; LINES_MAX + 1].join(","));
        let bundle = open(many.as_bytes()).unwrap();
        assert_eq!((bundle.lines.len(), bundle.broken), (LINES_MAX, Some(TOO_MANY)));
        // A resource with a long attribute, and many records that would repeat it.
        let attribute = "x".repeat(64 * 1024);
        let records = vec!["{}"; 10_000].join(",");
        let request = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"k","value":{{"stringValue":"{attribute}"}}}}]}},"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#
        );
        let bundle = open(request.as_bytes()).unwrap();
        let bytes: usize = bundle.lines.iter().map(String::len).sum();
        assert!(bytes <= 128 << 20 && bundle.lines.len() < 10_000, "{bytes}");
        assert_eq!(bundle.broken, Some(TOO_MANY));
    }

    #[test]
    fn what_was_cut_is_said() {
        let bundle = open(br#"[{"a":1},"b"#).unwrap();
        assert_eq!(bundle.broken, Some("a list that was cut; raise the shipper's limit"));
    }
}
