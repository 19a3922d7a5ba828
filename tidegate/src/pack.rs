//! The rules that a command works with: a folder's, or the pack that comes with the binary.
//!
//! Owns: finding and reading the files. Never: what is in them; that is `engine`'s.

mod texts;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::plan::{self, CompiledRule};
use engine::rule::{self, Lists, Problem, Rule, SourceFile};
use engine::ruleset::Ruleset;

use crate::fault::Fault;
pub(crate) use texts::Texts;

const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pack.rs"));

/// Rules as read and as compiled, and everything that is wrong with them.
pub(crate) struct Pack {
    pub(crate) rules: Vec<Rule>,
    pub(crate) compiled: Vec<CompiledRule>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) lists: Lists,
}

impl Pack {
    /// Reads a folder, or the pack of the binary.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, Fault> {
        Ok(Texts::read(folder)?.pack())
    }

    fn of(files: Vec<SourceFile>) -> Self {
        let (list_files, rule_files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| !is_rule(&file.path));
        let (lists, mut problems) = Lists::load(&list_files);
        let loaded = rule::load_with_drafts(&rule_files, &rule::Settings::default());
        problems.extend(loaded.problems);
        let (compiled, wrong) = plan::compile(&loaded.rules, &lists);
        problems.extend(wrong);
        let (_unusable, wrong) = plan::compile(&loaded.drafts, &lists);
        problems.extend(wrong.into_iter().filter(Problem::fails_check));
        rule::sort_problems(&mut problems);
        Self { rules: loaded.rules, compiled, problems, lists }
    }

    /// The ruleset to run over files, or to look at. Every mistake is said on standard error; with
    /// one that keeps a rule from running, nothing runs: a rule that is missing unnoticed is silence.
    pub(crate) fn ruleset(self) -> Result<Arc<Ruleset>, Fault> {
        let errors: Vec<&Problem> =
            self.problems.iter().filter(|problem| problem.level == rule::Level::Error).collect();
        if !errors.is_empty() {
            let shown: Vec<String> = errors.iter().map(|problem| problem.render(false)).collect();
            let text = format!(
                "{}\n{} in the rules; `tidegate rules check` shows all of them",
                shown.join("\n"),
                counted(errors.len(), "mistake")
            );
            return Err(Fault::Usage(text));
        }
        Ruleset::new(self.compiled).map(Arc::new).map_err(|error| Fault::bug(&error))
    }
}

/// Writes the files of the pack that comes with the binary into a folder that holds nothing yet, and
/// gives their number.
pub(crate) fn write_pack(folder: &Path) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.next().is_some() {
        return Err(io::Error::other("it holds files, which are left as they are"));
    }
    for (path, text) in EMBEDDED {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, text)?;
    }
    Ok(EMBEDDED.len())
}

/// `1 rule`, `2 rules`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn read_folder(folder: &Path) -> Result<Vec<SourceFile>, Fault> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files).map_err(|error| {
        let folder = folder.display();
        Fault::Usage(format!(
            "cannot read the rules in {folder}: {error}; give the folder that holds rule files"
        ))
    })?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if !files.iter().any(|file| is_rule(&file.path)) {
        return Err(Fault::Usage(format!(
            "no rule in {}: rule files end in `.yml` or `.yaml`; give the folder that holds them, \
             or none for the rules that come with the binary",
            folder.display()
        )));
    }
    Ok(files)
}

fn is_rule(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if ["yml", "yaml", "txt", "csv"].contains(&ending) {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            files.push(SourceFile { path: name, text });
        }
    }
    Ok(())
}
