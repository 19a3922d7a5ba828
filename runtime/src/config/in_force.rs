//! The configuration that is in force, to be shown.
//!
//! Owns: its form as TOML, with the origin of each setting and without secrets.
//! Never: settings that no layer names.

use std::fmt;

use super::problem::{Problem, Problems};
use super::read::Source;
use super::secret::MASK;
use super::tree::{Node, Place, Step, Table, Value};

/// What the layers gave together.
#[derive(Clone)]
pub struct InForce {
    tree: Node,
    sources: Vec<Source>,
}

impl fmt::Debug for InForce {
    /// As it is shown, because the tree holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InForce").field(&self.show()).finish()
    }
}

impl InForce {
    pub(super) fn new(tree: Node, sources: Vec<Source>) -> Self {
        Self { tree, sources }
    }

    /// As TOML. Secrets are shown as `***`, and every setting says where it was set.
    #[must_use]
    pub fn show(&self) -> String {
        let mut shown = String::new();
        if let Value::Table(table) = &self.tree.value {
            self.table(&mut shown, "", table);
        }
        shown.trim_start_matches('\n').to_owned()
    }

    /// A mistake that shows only when settings are seen together: `why` is wrong with `setting`,
    /// which is written like `input.0.path`.
    #[must_use]
    pub fn refuse(&self, setting: &str, why: &str) -> Problems {
        let mut path: Vec<Step> = Vec::new();
        for part in setting.split('.') {
            let listed =
                matches!(self.tree.find(&path).map(|node| &node.value), Some(Value::List(_)));
            path.push(match part.parse() {
                Ok(index) if listed => Step::Index(index),
                _ => Step::Key(part.to_owned()),
            });
        }
        // A setting that nobody set is a mistake of the table that could hold it.
        while !path.is_empty() && self.tree.find(&path).is_none() {
            path.pop();
        }
        let place = self.tree.find(&path).map_or(Place::Top, |node| node.place.clone());
        let title = format!("wrong value of `{setting}`");
        let problem = Problem { title, place, label: Some(why.to_owned()), help: None };
        Problems::new(vec![problem], self.sources.clone())
    }

    /// Settings first, then tables, then lists of tables, as TOML wants it.
    fn table(&self, out: &mut String, path: &str, table: &Table) {
        for (key, entry) in table {
            if matches!(entry.node.value, Value::Table(_)) && !entry.node.secret.get()
                || tables(&entry.node).is_some()
            {
                continue;
            }
            let value = literal(&entry.node);
            out.push_str(&format!(
                "{} = {value}  # {}\n",
                quoted(key),
                self.origin(&entry.node.place)
            ));
        }
        for (key, entry) in table {
            let name = join(path, key);
            if let Some(items) = tables(&entry.node) {
                for item in items {
                    out.push_str(&format!("\n[[{name}]]\n"));
                    self.table(out, &name, item);
                }
            } else if let Value::Table(inner) = &entry.node.value
                && !entry.node.secret.get()
            {
                out.push_str(&format!("\n[{name}]\n"));
                self.table(out, &name, inner);
            }
        }
    }

    fn origin(&self, place: &Place) -> String {
        match place {
            Place::Text { text: 0, .. } => "default".to_owned(),
            Place::Text { text, start, .. } => {
                let Some(source) = self.sources.get(*text) else { return String::new() };
                let before = source.text.get(..*start).unwrap_or_default();
                format!("{}:{}", source.name, before.matches('\n').count() + 1)
            }
            Place::Environment(name) | Place::Flag(name) => name.to_string(),
            Place::Top => String::new(),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    let key = quoted(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A key as TOML wants it.
fn quoted(key: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        toml::Value::String(key.to_owned()).to_string()
    }
}

/// The tables in a list of nothing else.
fn tables(node: &Node) -> Option<Vec<&Table>> {
    let Value::List(items) = &node.value else { return None };
    let tables: Option<Vec<&Table>> = items
        .iter()
        .map(|item| match &item.value {
            Value::Table(table) if !item.secret.get() => Some(table),
            _ => None,
        })
        .collect();
    tables.filter(|tables| !tables.is_empty())
}

fn literal(node: &Node) -> String {
    match node.literal.borrow().as_ref() {
        Some(literal) if !node.secret.get() => literal.clone(),
        _ => plain(node).to_string(),
    }
}

fn plain(node: &Node) -> toml::Value {
    if node.secret.get() {
        return match &node.value {
            // Where a secret comes from is none.
            Value::Table(table) => toml::Value::Table(entries(table)),
            _ => toml::Value::String(MASK.to_owned()),
        };
    }
    match &node.value {
        Value::Bool(truth) => toml::Value::Boolean(*truth),
        Value::Integer(integer) => toml::Value::Integer(*integer),
        Value::Float(float) => toml::Value::Float(*float),
        Value::Text(text) => toml::Value::String(text.clone()),
        Value::List(items) => toml::Value::Array(items.iter().map(plain).collect()),
        Value::Table(table) => toml::Value::Table(entries(table)),
    }
}

fn entries(table: &Table) -> toml::Table {
    table.iter().map(|(key, entry)| (key.clone(), plain(&entry.node))).collect()
}
