//! Rule files: what analysts write, read with every mistake named.
//!
//! Owns: the rule, its parameters, lists and tests, and the messages about them.
//! Never: the meaning of the SQL (see `plan`), files or folders: texts come in, rules go out.

pub(crate) mod duration;
mod file;
pub(crate) mod hash;
pub(crate) mod lists;
mod params;
pub(crate) mod problem;
mod reader;
mod schema;
pub(crate) mod source;
mod template;
pub mod test_case;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{Mode, Severity};
use serde_json::Value;

pub use lists::{List, Lists};
pub use problem::{Level, Problem, SourceFile, sort as sort_problems};
pub use schema::json_schema;
pub use test_case::TestCase;

use file::Outcome;
use source::RuleSource;

/// What a deployment changes without a copy of the rules.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Values of parameters: by rule id, then by name.
    pub params: BTreeMap<String, BTreeMap<String, Value>>,
}

/// A pack of rule files as read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every rule that can be used, in order of path.
    pub rules: Vec<Rule>,
    /// Rules that a mistake in what the file says beside its SQL keeps from being used. They are
    /// good for nothing but to find, by `plan::compile`, what is wrong with the SQL too.
    pub drafts: Vec<Rule>,
    /// Everything that is wrong with the files, in order of path and place.
    pub problems: Vec<Problem>,
}

/// Reads a pack of rule files: every rule that can be used, and everything that is wrong with
/// them, in order of path and place.
#[must_use]
pub fn load(files: &[SourceFile], settings: &Settings) -> (Vec<Rule>, Vec<Problem>) {
    let loaded = load_with_drafts(files, settings);
    (loaded.rules, loaded.problems)
}

/// As [`load`], with the rules that cannot be used beside those that can.
#[must_use]
pub fn load_with_drafts(files: &[SourceFile], settings: &Settings) -> Loaded {
    let mut files: Vec<&SourceFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let none = BTreeMap::new();
    let Loaded { mut rules, mut drafts, mut problems } = Loaded::default();
    for file in &files {
        let id = file::rule_id(&file.path);
        let (outcome, wrong) = file::read(file, settings.params.get(&id).unwrap_or(&none));
        problems.extend(wrong);
        match outcome {
            Outcome::Rule(rule) if rules.iter().any(|other: &Rule| other.id == rule.id) => {
                let message = format!("there are two rules with the id `{}`", rule.id);
                let problem = Problem::new(Level::Error, file, &(0..0), message);
                problems.push(problem.hint("a rule's id is its path without the ending"));
            }
            Outcome::Rule(rule) => rules.push(*rule),
            Outcome::Draft(rule) => drafts.push(*rule),
            Outcome::Nothing => {}
        }
    }
    problems.extend(overrides_of_unknown_rules(&files, settings));
    problem::sort(&mut problems);
    Loaded { rules, drafts, problems }
}

/// Names the texts of a pack: equal for equal texts of equal names, in the order given.
#[must_use]
pub fn version_of(files: &[SourceFile]) -> String {
    let parts: Vec<&str> =
        files.iter().flat_map(|file| [file.path.as_str(), file.text.as_str()]).collect();
    hash::text(&parts)
}

fn overrides_of_unknown_rules(files: &[&SourceFile], settings: &Settings) -> Vec<Problem> {
    let ids: Vec<String> = files.iter().map(|file| file::rule_id(&file.path)).collect();
    let place = SourceFile { path: "configuration".to_owned(), text: String::new() };
    let mut problems = Vec::new();
    for id in settings.params.keys().filter(|id| !ids.contains(id)) {
        let message = format!("parameters are given for the rule `{id}`, which does not exist");
        let problem = Problem::new(Level::Error, &place, &(0..0), message);
        problems.push(match problem::nearest(id, ids.iter().map(String::as_str)) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        });
    }
    problems
}

/// The window that a rule's SQL sees, and how far it moves each time.
///
/// Window `k` is `[k·slide, k·slide + size)` in milliseconds since the epoch, for every integer
/// `k`. The slide divides the size, into at most 32 panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Length in milliseconds.
    pub size_ms: i64,
    /// Distance between two starts in milliseconds.
    pub slide_ms: i64,
}

/// One rule as written, checked as far as that goes without planning its SQL.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Path of the file without its ending, relative to the pack: `auth/credential-stuffing`.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The window, absent for rules that look at one event at a time.
    pub window: Option<Window>,
    /// The query, with parameters replaced by their values.
    pub sql: String,
    /// The parameters in force, overrides included.
    pub params: BTreeMap<String, Value>,
    /// Output columns named by `key:`; absent, the GROUP BY columns are the key.
    pub key: Option<Vec<String>>,
    /// What a response acts on: kind of subject by output column.
    pub subject: BTreeMap<String, String>,
    /// The most that the rule asks for, such as `block 30m`.
    pub respond: Vec<String>,
    /// How far its verdicts may go.
    pub mode: Mode,
    /// Share of keys in percent that orders are made for, where the mode is canary.
    pub canary_percent: Option<u8>,
    /// Firing again within this time of the last firing is the same episode, in milliseconds.
    pub rearm_ms: i64,
    /// Bytes of state that the rule may hold.
    pub memory_bytes_max: usize,
    /// Items of the OWASP lists.
    pub owasp: Vec<String>,
    /// Techniques of MITRE ATT&CK.
    pub attack: Vec<String>,
    /// Why the rule exists.
    pub why: Option<String>,
    /// What else can look like this.
    pub false_positives: Vec<String>,
    /// What to do when it fires.
    pub now_what: Option<String>,
    /// What proves it.
    pub tests: Vec<TestCase>,
    /// Hash of the whole file and its overrides: the `rule_version` of verdicts.
    pub text_hash: String,
    /// Where its parts stand in the file.
    pub(crate) source: Arc<RuleSource>,
}
