//! Avro schemas as trees that values can be walked along.
//!
//! Owns: reading a schema's JSON, as far as records of this house use Avro. Never: bytes.
//!
//! Source: Avro 1.12, "Schema Declaration".

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::table::JSON_RECORD;

/// How deep types may nest: a schema of ours has five levels.
const DEPTH_MAX: usize = 32;

/// One type of a schema.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Flag,
    /// `int` or `long`.
    Whole,
    Double,
    Text,
    /// `long` with the logical type `timestamp-millis`.
    Time,
    List(Arc<Node>),
    Map(Arc<Node>),
    Record(Arc<Record>),
    /// A record that holds the JSON text of a value.
    Json,
    Union(Vec<Node>),
}

/// A record of a schema.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) fields: Vec<RecordField>,
}

/// A field of a record.
#[derive(Debug)]
pub(super) struct RecordField {
    pub(super) name: String,
    pub(super) node: Node,
    /// What stands for it where it is absent.
    pub(super) default: Option<Value>,
}

impl Node {
    /// The schema in this text, or why it cannot be followed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Parser { named: BTreeMap::new() }.node(&schema, 0)
    }

    /// Whether a value can be written as this type, as far as a branch of a union must know.
    pub(super) fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Flag => value.is_boolean(),
            Self::Whole => value.is_i64(),
            Self::Double => value.is_f64(),
            Self::Text | Self::Time => value.is_string(),
            Self::List(item) => {
                value.as_array().is_some_and(|items| items.iter().all(|value| item.fits(value)))
            }
            Self::Map(_) | Self::Record(_) => value.is_object(),
            Self::Json => true,
            Self::Union(branches) => branches.iter().any(|branch| branch.fits(value)),
        }
    }

    /// What is written here, for messages.
    pub(super) fn wanted(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag => "true or false",
            Self::Whole => "a whole number of 64 bits",
            Self::Double => "a number",
            Self::Text => "text",
            Self::Time => "a time",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
            Self::Record(_) => "a record",
            Self::Json => "any value",
            Self::Union(_) => "one of the types of its union",
        }
    }
}

struct Parser {
    named: BTreeMap<String, Node>,
}

impl Parser {
    fn node(&mut self, schema: &Value, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(format!("types nest deeper than {DEPTH_MAX}"));
        }
        match schema {
            Value::String(name) => self.by_name(name),
            Value::Array(branches) => {
                let nodes = branches.iter().map(|branch| self.node(branch, depth + 1));
                Ok(Node::Union(nodes.collect::<Result<_, _>>()?))
            }
            Value::Object(object) => self.declared(object, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                Err(format!("`{schema}` is not a type"))
            }
        }
    }

    fn by_name(&self, name: &str) -> Result<Node, String> {
        Ok(match name {
            "null" => Node::Null,
            "boolean" => Node::Flag,
            "int" | "long" => Node::Whole,
            "double" => Node::Double,
            "string" => Node::Text,
            other => {
                let short = short_name(other);
                let known = self.named.get(short).cloned();
                known.ok_or_else(|| format!("type `{other}` is not one that is read here"))?
            }
        })
    }

    fn declared(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Node, String> {
        let part = |name| object.get(name).ok_or_else(|| format!("a type has no `{name}`"));
        match part("type")? {
            Value::String(name) if name == "record" => self.record(object, depth),
            Value::String(name) if name == "array" => {
                Ok(Node::List(Arc::new(self.node(part("items")?, depth + 1)?)))
            }
            Value::String(name) if name == "map" => {
                Ok(Node::Map(Arc::new(self.node(part("values")?, depth + 1)?)))
            }
            Value::String(name) if name == "long" && is_time(object) => Ok(Node::Time),
            inner => self.node(inner, depth + 1),
        }
    }

    /// A record's name is known only behind it: none of ours holds itself.
    fn record(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Node, String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a record has no name")?;
        let name = short_name(name);
        let declared = object.get("fields").and_then(Value::as_array);
        let declared = declared.ok_or_else(|| format!("record `{name}` has no fields"))?;
        let mut fields = Vec::with_capacity(declared.len());
        for field in declared {
            let named = field.get("name").and_then(Value::as_str).unwrap_or_default();
            let node = field.get("type").ok_or_else(|| format!("`{name}.{named}` has no type"))?;
            let node = self.node(node, depth + 1)?;
            let default = field.get("default").cloned();
            fields.push(RecordField { name: named.to_owned(), node, default });
        }
        let node = if name == JSON_RECORD {
            Node::Json
        } else {
            Node::Record(Arc::new(Record { fields }))
        };
        self.named.insert(name.to_owned(), node.clone());
        Ok(node)
    }
}

fn is_time(object: &Map<String, Value>) -> bool {
    object.get("logicalType").and_then(Value::as_str) == Some("timestamp-millis")
}

fn short_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
