//! From TOML to the tree.
//!
//! Owns: keeping the place of every key and value.
//! Never: more than TOML says; types are checked by the reader.

use std::sync::Arc;

use serde::de::Error as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::problem::Problem;
use super::tree::{Entry, Node, Place, Table, Value};

/// A text with its name, to be quoted in messages.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: Arc<str>,
}

/// How deep tables and lists may lie in each other. Real configurations need five.
const DEPTH_MAX: usize = 64;

/// Reads the text with this number. All mistakes in its form are told at once.
pub(super) fn document(number: usize, text: &str) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> =
        errors.iter().map(|error| not_toml(number, text, error)).collect();
    let mut builder = Builder { place: Where::Text(number), problems: Vec::new() };
    let table = builder.table(table.get_ref(), 0);
    problems.append(&mut builder.problems);
    if problems.is_empty() { Ok(Node::new(Value::Table(table), Place::Top)) } else { Err(problems) }
}

/// Reads a value that came as bare text, such as `["a", "b"]` in an environment variable.
pub(super) fn loose(text: &str, place: &Place) -> Result<Node, Fault> {
    let value = DeValue::parse(text).map_err(|error| Fault::custom(error.message()))?;
    let mut builder = Builder { place: Where::Loose(place), problems: Vec::new() };
    let node = builder.node(&value, 0);
    match builder.problems.pop() {
        None => Ok(node),
        Some(problem) => Err(Fault::custom(problem.title)),
    }
}

fn not_toml(number: usize, text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    Problem {
        title: "this is not TOML".to_owned(),
        place: Place::of(number, span),
        label: Some(error.message().to_owned()),
        help: None,
    }
}

struct Builder<'a> {
    place: Where<'a>,
    problems: Vec<Problem>,
}

#[derive(Clone, Copy)]
enum Where<'a> {
    Text(usize),
    Loose(&'a Place),
}

impl Builder<'_> {
    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        match self.place {
            Where::Text(number) => Place::of(number, spanned.span()),
            Where::Loose(place) => place.clone(),
        }
    }

    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Table {
        table
            .iter()
            .map(|(key, value)| {
                let entry = Entry { key: self.place(key), node: self.node(value, depth + 1) };
                (key.get_ref().to_string(), entry)
            })
            .collect()
    }

    fn node(&mut self, spanned: &Spanned<DeValue<'_>>, depth: usize) -> Node {
        let place = self.place(spanned);
        if depth > DEPTH_MAX {
            self.refuse(&place, format!("tables lie more than {DEPTH_MAX} deep in each other"));
            return Node::table(place);
        }
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Integer(digits) => {
                match i64::from_str_radix(digits.as_str(), digits.radix()) {
                    Ok(integer) => Value::Integer(integer),
                    Err(_too_large) => {
                        self.refuse(&place, "the number is too large".to_owned());
                        Value::Integer(0)
                    }
                }
            }
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(float) => Value::Float(float),
                Err(error) => {
                    self.refuse(&place, format!("the number cannot be read: {error}"));
                    Value::Float(0.0)
                }
            },
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item, depth + 1)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        };
        Node::new(value, place)
    }

    fn refuse(&mut self, place: &Place, title: String) {
        self.problems.push(Problem { title, place: place.clone(), label: None, help: None });
    }
}
