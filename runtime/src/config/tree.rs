//! The merged configuration, of which every value knows where it was set.
//!
//! Owns: merging, finding, and taking values out.
//! Never: types beyond those of TOML.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// What a lower layer says, which this value hides.
    pub(super) hidden: Option<Box<Self>>,
    /// Set when it was read as a [`super::Secret`].
    pub(super) secret: Cell<bool>,
    /// What bare text was read as, in TOML.
    pub(super) literal: RefCell<Option<String>>,
    /// Taken out of a list; it stays there so that the others keep their numbers.
    pub(super) gone: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// Also dates and times, as they are written.
    Text(String),
    List(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key: Place,
    pub(super) node: Node,
}

/// Where something was set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In a text, from byte to byte.
    Text { text: usize, start: usize, end: usize },
    /// In this environment variable.
    Environment(Arc<str>),
    /// By this flag.
    Flag(Arc<str>),
    /// Nowhere: the top of the tree.
    Top,
}

impl Place {
    pub(super) fn of(text: usize, span: Range<usize>) -> Self {
        Self::Text { text, start: span.start, end: span.end }
    }

    /// Whether the value came as bare text, whose type follows from what is asked for.
    pub(super) fn is_loose(&self) -> bool {
        matches!(self, Self::Environment(_) | Self::Flag(_))
    }
}

/// One step down the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl Node {
    pub(super) fn new(value: Value, place: Place) -> Self {
        let (secret, literal) = (Cell::new(false), RefCell::new(None));
        Self { value, place, hidden: None, secret, literal, gone: false }
    }

    pub(super) fn table(place: Place) -> Self {
        Self::new(Value::Table(Table::new()), place)
    }

    /// Puts `upper` over this.
    pub(super) fn merge(&mut self, upper: Self) {
        match (&mut self.value, upper.value) {
            (Value::Table(lower), Value::Table(table)) => {
                self.place = upper.place;
                for (key, entry) in table {
                    match lower.get_mut(&key) {
                        Some(known) => {
                            known.key = entry.key;
                            known.node.merge(entry.node);
                        }
                        None => {
                            lower.insert(key, entry);
                        }
                    }
                }
            }
            (_, value) => {
                let lower = std::mem::replace(self, Self::new(value, upper.place));
                self.hidden = Some(Box::new(lower));
            }
        }
    }

    /// Puts a text over what is at `path`, making tables on the way.
    pub(super) fn set(
        &mut self,
        path: &[&str],
        text: &str,
        place: &Place,
    ) -> Result<(), OutOfList> {
        let Some((first, rest)) = path.split_first() else {
            self.merge(Self::new(Value::Text(text.to_owned()), place.clone()));
            return Ok(());
        };
        if let Value::List(items) = &mut self.value {
            let length = items.len();
            let out = || OutOfList { length };
            let index: usize = first.parse().map_err(|_not_a_number| out())?;
            if index == length {
                let value = match rest {
                    [] => Value::Text(text.to_owned()),
                    _ => Value::Table(Table::new()),
                };
                items.push(Self::new(value, place.clone()));
                if rest.is_empty() {
                    return Ok(());
                }
            }
            return items.get_mut(index).ok_or_else(out)?.set(rest, text, place);
        }
        if !matches!(self.value, Value::Table(_)) {
            self.merge(Self::table(place.clone()));
        }
        let Value::Table(table) = &mut self.value else { return Ok(()) };
        if let Some(entry) = table.get_mut(*first) {
            return entry.node.set(rest, text, place);
        }
        let value = match rest.first() {
            None => Value::Text(text.to_owned()),
            Some(next) if next.parse::<usize>().is_ok() => Value::List(Vec::new()),
            Some(_) => Value::Table(Table::new()),
        };
        let mut node = Self::new(value, place.clone());
        if !rest.is_empty() {
            node.set(rest, text, place)?;
        }
        table.insert((*first).to_owned(), Entry { key: place.clone(), node });
        Ok(())
    }

    pub(super) fn find(&self, path: &[Step]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match (&self.value, first) {
            (Value::Table(table), Step::Key(key)) => table.get(key)?.node.find(rest),
            (Value::List(items), Step::Index(index)) => items.get(*index)?.find(rest),
            _ => None,
        }
    }

    fn find_mut(&mut self, path: &[Step]) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match (&mut self.value, first) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key)?.node.find_mut(rest),
            (Value::List(items), Step::Index(index)) => items.get_mut(*index)?.find_mut(rest),
            _ => None,
        }
    }

    /// Where the key at the end of `path` stands.
    pub(super) fn key_place(&self, path: &[Step]) -> Option<&Place> {
        let (last, parents) = path.split_last()?;
        match (&self.find(parents)?.value, last) {
            (Value::Table(table), Step::Key(key)) => table.get(key).map(|entry| &entry.key),
            _ => None,
        }
    }

    /// Puts what a lower layer says in place of the value at `path`. Whether there is such.
    pub(super) fn uncover(&mut self, path: &[Step]) -> bool {
        let Some(node) = self.find_mut(path) else { return false };
        let Some(hidden) = node.hidden.take() else { return false };
        *node = *hidden;
        true
    }

    /// Takes the value at `path` out. Whether it was there.
    pub(super) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        match (self.find_mut(parents).map(|parent| &mut parent.value), last) {
            (Some(Value::Table(table)), Step::Key(key)) => table.remove(key).is_some(),
            (Some(Value::List(items)), Step::Index(index)) => match items.get_mut(*index) {
                Some(item) if !item.gone => {
                    item.gone = true;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Takes over how the parts of `read`, a copy of this node, were read.
    pub(super) fn mark_like(&self, read: &Self) {
        self.secret.set(self.secret.get() || read.secret.get());
        if let Some(literal) = read.literal.borrow().as_ref() {
            self.literal.replace(Some(literal.clone()));
        }
        match (&self.value, &read.value) {
            (Value::Table(ours), Value::Table(read)) => {
                for (key, entry) in read {
                    if let Some(kept) = ours.get(key) {
                        kept.node.mark_like(&entry.node);
                    }
                }
            }
            (Value::List(ours), Value::List(read)) => {
                ours.iter().zip(read).for_each(|(kept, item)| kept.mark_like(item));
            }
            _ => {}
        }
    }

    /// Whether this or anything in it was read as a secret.
    pub(super) fn holds_secret(&self) -> bool {
        self.secret.get()
            || match &self.value {
                Value::List(items) => items.iter().any(Self::holds_secret),
                Value::Table(table) => table.values().any(|entry| entry.node.holds_secret()),
                Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => false,
            }
    }
}

/// A list has no such element, and it is not the next one either.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfList {
    pub(super) length: usize,
}
