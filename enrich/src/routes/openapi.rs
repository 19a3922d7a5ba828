//! OpenAPI 3.0 and 3.1 documents.
//!
//! Owns: the few facts of an operation that the join needs. Never: validates a document; what it
//! does not need it does not read.
//!
//! The document is read as plain values rather than into the types of a crate for OpenAPI: those
//! exist for 3.0 and for 3.1 apart, and refuse the small mistakes that real documents are full of.
//!
//! - **Path**: the path of each server (of the operation, the path or the document) before the
//!   template; variables of a server take their default. A relative one starts where the document
//!   was fetched.
//! - **References** lead into the document, or, where it was fetched, to others of the same host.
//! - **Auth required**: the security of the operation, else of the document, is not empty and has
//!   no empty alternative. Nothing said is not required.
//! - **Scopes**: those that every alternative asks for.
//! - **Privileged**: `x-privileged` of operation or path, else a tag, a segment of the path or a
//!   scope that speaks of administration.
//! - **Login**: `x-login` of operation or path, else POST with a password in the body's schema, or
//!   with a last segment such as `login` or `token`.
//! - **Query**: names of query parameters, of the properties of those that are objects, and of API
//!   keys that travel in the query.

mod document;
mod facts;
mod parts;

use std::path::PathBuf;

use reqwest::Url;
use serde_json::Value;

pub(crate) use parts::{PARTS_MAX, Parts};

use crate::problem::{Problem, json_reason};

/// The largest document. The largest public ones have 12 MiB.
const DOCUMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is declared of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The service.
    pub service: String,
    /// The version of the service that it is of, as logs and deploys name it; absent: of any.
    pub version: Option<String>,
    /// Whether it stands for versions too that have no document of their own.
    pub for_any: bool,
    /// What the document itself says is its version.
    pub stated_version: Option<String>,
    /// Where it was read.
    pub file: Option<PathBuf>,
    /// Where it was fetched.
    pub url: Option<Box<str>>,
    /// Its operations, once for each server's path.
    pub operations: Vec<Operation>,
}

impl Document {
    pub(crate) fn each_operation(&self) -> impl Iterator<Item = (&Self, &Operation)> {
        self.operations.iter().map(move |operation| (self, operation))
    }
}

/// An operation under one server's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The whole path with its parameters: `/v1/orders/{id}`.
    pub template: String,
    /// The number of its method.
    pub(crate) method: usize,
    /// Whether it needs credentials.
    pub auth_required: bool,
    /// The scopes it needs.
    pub scopes: Vec<String>,
    /// Whether it is for administration.
    pub privileged: bool,
    /// Whether it takes passwords.
    pub login: bool,
    /// Whether it is deprecated.
    pub deprecated: bool,
    /// Names of its query parameters, sorted.
    pub query: Vec<String>,
}

impl Operation {
    /// The method, in upper case.
    #[must_use]
    pub fn method(&self) -> &'static str {
        super::METHODS.get(self.method).copied().unwrap_or("")
    }
}

const WHAT: &str = "the document is not used";

/// Reads a document in YAML or JSON.
///
/// # Errors
/// Where the text is neither, or no OpenAPI 3 document. Smaller mistakes cost only the operations
/// that they are in, and are returned beside the document.
pub fn parse_document(service: &str, text: &str) -> Result<(Document, Vec<Problem>), Problem> {
    let root = root(text)?;
    Ok(document_of(service, &root, text, None))
}

/// The values of a document, which is known to be of OpenAPI 3.
pub(crate) fn root(text: &str) -> Result<Value, Problem> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let why = format!("{} bytes are more than {DOCUMENT_BYTES_MAX}", text.len());
        return Err(Problem::new(WHAT, why, "split it by service"));
    }
    let root = value(text)?;
    version(&root, text)?;
    Ok(root)
}

/// What is declared in values that are known to be of OpenAPI 3. `text` is what they were read
/// from, `location` where that was fetched.
pub(crate) fn document_of(
    service: &str,
    root: &Value,
    text: &str,
    location: Option<&Url>,
) -> (Document, Vec<Problem>) {
    let mut reading = document::Reading::new(root, text, location);
    let operations = reading.operations();
    // In the order of the text, which values do not keep.
    reading.problems.sort_by_key(|problem| problem.line);
    let stated = root.pointer("/info/version").map(scalar).filter(|stated| !stated.is_empty());
    let document = Document {
        service: service.to_owned(),
        version: None,
        for_any: true,
        stated_version: stated,
        file: None,
        url: None,
        operations,
    };
    (document, reading.problems)
}

/// The values of a text in YAML or JSON.
pub(crate) fn value(text: &str) -> Result<Value, Problem> {
    if text.trim_start().starts_with('{') {
        match serde_json::from_str(text) {
            Ok(value) => return Ok(value),
            // In YAML braces may stand for a map too, so JSON has the word only if YAML fails.
            Err(error) => {
                return yaml(text).map_err(|_not_yaml_either| {
                    let why = format!("not JSON: {}", json_reason(&error));
                    Problem::new(WHAT, why, "correct it; other tools will refuse it too")
                        .at(error.line(), Some(error.column()))
                });
            }
        }
    }
    yaml(text).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location();
        let message = error.to_string();
        let why = format!("not YAML: {}", reason(&message));
        let problem = Problem::new(WHAT, why, "correct it; other tools will refuse it too");
        match place {
            Some(place) => {
                let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
                problem.at(number(place.line()), Some(number(place.column())))
            }
            None => problem,
        }
    })
}

/// The message without the place, which comes before or after it.
fn reason(message: &str) -> &str {
    let first = message.lines().next().unwrap_or(message);
    first.split(" at line ").next().unwrap_or(first).trim_end_matches([',', ' '])
}

fn yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            // Each takes at least two bytes of a document that is bounded.
            max_events: DOCUMENT_BYTES_MAX,
            max_nodes: DOCUMENT_BYTES_MAX,
            max_total_scalar_bytes: DOCUMENT_BYTES_MAX,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
}

fn version(root: &Value, text: &str) -> Result<(), Problem> {
    if let Some(old) = root.get("swagger") {
        let why = format!("it is a Swagger {} document", scalar(old));
        let problem = Problem::new(WHAT, why, "convert it to OpenAPI 3; `swagger2openapi` does");
        return Err(placed(problem, text, "swagger"));
    }
    let Some(version) = root.get("openapi") else {
        let next = "begin with `openapi: 3.1.0`; a folder `openapi` has one document a service";
        return Err(Problem::new(WHAT, "it has no `openapi` field", next).at(1, None));
    };
    let version = scalar(version);
    if version.starts_with("3.") || version == "3" {
        return Ok(());
    }
    let why = format!("it is of OpenAPI {version}; 3.x is read");
    Err(placed(Problem::new(WHAT, why, "convert it to OpenAPI 3.1"), text, "openapi"))
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The problem at the first place where the text stands, since values do not remember theirs.
fn placed(problem: Problem, text: &str, wanted: &str) -> Problem {
    for (number, line) in text.lines().enumerate() {
        if let Some(offset) = line.find(wanted) {
            let column = line.get(..offset).map_or(0, |before| before.chars().count()) + 1;
            return problem.at(number + 1, Some(column));
        }
    }
    problem
}

#[cfg(test)]
mod tests;
