//! Documents of one service by its versions.
//!
//! Owns: which documents hold for a version. Never: which version answered a request.
//!
//! A service may be described in several places: files, and addresses of its own. For a version
//! each place has a say with its document of that version, or else with the one that it has for
//! any.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Declared, Document};

/// What is declared of a service, by version.
#[derive(Debug, Default)]
pub(super) struct Versions {
    any: Option<Declared>,
    each: HashMap<Box<str>, Declared>,
}

impl Versions {
    pub(super) fn put(&mut self, version: Option<&str>, declared: Declared) {
        match version {
            Some(version) => drop(self.each.insert(version.into(), declared)),
            None => self.any = Some(declared),
        }
    }

    /// What holds for a version, which is asked for only where it matters.
    pub(super) fn of<'v>(&self, version: impl FnOnce() -> Option<&'v str>) -> Option<&Declared> {
        if self.each.is_empty() {
            return self.any.as_ref();
        }
        version().and_then(|version| self.each.get(version)).or(self.any.as_ref())
    }
}

/// A version, none for any, and the documents that hold for it.
type View<'d> = (Option<&'d str>, Vec<&'d Document>);

/// By service, what holds for each of its versions; first what holds for any.
pub(super) fn views<'d>(
    documents: impl IntoIterator<Item = &'d Document>,
) -> BTreeMap<&'d str, Vec<View<'d>>> {
    let mut by_service: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        by_service.entry(&document.service).or_default().push(document);
    }
    let of_service = |(service, documents): (&'d str, Vec<&'d Document>)| {
        let any: Vec<&Document> = documents.iter().copied().filter(|d| d.for_any).collect();
        let versions: BTreeSet<&str> =
            documents.iter().filter_map(|d| d.version.as_deref()).collect();
        let each =
            versions.into_iter().map(|version| (Some(version), holding(&documents, version)));
        // The latest is mostly the only one.
        let other = |(_, held): &View<'d>| {
            held.len() != any.len() || held.iter().zip(&any).any(|(a, b)| !std::ptr::eq(*a, *b))
        };
        let mut views: Vec<View<'d>> = each.filter(other).collect();
        if !any.is_empty() {
            views.insert(0, (None, any));
        }
        (service, views)
    };
    by_service.into_iter().map(of_service).collect()
}

/// The documents that hold for a version, in their order.
fn holding<'d>(documents: &[&'d Document], version: &str) -> Vec<&'d Document> {
    let is_of = |document: &Document| document.version.as_deref() == Some(version);
    let places: BTreeSet<Option<&str>> =
        documents.iter().filter(|d| is_of(d)).map(|d| d.url.as_deref()).collect();
    let holds = |document: &&Document| {
        if places.contains(&document.url.as_deref()) { is_of(document) } else { document.for_any }
    };
    documents.iter().copied().filter(holds).collect()
}
