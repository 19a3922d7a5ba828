//! The context folder.
//!
//! Owns: which file is what, reading them, and the last good state of each. Never: the meaning of
//! their lines.
//!
//! In a file of lines, a bad line is left out and reported, and the others count. A file that
//! cannot be read at all, or of which no line is good, keeps what it said last. A file that is
//! taken away takes its rows with it; a folder that is taken away takes nothing.

mod content;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::context::{Context, TableState};
use crate::deploys::Deploys;
use crate::network::Network;
use crate::problem::Problem;

use content::{Content, Kind};
pub use watch::Watch;

/// The largest file. The largest databases of networks have 400 MiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Files in a folder at most; more is a wrong folder.
const FILES_MAX: usize = 10_000;

/// Reads a context folder once.
///
/// Nothing in it is needed: a missing file is an empty table. Every mistake is returned, and what
/// is good beside it is used.
#[must_use]
pub fn load_folder(path: &Path) -> (Context, Vec<Problem>) {
    let mut folder = Folder::new(path);
    let (changed, mut problems) = folder.read(None);
    let (context, twice) = folder.context(&Context::default(), &changed);
    problems.extend(twice);
    (context, problems)
}

/// A folder and what its files said last.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    files: BTreeMap<PathBuf, FileState>,
}

#[derive(Debug)]
struct FileState {
    kind: Kind,
    stamp: Stamp,
    /// What it said when it was good last; none if it never was.
    content: Option<Content>,
    problems: Vec<Problem>,
    read_at_ms: Option<i64>,
}

/// Tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Folder {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), files: BTreeMap::new() }
    }

    /// Reads what has changed since the last time: the kinds of files that did, and the mistakes in
    /// what was read now.
    fn read(&mut self, now_ms: Option<i64>) -> (BTreeSet<Kind>, Vec<Problem>) {
        let mut problems = Vec::new();
        let found = match list(&self.path, &mut problems) {
            Ok(found) => found,
            Err(error) => return (BTreeSet::new(), vec![unreadable(&self.path, &error)]),
        };
        let mut changed = BTreeSet::new();
        self.files.retain(|path, state| {
            let stays = found.contains_key(path);
            if !stays {
                changed.insert(state.kind);
            }
            stays
        });
        for (path, (kind, stamp)) in found {
            if self.files.get(&path).is_some_and(|state| state.stamp == stamp) {
                continue;
            }
            changed.insert(kind);
            let old = self.files.remove(&path);
            let state = read_file(&path, kind, stamp, now_ms);
            let state = state.or_last_good(old);
            problems.extend(state.problems.iter().cloned());
            self.files.insert(path, state);
        }
        (changed, problems)
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Content> {
        let states = self.files.values().filter(move |state| state.kind == kind);
        states.filter_map(|state| state.content.as_ref())
    }

    /// The present context with the tables of the changed kinds made anew, and the mistakes that
    /// show only when files are seen together.
    fn context(&self, present: &Context, changed: &BTreeSet<Kind>) -> (Context, Vec<Problem>) {
        let mut context = present.clone();
        let mut problems = Vec::new();
        if changed.contains(&Kind::Deploys) {
            let filed = self.of(Kind::Deploys).flat_map(Content::deploys).cloned().collect();
            let deploys: Deploys = present.deploys().with_filed(filed);
            context = context.with_deploys(deploys);
        }
        if changed.contains(&Kind::Identities) || changed.contains(&Kind::ApiKeys) {
            let people: Vec<_> =
                self.of(Kind::Identities).flat_map(Content::identities).cloned().collect();
            let keys: Vec<_> =
                self.of(Kind::ApiKeys).flat_map(Content::api_keys).cloned().collect();
            context = context.with_filed_callers(people, keys);
        }
        if changed.contains(&Kind::Document) {
            let filed = self.of(Kind::Document).filter_map(Content::document).cloned().collect();
            (context, problems) = context.with_filed_documents(filed);
        }
        if changed.contains(&Kind::List) || changed.contains(&Kind::Database) {
            let databases = self.of(Kind::Database).filter_map(Content::database).collect();
            let lists: Vec<_> = self.of(Kind::List).flat_map(Content::lists).cloned().collect();
            context = context.with_network(Network::new(databases, &lists));
        }
        (context.with_tables(self.tables()), problems)
    }

    fn tables(&self) -> Vec<TableState> {
        let mut tables: BTreeMap<Kind, TableState> = BTreeMap::new();
        for state in self.files.values() {
            let Some(name) = state.kind.table() else { continue };
            let table = tables.entry(state.kind).or_insert(TableState {
                table: name,
                rows: 0,
                problems: 0,
                read_at_ms: state.read_at_ms,
            });
            table.rows += state.content.as_ref().map_or(0, Content::rows);
            table.problems += state.problems.len();
            // A table is as old as its oldest part.
            table.read_at_ms = table.read_at_ms.min(state.read_at_ms);
        }
        tables.into_values().collect()
    }
}

impl FileState {
    /// This, or what the file said before, with what is wrong with it now.
    fn or_last_good(self, old: Option<Self>) -> Self {
        match old {
            Some(old) if self.content.is_none() && old.content.is_some() => {
                let problems = self.problems.into_iter().map(|problem| Problem {
                    what: format!("{} (what it said before stays in force)", problem.what).into(),
                    ..problem
                });
                Self {
                    stamp: self.stamp,
                    content: old.content,
                    problems: problems.collect(),
                    read_at_ms: old.read_at_ms,
                    kind: self.kind,
                }
            }
            _ => self,
        }
    }
}

type Listing = BTreeMap<PathBuf, (Kind, Stamp)>;

/// The files of a folder that are ours; those with a name that looks like a mistake are problems.
fn list(folder: &Path, problems: &mut Vec<Problem>) -> io::Result<Listing> {
    let mut found = Listing::new();
    list_into(folder, "", &mut found, problems)?;
    for part in ["openapi", "lists"] {
        let path = folder.join(part);
        if path.is_dir() {
            list_into(&path, part, &mut found, problems)?;
        }
    }
    Ok(found)
}

fn list_into(
    folder: &Path,
    part: &str,
    found: &mut Listing,
    problems: &mut Vec<Problem>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // A file may go between being listed and being looked at.
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if !meta.is_file() {
            continue;
        }
        let kind = Kind::of(part, &name);
        if kind == Kind::Other {
            continue;
        }
        if found.len() >= FILES_MAX {
            let why = format!("the folder has more than {FILES_MAX} files");
            problems.push(
                Problem::new("the rest is left out", why, "name the right folder").in_file(folder),
            );
            return Ok(());
        }
        let stamp = Stamp { modified: meta.modified().ok(), bytes: meta.len() };
        found.insert(path, (kind, stamp));
    }
    Ok(())
}

fn read_file(path: &Path, kind: Kind, stamp: Stamp, now_ms: Option<i64>) -> FileState {
    let (content, problems) = if stamp.bytes > FILE_BYTES_MAX {
        let why = format!("{} bytes are more than {FILE_BYTES_MAX}", stamp.bytes);
        (None, vec![Problem::new("the file is not used", why, "split it, or shorten it")])
    } else {
        match std::fs::read(path) {
            Ok(bytes) => Content::parse(kind, path, bytes),
            Err(error) => (None, vec![unreadable(path, &error)]),
        }
    };
    let problems = problems.into_iter().map(|problem| problem.in_file(path)).collect();
    FileState { kind, stamp, content, problems, read_at_ms: now_ms }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let next = match error.kind() {
        io::ErrorKind::NotFound => "make it, or correct the path in the configuration",
        io::ErrorKind::PermissionDenied => "let this user read it",
        _ => "see what is wrong with the disk",
    };
    Problem::new("it is not used", error.to_string(), next).in_file(path)
}

#[cfg(test)]
mod tests;
