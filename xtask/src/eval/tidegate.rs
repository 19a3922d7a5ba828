//! Asks the built binary.
//!
//! Owns: how `parse` and `replay` are called, and reading what they print. Never: scoring.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

/// The binary with the rules to run.
#[derive(Debug)]
pub(super) struct Tidegate {
    binary: PathBuf,
    rules: PathBuf,
    scratch: PathBuf,
}

impl Tidegate {
    /// Uses a binary and a folder of rules; files are made in a scratch folder.
    pub(super) fn new(binary: &Path, rules: &Path, scratch: &Path) -> Self {
        let path = Path::to_path_buf;
        Self { binary: path(binary), rules: path(rules), scratch: path(scratch) }
    }

    /// What each line is read as, in order: events and dead letters.
    pub(super) fn parse(&self, lines: &[&str], proxies: &[&str]) -> Result<Vec<Value>, Trouble> {
        let file = self.file(lines)?;
        let mut parse = Command::new(&self.binary);
        parse.args(["parse", "--format", "auto"]);
        for proxy in proxies {
            parse.args(["--trusted-proxy", proxy]);
        }
        json_lines(&output(parse.arg(file))?)
    }

    /// The addresses that verdicts name when these lines are replayed.
    pub(super) fn flagged(&self, lines: &[&str]) -> Result<BTreeSet<Address>, Trouble> {
        let file = self.file(lines)?;
        let mut replay = Command::new(&self.binary);
        replay.args(["replay", "-o", "json", "--rules"]).arg(&self.rules).arg(file);
        let verdicts = json_lines(&output(&mut replay)?)?;
        Ok(verdicts.iter().flat_map(addresses).collect())
    }

    fn file(&self, lines: &[&str]) -> Result<PathBuf, Trouble> {
        let file = self.scratch.join("lines.log");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        place::write(&file, &text)?;
        Ok(file)
    }
}

/// A client address in any spelling; what is not an address is compared as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    /// An address.
    Ip(IpAddr),
    /// Something else that stands in its place.
    Text(String),
}

impl Address {
    /// Reads one.
    pub(super) fn read(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Ip)
    }
}

/// Addresses that a verdict is about.
fn addresses(verdict: &Value) -> impl Iterator<Item = Address> {
    let places = [("subject", "ip"), ("key", "client_ip")];
    places
        .into_iter()
        .filter_map(|(part, name)| Some(Address::read(verdict.get(part)?.get(name)?.as_str()?)))
}

fn json_lines(text: &str) -> Result<Vec<Value>, Trouble> {
    text.lines()
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|e| Trouble::dependency(format!("tidegate prints no JSON: {e}: {line}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Address, addresses, json_lines};

    #[test]
    fn one_address_is_equal_in_every_spelling() {
        assert_eq!(
            Address::read("2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
            Address::read("2001:db8:85a3::8a2e:370:7334")
        );
        assert_eq!(Address::read("2022:13:40:19"), Address::Text("2022:13:40:19".to_owned()));
    }

    #[test]
    fn a_verdict_names_addresses_by_subject_or_key() {
        let verdict = json!({"key": {"client_ip": "192.0.2.1"}, "subject": {"ip": "192.0.2.2"}});
        assert_eq!(
            addresses(&verdict).collect::<Vec<_>>(),
            [Address::read("192.0.2.2"), Address::read("192.0.2.1"),]
        );
        assert_eq!(addresses(&json!({"key": {"principal": "ann"}})).count(), 0);
    }

    #[test]
    fn output_that_is_not_json_is_an_error() {
        assert_eq!(json_lines("{\"a\":1}\n[2]\n").unwrap().len(), 2);
        assert!(json_lines("oops\n").is_err());
    }
}
