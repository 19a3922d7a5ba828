//! Events as JSON objects: what `parse` prints and what format `tidegate` takes.
//!
//! Owns: the JSON shape of an event. Never: other formats.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::field::{Event, Field, each_field};
use crate::time::EventTime;

macro_rules! write_entry {
    (Map, $map:expr, $name:expr, $value:expr) => {
        $map.serialize_entry($name, &AsMap($value))?
    };
    ($other:ident, $map:expr, $name:expr, $value:expr) => {
        $map.serialize_entry($name, $value)?
    };
}

macro_rules! take {
    (Text, $value:expr) => {
        text($value)
    };
    (Code, $value:expr) => {
        text($value)
    };
    (Count, $value:expr) => {
        whole($value).and_then(|n| if n < 0 { Err("a number of at least 0") } else { Ok(n) })
    };
    (Number, $value:expr) => {
        whole($value)
    };
    (Status, $value:expr) => {
        whole($value).and_then(|n| i32::try_from(n).map_err(|_too_large| "a 32-bit number"))
    };
    (Flag, $value:expr) => {
        $value.as_bool().ok_or("true or false")
    };
    (Time, $value:expr) => {
        time($value)
    };
    (List, $value:expr) => {
        list($value)
    };
    (Map, $value:expr) => {
        map($value)
    };
    (Ratio, $value:expr) => {
        $value.as_f64().ok_or("a number")
    };
}

macro_rules! rows {
    ($($variant:ident $name:ident $kind:ident;)*) => {
        impl Serialize for Event<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if let Some(value) = &self.$name {
                    write_entry!($kind, map, stringify!($name), value);
                })*
                map.end()
            }
        }

        impl Event<'_> {
            /// Sets one column from a JSON value; `null` makes it absent.
            ///
            /// # Errors
            /// Where the value is not of the column's kind; the column then stays as it was.
            pub fn set(&mut self, field: Field, value: &Value) -> Result<(), ValueError> {
                match field {
                    $(Field::$variant => {
                        self.$name = if value.is_null() {
                            None
                        } else {
                            let taken = take!($kind, value);
                            Some(taken.map_err(|wanted| ValueError::new(field, value, wanted))?)
                        };
                    })*
                }
                Ok(())
            }

            /// Takes every column that this event lacks from `other`.
            pub fn fill_from(&mut self, other: &Event<'_>) {
                $(if self.$name.is_none() && other.$name.is_some() {
                    self.$name = own!($kind, &other.$name);
                })*
            }

            /// The same event, borrowing nothing.
            #[must_use]
            pub fn into_owned(self) -> Event<'static> {
                Event { $($name: own!($kind, &self.$name),)* }
            }
        }
    };
}

macro_rules! own {
    (Text, $value:expr) => {
        $value.as_deref().map(|text| Cow::Owned(text.to_owned()))
    };
    (Code, $value:expr) => {
        $value.as_deref().map(|text| Cow::Owned(text.to_owned()))
    };
    (List, $value:expr) => {
        $value.as_ref().map(|list| list.iter().map(|t| Cow::Owned(t.to_string())).collect())
    };
    (Map, $value:expr) => {
        $value.as_ref().map(|map| {
            map.iter()
                .map(|(k, v)| (Cow::Owned(k.to_string()), Cow::Owned(v.to_string())))
                .collect()
        })
    };
    ($other:ident, $value:expr) => {
        *$value
    };
}

each_field!(rows);

struct AsMap<'v>(&'v [(Cow<'v, str>, Cow<'v, str>)]);

impl Serialize for AsMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// A JSON value that does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {wanted}, found {found}")]
pub struct ValueError {
    /// The column's name.
    pub field: &'static str,
    /// What the column takes.
    pub wanted: &'static str,
    /// What was there, cut to 64 characters.
    pub found: String,
}

impl ValueError {
    fn new(field: Field, value: &Value, wanted: &'static str) -> Self {
        let found = value.to_string().chars().take(64).collect();
        Self { field: field.name(), wanted, found }
    }
}

fn text(value: &Value) -> Result<Cow<'static, str>, &'static str> {
    value.as_str().map(|text| Cow::Owned(text.to_owned())).ok_or("text")
}

fn whole(value: &Value) -> Result<i64, &'static str> {
    value.as_i64().ok_or("a whole number")
}

fn time(value: &Value) -> Result<EventTime, &'static str> {
    const WANTED: &str = "a time (RFC 3339 text, or milliseconds since 1970)";
    match value {
        Value::String(text) => text.parse().map_err(|_not_a_time| WANTED),
        Value::Number(number) => number.as_i64().map(EventTime).ok_or(WANTED),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(WANTED),
    }
}

fn list(value: &Value) -> Result<Vec<Cow<'static, str>>, &'static str> {
    let items = value.as_array().ok_or("a list of texts")?;
    items.iter().map(|item| text(item).map_err(|_not_text| "a list of texts")).collect()
}

type Entry = (Cow<'static, str>, Cow<'static, str>);

fn map(value: &Value) -> Result<Vec<Entry>, &'static str> {
    let entries = value.as_object().ok_or("an object of texts")?;
    entries
        .iter()
        .map(|(key, value)| {
            let value = text(value).map_err(|_not_text| "an object of texts")?;
            Ok((Cow::Owned(key.clone()), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::field::{Event, Field};

    fn read(value: &Value) -> Result<Event<'static>, String> {
        let mut event = Event::default();
        for (name, value) in value.as_object().unwrap() {
            let field = Field::named(name).ok_or(format!("no column {name}"))?;
            event.set(field, value).map_err(|error| error.to_string())?;
        }
        Ok(event)
    }

    #[test]
    fn an_event_reads_back_as_written_and_absent_columns_are_left_out() {
        let value = json!({
            "event_time": "2026-11-20T08:00:00.000Z", "status": 404, "response_bytes": 12,
            "synthetic": true, "scopes": ["a"], "attrs": {"k": "v"}, "sample_weight": 0.5,
            "path": "/v1", "object_number": -3,
        });
        let event = read(&value).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), value);
        assert_eq!(event.clone().into_owned(), event);
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_the_column_and_what_it_takes() {
        let error = |value| read(&value).unwrap_err();
        assert_eq!(error(json!({"status": "ok"})), "`status` is a whole number, found \"ok\"");
        assert_eq!(
            error(json!({"response_bytes": -1})),
            "`response_bytes` is a number of at least 0, found -1"
        );
        assert_eq!(error(json!({"scopes": [1]})), "`scopes` is a list of texts, found [1]");
    }

    #[test]
    fn filling_takes_only_what_is_absent() {
        let mut event = read(&json!({"tenant": "a"})).unwrap();
        event.fill_from(&read(&json!({"tenant": "b", "owner": "team"})).unwrap());
        assert_eq!((event.tenant.as_deref(), event.owner.as_deref()), (Some("a"), Some("team")));
    }
}
