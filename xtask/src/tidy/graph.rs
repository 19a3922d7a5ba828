//! Crates and who names whom, as `cargo metadata` tells it.
//!
//! Owns: reading that. Never: what is allowed.

use std::collections::BTreeSet;

use serde_json::Value;

/// The workspace and everything built with it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Our crates, by name.
    pub(super) members: Vec<Member>,
    /// Crates of others that are part of a build for use (not only of our tests).
    pub(super) others: Vec<Other>,
}

/// A crate of ours.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// Its name.
    pub(super) name: String,
    /// Its `Cargo.toml`, relative to the root where it is below it.
    pub(super) manifest: String,
    /// Whether it takes the workspace's lints.
    pub(super) takes_lints: bool,
    /// What its manifest names.
    pub(super) names: Vec<Named>,
}

/// A dependency as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The crate's name.
    pub(super) name: String,
    /// Whether only tests use it.
    pub(super) for_tests: bool,
    /// Whether it is one of ours.
    pub(super) ours: bool,
    /// Whether any version would do.
    pub(super) any_version: bool,
}

/// A crate of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    /// Name and version.
    pub(super) label: String,
    /// Its SPDX expression.
    pub(super) licence: Option<String>,
    /// Where cargo gets it from.
    pub(super) source: String,
}

impl Graph {
    /// Reads the answer of `cargo metadata`, and of `cargo tree` with one crate a line: metadata
    /// knows the crates, but counts what some other platform would need too; the tree is exact.
    pub(super) fn read(metadata: &Value, tree: &str) -> Option<Self> {
        let packages = metadata.get("packages")?.as_array()?;
        let ids: BTreeSet<&str> = metadata
            .get("workspace_members")?
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let root = metadata.get("workspace_root")?.as_str()?;
        let built = built(tree);
        let mut graph = Self::default();
        for package in packages {
            let id = package.get("id")?.as_str()?;
            if ids.contains(id) {
                graph.members.push(member(package, root)?);
                continue;
            }
            let other = other(package)?;
            if built.contains(&other.label) {
                graph.others.push(other);
            }
        }
        graph.members.sort_by(|a, b| a.name.cmp(&b.name));
        Some(graph)
    }

    /// A crate of ours by its name.
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// `name version` of every crate in the lines of `cargo tree`, which are `name vVersion …`.
fn built(tree: &str) -> BTreeSet<String> {
    let words = tree.lines().map(|line| line.split_whitespace().take(2));
    words.map(|pair| pair.collect::<Vec<_>>().join(" ").replacen(" v", " ", 1)).collect()
}

fn member(package: &Value, root: &str) -> Option<Member> {
    let manifest = package.get("manifest_path")?.as_str()?;
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    let dependencies = package.get("dependencies")?.as_array()?;
    Some(Member {
        name: package.get("name")?.as_str()?.to_owned(),
        manifest: manifest.strip_prefix(root).unwrap_or(manifest).trim_matches('/').to_owned(),
        takes_lints: takes_lints(&text),
        names: dependencies.iter().map(named).collect::<Option<_>>()?,
    })
}

fn named(dependency: &Value) -> Option<Named> {
    let ours = dependency.get("path").is_some_and(Value::is_string);
    Some(Named {
        name: dependency.get("name")?.as_str()?.to_owned(),
        for_tests: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
        ours,
        any_version: !ours && dependency.get("req")?.as_str()? == "*",
    })
}

fn other(package: &Value) -> Option<Other> {
    let text = |name| package.get(name).and_then(Value::as_str);
    Some(Other {
        label: format!("{} {}", text("name")?, text("version")?),
        licence: text("license").map(str::to_owned),
        source: text("source").unwrap_or("a folder").to_owned(),
    })
}

/// Whether a manifest has `workspace = true` under `[lints]`.
fn takes_lints(manifest: &str) -> bool {
    let mut in_lints = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_lints = line == "[lints]";
        } else if in_lints && line.replace(' ', "") == "workspace=true" {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Graph, takes_lints};

    #[test]
    fn only_what_the_tree_names_is_built() {
        let package = |name: &str| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT",
                   "source": "registry", "manifest_path": "/nowhere/Cargo.toml", "dependencies": []})
        };
        let metadata = json!({
            "packages": [package("ours"), package("a"), package("b"), package("elsewhere")],
            "workspace_members": ["ours"],
            "workspace_root": "/nowhere",
        });
        let tree = "ours v1.0.0 (/nowhere)\na v1.0.0 (*)\nb v1.0.0 (proc-macro)\nb v2.0.0\n\n";
        let graph = Graph::read(&metadata, tree).unwrap();
        let built: Vec<&str> = graph.others.iter().map(|other| other.label.as_str()).collect();
        assert_eq!(built, ["a 1.0.0", "b 1.0.0"]);
        assert_eq!(graph.members[0].manifest, "Cargo.toml");
    }

    #[test]
    fn lints_count_only_in_their_own_section() {
        assert!(takes_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(!takes_lints("[lints]\n[dependencies]\nworkspace = true\n"));
        assert!(!takes_lints("[package]\nedition.workspace = true\n"));
    }
}
