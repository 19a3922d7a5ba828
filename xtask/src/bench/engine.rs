//! `cargo xtask bench engine`: what detection costs in memory, without reading or writing.
//!
//! Owns: running the example that measures it, `docs/benchmarks-engine.md`. Never: measuring.

use std::process::Command;
use std::time::Duration;

use super::machine;
use super::measure::{Limit, run as measured};
use super::workload::{Callers, Format, Workload};
use crate::args::Args;
use crate::place;
use crate::process::succeeds;
use crate::trouble::Trouble;

/// Lines for the floor, and how often they are read.
const FLOOR_LINES: u64 = 300_000;
const FLOOR_RUNS: usize = 5;

/// Builds and runs the example; `--write` puts the answer into the page.
pub(super) fn run(args: &mut Args) -> Result<(), Trouble> {
    let write = args.flag("--write");
    args.finish()?;
    let mut build = place::build();
    build.arg("--release");
    if !succeeds(&mut build)? {
        return Err(Trouble::no("the build failed; the errors stand above"));
    }
    let floor = floor_ns()?;
    let example = place::target().join("release/examples/cost");
    let output = Command::new(&example).arg(floor.to_string()).output();
    let output = output.map_err(|e| Trouble::io("run", &example, &e))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Trouble::no(format!("the measurement failed: {why}")));
    }
    let figures = String::from_utf8_lossy(&output.stdout);
    let machine = machine::describe();
    let page = format!(
        "# Benchmarks of the engine\n\nMade by `cargo xtask bench engine --write` on: {machine}. \
         Events are in memory as batches; one core; what is beside a figure is from the same \
         run. A floor is what sonic-rs takes for the twelve fields of a JSON line: {floor} ns in \
         this run.\n\n{}\n",
        figures.trim_end()
    );
    println!("{page}");
    if write {
        place::write(&place::root().join("docs/benchmarks-engine.md"), &page)?;
    }
    Ok(())
}

/// What sonic-rs takes for the twelve fields of a line, by which machines are compared.
fn floor_ns() -> Result<u128, Trouble> {
    let workload =
        Workload { lines: FLOOR_LINES, format: Format::Json, callers: Callers::Few, seed: 7 };
    let log = workload.file(&place::folder(&place::target().join("bench"))?)?;
    let mut command = Command::new(place::target().join("release/examples/floor"));
    command.arg(&log);
    let mut runs = Vec::new();
    for _ in 0..FLOOR_RUNS {
        runs.push(measured(&mut command, Limit(Duration::from_secs(60)))?.cpu);
    }
    runs.sort_unstable();
    let middle = runs.get(FLOOR_RUNS / 2).copied().unwrap_or_default();
    Ok(middle.as_nanos() / u128::from(FLOOR_LINES))
}
