//! Routes: which template a path belongs to, and what is declared of it.
//!
//! Owns: declared routes by service, from OpenAPI documents. Never: traffic; what is learned from
//! it lives in `learned`, beside these.
//!
//! # Where a route comes from
//!
//! 1. `gateway`: the log names it; it stays, and the document is asked about that template.
//! 2. `spec`: a document of the service has a template for the path. A template that has the
//!    method wins over one that has not, a literal segment over a parameter. A template without
//!    the method gives `route_declared = false`; HEAD counts as GET; OPTIONS that is not declared
//!    is a preflight, of which nothing is said.
//! 3. `learned`: traffic has shown it, see `learned`.
//! 4. `none`: nothing knows the path. With a document, `route_declared` is false then too.
//!
//! # Which document
//!
//! A service may have documents of several versions. An event is held against those of the version
//! of the instance that answered: the one that the log names, else that of the deploy. A document
//! of no version, and the latest that a service itself tells, stand for all versions that have
//! none of their own.
//!
//! # The object
//!
//! The last parameter of the template names it. Its type is the literal segment before the
//! parameter (versions such as `v1` do not count), else the parameter's name without `id`.
//! Parameters that choose a form rather than an object (`version`, `format`, `lang`, `locale`) do
//! not count. `object_tenant` is only ever taken from the log so far.

mod join;
mod learned;
mod openapi;
mod segments;
mod shape;
mod tree;
mod versions;
mod words;

use std::collections::HashMap;

use schemas::Event;

use crate::facts::Facts;
use crate::problem::Problem;

pub(crate) use join::{Held, RouteState};
pub use openapi::{Document, Operation, parse_document};
pub(crate) use openapi::{PARTS_MAX, Parts, document_of, root, value};
use tree::{Leaf, Tree};
use versions::Versions;

/// Methods that OpenAPI documents declare, by number.
pub(crate) const METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];

const HEAD: usize = 1;
const GET: usize = 0;
const POST: usize = 2;
const OPTIONS: usize = 5;

/// The number of a method, in upper case; none for others.
fn method_number(method: &str) -> Option<usize> {
    METHODS.iter().position(|known| *known == method)
}

/// All declared routes, ready to be joined.
#[derive(Debug)]
pub struct Routes {
    services: HashMap<Box<str>, Versions>,
    /// Of operations.
    facts: Facts,
    /// Of templates alone, for methods that they do not have.
    others: Facts,
    /// All operations, by service, path and method.
    listed: Vec<DeclaredRoute>,
    /// Templates over all services.
    templates: usize,
    operations: usize,
}

/// An operation that some document declares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclaredRoute {
    /// Its service.
    pub service: String,
    /// The template, as `route` has it.
    pub route: String,
    /// The method, in upper case.
    pub method: &'static str,
    /// Whether it is deprecated.
    pub deprecated: bool,
    /// Whether it needs credentials.
    pub auth_required: bool,
}

/// What a document says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The fact of the operation.
    Operation(u32),
    /// The fact of a template that lacks the method.
    Template(u32),
    /// Nothing.
    Nothing,
}

/// Rows of facts while they are gathered.
#[derive(Debug, Default)]
struct Rows<'d> {
    operations: Vec<Event<'d>>,
    templates: Vec<Event<'d>>,
}

#[derive(Debug, Default)]
struct Declared {
    tree: Tree,
    /// Leaves by the text of their templates, for routes that the log names.
    by_template: HashMap<Box<str>, u32>,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new([]).0
    }
}

impl Routes {
    /// Of these documents. Several may speak of one service and version; of two operations with one method and
    /// one shape of path the first holds, and the other is returned as a problem.
    #[must_use]
    pub fn new<'d>(documents: impl IntoIterator<Item = &'d Document>) -> (Self, Vec<Problem>) {
        let mut rows = Rows::default();
        let mut problems = Vec::new();
        let mut services = HashMap::new();
        let (mut templates, mut operations) = (0, 0);
        let mut listed = Vec::new();
        for (service, views) in versions::views(documents) {
            let mut versions = Versions::default();
            for (version, documents) in views {
                let mut declared = Declared::default();
                for (document, operation) in documents.iter().flat_map(|d| d.each_operation()) {
                    operations += 1;
                    match declared.add(operation, &mut rows) {
                        Ok(()) => listed.push(listed_row(service, operation)),
                        Err(taken_by) => problems.push(twice(document, operation, &taken_by)),
                    }
                }
                templates += declared.tree.leaves();
                versions.put(version, declared);
            }
            services.insert(service.into(), versions);
        }
        let (facts, others) = (Facts::new(rows.operations), Facts::new(rows.templates));
        listed.sort();
        let same = |one: &mut DeclaredRoute, other: &mut DeclaredRoute| {
            (&one.service, &one.route, one.method) == (&other.service, &other.route, other.method)
        };
        listed.dedup_by(same);
        (Self { services, facts, others, listed, templates, operations }, problems)
    }

    /// All declared operations, by service, path and method.
    #[must_use]
    pub fn declared(&self) -> &[DeclaredRoute] {
        &self.listed
    }

    /// How many operations are declared.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations
    }

    /// How many templates they have.
    #[must_use]
    pub fn templates(&self) -> usize {
        self.templates
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.services.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.into_iter()
    }
}

fn listed_row(service: &str, operation: &Operation) -> DeclaredRoute {
    DeclaredRoute {
        service: service.to_owned(),
        route: operation.template.clone(),
        method: operation.method(),
        deprecated: operation.deprecated,
        auth_required: operation.auth_required,
    }
}

fn twice(document: &Document, operation: &Operation, taken_by: &str) -> Problem {
    let (method, template) = (METHODS.get(operation.method).unwrap_or(&""), &operation.template);
    let problem = Problem::new(
        "the operation is left out",
        format!("{method} {template} matches the same paths as {method} {taken_by}"),
        "declare the path once",
    );
    match (&document.file, &document.url) {
        (Some(file), _) => problem.in_file(file),
        (None, Some(url)) => problem.at_url(url),
        (None, None) => problem,
    }
}

impl Declared {
    /// Adds an operation, or gives the template that has its place.
    fn add<'o>(&mut self, operation: &'o Operation, rows: &mut Rows<'o>) -> Result<(), Box<str>> {
        let place = self.tree.place(&operation.template);
        let Some(leaf) = self.tree.leaf_mut(place) else { return Ok(()) };
        if leaf.template.is_empty() {
            *leaf = new_leaf(&operation.template, &mut rows.templates);
        }
        let Some(fact) = leaf.facts.get_mut(operation.method) else { return Ok(()) };
        if fact.is_some() {
            return Err(leaf.template.clone());
        }
        *fact = Some(push(&mut rows.operations, declared_row(operation)));
        self.by_template.insert(operation.template.as_str().into(), place);
        Ok(())
    }

    fn leaf_of_template(&self, template: &str) -> Option<&Leaf> {
        self.tree.leaf(*self.by_template.get(template)?)
    }
}

fn push<'e>(rows: &mut Vec<Event<'e>>, row: Event<'e>) -> u32 {
    let fact = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    rows.push(row);
    fact
}

fn new_leaf<'o>(template: &'o str, rows: &mut Vec<Event<'o>>) -> Leaf {
    let object_type = segments::object_type(template);
    let plain = Event {
        route: Some(template.into()),
        route_source: Some("spec".into()),
        object_type: object_type.map(Into::into),
        ..Event::default()
    };
    Leaf {
        template: template.into(),
        facts: [None; METHODS.len()],
        preflight: push(rows, plain.clone()),
        undeclared: push(rows, Event { route_declared: Some(false), ..plain }),
        object: segments::object_place(template),
        object_type: segments::type_hash(object_type),
    }
}

fn declared_row(operation: &Operation) -> Event<'_> {
    let list = |list: &[String]| Some(list.iter().map(|text| text.clone().into()).collect());
    Event {
        route: Some(operation.template.as_str().into()),
        route_source: Some("spec".into()),
        route_declared: Some(true),
        route_auth_required: Some(operation.auth_required),
        route_scopes: list(&operation.scopes),
        route_privileged: Some(operation.privileged),
        route_login: Some(operation.login),
        route_deprecated: Some(operation.deprecated),
        route_declared_query: list(&operation.query),
        object_type: segments::object_type(&operation.template).map(Into::into),
        ..Event::default()
    }
}

impl Leaf {
    /// The fact of a method here. HEAD is answered where GET is.
    fn fact(&self, method: Option<usize>) -> Option<u32> {
        let method = method?;
        let fact = self.facts.get(method).copied().flatten();
        fact.or_else(|| if method == HEAD { self.facts.get(GET).copied().flatten() } else { None })
    }

    /// What is known of a method here.
    fn known(&self, method: Option<usize>) -> Known {
        match self.fact(method) {
            Some(fact) => Known::Operation(fact),
            None if method == Some(OPTIONS) => Known::Template(self.preflight),
            None => Known::Template(self.undeclared),
        }
    }
}

#[cfg(test)]
mod tests;
