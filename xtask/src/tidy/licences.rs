//! Licences and sources of what we build with, against `deny.toml`.
//!
//! Owns: reading SPDX expressions and that file's lists. Never: which licences are fine.

use std::collections::BTreeSet;

use super::breach::Breach;
use super::graph::{Graph, Other};

/// The one registry, as cargo names it. The name is the same whichever mirror serves it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `deny.toml` says.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Licences that are fine.
    allowed: BTreeSet<String>,
    /// Platforms that we build for.
    pub(super) targets: Vec<String>,
}

impl Policy {
    /// Reads the text of `deny.toml`.
    pub(super) fn read(text: &str) -> Self {
        Self {
            allowed: list(text, "licenses", "allow").into_iter().collect(),
            targets: list(text, "graph", "targets"),
        }
    }
}

/// Checks every crate of others.
pub(super) fn check(graph: &Graph, policy: &Policy) -> Vec<Breach> {
    graph.others.iter().flat_map(|other| check_one(other, policy)).collect()
}

fn check_one(other: &Other, policy: &Policy) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |what: String| {
        let mend = "take another crate, or state why this one is fine in deny.toml and in a \
                    decision record";
        breaches.push(Breach::new(format!("Cargo.lock: {}", other.label), what, mend));
    };
    match &other.licence {
        None => breach("names no licence".to_owned()),
        Some(expression) => match permits(expression, &policy.allowed) {
            Some(true) => {}
            Some(false) => breach(format!("licence `{expression}` is not in deny.toml")),
            None => breach(format!("licence `{expression}` is not an SPDX expression")),
        },
    }
    if other.source != REGISTRY {
        breach(format!("comes from {}, not from the registry", other.source));
    }
    breaches
}

/// Whether an SPDX expression can be met with these licences; `None` where it is not one. A slash
/// between names is an older way to write OR.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    let met = reader.either()?;
    reader.words.is_empty().then_some(met)
}

/// Reads an expression word by word. AND binds more tightly than OR.
struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Reader<'_> {
    fn takes(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn either(&mut self) -> Option<bool> {
        let mut met = self.both()?;
        while self.takes("OR") {
            met |= self.both()?;
        }
        Some(met)
    }

    fn both(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.takes("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let met = self.either()?;
            return self.takes(")").then_some(met);
        }
        let (name, rest) = self.words.split_first()?;
        if matches!(*name, "AND" | "OR" | "WITH" | ")") {
            return None;
        }
        self.words = rest;
        if !self.takes("WITH") {
            return Some(self.allowed.contains(*name));
        }
        let (exception, rest) = self.words.split_first()?;
        self.words = rest;
        Some(self.allowed.contains(&format!("{name} WITH {exception}")))
    }
}

/// The strings of `key = ["…", …]` under `[section]`, over any number of lines. As much of TOML as
/// deny.toml needs: strings in double quotes without escapes, comments to the end of a line.
fn list(text: &str, section: &str, key: &str) -> Vec<String> {
    let header = format!("[{section}]");
    let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut found = Vec::new();
    if !lines.any(|line| line == header) {
        return found;
    }
    let mut inside = false;
    for line in lines {
        let starts = line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        if !inside && line.starts_with('[') {
            break;
        }
        inside |= starts;
        if inside {
            found.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
        }
        if inside && line.ends_with(']') {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Graph, Other};
    use super::{Policy, REGISTRY, check, list, permits};

    const DENY: &str = "[graph]\ntargets = [\"linux\"] # where it runs\n[licenses]\n# why\n\
                        allow = [\"MIT\", \"ISC\",\n  \"Apache-2.0 WITH LLVM-exception\"]\n\
                        private = { ignore = true }\n[bans]\ndeny = [\"x\"]\n";

    #[track_caller]
    fn meets(expression: &str, expected: Option<bool>) {
        let policy = Policy::read(DENY);
        assert_eq!(permits(expression, &policy.allowed), expected, "{expression}");
    }

    #[test]
    fn one_alternative_is_enough_and_every_condition_counts() {
        meets("MIT", Some(true));
        meets("GPL-3.0-only", Some(false));
        meets("GPL-3.0-only OR MIT", Some(true));
        meets("Unlicense/MIT", Some(true));
        meets("MIT AND GPL-3.0-only", Some(false));
        meets("MIT AND (GPL-3.0-only OR ISC)", Some(true));
        meets("GPL-3.0-only OR MIT AND Zlib", Some(false));
        meets("Apache-2.0 WITH LLVM-exception", Some(true));
        meets("Apache-2.0", Some(false));
        meets("MIT AND", None);
        meets("(MIT", None);
        meets("MIT ISC", None);
    }

    #[test]
    fn lists_of_deny_toml_are_read_over_lines_and_only_in_their_section() {
        assert_eq!(
            list(DENY, "licenses", "allow"),
            ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
        );
        assert_eq!(list(DENY, "graph", "targets"), ["linux"]);
        assert!(list(DENY, "graph", "allow").is_empty());
    }

    #[test]
    fn a_licence_or_source_that_is_not_allowed_is_found() {
        let other = |licence: Option<&str>, source: &str| Other {
            label: "thing 1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            source: source.to_owned(),
        };
        let graph = Graph {
            members: Vec::new(),
            others: vec![
                other(Some("MIT"), REGISTRY),
                other(Some("MPL-2.0"), REGISTRY),
                other(None, REGISTRY),
                other(Some("ISC"), "git+https://example.com/thing"),
            ],
        };
        let found: Vec<String> =
            check(&graph, &Policy::read(DENY)).into_iter().map(|breach| breach.what).collect();
        assert_eq!(
            found,
            [
                "licence `MPL-2.0` is not in deny.toml",
                "names no licence",
                "comes from git+https://example.com/thing, not from the registry",
            ]
        );
    }
}
