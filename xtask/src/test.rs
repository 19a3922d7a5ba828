//! `cargo xtask test`: what CI runs, in its order.
//!
//! Owns: the list of steps, which of them run, and the summary. Never: what a step does.

mod session;
mod steps;

use std::time::Duration;

use crate::args::Args;
use crate::clock::{Stopwatch, spoken};
use crate::place;
use crate::trouble::Trouble;

use session::Session;
use steps::STEPS;

/// One thing that CI does.
struct Step {
    /// What to call it after `--only`.
    name: &'static str,
    /// What it shows.
    about: &'static str,
    /// Does it.
    run: fn(&mut Session) -> Result<Ending, Trouble>,
}

/// How a step ended, where it did not fail to start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// All is well.
    Passed,
    /// Something could not run here, for a reason; in CI that is a failure.
    Skipped(String),
    /// Something was not run anywhere that does not have it, CI included.
    Absent(String),
    /// It found something.
    Failed(String),
}

/// A step with what came of it.
#[derive(Debug)]
struct Line {
    name: &'static str,
    took: Duration,
    ending: Ending,
}

/// Runs the steps.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let listed = args.flag("--list");
    let only = args.words_after("--only");
    args.finish()?;
    let chosen = choose(&only)?;
    if listed {
        for step in chosen {
            println!("{:<12} {}", step.name, step.about);
        }
        return Ok(());
    }
    let mut session = Session::new();
    let mut lines = Vec::new();
    for step in chosen {
        println!("\n=== {}: {}", step.name, step.about);
        let watch = Stopwatch::start();
        let ending = (step.run)(&mut session).unwrap_or_else(|e| Ending::Failed(e.to_string()));
        let line = Line { name: step.name, took: watch.elapsed(), ending };
        println!("{}", describe(&line));
        lines.push(line);
    }
    drop(session);
    conclude(&lines, place::in_ci())
}

/// The steps of these names, in the order of the list; all where none is named.
fn choose(only: &[String]) -> Result<Vec<&'static Step>, Trouble> {
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(Trouble::usage(format!(
            "there is no step `{unknown}`; the steps are {}",
            names.join(", ")
        )));
    }
    let wanted = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(wanted).collect())
}

/// Prints the summary and decides what the process ends with.
fn conclude(lines: &[Line], in_ci: bool) -> Result<(), Trouble> {
    println!("\n=== summary");
    for line in lines {
        println!("{}", describe(line));
    }
    let failed: Vec<&str> =
        lines.iter().filter(|line| counts_against(line, in_ci)).map(|line| line.name).collect();
    if failed.is_empty() {
        println!("all is well");
        return Ok(());
    }
    Err(Trouble::no(format!("failed: {}", failed.join(", "))))
}

fn counts_against(line: &Line, in_ci: bool) -> bool {
    match line.ending {
        Ending::Passed | Ending::Absent(_) => false,
        Ending::Skipped(_) => in_ci,
        Ending::Failed(_) => true,
    }
}

fn describe(line: &Line) -> String {
    let (word, why) = match &line.ending {
        Ending::Passed => ("passed", ""),
        Ending::Skipped(why) => ("SKIPPED", why.as_str()),
        Ending::Absent(why) => ("not run", why.as_str()),
        Ending::Failed(why) => ("FAILED", why.as_str()),
    };
    let head = format!("{:<12} {word:<8} {:>12}", line.name, spoken(line.took));
    if why.is_empty() { head } else { format!("{head}  {}", why.replace('\n', "\n    ")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ending, Line, choose, conclude, describe};

    fn line(ending: Ending) -> Line {
        Line { name: "fmt", took: Duration::from_secs(3), ending }
    }

    #[test]
    fn a_skipped_step_fails_only_in_ci() {
        let skipped = [line(Ending::Skipped("no java".to_owned()))];
        assert!(conclude(&skipped, false).is_ok());
        assert!(conclude(&skipped, true).unwrap_err().to_string().contains("fmt"));
    }

    #[test]
    fn what_is_absent_is_said_and_never_fails() {
        let absent = [line(Ending::Absent("no corpora".to_owned()))];
        assert!(conclude(&absent, true).is_ok());
        assert!(describe(&absent[0]).contains("no corpora"));
    }

    #[test]
    fn one_failed_step_fails_the_run() {
        let mixed = [line(Ending::Passed), line(Ending::Failed("2 to mend".to_owned()))];
        assert_eq!(conclude(&mixed, false).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn steps_are_chosen_by_name_and_keep_their_order() {
        let named = |names: &[&str]| {
            choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        assert_eq!(named(&["clippy", "fmt"]).unwrap(), ["fmt", "clippy"]);
        assert!(named(&["clipy"]).unwrap_err().to_string().contains("clippy"));
    }
}
