//! YAML with the place of every key and value.
//!
//! Owns: the tree. Never: what the keys mean.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::problem::{Level, Problem, SourceFile};

/// A value and the bytes it was written in.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Null,
    Flag(bool),
    Whole(i64),
    Ratio(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) value: Node,
}

impl Content {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "true or false",
            Self::Whole(_) => "a whole number",
            Self::Ratio(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// The value as JSON; a number that JSON does not know becomes null.
    pub(super) fn json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Flag(flag) => Value::Bool(*flag),
            Content::Whole(number) => Value::from(*number),
            Content::Ratio(number) => Value::from(*number),
            Content::Text(text) => Value::from(text.as_str()),
            Content::List(items) => items.iter().map(Self::json).collect(),
            Content::Map(entries) => {
                entries.iter().map(|entry| (entry.name.clone(), entry.value.json())).collect()
            }
        }
    }

    /// A scalar as it was written, so that `1.10` and `007` stay texts where a text is wanted.
    pub(super) fn written<'s>(&'s self, source: &'s str) -> Option<&'s str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::Flag(_) | Content::Whole(_) | Content::Ratio(_) => {
                source.get(self.span.clone()).map(str::trim)
            }
            Content::Null | Content::List(_) | Content::Map(_) => None,
        }
    }
}

/// Reads a file that holds one document.
pub(super) fn parse(file: &SourceFile) -> Result<Node, Box<Problem>> {
    match serde_saphyr::from_str::<Spanned<Raw>>(&file.text) {
        Ok(root) => Ok(node(root)),
        Err(error) => Err(Box::new(syntax(file, &error))),
    }
}

fn syntax(file: &SourceFile, error: &serde_saphyr::Error) -> Problem {
    let location = error.location();
    let span = location.map_or(0..0, |location| position(&file.text, location));
    let text = error.without_snippet().to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let (message, hint) = if let Some(rest) = message.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(',').next().unwrap_or(rest);
        (format!("`{key}` stands here twice"), "keep one of the two")
    } else if message.starts_with("multiple YAML documents") {
        ("a second document begins here".to_owned(), "one file holds one rule; remove the `---`")
    } else {
        let hint = "check indentation, and put texts with `: ` or `{` in quotes";
        (format!("this is not YAML: {message}"), hint)
    };
    Problem::new(Level::Error, file, &span, message).hint(hint)
}

/// The byte range of a location; some errors know only line and column.
fn position(text: &str, location: Location) -> Range<usize> {
    let bytes = location.span().byte_offset().zip(location.span().byte_len());
    if let Some((start, length)) = bytes {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        return start..start.saturating_add(usize::try_from(length).unwrap_or(0));
    }
    let line = usize::try_from(location.line()).unwrap_or(1).max(1);
    let column = usize::try_from(location.column()).unwrap_or(1).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let start = start + rest.char_indices().nth(column - 1).map_or(0, |(byte, _)| byte);
    start..start + 1
}

fn node(raw: Spanned<Raw>) -> Node {
    let span = bytes(raw.referenced);
    let content = match raw.value {
        Raw::Scalar(content) => content,
        Raw::List(items) => Content::List(items.into_iter().map(node).collect()),
        Raw::Map(entries) => Content::Map(entries.into_iter().map(entry).collect()),
    };
    Node { span, content }
}

fn entry((name, value): (Spanned<String>, Spanned<Raw>)) -> Entry {
    Entry { name_span: bytes(name.referenced), name: name.value, value: node(value) }
}

fn bytes(location: Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().and_then(|start| usize::try_from(start).ok()).unwrap_or(0);
    let length = span.byte_len().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    start..start + length
}

enum Raw {
    Scalar(Content),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Null))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Flag(flag)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Whole(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Raw, E> {
        match i64::try_from(number) {
            Ok(number) => Ok(Raw::Scalar(Content::Whole(number))),
            Err(_too_large) => Err(E::custom("the number is larger than 64 bits with a sign")),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Ratio(number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Content::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
