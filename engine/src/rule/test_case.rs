//! The `tests:` of a rule file: events in, episodes out.
//!
//! Owns: the shape of a test, its time line, and comparing what came out. Never: running one.
//!
//! # Time
//! Offset `0s` of a test is [`BASE`]. An item of `events:` makes `each` events (1 by default),
//! `every` so long (`1s` by default), the first at `from`. Without `from` an item begins one
//! `every` after the last event of the item before it; the first item begins at `0s`. Events of
//! one moment keep the order of listing. Items of `before:` end before the base: they begin at
//! `-1d` unless they say otherwise. Columns that hold a time take an offset, such as
//! `token_expires: 30s`, or RFC 3339.

mod compare;
mod events;

use schemas::{Deploy, Event, EventTime};
use serde_json::{Map, Value};

pub use compare::{Comparison, Mismatch, compare, outcome, timeline};

use super::duration;
use super::reader::Reader;
use super::yaml::{Content, Entry, Node};

/// Offset 0 of every test: a Monday at midnight, so that every window up to a day is aligned.
/// 2026-01-05T00:00:00Z.
pub const BASE: EventTime = EventTime(1_767_571_200_000);

/// What goes in.
#[derive(Debug, Clone, PartialEq)]
pub enum TestInput {
    /// Events in order of event time, then of listing.
    Events(Vec<Event<'static>>),
    /// Raw log lines for the real parser. Offset 0 is the event time of the first line that
    /// parses.
    Lines {
        /// The log format, or `None` to detect it.
        format: Option<String>,
        /// The lines in order.
        lines: Vec<String>,
    },
}

/// An episode that must close. Absent parts are not compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpectedEpisode {
    /// Key columns that must match.
    pub key: Map<String, Value>,
    /// When it opens, in milliseconds from the base.
    pub opens_ms: Option<i64>,
    /// Values at the opening that must match.
    pub values: Map<String, Value>,
    /// Start of the first and end of the last firing window, in milliseconds from the base; for
    /// rules without a window, the first and the last firing event.
    pub span_ms: Option<(i64, i64)>,
    /// Values at the close that must match.
    pub totals: Map<String, Value>,
}

/// One test of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// A sentence.
    pub name: String,
    /// Line of the rule file, from 1.
    pub line: usize,
    /// Events that only teach, before the base.
    pub before: Vec<Event<'static>>,
    /// What goes in.
    pub input: TestInput,
    /// Deploys that are known.
    pub deploys: Vec<Deploy>,
    /// Identities that are known, as in `identities.jsonl`.
    pub identities: Vec<Value>,
    /// Every episode that closes, in order of first firing.
    pub episodes: Vec<ExpectedEpisode>,
}

/// Keys of a test.
pub(super) const TEST_KEYS: [&str; 8] =
    ["name", "events", "lines", "format", "before", "deploys", "identities", "episodes"];
/// Keys of an expected episode.
pub(super) const EPISODE_KEYS: [&str; 5] = ["key", "opens", "values", "span", "totals"];
/// Where `before:` begins by default.
const BEFORE_FROM_MS: i64 = -86_400_000;

/// Reads `tests:`; tests with mistakes are left out.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Vec<TestCase> {
    let items = reader.list(node, "`tests`").unwrap_or_default();
    items.iter().filter_map(|item| test(reader, item)).collect()
}

fn test(reader: &mut Reader<'_>, node: &Node) -> Option<TestCase> {
    let entries = reader.entries(node, "a test", &TEST_KEYS);
    let get = |key: &str| entries.iter().find(|entry| entry.name == key).map(|entry| &entry.value);
    let Some(name) = get("name") else {
        reader.error(&node.span, "the test has no `name:`", "a sentence that says what it proves");
        return None;
    };
    let name = reader.text(name, "`name`")?;
    let input = match (get("events"), get("lines")) {
        (Some(events), None) => {
            Some(TestInput::Events(events::expand(reader, events, events::Track::Main)))
        }
        (None, Some(lines)) => self::lines(reader, lines, get("format")),
        (Some(_), Some(both)) => {
            let hint = "make two tests of it";
            reader.error(&both.span, "a test has `events:` or `lines:`, not both", hint);
            None
        }
        (None, None) => {
            let message = format!("the test `{name}` has no `events:` and no `lines:`");
            reader.error(&node.span, message, "add what goes in");
            None
        }
    };
    let before = get("before")
        .map(|node| events::expand(reader, node, events::Track::Before))
        .unwrap_or_default();
    let deploys = get("deploys").map(|node| deploys(reader, node)).unwrap_or_default();
    let identities = get("identities").map(|node| identities(reader, node)).unwrap_or_default();
    let Some(episodes) = get("episodes") else {
        let message = format!("the test `{name}` has no `episodes:`");
        reader.error(&node.span, message, "write `episodes: []` where nothing may fire");
        return None;
    };
    let episodes = reader.list(episodes, "`episodes`")?;
    let episodes = episodes.iter().map(|node| episode(reader, node)).collect();
    let line = reader.line(node);
    Some(TestCase { name, line, before, input: input?, deploys, identities, episodes })
}

fn lines(reader: &mut Reader<'_>, node: &Node, format: Option<&Node>) -> Option<TestInput> {
    let format = format.and_then(|node| reader.text(node, "`format`"));
    let lines: Vec<String> = match &node.content {
        Content::List(_) => reader.texts(node, "a line"),
        _ => reader.text(node, "`lines`")?.lines().map(str::to_owned).collect(),
    };
    Some(TestInput::Lines { format, lines })
}

/// A time in a test: an offset from the base, or RFC 3339.
fn moment(text: &str) -> Result<EventTime, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    duration::parse(text).map(|offset| BASE.plus(offset)).map_err(|wrong| {
        if text.contains(':') {
            "not RFC 3339, such as 2026-01-05T00:00:00Z".to_owned()
        } else {
            wrong
        }
    })
}

/// A map of texts as JSON, its times worked out.
fn record(reader: &mut Reader<'_>, node: &Node, what: &str, times: &[&str]) -> Option<Value> {
    let mut record = Map::new();
    for Entry { name, value, .. } in reader.map(node, what)? {
        let json = if times.contains(&name.as_str()) {
            let text = reader.text(value, &format!("`{name}`"))?;
            match moment(&text) {
                Ok(time) => Value::from(time.to_string()),
                Err(wrong) => {
                    reader.error(&value.span, format!("`{name}`: {wrong}"), "");
                    return None;
                }
            }
        } else {
            match &value.content {
                Content::Whole(_) | Content::Ratio(_) => {
                    Value::from(reader.text(value, &format!("`{name}`"))?)
                }
                _ => value.json(),
            }
        };
        record.insert(name.clone(), json);
    }
    Some(Value::Object(record))
}

fn deploys(reader: &mut Reader<'_>, node: &Node) -> Vec<Deploy> {
    let mut deploys = Vec::new();
    for item in reader.list(node, "`deploys`").unwrap_or_default() {
        let Some(record) = record(reader, item, "a deploy", &["deployed_at"]) else { continue };
        match serde_json::from_value(record) {
            Ok(deploy) => deploys.push(deploy),
            Err(wrong) => reader.error(&item.span, format!("not a deploy: {wrong}"), ""),
        }
    }
    deploys
}

fn identities(reader: &mut Reader<'_>, node: &Node) -> Vec<Value> {
    let items = reader.list(node, "`identities`").unwrap_or_default();
    let mut identities = Vec::new();
    for item in items {
        let Some(identity) = record(reader, item, "an identity", &["from", "until"]) else {
            continue;
        };
        if identity.get("principal").is_none_or(|principal| !principal.is_string()) {
            reader.error(&item.span, "an identity has a `principal:`", "");
            continue;
        }
        identities.push(identity);
    }
    identities
}

fn episode(reader: &mut Reader<'_>, node: &Node) -> ExpectedEpisode {
    let mut episode = ExpectedEpisode::default();
    for entry in reader.entries(node, "an episode", &EPISODE_KEYS) {
        let value = &entry.value;
        match entry.name.as_str() {
            "key" => episode.key = scalars(reader, value, "`key`"),
            "values" => episode.values = scalars(reader, value, "`values`"),
            "totals" => episode.totals = scalars(reader, value, "`totals`"),
            "opens" => episode.opens_ms = reader.duration(value, "`opens`"),
            _ => episode.span_ms = span(reader, value),
        }
    }
    episode
}

fn span(reader: &mut Reader<'_>, node: &Node) -> Option<(i64, i64)> {
    match reader.list(node, "`span`")? {
        [from, to] => Some((reader.duration(from, "`span`")?, reader.duration(to, "`span`")?)),
        _ => {
            reader.error(&node.span, "`span` is two offsets", "write such as `span: [0s, 5m10s]`");
            None
        }
    }
}

fn scalars(reader: &mut Reader<'_>, node: &Node, what: &str) -> Map<String, Value> {
    let mut scalars = Map::new();
    for entry in reader.map(node, what).unwrap_or_default() {
        if let Some(value) = reader.scalar(&entry.value, &format!("`{}`", entry.name)) {
            scalars.insert(entry.name.clone(), value);
        }
    }
    scalars
}
