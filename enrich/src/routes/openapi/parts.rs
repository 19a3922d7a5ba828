//! A document that is spread over several addresses.
//!
//! Owns: which others it refers to, and making one document of all. Never: fetches; whoever has
//! the parts gives them.
//!
//! The others are put under a key of the document, and every reference to them is turned into one
//! that leads there. What is not given is left as it stands, and costs the operations that need it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;
use serde_json::{Map, Value};

/// Where the others stand in the whole. Extensions begin with `x-`.
const KEY: &str = "x-tidegate-parts";

/// Documents that one may be spread over.
pub(crate) const PARTS_MAX: usize = 100;

/// A document and what it refers to.
#[derive(Debug)]
pub(crate) struct Parts {
    location: Url,
    root: Value,
    others: BTreeMap<Url, Value>,
    /// All that were ever wanted.
    known: BTreeSet<Url>,
    /// Of these, what was not asked for yet.
    wanted: Vec<Url>,
    /// References to more than [`PARTS_MAX`].
    pub(crate) left_out: bool,
}

impl Parts {
    pub(crate) fn new(location: Url, root: Value) -> Self {
        let location = bare(location);
        let known = BTreeSet::from([location.clone()]);
        let (others, wanted) = (BTreeMap::new(), Vec::new());
        let mut parts = Self { location, root, others, known, wanted, left_out: false };
        let mut found = BTreeSet::new();
        references(&parts.root, &parts.location, &mut found);
        parts.want(found);
        parts
    }

    /// An address that the document needs, each once. Only those of its own host are.
    pub(crate) fn wanted(&mut self) -> Option<Url> {
        self.wanted.pop()
    }

    /// What an address answered.
    pub(crate) fn put(&mut self, url: Url, value: Value) {
        let mut found = BTreeSet::new();
        references(&value, &url, &mut found);
        self.others.insert(url, value);
        self.want(found);
    }

    /// Whether the document is in one piece.
    pub(crate) fn is_whole(&self) -> bool {
        self.known.len() == 1
    }

    fn want(&mut self, found: BTreeSet<Url>) {
        let origin = self.location.origin();
        for url in found.into_iter().filter(|url| url.origin() == origin) {
            if self.known.len() > PARTS_MAX {
                self.left_out = true;
                return;
            }
            if self.known.insert(url.clone()) {
                self.wanted.push(url);
            }
        }
    }

    /// One document of all that was given.
    pub(crate) fn whole(mut self) -> Value {
        let mut places = BTreeMap::from([(self.location.clone(), String::new())]);
        for (number, url) in self.others.keys().enumerate() {
            places.entry(url.clone()).or_insert_with(|| format!("/{KEY}/{number}"));
        }
        turn(&mut self.root, &self.location, &places);
        let mut others = Vec::with_capacity(self.others.len());
        for (url, mut value) in self.others {
            turn(&mut value, &url, &places);
            others.push(value);
        }
        if let (Some(root), false) = (self.root.as_object_mut(), others.is_empty()) {
            root.insert(KEY.to_owned(), Value::Array(others));
        }
        self.root
    }
}

/// The address without its fragment.
fn bare(mut url: Url) -> Url {
    url.set_fragment(None);
    url
}

/// Where a reference leads: the address, and the place there.
fn target(reference: &str, base: &Url) -> Option<(Url, String)> {
    let (address, place) = reference.split_once('#').unwrap_or((reference, ""));
    let url = if address.is_empty() { base.clone() } else { bare(base.join(address).ok()?) };
    Some((url, place.to_owned()))
}

/// All addresses that are referred to.
fn references(value: &Value, base: &Url, found: &mut BTreeSet<Url>) {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some((url, _)) = reference.and_then(|reference| target(reference, base)) {
                found.insert(url);
            }
            fields.values().for_each(|value| references(value, base, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, base, found)),
        _ => {}
    }
}

/// Turns references to what is there into references within the whole.
fn turn(value: &mut Value, base: &Url, places: &BTreeMap<Url, String>) {
    match value {
        Value::Object(fields) => {
            turn_own(fields, base, places);
            fields.values_mut().for_each(|value| turn(value, base, places));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| turn(value, base, places)),
        _ => {}
    }
}

fn turn_own(fields: &mut Map<String, Value>, base: &Url, places: &BTreeMap<Url, String>) {
    let Some(Value::String(reference)) = fields.get_mut("$ref") else { return };
    let Some((url, place)) = target(reference, base) else { return };
    if let Some(start) = places.get(&url) {
        *reference = format!("#{start}{place}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::{Expect, expect};
    use reqwest::Url;

    use super::super::{document_of, value};
    use super::Parts;

    /// Documents by address; the first is the root.
    #[track_caller]
    fn check(documents: &[(&str, &str)], expected: &Expect) {
        let mut texts: BTreeMap<Url, &str> = BTreeMap::new();
        for (url, text) in documents {
            texts.insert(Url::parse(url).unwrap(), text);
        }
        let (url, text) = documents[0];
        let location = Url::parse(url).unwrap();
        let mut parts = Parts::new(location.clone(), value(text).unwrap());
        let mut lines = Vec::new();
        while let Some(url) = parts.wanted() {
            lines.push(format!("wants {url}"));
            if let Some(text) = texts.get(&url) {
                parts.put(url, value(text).unwrap());
            }
        }
        let whole = parts.whole();
        let (document, problems) = document_of("shop", &whole, text, Some(&location));
        for operation in &document.operations {
            let query = operation.query.join(",");
            lines.push(format!("{} {} {query}", operation.method(), operation.template));
        }
        lines.extend(problems.iter().map(ToString::to_string));
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn references_are_followed_from_document_to_document_and_back() {
        check(
            &[
                (
                    "http://shop/api/openapi.yaml",
                    "
openapi: 3.1.0
servers: [{url: v2}, {url: ../beta/}]
paths:
  /orders: {$ref: 'paths/orders.yaml#/orders'}
  /carts: {$ref: 'paths/carts.json'}
  /none: {get: {parameters: [{$ref: 'gone.yaml#/x'}]}}
  /far: {get: {parameters: [{$ref: 'https://elsewhere/x.yaml#/x'}]}}
components:
  parameters: {page: {in: query, name: page}}
",
                ),
                (
                    "http://shop/api/paths/orders.yaml",
                    "
orders:
  get: {parameters: [{$ref: '#/size'}, {$ref: '../openapi.yaml#/components/parameters/page'}]}
size: {in: query, name: size}
",
                ),
                (
                    "http://shop/api/paths/carts.json",
                    r#"{"get": {"parameters": [{"$ref": "orders.yaml#/size"}]}}"#,
                ),
            ],
            &expect![[r#"
                wants http://shop/api/paths/orders.yaml
                wants http://shop/api/paths/carts.json
                wants http://shop/api/gone.yaml
                GET /api/v2/carts size
                GET /beta/carts size
                GET /api/v2/orders page,size
                GET /beta/orders page,size
                line 7, column 3: the operation is left out: GET /none: `gone.yaml#/x` refers to another document; next: put what it needs into this document, as a bundler does; only a document that is fetched may refer to others, of its own host
                line 8, column 3: the operation is left out: GET /far: `https://elsewhere/x.yaml#/x` refers to another document; next: put what it needs into this document, as a bundler does; only a document that is fetched may refer to others, of its own host"#]],
        );
    }
}
