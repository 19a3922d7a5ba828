//! Items of a test's events, repeated and put on the time line.
//!
//! Owns: `each`, `every`, `from`, `{i}`, and values for columns. Never: parsing of log lines.

use schemas::{Event, EventTime, Field, Kind, event_id_of};
use serde_json::{Map, Value};

use super::{BASE, BEFORE_FROM_MS, moment};
use crate::rule::reader::Reader;
use crate::rule::template;
use crate::rule::yaml::{Content, Entry, Node};

/// Events of one test at most: a test is read by people, and runs four ways.
const EVENTS_MAX: usize = 100_000;

/// Keys of an item that are not columns.
pub(in crate::rule) const ITEM_KEYS: [&str; 3] = ["each", "every", "from"];

/// Which of a test's two time lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    /// `events:`.
    Main,
    /// `before:`.
    Before,
}

/// The events of all items in order of time; of one moment, in order of listing.
pub(super) fn expand(reader: &mut Reader<'_>, node: &Node, track: Track) -> Vec<Event<'static>> {
    let what = if track == Track::Main { "`events`" } else { "`before`" };
    let mut events = Vec::new();
    let mut last = None;
    for item in reader.list(node, what).unwrap_or_default() {
        let Some(pace) = pace(reader, item, track, last) else { continue };
        if events.len() + pace.each > EVENTS_MAX {
            let message = format!("the test has more than {EVENTS_MAX} events");
            reader.error(&item.span, message, "a smaller test proves as much");
            break;
        }
        last = Some(repeat(reader, item, &pace, &mut events));
    }
    events.sort_by_key(|event| event.event_time);
    events
}

/// When the events of an item happen.
#[derive(Debug, Clone, Copy)]
struct Pace {
    each: usize,
    every_ms: i64,
    from_ms: i64,
    track: Track,
}

fn pace(reader: &mut Reader<'_>, item: &Node, track: Track, last: Option<i64>) -> Option<Pace> {
    let entries = reader.map(item, "an event")?;
    let get = |key: &str| entries.iter().find(|entry| entry.name == key).map(|entry| &entry.value);
    let each = match get("each") {
        None => 1,
        Some(node) => {
            let number = reader.whole(node, "`each`")?;
            let each = usize::try_from(number).ok().filter(|each| *each > 0);
            if each.is_none() {
                reader.error(&node.span, "`each` is at least 1", "");
            }
            each?
        }
    };
    let every_ms = match get("every") {
        None => 1000,
        Some(node) => reader.length(node, "`every`")?,
    };
    let default = match (last, track) {
        (Some(last), _) => last.saturating_add(every_ms),
        (None, Track::Main) => 0,
        (None, Track::Before) => BEFORE_FROM_MS,
    };
    let from_ms = match get("from") {
        None => default,
        Some(node) => reader.duration(node, "`from`")?,
    };
    let last = last_of(from_ms, every_ms, each);
    let wrong = match track {
        Track::Main if from_ms < 0 => Some("an event cannot come before the test's start"),
        Track::Before if last >= 0 => Some("an event of `before:` comes before the test's start"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        reader.error(&item.span, wrong, "use `before:` with offsets such as `from: -1d`");
        return None;
    }
    Some(Pace { each, every_ms, from_ms, track })
}

fn last_of(from_ms: i64, every_ms: i64, each: usize) -> i64 {
    let steps = i64::try_from(each).unwrap_or(i64::MAX).saturating_sub(1);
    from_ms.saturating_add(every_ms.saturating_mul(steps))
}

/// Appends the events of an item and says when the last one happens.
fn repeat(
    reader: &mut Reader<'_>,
    item: &Node,
    pace: &Pace,
    events: &mut Vec<Event<'static>>,
) -> i64 {
    let columns = columns(reader, item);
    let mut at = pace.from_ms;
    for place in 0..pace.each {
        at = last_of(pace.from_ms, pace.every_ms, place + 1);
        let i = i64::try_from(place).unwrap_or(i64::MAX);
        let mut event = Event { event_time: Some(BASE.plus(at)), ..Event::default() };
        let number = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let topic = if pace.track == Track::Main { "test" } else { "test/before" };
        event.event_id = Some(event_id_of(topic, 0, number, 0).into());
        for (field, entry) in &columns {
            if let Err(wrong) = set(&mut event, *field, &entry.value, (&reader.file.text, i)) {
                let wrong = format!("`{}`: {wrong}", entry.name);
                reader.error(&entry.value.span, wrong, "");
                return last_of(pace.from_ms, pace.every_ms, pace.each);
            }
        }
        events.push(event);
    }
    at
}

fn columns<'n>(reader: &mut Reader<'_>, item: &'n Node) -> Vec<(Field, &'n Entry)> {
    let mut columns = Vec::new();
    for entry in reader.map(item, "an event").unwrap_or_default() {
        if ITEM_KEYS.contains(&entry.name.as_str()) {
            continue;
        }
        match Field::named(&entry.name) {
            Some(Field::EventTime) => {
                let hint = "place the event with `from:` and `every:`";
                reader.error(&entry.name_span, "`event_time` is not set by hand", hint);
            }
            Some(field) => columns.push((field, entry)),
            None => {
                let mut known: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
                known.extend(ITEM_KEYS);
                let what = format!("column `{}`", entry.name);
                let hint = match crate::rule::problem::nearest(&entry.name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "docs/fields.md lists the columns; other values go to `attrs`".into(),
                };
                reader.error(&entry.name_span, format!("unknown {what}"), &hint);
            }
        }
    }
    columns
}

/// Sets a column from what a test says, for the `i`th event of its item.
fn set(
    event: &mut Event<'static>,
    field: Field,
    node: &Node,
    (source, i): (&str, i64),
) -> Result<(), String> {
    let value = value(field.spec().kind, node, source, i)?;
    event.set(field, &value).map_err(|wrong| {
        let text = wrong.to_string();
        text.split_once(' ').map_or(text.clone(), |(_, rest)| rest.to_owned())
    })
}

fn value(kind: Kind, node: &Node, source: &str, i: i64) -> Result<Value, String> {
    match (&node.content, kind) {
        (Content::Null, _) => Ok(Value::Null),
        (Content::List(items), Kind::List) => {
            items.iter().map(|item| value(Kind::Text, item, source, i)).collect()
        }
        (Content::Map(entries), Kind::Map) => {
            let mut map = Map::new();
            for entry in entries {
                map.insert(entry.name.clone(), value(Kind::Text, &entry.value, source, i)?);
            }
            Ok(Value::Object(map))
        }
        (Content::List(_) | Content::Map(_), _) | (_, Kind::List | Kind::Map) => Ok(node.json()),
        _ => {
            let written = node.written(source).unwrap_or_default();
            scalar(kind, &template::expand(written, i)?)
        }
    }
}

fn scalar(kind: Kind, text: &str) -> Result<Value, String> {
    let or_text = |value: Option<Value>| value.unwrap_or_else(|| Value::from(text));
    Ok(match kind {
        Kind::Text | Kind::Code | Kind::List | Kind::Map => Value::from(text),
        Kind::Count | Kind::Number | Kind::Status => {
            or_text(text.parse::<i64>().ok().map(Value::from))
        }
        Kind::Ratio => or_text(text.parse::<f64>().ok().map(Value::from)),
        Kind::Flag => or_text(match text {
            "true" | "1" | "yes" | "on" => Some(Value::Bool(true)),
            "false" | "0" | "no" | "off" => Some(Value::Bool(false)),
            _ => None,
        }),
        Kind::Time => {
            let EventTime(millis) = moment(text)?;
            Value::from(millis)
        }
    })
}
