//! What serde finds wrong, with the path to it.
//!
//! Owns: serde's complaints in a form that keeps the names in them.
//! Never: the values, which may be secret.

use std::fmt::{self, Display};

use serde::de::{Expected, Unexpected};

use super::tree::Step;

/// One mistake, found while reading.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// From the mistake up to the top.
    pub(super) path_up: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The key at the path is not known.
    UnknownKey { known: &'static [&'static str] },
    /// The table at the path lacks a key.
    Missing { key: &'static str },
    /// The text at the path is none of those known.
    UnknownName { name: String, known: &'static [&'static str] },
    /// The value at the path has the wrong type.
    WrongType { got: &'static str, expected: String },
    /// The value at the path has the right type.
    WrongValue { expected: String },
    /// Anything else about the value at the path.
    Message(String),
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Self { kind, path_up: Vec::new() }
    }

    pub(super) fn unknown_key(known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { known })
    }

    /// Adds the step above.
    pub(super) fn below(mut self, step: Step) -> Self {
        self.path_up.push(step);
        self
    }

    /// From the top down to the mistake.
    pub(super) fn path(&self) -> Vec<Step> {
        self.path_up.iter().rev().cloned().collect()
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::UnknownKey { .. } => f.write_str("unknown key"),
            Kind::Missing { key } => write!(f, "`{key}` is missing"),
            Kind::UnknownName { name, .. } => write!(f, "unknown value `{name}`"),
            Kind::WrongType { got, expected } => write!(f, "this is {got}; expected {expected}"),
            Kind::WrongValue { expected } => write!(f, "expected {expected}"),
            Kind::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Message(plain(&message.to_string())))
    }

    fn invalid_type(got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = plain(&expected.to_string());
        Self::new(Kind::WrongType { got: name(got), expected })
    }

    fn invalid_value(_got: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::WrongValue { expected: plain(&expected.to_string()) })
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownName { name: variant.to_owned(), known })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_key(known).below(Step::Key(field.to_owned()))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::Missing { key })
    }
}

/// The type of a value as the user knows it.
fn name(value: Unexpected<'_>) -> &'static str {
    match value {
        Unexpected::Bool(_) => "a truth value",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "something else",
    }
}

/// What serde expects, in words that need no Rust.
fn plain(expected: &str) -> String {
    let words = match expected {
        "a string" | "str" => "a text in quotes",
        "a boolean" | "bool" => "`true` or `false`",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, not below 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a table",
        "path string" => "a path in quotes",
        "socket address" => "an address and a port in quotes, such as \"127.0.0.1:7070\"",
        "IP address" => "an IP address in quotes, such as \"192.0.2.7\"",
        "invalid socket address syntax" => "expected an address and a port, such as 127.0.0.1:7070",
        "invalid IP address syntax" => "expected an IP address, such as 192.0.2.7",
        other if other.starts_with("struct ") => "a table",
        other if other.contains("NonZero") || other.starts_with("a nonzero ") => {
            "a whole number above 0"
        }
        other => other,
    };
    words.to_owned()
}
