//! OpenTelemetry's log records, taken out of their requests.
//!
//! Owns: the shapes that exporters write: `{"resourceLogs":[…]}`, a bare array of ResourceLogs, one
//! of them alone, and the protobuf of all three. Never: what an attribute means.
//!
//! Each record is written out as one flat JSON object: its time, its trace, the attributes of its
//! resource, then its own, then its body. That object is a line as any other from then on: format
//! `otlp` where the attributes tell of a request, an envelope around the body where they do not.
//! Shapes and field numbers: opentelemetry-proto, `logs/v1/logs.proto` and `common/v1/common.proto`.

mod json;
mod proto;

use runtime::http::{Hold, Room};

pub(crate) use json::records;
pub(crate) use proto::{Fields, Wire, is_request, lines};

/// How a record that was written out begins.
pub(crate) const MARK: &str = "{\"time_unix_nano\":";

/// Levels of lists and maps in attributes that are written out.
const DEPTH_MAX: usize = 6;

/// Lines of one request or record. Exporters send a few thousand.
pub(crate) const LINES_MAX: usize = 64 * 1024;
/// Bytes of those lines: each repeats the attributes of its resource, so that a request of few bytes
/// could be written out as very many.
const LINES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Lines that were taken out of a request or a record, in order, up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: Vec<String>,
    bytes: usize,
    /// Where they take up room that others need too.
    hold: Option<Hold>,
    end: Option<TakenEnd>,
}

/// Why no further line is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenEnd {
    /// There are more than are taken of one request.
    TooMany,
    /// There is no room for more now.
    NoRoom,
}

impl Lines {
    /// Lines that take up room.
    pub(crate) fn within(room: &Room) -> Self {
        Self { hold: Some(room.hold()), ..Self::default() }
    }

    /// Why no further line is taken, where none is.
    pub(crate) fn end(&self) -> Option<TakenEnd> {
        self.end
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn push(&mut self, line: String) {
        let bytes = self.bytes.saturating_add(line.capacity());
        if self.lines.len() == LINES_MAX || bytes > LINES_BYTES_MAX {
            self.end = Some(TakenEnd::TooMany);
        } else if self.hold.as_mut().is_some_and(|hold| hold.grow(line.capacity()).is_err()) {
            self.end = Some(TakenEnd::NoRoom);
        } else {
            self.bytes = bytes;
            self.lines.push(line);
        }
    }

    /// All of them, and what they hold of the room.
    pub(crate) fn done(self) -> (Vec<String>, Option<Hold>) {
        (self.lines, self.hold)
    }
}

/// Writes one record out.
#[derive(Debug, Default)]
struct Sheet {
    text: String,
}

impl Sheet {
    /// Begins with the time, in nanoseconds since 1970; digits, or nothing where it is not known.
    fn new(nanos: &str, fallback: &str) -> Self {
        let known = |nanos: &&str| !nanos.is_empty() && nanos.bytes().any(|b| b != b'0');
        let nanos = [nanos, fallback].into_iter().find(known).unwrap_or("");
        let is_number = nanos.bytes().all(|byte| byte.is_ascii_digit());
        let mut text = String::with_capacity(512);
        text.push_str(MARK);
        text.push_str(if is_number && !nanos.is_empty() { nanos } else { "null" });
        Self { text }
    }

    /// Adds a name, as JSON text without quotes, and a value as JSON.
    fn entry(&mut self, raw_name: &str, json: &str) {
        self.text.push_str(",\"");
        self.text.push_str(raw_name);
        self.text.push_str("\":");
        self.text.push_str(if json.is_empty() { "null" } else { json });
    }

    /// Adds entries that are written out already, each with a comma in front.
    fn entries(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// A text as JSON, quotes included.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
pub(crate) mod tests;
