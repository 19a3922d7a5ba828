//! From the tree to the settings, through serde.
//!
//! Owns: what each kind of value may be read as; bare text from the environment; secrets.
//! Never: a key that is skipped because no field takes it.

mod entries;
mod tagged;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::de::value::StringDeserializer;
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use entries::{Entries, List};
use tagged::Tagged;

use super::fault::Fault;
use super::read::loose;
use super::secret;
use super::tree::{Node, Step, Table, Value};

/// The keys of a table in place of a secret.
const SECRET_KEYS: &[&str] = &["file", "env"];

/// What secrets may be read from.
pub(super) struct Outside {
    pub(super) environment: BTreeMap<String, String>,
    /// Relative files are looked up here.
    pub(super) folder: PathBuf,
}

/// Reads a node as whatever is asked for.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) outside: &'a Outside,
}

impl<'a> Reader<'a> {
    fn at(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    /// The text, if it came without a type.
    fn loose_text(self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) if self.node.place.is_loose() => Some(text.trim()),
            _ => None,
        }
    }

    /// Reads bare text as the TOML value that it must be.
    fn reparsed<T>(
        self,
        text: &str,
        read: impl FnOnce(Reader<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let node = loose(text, &self.node.place)?;
        let result = read(Reader { node: &node, outside: self.outside });
        self.mark(text.to_owned(), node.holds_secret());
        result
    }

    /// Remembers how bare text is to be shown.
    fn mark(self, literal: String, secret: bool) {
        self.node.literal.replace(Some(literal));
        self.node.secret.set(secret);
    }

    fn list<'de, V: Visitor<'de>>(
        self,
        items: impl Iterator<Item = (Step, &'a Node)>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(List { reader: self, items })
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        table: &'a Table,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let entries = table.iter().map(|(key, entry)| (key.as_str(), &entry.node));
        visitor.visit_map(Entries { reader: self, entries, known, value: None })
    }

    /// The text of a secret, which may stand elsewhere.
    fn secret(self) -> Result<String, Fault> {
        self.node.secret.set(true);
        let table = match &self.node.value {
            Value::Text(text) => return Ok(text.clone()),
            Value::Table(table) => table,
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) => {
                let got = unexpected(&self.node.value);
                let expected = "a text, `{ file = \"…\" }` or `{ env = \"…\" }`";
                return Err(Fault::invalid_type(got, &expected));
            }
        };
        let mut entries = table.iter();
        let (Some((key, entry)), None) = (entries.next(), entries.next()) else {
            return Err(Fault::custom("expected either `file` or `env`"));
        };
        let Value::Text(name) = &entry.node.value else {
            let fault = Fault::invalid_type(unexpected(&entry.node.value), &"a string");
            return Err(fault.below(Step::Key(key.clone())));
        };
        match key.as_str() {
            "file" => {
                let path = self.outside.folder.join(name);
                let text = fs::read_to_string(&path).map_err(|error| {
                    Fault::custom(format!("secret file {} cannot be read: {error}", path.display()))
                })?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            "env" => {
                self.outside.environment.get(name).cloned().ok_or_else(|| {
                    Fault::custom(format!("environment variable `{name}` is not set"))
                })
            }
            other => Err(Fault::unknown_field(other, SECRET_KEYS)),
        }
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Integer(integer) => Unexpected::Signed(*integer),
        Value::Float(float) => Unexpected::Float(*float),
        Value::Text(text) => Unexpected::Str(text),
        Value::List(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
    }
}

/// Numbers and truth values; bare text is parsed as what is asked for.
macro_rules! parse_loose {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.loose_text() {
                Some(text) => match text.parse::<$type>() {
                    Ok(value) => {
                        self.node.literal.replace(Some(value.to_string()));
                        visitor.$visit(value)
                    }
                    Err(_not_one) => Err(Fault::invalid_type(Unexpected::Str(text), &visitor)),
                },
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Integer(integer) => visitor.visit_i64(*integer),
            Value::Float(float) => visitor.visit_f64(*float),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => self.list(present(items), visitor),
            Value::Table(table) => self.table(table, &[], visitor),
        }
    }

    parse_loose! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i64 i64,
        deserialize_i16 visit_i64 i64,
        deserialize_i32 visit_i64 i64,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u64 u64,
        deserialize_u16 visit_u64 u64,
        deserialize_u32 visit_u64 u64,
        deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f64 f64,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == secret::NAME {
            let text: StringDeserializer<Fault> = self.secret()?.into_deserializer();
            return visitor.visit_newtype_struct(text);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Some(text) = self.loose_text() {
            if text.starts_with('[') {
                return self.reparsed(text, |reader| reader.deserialize_seq(visitor));
            }
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let node =
                |part: &str| Node::new(Value::Text(part.to_owned()), self.node.place.clone());
            let nodes: Vec<Node> = parts.map(node).collect();
            let read = Reader { node: self.node, outside: self.outside };
            let result = read.list(present(&nodes), visitor);
            self.mark(literal_of(&nodes), nodes.iter().any(Node::holds_secret));
            return result;
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.loose_text() {
            Some(text) if text.starts_with('{') => {
                self.reparsed(text, |reader| reader.deserialize_map(visitor))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(text) = self.loose_text()
            && text.starts_with('{')
        {
            return self.reparsed(text, |reader| reader.deserialize_struct(name, fields, visitor));
        }
        match &self.node.value {
            Value::Table(table) => self.table(table, fields, visitor),
            // Not `deserialize_any`: a derived struct would take a list for its fields in order.
            other => Err(Fault::invalid_type(unexpected(other), &visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(text) = self.loose_text()
            && text.starts_with('{')
        {
            return self.reparsed(text, |reader| reader.deserialize_enum(name, variants, visitor));
        }
        match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Table(table) => visitor.visit_enum(Tagged { reader: self, table }),
            other => Err(Fault::invalid_type(unexpected(other), &"a text or a table with `type`")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

/// The parts as a list in TOML.
fn literal_of(parts: &[Node]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| match (part.literal.borrow().as_ref(), &part.value) {
            (Some(literal), _) => literal.clone(),
            (None, Value::Text(text)) => toml::Value::String(text.clone()).to_string(),
            (None, _) => String::new(),
        })
        .collect();
    format!("[{}]", parts.join(", "))
}

fn present(items: &[Node]) -> impl Iterator<Item = (Step, &Node)> {
    let numbered = items.iter().enumerate().filter(|(_, item)| !item.gone);
    numbered.map(|(index, item)| (Step::Index(index), item))
}
