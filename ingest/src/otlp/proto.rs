//! Records of OTLP's protobuf.
//!
//! Owns: the wire format, as far as log records need it. Never: JSON's shapes.
//!
//! A field that is not known is passed over, as protobuf asks; what cannot be read ends the message
//! that it stands in, and what came before it counts.

use std::fmt::Write as _;

use super::{DEPTH_MAX, Lines, Sheet, quoted};

/// A field's value on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wire<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Fields<'a> {
    /// The fields of this message.
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest, broken: false }
    }

    /// Whether it ended within a field.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Fixed(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(len)?)
            }
            5 => Wire::Fixed(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Wire<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.broken {
            return None;
        }
        let field = self.field();
        self.broken = field.is_none();
        field
    }
}

/// Whether bytes are an ExportLogsServiceRequest or LogsData: nothing but ResourceLogs, each of
/// which holds what a ResourceLogs holds.
pub(crate) fn is_request(bytes: &[u8]) -> bool {
    let mut fields = Fields::new(bytes);
    let mut found = false;
    for (number, value) in &mut fields {
        let Wire::Bytes(resource) = value else { return false };
        let mut inner = Fields::new(resource);
        let plausible =
            inner.all(|(number, value)| matches!((number, value), (1..=3, Wire::Bytes(_))));
        if number != 1 || !plausible || inner.broken {
            return false;
        }
        found = true;
    }
    found && !fields.broken
}

/// Every record of a request, and whether all of it could be read.
pub(crate) fn lines(request: &[u8], to: &mut Lines) -> bool {
    let mut fields = Fields::new(request);
    let mut whole = true;
    for (number, value) in &mut fields {
        if let (1, Wire::Bytes(resource)) = (number, value) {
            whole &= of_resource(resource, to);
        }
    }
    whole && !fields.broken
}

fn of_resource(bytes: &[u8], to: &mut Lines) -> bool {
    let mut shared = String::new();
    for (number, value) in Fields::new(bytes) {
        if let (1, Wire::Bytes(resource)) = (number, value) {
            attributes(resource, 1, &mut shared, 0);
        }
    }
    let mut whole = true;
    let mut fields = Fields::new(bytes);
    for (number, value) in &mut fields {
        // 2 is ScopeLogs; so was InstrumentationLibraryLogs, whose records are its second field too.
        let (2, Wire::Bytes(scope)) = (number, value) else { continue };
        let mut inner = Fields::new(scope);
        for (number, value) in &mut inner {
            if let (2, Wire::Bytes(record)) = (number, value) {
                if to.end().is_some() {
                    return false;
                }
                let mut fields = Fields::new(record);
                to.push(line(&mut fields, &shared));
                whole &= !fields.broken;
            }
        }
        whole &= !inner.broken;
    }
    whole && !fields.broken
}

fn line(record: &mut Fields<'_>, shared: &str) -> String {
    let (mut time, mut observed, mut trace) = (0, 0, String::new());
    let (mut own, mut body) = (String::new(), String::new());
    for (number, value) in record {
        match (number, value) {
            (1, Wire::Fixed(nanos)) => time = nanos,
            (11, Wire::Fixed(nanos)) => observed = nanos,
            (5, Wire::Bytes(any)) => of_body(any, &mut body),
            (6, Wire::Bytes(entry)) => attribute(entry, &mut own, 0),
            (9, Wire::Bytes(id)) => {
                for byte in id {
                    let _always = write!(trace, "{byte:02x}");
                }
            }
            _ => {}
        }
    }
    let mut sheet = Sheet::new(&time.to_string(), &observed.to_string());
    if !trace.is_empty() {
        sheet.entry("trace_id", &quoted(&trace));
    }
    sheet.entries(shared);
    sheet.entries(&own);
    sheet.entries(&body);
    sheet.end()
}

/// A body that is a map counts as attributes; any other stands under its name.
fn of_body(any: &[u8], to: &mut String) {
    if let Some((6, Wire::Bytes(map))) = Fields::new(any).next() {
        attributes(map, 1, to, 0);
        return;
    }
    to.push_str(",\"body\":");
    value_of(any, to, 0);
}

/// The KeyValues that a message holds under this number, as `,"key":value`.
fn attributes(message: &[u8], under: u64, to: &mut String, depth: usize) {
    for (number, value) in Fields::new(message) {
        if let Wire::Bytes(entry) = value
            && number == under
        {
            attribute(entry, to, depth);
        }
    }
}

fn attribute(entry: &[u8], to: &mut String, depth: usize) {
    let (mut name, mut any): (&[u8], &[u8]) = (&[], &[]);
    for (number, value) in Fields::new(entry) {
        match (number, value) {
            (1, Wire::Bytes(text)) => name = text,
            (2, Wire::Bytes(text)) => any = text,
            _ => {}
        }
    }
    if !name.is_empty() {
        to.push(',');
        to.push_str(&quoted(&String::from_utf8_lossy(name)));
        to.push(':');
        value_of(any, to, depth);
    }
}

/// An AnyValue as plain JSON.
fn value_of(any: &[u8], to: &mut String, depth: usize) {
    let found = Fields::new(any).next().filter(|_| depth < DEPTH_MAX);
    match found {
        Some((1, Wire::Bytes(text))) => to.push_str(&quoted(&String::from_utf8_lossy(text))),
        Some((2, Wire::Number(flag))) => to.push_str(if flag == 0 { "false" } else { "true" }),
        Some((3, Wire::Number(number))) => {
            let _always = write!(to, "{}", number.cast_signed());
        }
        Some((4, Wire::Fixed(bits))) => {
            let number = serde_json::Value::from(f64::from_bits(bits));
            to.push_str(&number.to_string());
        }
        Some((5, Wire::Bytes(list))) => {
            to.push('[');
            let values = Fields::new(list).filter_map(|(number, value)| match (number, value) {
                (1, Wire::Bytes(any)) => Some(any),
                _ => None,
            });
            for (place, any) in values.enumerate() {
                if place > 0 {
                    to.push(',');
                }
                value_of(any, to, depth + 1);
            }
            to.push(']');
        }
        Some((6, Wire::Bytes(map))) => {
            let mut entries = String::new();
            attributes(map, 1, &mut entries, depth + 1);
            to.push('{');
            to.push_str(entries.get(1..).unwrap_or(""));
            to.push('}');
        }
        Some((7, Wire::Bytes(bytes))) => to.push_str(&quoted(&String::from_utf8_lossy(bytes))),
        _ => to.push_str("null"),
    }
}
