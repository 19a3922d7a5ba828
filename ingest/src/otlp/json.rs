//! Records of OTLP's JSON.
//!
//! Owns: the walk from requests to records, by the forgiving reader. Never: protobuf.

use std::fmt::Write as _;

use super::{DEPTH_MAX, Lines, Sheet};
use crate::read::json::{Object, Value, items};

/// The records of a value that may be a request, a ResourceLogs, or something else. Nothing where it
/// is something else.
pub(crate) fn records(text: &str, to: &mut Lines) -> Option<()> {
    let object = Object::open(text)?;
    if let Some(list) = list(object.clone(), &["resourceLogs", "resource_logs"]) {
        for item in items(list) {
            if let Value::Object(one) = item {
                resource(one, to);
            }
        }
        return Some(());
    }
    let names = ["scopeLogs", "scope_logs", "instrumentationLibraryLogs"];
    list(object, &names)?;
    resource(text, to);
    Some(())
}

/// One ResourceLogs.
fn resource(text: &str, to: &mut Lines) {
    let Some(object) = Object::open(text) else { return };
    let names = ["scopeLogs", "scope_logs", "instrumentationLibraryLogs"];
    let Some(scopes) = list(object.clone(), &names) else { return };
    let mut shared = String::new();
    if let Some(Value::Object(resource)) = find(object, &["resource"])
        && let Some(resource) = Object::open(resource)
        && let Some(list) = list(resource, &["attributes"])
    {
        attributes(list, &mut shared, 0);
    }
    for scope in items(scopes) {
        let Value::Object(scope) = scope else { continue };
        let Some(scope) = Object::open(scope) else { continue };
        let Some(records) = list(scope, &["logRecords", "log_records", "logs"]) else { continue };
        for record in items(records) {
            if to.end().is_some() {
                return;
            }
            if let Value::Object(record) = record
                && let Some(record) = Object::open(record)
            {
                to.push(line(record, &shared));
            }
        }
    }
}

/// One record as a line.
fn line(mut record: Object<'_>, shared: &str) -> String {
    let (mut time, mut observed, mut trace, mut own) = ("", "", "", String::new());
    let mut body = String::new();
    while let Some((key, value)) = record.next() {
        match key.raw() {
            "timeUnixNano" | "time_unix_nano" => time = word(value),
            "observedTimeUnixNano" | "observed_time_unix_nano" => observed = word(value),
            "traceId" | "trace_id" => trace = word(value),
            "attributes" => {
                if let Value::List(list) = value {
                    attributes(list, &mut own, 0);
                }
            }
            "body" => {
                if let Value::Object(any) = value {
                    of_body(any, &mut body);
                }
            }
            _ => {}
        }
    }
    let mut sheet = Sheet::new(time, observed);
    if !trace.is_empty() {
        sheet.entry("trace_id", &format!("\"{trace}\""));
    }
    sheet.entries(shared);
    sheet.entries(&own);
    sheet.entries(&body);
    sheet.end()
}

/// A body that is a map counts as attributes; any other stands under its name.
fn of_body(any: &str, to: &mut String) {
    let Some(object) = Object::open(any) else { return };
    if let Some(Value::Object(map)) = find(object, &["kvlistValue", "kvlist_value"])
        && let Some(map) = Object::open(map)
        && let Some(list) = list(map, &["values"])
    {
        attributes(list, to, 0);
        return;
    }
    to.push_str(",\"body\":");
    value_of(any, to, 0);
}

/// `[{"key":…,"value":…}]` as `,"key":value`.
fn attributes(list: &str, to: &mut String, depth: usize) {
    for item in items(list) {
        let Value::Object(item) = item else { continue };
        let Some(mut item) = Object::open(item) else { continue };
        let (mut name, mut any) = ("", "");
        while let Some((key, value)) = item.next() {
            match (key.raw(), value) {
                ("key", Value::Text(text)) => name = text.raw(),
                ("value", Value::Object(text)) => any = text,
                _ => {}
            }
        }
        if !name.is_empty() {
            // Writing to a text cannot fail.
            let _always = write!(to, ",\"{name}\":");
            value_of(any, to, depth);
        }
    }
}

/// An AnyValue as plain JSON.
fn value_of(any: &str, to: &mut String, depth: usize) {
    let entry = Object::open(any).and_then(|mut object| object.next());
    let Some((_, value)) = entry.filter(|_| depth < DEPTH_MAX) else {
        to.push_str("null");
        return;
    };
    match value {
        Value::Text(text) => {
            to.push('"');
            to.push_str(text.raw());
            to.push('"');
        }
        Value::Bare(word) | Value::Number(word) => to.push_str(word),
        Value::Flag(flag) => to.push_str(if flag { "true" } else { "false" }),
        Value::Null | Value::List(_) => to.push_str("null"),
        Value::Object(inner) => composed(inner, to, depth + 1),
    }
}

/// The inside of `arrayValue` or `kvlistValue`.
fn composed(inner: &str, to: &mut String, depth: usize) {
    let values = Object::open(inner).and_then(|object| list(object, &["values"])).unwrap_or("[]");
    let is_map = matches!(items(values).next(), Some(Value::Object(first))
        if Object::open(first).is_some_and(|first| find(first, &["key"]).is_some()));
    if is_map {
        let mut entries = String::new();
        attributes(values, &mut entries, depth);
        to.push('{');
        to.push_str(entries.get(1..).unwrap_or(""));
        to.push('}');
        return;
    }
    to.push('[');
    for (place, item) in items(values).enumerate() {
        if place > 0 {
            to.push(',');
        }
        match item {
            Value::Object(any) => value_of(any, to, depth),
            _ => to.push_str("null"),
        }
    }
    to.push(']');
}

fn word(value: Value<'_>) -> &str {
    match value {
        Value::Text(text) => text.raw(),
        Value::Bare(word) | Value::Number(word) => word,
        _ => "",
    }
}

fn find<'a>(mut object: Object<'a>, names: &[&str]) -> Option<Value<'a>> {
    while let Some((key, value)) = object.next() {
        if names.contains(&key.raw()) {
            return Some(value);
        }
    }
    None
}

fn list<'a>(object: Object<'a>, names: &[&str]) -> Option<&'a str> {
    match find(object, names)? {
        Value::List(list) => Some(list),
        _ => None,
    }
}
