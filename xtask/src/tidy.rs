//! `cargo xtask tidy`: what no lint can check.
//!
//! Owns: gathering what the checks look at, and printing what they found. Never: changing a file.

mod breach;
mod files;
mod graph;
mod house;
mod licences;
mod pack;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::args::Args;
use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

use breach::Breach;
use files::{Machine, Tracked};
use graph::Graph;

/// Runs `tidy`.
pub(crate) fn run(args: &Args) -> Result<(), Trouble> {
    args.finish()?;
    all()
}

/// Checks this repository and prints what there is to mend.
pub(crate) fn all() -> Result<(), Trouble> {
    let breaches = check(&place::root())?;
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => {
            println!("tidy: nothing to mend");
            Ok(())
        }
        count => Err(Trouble::no(format!("tidy: {count} to mend"))),
    }
}

fn check(root: &Path) -> Result<Vec<Breach>, Trouble> {
    let policy = licences::Policy::read(&place::read(&root.join("deny.toml"))?);
    let graph = graph(root, &policy.targets)?;
    let tracked = tracked(root)?;
    let map = tracked.iter().find(|file| file.path == Path::new("ARCHITECTURE.md"));
    let mut breaches = house::check(&graph);
    breaches.extend(house::check_map(&graph, map.map(|file| file.text.as_str())));
    breaches.extend(licences::check(&graph, &policy));
    breaches.extend(files::check(&tracked, &Machine::this(root)));
    breaches.extend(pack::check(&tracked));
    breaches.sort();
    Ok(breaches)
}

/// What cargo knows: our crates, what they name, and everything that is built with them.
fn graph(root: &Path, targets: &[String]) -> Result<Graph, Trouble> {
    let mut metadata = place::cargo();
    metadata.args(["metadata", "--format-version", "1"]).current_dir(root);
    let text = output(&mut metadata)?;
    let mut tree = place::cargo();
    tree.args(["tree", "--workspace", "--all-features", "--edges", "normal,build"]);
    tree.args(["--prefix", "none", "--format", "{p}"]).current_dir(root);
    for target in targets {
        tree.args(["--target", target]);
    }
    let tree = output(&mut tree)?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|e| Trouble::dependency(format!("read what `cargo metadata` says: {e}")))?;
    Graph::read(&value, &tree).ok_or_else(|| {
        Trouble::dependency("`cargo metadata` does not say what it used to; see xtask/src/tidy")
    })
}

/// The files that git knows and that are there, with their text. Binary files are left out.
fn tracked(root: &Path) -> Result<Vec<Tracked>, Trouble> {
    let list = output(Command::new("git").args(["ls-files", "-z"]).current_dir(root))?;
    let mut tracked = Vec::new();
    for name in list.split_terminator('\0') {
        let path = PathBuf::from(name);
        let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            tracked.push(Tracked { path, text });
        }
    }
    Ok(tracked)
}
