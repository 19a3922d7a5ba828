//! A walk over the paths of a document.
//!
//! Owns: paths, servers, references. Never: what the facts of an operation are; `facts` says.

use std::collections::BTreeSet;

use reqwest::Url;
use serde_json::Value;

use super::super::{METHODS, words};
use super::{Operation, facts, placed};
use crate::problem::Problem;

/// References followed in a row; more is a circle.
const REFERENCES_MAX: usize = 8;

/// Operations of a document, once for each server. The largest public documents have 20,000.
const OPERATIONS_MAX: usize = 100_000;

const WHAT: &str = "the operation is left out";

/// A document while it is read.
#[derive(Debug)]
pub(super) struct Reading<'d> {
    pub(super) root: &'d Value,
    text: &'d str,
    location: Option<&'d Url>,
    pub(super) problems: Vec<Problem>,
}

impl<'d> Reading<'d> {
    pub(super) fn new(root: &'d Value, text: &'d str, location: Option<&'d Url>) -> Self {
        Self { root, text, location, problems: Vec::new() }
    }

    fn problem(&mut self, wanted: &str, why: String, next: &str) {
        self.problems.push(placed(Problem::new(WHAT, why, next), self.text, wanted));
    }

    /// The value itself, or what it refers to.
    pub(super) fn resolve(&self, value: &'d Value) -> Result<&'d Value, String> {
        let mut value = value;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
                return Ok(value);
            };
            let Some(pointer) = reference.strip_prefix('#') else {
                return Err(format!("`{reference}` refers to another document"));
            };
            let target = self
                .root
                .pointer(pointer)
                .or_else(|| self.root.pointer(&crate::deploys::percent_decoded(pointer)));
            value = target.ok_or_else(|| format!("`{reference}` refers to nothing"))?;
        }
        Err("references run in a circle".to_owned())
    }

    pub(super) fn operations(&mut self) -> Vec<Operation> {
        let mut operations = Vec::new();
        let Some(paths) = self.root.get("paths").and_then(Value::as_object) else {
            // A 3.1 document may have webhooks alone.
            return operations;
        };
        for (path, item) in paths {
            if path.starts_with("x-") {
                continue;
            }
            if !path.starts_with('/') {
                let why = format!("the path `{path}` does not begin with a slash");
                self.problem(path, why, "write it as `/…`");
                continue;
            }
            if let Some(why) = braces(path) {
                self.problem(path, why, "write parameters as `{name}`");
                continue;
            }
            match self.resolve(item) {
                Ok(item) => self.item(path, item, &mut operations),
                Err(why) => self.problem(path, why, BUNDLE),
            }
            if operations.len() > OPERATIONS_MAX {
                let why = format!("there are more than {OPERATIONS_MAX} operations");
                self.problem(path, why, "split the document by service");
                operations.truncate(OPERATIONS_MAX);
                return operations;
            }
        }
        operations
    }

    fn item(&mut self, path: &str, item: &'d Value, operations: &mut Vec<Operation>) {
        for (number, method) in METHODS.iter().enumerate() {
            let Some(operation) = item.get(method.to_ascii_lowercase()) else { continue };
            let around = Around { item, operation, method: number };
            match facts::read(self, &around) {
                Ok(facts) => {
                    for base in self.bases(&around) {
                        let template = joined(&base, path);
                        let last = template.rsplit('/').find(|segment| !segment.is_empty());
                        let segments = || template.split('/');
                        operations.push(Operation {
                            login: facts.login.unwrap_or_else(|| {
                                around.is_post()
                                    && (facts.password || last.is_some_and(words::is_login))
                            }),
                            privileged: facts
                                .privileged
                                .unwrap_or_else(|| facts.admin || segments().any(words::is_admin)),
                            template,
                            method: number,
                            auth_required: facts.auth_required,
                            scopes: facts.scopes.clone(),
                            deprecated: facts.deprecated,
                            query: facts.query.clone(),
                        });
                    }
                }
                Err(why) => self.problem(path, format!("{method} {path}: {why}"), BUNDLE),
            }
        }
    }

    /// The paths of the servers, of the operation before the path before the document.
    fn bases(&self, around: &Around<'d>) -> BTreeSet<String> {
        let servers = [around.operation, around.item, self.root]
            .into_iter()
            .filter_map(|of| of.get("servers")?.as_array())
            .find(|servers| !servers.is_empty());
        let path = |server| base_path(server, self.location);
        let bases: BTreeSet<String> = servers.into_iter().flatten().filter_map(path).collect();
        if bases.is_empty() { BTreeSet::from([String::new()]) } else { bases }
    }
}

const BUNDLE: &str = "put what it needs into this document, as a bundler does; only a document that is fetched may \
     refer to others, of its own host";

/// An operation and what stands around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'d> {
    pub(super) item: &'d Value,
    pub(super) operation: &'d Value,
    pub(super) method: usize,
}

impl Around<'_> {
    pub(super) fn is_post(&self) -> bool {
        self.method == super::super::POST
    }
}

/// The path of a server's URL, without a slash at the end.
fn base_path(server: &Value, location: Option<&Url>) -> Option<String> {
    let mut url = server.get("url")?.as_str()?.to_owned();
    if let Some(variables) = server.get("variables").and_then(Value::as_object) {
        for (name, variable) in variables {
            let default = variable.get("default").and_then(Value::as_str).unwrap_or("");
            url = url.replace(&format!("{{{name}}}"), default);
        }
    }
    if let Some(whole) = location.filter(|_| !url.contains("://")).and_then(|at| at.join(&url).ok())
    {
        return Some(whole.path().trim_end_matches('/').to_owned());
    }
    let path = match url.split_once("://") {
        Some((_scheme, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or(""),
        None => &url,
    };
    let path = path.split(['?', '#']).next().unwrap_or("").trim_end_matches('/');
    let path = path.trim_start_matches("./");
    Some(if path.is_empty() || path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    })
}

fn joined(base: &str, path: &str) -> String {
    format!("{base}{path}")
}

/// What is wrong with the braces of a path.
fn braces(path: &str) -> Option<String> {
    let mut open = false;
    let mut empty = false;
    for c in path.chars() {
        match c {
            '{' if open => return Some(format!("a brace in a brace in `{path}`")),
            '{' => (open, empty) = (true, true),
            '}' if !open || empty => return Some(format!("a `}}` out of place in `{path}`")),
            '}' => open = false,
            '/' if open => return Some(format!("a parameter of `{path}` has a slash")),
            _ => empty = false,
        }
    }
    open.then(|| format!("a `{{` without its `}}` in `{path}`"))
}
