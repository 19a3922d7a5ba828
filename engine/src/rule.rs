//! Rule files: what analysts write, read with every mistake named.
//!
//! Owns: the rule, its parameters, lists and tests, and the messages about them.
//! Never: the meaning of the SQL (see `plan`), files or folders: texts come in, rules go out.

pub mod test_case;

use std::collections::BTreeMap;

use schemas::{Mode, Severity};
use serde_json::Value;

pub use test_case::TestCase;

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
}
