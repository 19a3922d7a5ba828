//! `cargo xtask nightly`: suites with real parts that take too long to get for every change.
//!
//! Owns: which there are. Never: what CI runs on every change; that is `test`.

mod redmine;

use crate::args::Args;
use crate::trouble::Trouble;

/// A suite: its name, and what runs it.
type Suite = (&'static str, fn() -> Result<(), Trouble>);

const SUITES: [Suite; 1] = [("redmine", redmine::run)];

/// Runs the suites that are named, or all.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let mut named = Vec::new();
    while let Ok(name) = args.word("a suite") {
        if SUITES.iter().all(|(known, _)| *known != name) {
            let known: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            return Err(Trouble::usage(format!("there is no suite `{name}`; there are: {known}")));
        }
        named.push(name);
    }
    for (name, suite) in SUITES {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            println!("=== {name}");
            suite()?;
        }
    }
    println!("all is well");
    Ok(())
}
