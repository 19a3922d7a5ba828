//! `cargo xtask bench --model DIR`: over the files and with the queries for which figures were set.
//!
//! Owns: running the generators of that folder, `gen_access.py` and `gen_rules.py`. Never: what they
//! write.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::page::Page;
use super::workload::Format;
use super::{BESIDE_RULES, Bench, duckdb, file_bytes};
use crate::process::{output, succeeds};
use crate::trouble::Trouble;

const SEED: &str = "7";

/// The page.
pub(super) fn run(bench: &Bench, folder: &Path) -> Result<String, Trouble> {
    let python = bench.python.as_deref().unwrap_or(Path::new("python3"));
    let (lines, name) = (bench.wish.lines, Format::Json.name());
    let mut page = Page::new(lines, bench.wish.runs).of_model(&folder.display().to_string());
    let log = access(python, folder, bench)?;
    page.workload(name, file_bytes(&log)?);
    bench.floors((name, Format::Json), &log, &mut page)?;
    let generator = folder.join("gen_rules.py");
    // It has no set without rules.
    for number in bench.wish.sets.iter().filter(|number| **number > 0) {
        let (set, count) = (format!("W{number}"), (*number).max(2).to_string());
        let rules = bench.folder_of(&set)?;
        let mut files = Command::new(python);
        output(files.arg(&generator).args(["tidegate", &count]).arg(&rules))?;
        bench.ours((name, &set), &log, &rules, &mut page)?;
        if *number <= BESIDE_RULES {
            let mut queries = Command::new(python);
            let queries = output(queries.arg(&generator).args(["duckdb", &count]))?;
            bench.theirs((name, &set), &duckdb::script_of_model(&log, &queries), &mut page)?;
        }
    }
    Ok(page.text())
}

/// The log; made where it is not there yet.
fn access(python: &Path, folder: &Path, bench: &Bench) -> Result<PathBuf, Trouble> {
    let lines = bench.wish.lines.to_string();
    let log = bench.folder.join(format!("model-{lines}-{SEED}.log"));
    if log.exists() {
        return Ok(log);
    }
    let draft = log.with_extension("part");
    let trouble = |e: std::io::Error| Trouble::io("write", &draft, &e);
    let mut access = Command::new(python);
    access.arg(folder.join("gen_access.py")).args([&lines, "json", SEED]);
    access.stdout(File::create(&draft).map_err(trouble)?);
    if !succeeds(&mut access)? {
        return Err(Trouble::no("`gen_access.py` failed; why stands above"));
    }
    std::fs::rename(&draft, &log).map_err(trouble)?;
    Ok(log)
}
