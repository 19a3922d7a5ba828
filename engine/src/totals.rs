//! The totals of an episode: one value for each column, whatever order the firings came in.
//!
//! Owns: how values of several firings become one. Never: which firings belong together.
//!
//! Numbers become the greatest of them. Anything else becomes that of the last firing point; of
//! two at one point, the greater as text. A column that is sometimes a number is a number.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::wire::wire_struct;

/// Running totals.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    /// By column: the firing point that the value is from, and the value.
    columns: BTreeMap<String, (i64, Value)>,
}

wire_struct!(Totals { columns });

impl Totals {
    /// Adds the values of the firing at `point`.
    pub(crate) fn add(&mut self, point: i64, values: &Map<String, Value>) {
        for (name, value) in values {
            self.put(name, point, value);
        }
    }

    /// Adds another episode's.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, (point, value)) in &other.columns {
            self.put(name, *point, value);
        }
    }

    fn put(&mut self, name: &str, point: i64, value: &Value) {
        match self.columns.get_mut(name) {
            None => {
                self.columns.insert(name.to_owned(), (point, value.clone()));
            }
            Some(held) if beats((point, value), (held.0, &held.1)) => {
                *held = (point, value.clone());
            }
            Some(_) => {}
        }
    }

    pub(crate) fn values(&self) -> Map<String, Value> {
        self.columns.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect()
    }
}

fn beats(new: (i64, &Value), held: (i64, &Value)) -> bool {
    match (new.1, held.1) {
        (Value::Number(_), Value::Number(_)) => {
            compare(new.1, held.1).then(new.0.cmp(&held.0)) == Ordering::Greater
        }
        (Value::Number(_), _) => true,
        (_, Value::Number(_)) => false,
        _ => new.0.cmp(&held.0).then_with(|| compare(new.1, held.1)) == Ordering::Greater,
    }
}

/// Numbers by size, all else by their text.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
        return a.cmp(&b);
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => a.to_string().cmp(&b.to_string()),
    }
}

/// Column by column; a column that only one has makes that one the greater.
pub(crate) fn compare_maps(a: &Map<String, Value>, b: &Map<String, Value>) -> Ordering {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let column = |name: &String| match (a.get(name), b.get(name)) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    names.into_iter().map(column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::Totals;

    fn row(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no row"),
        }
    }

    #[test]
    fn totals_are_the_same_in_any_order() {
        let firings = [
            (3, row(json!({"failures": 20, "path": "/a", "ratio": 0.5}))),
            (5, row(json!({"failures": 7, "path": "/b"}))),
            (5, row(json!({"failures": 9, "path": "/c", "ratio": 0.25}))),
            (4, row(json!({"failures": 19, "path": "/z"}))),
        ];
        let expected = row(json!({"failures": 20, "path": "/c", "ratio": 0.5}));
        for turn in 0..firings.len() {
            let (mut all, mut tail) = (Totals::default(), Totals::default());
            for (place, (point, values)) in firings.iter().cycle().skip(turn).take(4).enumerate() {
                if place < 2 { all.add(*point, values) } else { tail.add(*point, values) }
            }
            all.merge(&tail);
            assert_eq!(all.values(), expected, "beginning with {turn}");
        }
    }
}
