//! Embeds the rule pack, so that the binary has it without a folder beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../rules");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    if root.is_dir() {
        collect(&root, &mut files)?;
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?.display().to_string();
        let full = fs::canonicalize(file)?.display().to_string();
        writeln!(text, "    ({name:?}, include_str!({full:?})),").map_err(io::Error::other)?;
    }
    text.push_str("]\n");
    fs::write(PathBuf::from(variable("OUT_DIR")?).join("pack.rs"), text)
}

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by its environment")]
fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, files)?;
        } else if ["yml", "txt", "csv"].contains(&ending) {
            files.push(path);
        }
    }
    Ok(())
}
