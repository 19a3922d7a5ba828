//! The project's own chores: `cargo xtask demo | test | tidy | bench | eval | kafka | registry`.
//!
//! Owns: which command runs which module, and exit codes. Never: a library's code; what concerns
//! the product is asked of the built `tidegate` binary.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people at a terminal: its output is what it is for"
)]

mod args;
mod bench;
mod clock;
mod containers;
mod debian;
mod demo;
mod eval;
mod fuzz;
mod generate;
mod http;
mod kafka;
mod nightly;
mod packages;
mod place;
mod process;
mod random;
mod registry;
mod test;
mod tidy;
mod trouble;

use std::path::Path;
use std::process::ExitCode;

use crate::args::Args;
use crate::trouble::Trouble;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [--speed 30] [--seed 7] [--binary FILE]
                              the whole way in a minute: traffic in, blocks and tickets out
  test [--only STEP…] [--list]
                              what CI runs, in its order; installs what it needs
  eval [--corpora DIR] [--write]
                              how well we read and detect on data that others labelled
  bench [--lines 1000000] [--runs 3] [--rules 0 1 10 100 1000] [--limit-seconds 300]
        [--without-duckdb] [--model DIR] [--write]
                              what a line costs, beside the floor and DuckDB; over the files of
                              gen_access.py and the rules of gen_rules.py in DIR instead of ours
  bench engine [--write]      what detection costs in memory: events, keys, time to the verdict
  bench ingest [--lines 200000] [--corpora DIR] [--write]
                              what a line costs on its way to an enriched event
  fuzz [TARGET…] [--seconds 10] [--keep]
                              bytes that nobody would write, given to everything that reads bytes;
                              --input FILE runs one input, --store FILE adds it to those stored
  kafka start|stop|status     a real Kafka on this machine, from Maven jars
                              [--nodes N] [--port P] [--dir D] [--heap 512m]; stop [--wipe]
  registry start|stop         a real schema registry on this machine, Apicurio from Maven
                              [--port P] [--dir D]
  gen docs                    writes the pages under docs/ that are made from code
  gen traffic --out FOLDER [--seed 7] [--start-ms MS]
                              the demo's traffic as files
  nightly [redmine]           suites with parts that take too long to get for every change
  tidy                        what no lint can check: imports, licences, files, rules

Everything that cargo builds here goes to TIDEGATE_TARGET_DIR (default ~/.cache/tidegate/target).";

fn main() -> ExitCode {
    let mut args = Args::from_command_line();
    match run(&mut args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("xtask: {trouble}");
            ExitCode::from(trouble.exit_code())
        }
    }
}

fn run(args: &mut Args) -> Result<(), Trouble> {
    match args.word("a command").as_deref() {
        Ok("bench") => bench::run(args),
        Ok("bench-floor") => bench::floor(Path::new(&args.word("a file")?)),
        Ok("demo") => demo::run(args),
        Ok("eval") => eval::run(args),
        Ok("fuzz") => fuzz::run(args),
        Ok("gen") => generate::run(args),
        Ok("kafka") => kafka::run(args),
        Ok("nightly") => nightly::run(args),
        Ok("registry") => registry::run(args),
        Ok("test") => test::run(args),
        Ok("tidy") => tidy::run(args),
        Ok("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        Ok(other) => Err(Trouble::usage(format!("there is no command `{other}`\n\n{USAGE}"))),
        Err(_) => Err(Trouble::usage(format!("a command is missing\n\n{USAGE}"))),
    }
}
