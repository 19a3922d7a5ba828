//! `cargo xtask bench ingest`: what stands between the bytes of a line and an enriched event, each
//! beside its floor in the same run.
//!
//! Owns: what is measured and what is wanted, `docs/benchmarks-ingest.md`. Never: the measuring of
//! parsing and joining, which the benches of `ingest` and `enrich` do.

mod bulk;
mod detection;
mod figures;
mod profile;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::machine;
use super::workload::{Callers, Format, Workload};
use crate::args::Args;
use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

use figures::{Figure, Figures, Wanted};

/// Lines of each log that is parsed. 200,000 of 400 B are 80 MB, so the cache does not hold them.
const LINES: u64 = 200_000;

/// Runs the benchmark.
pub(super) fn run(args: &mut Args) -> Result<(), Trouble> {
    let lines = args.parsed("--lines")?.unwrap_or(LINES);
    let corpora = args.option("--corpora")?.map(PathBuf::from);
    let write = args.flag("--write");
    args.finish()?;
    let folder = place::folder(&place::target().join("bench"))?;
    let log = |format| Workload { lines, format, callers: Callers::Few, seed: 7 }.file(&folder);
    let (combined, json) = (log(Format::Combined)?, log(Format::Json)?);
    let parse = Bench::built("ingest", "parse")?;
    let bulk = Bench::built("ingest", "bulk")?;
    let join = Bench::built("enrich", "join")?;

    let mut page = Figures::default();
    parsing(&parse, &[&combined, &json], &mut page)?;
    joining(&join, &mut page)?;
    let posted = bulk::measure(&bulk.file, &folder, &json)?;
    page.add(Figure {
        what: "HTTP `_bulk`: taken, durable, answered, read back into events".to_owned(),
        ns: posted.cpu_ns_a_line,
        wanted: Some(Wanted::Rate { per_second: 150_000 }),
    });
    page.note(posted.text);
    page.note(detection::check(&parse.file, &folder, corpora)?);
    page.profile = profile::of(&parse.file, &[&combined, &json], &folder)?;
    let text = page.text(lines, &machine::describe());
    println!("{text}");
    if write {
        place::write(&place::root().join("docs/benchmarks-ingest.md"), &text)?;
    }
    Ok(())
}

fn parsing(bench: &Bench, logs: &[&Path], page: &mut Figures) -> Result<(), Trouble> {
    for (figures, format) in bench.figures(logs)?.iter().zip(["combined", "JSON"]) {
        let number = |name: &str| figures.get(name).and_then(Value::as_f64);
        let bytes = figures.get("bytes_a_line").and_then(Value::as_u64).unwrap_or(0);
        let mut add = |what: String, name: &str, wanted| {
            if let Some(ns) = number(name) {
                page.add(Figure { what, ns, wanted });
            }
        };
        add(format!("floor: splitting lines, {format}, {bytes} B"), "split_ns", None);
        let wanted = Some(Wanted::Rate { per_second: 2_000_000 });
        add(format!("{format} line → batch of events, masked and classified"), "parse_ns", wanted);
        add(format!("the same without column `line`, {format}"), "parse_without_line_ns", None);
        if let Some(floor) = number("sonic_ns") {
            page.floor(floor);
        }
    }
    Ok(())
}

fn joining(bench: &Bench, page: &mut Figures) -> Result<(), Trouble> {
    for figure in bench.figures(&[])? {
        let name = figure.get("context").and_then(Value::as_str).unwrap_or_default();
        let ns = figure.get("ns").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let wanted = match name {
            "nothing" => Some(Wanted::Rate { per_second: 15_000_000 }),
            name if name.ends_with("networks") && name.contains(',') => {
                Some(Wanted::Rate { per_second: 3_000_000 })
            }
            _ => None,
        };
        if let Some(ns) = ns {
            page.add(Figure { what: format!("enrich: {name}"), ns, wanted });
        }
    }
    Ok(())
}

/// A built benchmark of a crate.
struct Bench {
    file: PathBuf,
}

impl Bench {
    /// Builds it and what it needs, without what it has nothing to do with: DataFusion, above all.
    fn built(package: &str, name: &str) -> Result<Self, Trouble> {
        let mut cargo = place::cargo();
        cargo.args(["bench", "--package", package, "--bench", name, "--no-run"]);
        cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
        let messages = output(&mut cargo)?;
        let executable = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            let is_it = message.pointer("/target/name")?.as_str()? == name;
            Some(PathBuf::from(message.get("executable").filter(|_| is_it)?.as_str()?))
        };
        let file = messages.lines().filter_map(executable).next_back().ok_or_else(|| {
            Trouble::dependency(format!("cargo built no benchmark `{name}` of `{package}`"))
        })?;
        Ok(Self { file })
    }

    /// What it measures over these logs.
    fn figures(&self, logs: &[&Path]) -> Result<Vec<Value>, Trouble> {
        let mut command = Command::new(&self.file);
        let text = output(command.arg("--figures").args(logs))?;
        let read = |line: &str| {
            serde_json::from_str(line)
                .map_err(|e| Trouble::dependency(format!("no figures: {e}: {line}")))
        };
        text.lines().map(read).collect()
    }
}
