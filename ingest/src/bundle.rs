//! Records that hold several lines.
//!
//! Owns: arrays of objects or texts, OTLP requests in JSON and protobuf, CloudWatch's `logEvents`.
//! Never: the lines. Their order is the record's.

use memchr::memmem;

use crate::clean;
use crate::otlp;
use crate::read::json::{Object, Value, items};

/// Bytes of a record that is taken apart: what Kafka takes by default four times over, and half of
/// what the HTTP inputs take.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How records begin that hold several lines.
const STARTS: [&[u8]; 6] = [
    b"\"resource",
    b"\"scopeLogs",
    b"\"messageType",
    b"\"owner\":",
    b"\"logEvents",
    b"\"logGroup\":",
];

/// What was in a record.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Bundle {
    /// Its lines, in order.
    pub(crate) lines: Vec<String>,
    /// Why what follows them could not be read.
    pub(crate) broken: Option<&'static str>,
    /// Where that begins, in bytes, as far as it is known.
    pub(crate) read_to: usize,
}

/// Takes a record apart; nothing where it is a line.
pub(crate) fn open(bytes: &[u8]) -> Option<Bundle> {
    match bytes.first()? {
        // The tag of the one field of an OTLP request; no text begins so but an empty line.
        b'\n' => protobuf(bytes),
        b'{' => {
            let inner = bytes.get(1..)?.trim_ascii_start();
            STARTS.iter().any(|start| inner.starts_with(start)).then_some(())?;
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

fn protobuf(bytes: &[u8]) -> Option<Bundle> {
    if bytes.len() > RECORD_BYTES_MAX || !otlp::is_request(bytes) {
        return None;
    }
    let mut bundle = Bundle::default();
    if !otlp::lines(bytes, &mut bundle.lines) {
        bundle.broken = Some("an OTLP request that ends within a record");
        bundle.read_to = bytes.len();
    }
    Some(bundle)
}

fn json(bytes: &[u8]) -> Option<Bundle> {
    if bytes.len() > RECORD_BYTES_MAX {
        return None;
    }
    let text = clean::text(bytes);
    let mut bundle = Bundle::default();
    if text.starts_with('[') {
        array(&text, &mut bundle)?;
    } else if otlp::records(&text, &mut bundle.lines).is_none() {
        events(&text, &mut bundle)?;
    }
    if bundle.lines.is_empty() && bundle.broken.is_none() {
        // Nothing in it that was a line, so that it is one.
        return None;
    }
    Some(bundle)
}

/// Items one after the other; what was cut stays behind.
fn array(text: &str, bundle: &mut Bundle) -> Option<()> {
    let mut ends = text.ends_with(']');
    for item in items(text) {
        match item {
            Value::Object(object) => {
                // A cut object is a line: it is read as far as it goes.
                ends |= !object.ends_with('}');
                if otlp::records(object, &mut bundle.lines).is_none() {
                    bundle.lines.push(object.to_owned());
                }
            }
            Value::Text(line) => bundle.lines.push(line.read().into_owned()),
            _ => return None,
        }
    }
    if !ends {
        bundle.broken = Some("a list that was cut; raise the shipper's limit");
        bundle.read_to = text.len();
    }
    Some(())
}

/// CloudWatch's subscription: `{"messageType":…,"logEvents":[{"id":…,"message":"<line>"}]}`.
fn events(text: &str, bundle: &mut Bundle) -> Option<()> {
    memmem::find(text.as_bytes(), b"\"logEvents\"")?;
    let mut object = Object::open(text)?;
    while let Some((key, value)) = object.next(b"") {
        let ("logEvents", Value::List(list)) = (key.text.raw(), value) else { continue };
        for item in items(list) {
            let Value::Object(item) = item else { continue };
            bundle.lines.push(item.to_owned());
        }
        return Some(());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::open;

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
    fn what_was_cut_is_said() {
        let bundle = open(br#"[{"a":1},"b"#).unwrap();
        assert_eq!(bundle.broken, Some("a list that was cut; raise the shipper's limit"));
    }
}
