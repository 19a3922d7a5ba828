//! What a file of the folder says.
//!
//! Owns: names of files, bytes to rows. Never: files, and what is done with the rows.

use std::path::Path;
use std::sync::Arc;

use schemas::Deploy;

use crate::deploys::parse_line;
use crate::identities::{ApiKey, Identity, api_key_line, identity_line};
use crate::network::{AddressList, Database};
use crate::problem::Problem;
use crate::routes::{Document, parse_document};

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Deploys,
    Identities,
    ApiKeys,
    Document,
    List,
    Database,
    /// A name that looks like a mistake.
    Misnamed,
    /// None of ours.
    Other,
}

const NAMES: &str = "the files are `deploys.jsonl`, `identities.jsonl`, `api_keys.jsonl`, \
                     `openapi/<service>.yml` (or .yaml, .json; \
                     `<service>@<version>` for one version), `lists/<kind>.txt` (or .csv) and \
                     `*.mmdb`";

impl Kind {
    /// By the folder's part (none, `openapi`, `lists`) and the file's name.
    pub(super) fn of(part: &str, name: &str) -> Self {
        if name.starts_with('.') || name.ends_with('~') {
            return Self::Other;
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match (part, name, ending) {
            ("", "deploys.jsonl", _) => Self::Deploys,
            ("", "identities.jsonl", _) => Self::Identities,
            ("", "api_keys.jsonl", _) => Self::ApiKeys,
            ("", _, "mmdb") => Self::Database,
            ("openapi", _, "yml" | "yaml" | "json") => Self::Document,
            ("lists", _, "txt" | "csv") => Self::List,
            (_, _, "md" | "tmp" | "swp" | "bak") => Self::Other,
            (_, "README" | "LICENSE" | "LICENCE", _) => Self::Other,
            _ => Self::Misnamed,
        }
    }

    /// The table that the file belongs to.
    pub(super) fn table(self) -> Option<&'static str> {
        match self {
            Self::Deploys => Some("deploys"),
            Self::Identities => Some("identities"),
            Self::ApiKeys => Some("api_keys"),
            Self::Document => Some("routes"),
            Self::List => Some("lists"),
            Self::Database => Some("networks"),
            Self::Misnamed | Self::Other => None,
        }
    }
}

/// The rows of a file.
#[derive(Debug)]
pub(super) enum Content {
    Deploys(Vec<Deploy>),
    Identities(Vec<Identity>),
    ApiKeys(Vec<ApiKey>),
    Document(Arc<Document>),
    List(Vec<AddressList>),
    Database(Arc<Database>),
}

impl Content {
    /// What the bytes say; none where they say nothing that can be used.
    pub(super) fn parse(kind: Kind, path: &Path, bytes: Vec<u8>) -> (Option<Self>, Vec<Problem>) {
        if kind == Kind::Database {
            return match Database::read(bytes) {
                Ok(database) => (Some(Self::Database(Arc::new(database))), Vec::new()),
                Err(problem) => (None, vec![problem]),
            };
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return (None, vec![not_text(&error)]),
        };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_default();
        match kind {
            Kind::Deploys => {
                let (rows, problems) = lines(&text, parse_line);
                (rows.map(|rows| Self::Deploys(rows.into_iter().flatten().collect())), problems)
            }
            Kind::Identities => {
                let (rows, problems) = lines(&text, identity_line);
                (rows.map(Self::Identities), problems)
            }
            Kind::ApiKeys => {
                let (rows, problems) = lines(&text, api_key_line);
                (rows.map(Self::ApiKeys), problems)
            }
            Kind::Document => document(&stem, path, &text),
            Kind::List => {
                let (lists, problems) = AddressList::parse(&stem, &text);
                let unusable = lists.is_empty() && !problems.is_empty();
                ((!unusable).then_some(Self::List(lists)), problems)
            }
            Kind::Misnamed => {
                let why = "the context folder has no file of this name";
                (None, vec![Problem::new("the file is not used", why, NAMES)])
            }
            Kind::Database | Kind::Other => (None, Vec::new()),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Deploys(rows) => rows.len(),
            Self::Identities(rows) => rows.len(),
            Self::ApiKeys(rows) => rows.len(),
            Self::Document(document) => document.operations.len(),
            Self::List(lists) => lists.iter().map(|list| list.networks.len()).sum(),
            Self::Database(database) => database.nodes(),
        }
    }

    pub(super) fn deploys(&self) -> &[Deploy] {
        if let Self::Deploys(rows) = self { rows } else { &[] }
    }

    pub(super) fn identities(&self) -> &[Identity] {
        if let Self::Identities(rows) = self { rows } else { &[] }
    }

    pub(super) fn api_keys(&self) -> &[ApiKey] {
        if let Self::ApiKeys(rows) = self { rows } else { &[] }
    }

    pub(super) fn document(&self) -> Option<&Arc<Document>> {
        if let Self::Document(document) = self { Some(document) } else { None }
    }

    pub(super) fn lists(&self) -> &[AddressList] {
        if let Self::List(lists) = self { lists } else { &[] }
    }

    pub(super) fn database(&self) -> Option<Arc<Database>> {
        if let Self::Database(database) = self { Some(Arc::clone(database)) } else { None }
    }
}

/// A document; its file is called `service` or `service@version`.
fn document(stem: &str, path: &Path, text: &str) -> (Option<Content>, Vec<Problem>) {
    let (service, version) = match stem.split_once('@') {
        Some((service, version)) => (service, Some(version)),
        None => (stem, None),
    };
    if service.is_empty() || version == Some("") {
        let why = "a file of this folder is called after a service";
        let next = "call it <service>.yml, or <service>@<version>.yml where it is of one version";
        return (None, vec![Problem::new("the document is not used", why, next)]);
    }
    match parse_document(service, text) {
        Ok((document, problems)) => {
            let document = Document {
                file: Some(path.to_owned()),
                for_any: version.is_none(),
                version: version.map(str::to_owned),
                ..document
            };
            (Some(Content::Document(Arc::new(document))), problems)
        }
        Err(problem) => (None, vec![problem]),
    }
}

/// Mistakes named one by one in a file of lines; the rest are counted in one more.
const PROBLEMS_MAX: usize = 20;

/// The rows of the good lines; none where there are only bad ones.
fn lines<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, Problem>,
) -> (Option<Vec<T>>, Vec<Problem>) {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut unnamed = 0_usize;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match read(line) {
            Ok(row) => rows.push(row),
            Err(problem) if problems.len() < PROBLEMS_MAX => {
                problems.push(problem.below(number + 1));
            }
            Err(_one_of_many) => unnamed += 1,
        }
    }
    if unnamed > 0 {
        let why = format!("{unnamed} more lines have mistakes");
        problems.push(Problem::new("they are left out", why, "correct those above first"));
    }
    let usable = !rows.is_empty() || problems.is_empty();
    (usable.then_some(rows), problems)
}

fn not_text(error: &std::string::FromUtf8Error) -> Problem {
    let good = error.utf8_error().valid_up_to();
    let before = error.as_bytes().get(..good).unwrap_or(&[]);
    let line = before.iter().fold(1, |line, byte| line + usize::from(*byte == b'\n'));
    Problem::new("the file is not used", "it is not UTF-8", "write it in UTF-8").at(line, None)
}
