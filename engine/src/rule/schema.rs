//! The JSON Schema of a rule file, for editors.
//!
//! Owns: the schema. Never: checks a file itself; `load` does that, with better messages.

use schemas::{Field, Kind};
use serde_json::{Map, Value, json};

use super::file::{ACTIONS, MODES, SEVERITIES, SUBJECTS};
use super::test_case;

/// The schema of a rule file (JSON Schema 2020-12), as indented JSON.
#[must_use]
pub fn json_schema() -> String {
    format!("{:#}\n", schema())
}

fn schema() -> Value {
    let severities = SEVERITIES.map(|(name, _)| name);
    let modes = format!("^({}|canary [1-9][0-9]?%)$", MODES.join("|").replace("canary|", ""));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate rule",
        "type": "object",
        "additionalProperties": false,
        "required": ["title", "severity", "sql"],
        "properties": {
            "title": text("What it found, in one line."),
            "severity": {"enum": severities, "description": "How bad it is."},
            "window": duration("The query sees this much event time."),
            "slide": duration("Divides the window into at most 32 panes."),
            "sql": text("The query over `events`. A row is the rule firing for that row's key."),
            "with": {
                "type": "object",
                "description": "Parameters: `$name` in the SQL.",
                "additionalProperties": {"anyOf": [
                    scalar(), {"type": "array", "minItems": 1, "items": scalar()},
                ]},
            },
            "key": texts("Output columns that form the key; default: the GROUP BY columns."),
            "subject": {
                "description": "What a response acts on: kind by output column.",
                "anyOf": [
                    {"const": "none"},
                    {"type": "object", "propertyNames": {"enum": SUBJECTS},
                     "additionalProperties": {"type": "string"}},
                ],
            },
            "respond": {
                "type": "array",
                "description": "The most that the rule asks for.",
                "items": {"type": "string", "pattern": responses()},
            },
            "mode": {"anyOf": [{"type": "string", "pattern": modes}, {"const": false}],
                     "description": "How far its verdicts go; default: shadow."},
            "rearm": duration("Firing again within this time is the same episode."),
            "memory": {"type": "string", "pattern": "^[0-9]+ ?(KiB|MiB|GiB)$",
                       "description": "State that the rule may hold; default: 64MiB."},
            "owasp": texts("Items of the OWASP lists."),
            "attack": texts("Techniques of MITRE ATT&CK."),
            "why": text("Why the rule exists."),
            "false_positives": texts("What else looks like this."),
            "now_what": text("What to do when it fires."),
            "tests": {"type": "array", "items": test(), "description": "What proves the rule."},
        },
    })
}

fn text(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "description": description})
}

fn texts(description: &str) -> Value {
    json!({
        "description": description,
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    })
}

fn scalar() -> Value {
    json!({"type": ["string", "number", "boolean"]})
}

fn duration(description: &str) -> Value {
    json!({
        "type": "string",
        "pattern": "^-?([0-9]+ ?(ms|s|m|h|d|w) ?)+$",
        "description": description,
    })
}

fn responses() -> String {
    let words = |timed: bool| {
        let names = ACTIONS.iter().filter(|(_, t)| *t == timed).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join("|")
    };
    format!("^(({})|({}) [0-9].*)$", words(false), words(true))
}

fn test() -> Value {
    let [name, events, lines, format, before, deploys, identities, episodes] = test_case::TEST_KEYS;
    let [key, opens, values, span, totals] = test_case::EPISODE_KEYS;
    let maps = json!({"type": "array", "items": {"type": "object"}});
    let items = json!({"type": "array", "items": item()});
    let scalars = json!({"type": "object", "additionalProperties": {"not": {"type": "object"}}});
    let ends = json!({
        "type": "array", "minItems": 2, "maxItems": 2, "items": duration("An offset."),
    });
    let expected = object([
        (key, scalars.clone()),
        (opens, duration("When it opens, from the test's start.")),
        (values, scalars.clone()),
        (span, ends),
        (totals, scalars),
    ]);
    let mut test = object([
        (name, text("A sentence.")),
        (events, items.clone()),
        (lines, texts("Raw log lines.")),
        (format, text("Log format of the lines; default: detected.")),
        (before, items),
        (deploys, maps.clone()),
        (identities, maps),
        (episodes, json!({"type": "array", "items": expected})),
    ]);
    if let Some(test) = test.as_object_mut() {
        test.insert("required".to_owned(), json!([name, episodes]));
    }
    test
}

fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn item() -> Value {
    let mut properties = Map::new();
    properties.insert("each".to_owned(), json!({"type": "integer", "minimum": 1}));
    properties.insert("every".to_owned(), duration("Between two events; default: 1s."));
    properties.insert("from".to_owned(), duration("Offset of the first event."));
    for field in Field::ALL.iter().filter(|field| **field != Field::EventTime) {
        let mut property = match field.spec().kind {
            Kind::List => json!({"type": "array", "items": scalar()}),
            Kind::Map => json!({"type": "object", "additionalProperties": scalar()}),
            Kind::Text
            | Kind::Code
            | Kind::Count
            | Kind::Number
            | Kind::Status
            | Kind::Flag
            | Kind::Time
            | Kind::Ratio => {
                json!({"type": ["string", "number", "boolean", "null"]})
            }
        };
        if let Some(property) = property.as_object_mut() {
            property.insert("description".to_owned(), Value::from(field.spec().doc));
        }
        properties.insert(field.name().to_owned(), property);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}
