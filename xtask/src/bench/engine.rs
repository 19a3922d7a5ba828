//! `cargo xtask bench engine`: what detection costs in memory, without reading or writing.
//!
//! Owns: running the example that measures it, `docs/benchmarks-engine.md`. Never: measuring.

use std::process::Command;

use super::machine;
use crate::args::Args;
use crate::place;
use crate::process::succeeds;
use crate::trouble::Trouble;

/// Builds and runs the example; `--write` puts the answer into the page.
pub(super) fn run(args: &mut Args) -> Result<(), Trouble> {
    let write = args.flag("--write");
    args.finish()?;
    let mut build = place::build();
    build.arg("--release");
    if !succeeds(&mut build)? {
        return Err(Trouble::no("the build failed; the errors stand above"));
    }
    let example = place::target().join("release/examples/cost");
    let output = Command::new(&example).output();
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
         run.\n\n{}\n",
        figures.trim_end()
    );
    println!("{page}");
    if write {
        place::write(&place::root().join("docs/benchmarks-engine.md"), &page)?;
    }
    Ok(())
}
