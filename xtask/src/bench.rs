//! `cargo xtask bench`: what a line costs, beside the floor and DuckDB on the same machine.
//!
//! Owns: what is run and how often, `docs/benchmarks.md`. Never: a workload's content.

mod duckdb;
mod engine;
mod ingest;
mod machine;
mod measure;
mod model;
mod page;
mod rules;
mod wanted;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::args::Args;
use crate::packages;
use crate::place;
use crate::process::succeeds;
use crate::trouble::Trouble;

use measure::{Limit, Measured, run as measured};
use page::{Page, Row};
use rules::RuleSet;
use workload::{Callers, Format, Workload};

pub(crate) use measure::floor;

/// DuckDB is asked for so many rules at most: it takes in proportion, and that is minutes a run.
const BESIDE_RULES: usize = 100;

/// What the command line asks for.
#[derive(Debug)]
struct Wish {
    lines: u64,
    runs: usize,
    limit: Limit,
    sets: Vec<usize>,
    duckdb: bool,
    /// A folder with the generators for whose files figures were set: instead of files of ours.
    model: Option<PathBuf>,
    write: bool,
}

/// Where everything lies.
#[derive(Debug)]
struct Bench {
    wish: Wish,
    folder: PathBuf,
    tidegate: PathBuf,
    xtask: PathBuf,
    floor: PathBuf,
    python: Option<PathBuf>,
}

/// Runs the benchmark.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    if args.flag("ingest") {
        return ingest::run(args);
    }
    if args.flag("engine") {
        return engine::run(args);
    }
    let wish = Wish {
        lines: args.parsed("--lines")?.unwrap_or(1_000_000),
        runs: args.parsed("--runs")?.unwrap_or(3).max(1),
        limit: Limit(Duration::from_secs(args.parsed("--limit-seconds")?.unwrap_or(300))),
        sets: sets(&args.words_after("--rules"))?,
        duckdb: !args.flag("--without-duckdb"),
        model: args.option("--model")?.map(PathBuf::from),
        write: args.flag("--write"),
    };
    args.finish()?;
    let bench = Bench::prepare(wish)?;
    let (text, name) = match &bench.wish.model {
        Some(folder) => (model::run(&bench, folder)?, "docs/benchmarks-model.md"),
        None => (bench.run()?, "docs/benchmarks.md"),
    };
    println!("{text}");
    if bench.wish.write {
        place::write(&place::root().join(name), &text)?;
    }
    Ok(())
}

/// The rule sets to run, by their number in a name: 0, 1, 10, 100, 1000.
fn sets(words: &[String]) -> Result<Vec<usize>, Trouble> {
    if words.is_empty() {
        return Ok(vec![0, 1, 10, 100, 1000]);
    }
    let read = |word: &String| match word.parse() {
        Ok(number @ (0 | 1 | 10 | 100 | 1000)) => Ok(number),
        _ => Err(Trouble::usage(format!("--rules {word}: any of 0 1 10 100 1000"))),
    };
    words.iter().map(read).collect()
}

impl Bench {
    fn prepare(wish: Wish) -> Result<Self, Trouble> {
        let mut build = place::build();
        build.arg("--release");
        if !succeeds(&mut build)? {
            return Err(Trouble::no("the build failed; the errors stand above"));
        }
        let python = if wish.duckdb { Some(packages::python(&["duckdb"])?) } else { None };
        let release = place::target().join("release");
        Ok(Self {
            folder: place::folder(&place::target().join("bench"))?,
            tidegate: release.join("tidegate"),
            xtask: release.join("xtask"),
            floor: release.join("examples/floor"),
            python,
            wish,
        })
    }

    fn run(&self) -> Result<String, Trouble> {
        let mut page = Page::new(self.wish.lines, self.wish.runs);
        let all = [
            (Format::Combined, Callers::Few),
            (Format::Json, Callers::Few),
            (Format::Json, Callers::Many),
        ];
        for (format, callers) in all {
            let workload = Workload { lines: self.wish.lines, format, callers, seed: 7 };
            let (name, log) = (workload.name(), workload.file(&self.folder)?);
            page.workload(&name, file_bytes(&log)?);
            if callers == Callers::Few {
                self.floors((&name, format), &log, &mut page)?;
            }
            let sets = self.wish.sets.iter();
            for number in sets.filter(|number| callers == Callers::Few || **number <= BESIDE_RULES)
            {
                let set = RuleSet::make(*number);
                let folder = self.folder_of(&set.name())?;
                set.write(&folder)?;
                self.ours((&name, &set.name()), &log, &folder, &mut page)?;
                if set.rules.len() <= BESIDE_RULES {
                    let script = duckdb::script(format, &log, &set);
                    self.theirs((&name, &set.name()), &script, &mut page)?;
                }
            }
        }
        Ok(page.text())
    }

    /// An empty folder for rules.
    fn folder_of(&self, set: &str) -> Result<PathBuf, Trouble> {
        let folder = self.folder.join(set);
        place::remove_folder(&folder)?;
        place::folder(&folder)
    }

    /// What even a program that does nothing with a line must spend on it.
    fn floors(
        &self,
        (name, format): (&str, Format),
        log: &Path,
        page: &mut Page,
    ) -> Result<(), Trouble> {
        let split = self.median(|| {
            let mut command = Command::new(&self.xtask);
            command.arg("bench-floor").arg(log);
            command
        })?;
        page.row(Row::new("floor: splitting lines", name, "–", split));
        if format == Format::Json {
            let parse = self.median(|| {
                let mut command = Command::new(&self.floor);
                command.arg(log);
                command
            })?;
            page.row(Row::new(page::FLOOR, name, "–", parse));
        }
        Ok(())
    }

    fn ours(
        &self,
        (name, set): (&str, &str),
        log: &Path,
        rules: &Path,
        page: &mut Page,
    ) -> Result<(), Trouble> {
        let result = self.median(|| {
            let mut command = Command::new(&self.tidegate);
            command.args(["replay", "--timing", "-o", "json", "--kinds", "opened", "--rules"]);
            command.arg(rules).arg(log);
            command
        })?;
        page.shares(name, set, &result);
        page.answers(name, set, duckdb::fired_by_us(&result.out));
        page.row(Row::new(page::OURS, name, set, result));
        Ok(())
    }

    fn theirs(
        &self,
        (name, set): (&str, &str),
        text: &str,
        page: &mut Page,
    ) -> Result<(), Trouble> {
        let Some(python) = &self.python else { return Ok(()) };
        let script = self.folder.join("beside.py");
        place::write(&script, text)?;
        let result = self.median(|| {
            let mut command = Command::new(python);
            command.arg(&script);
            command
        })?;
        page.compare(name, set, &duckdb::fired_by_them(&result.out));
        page.row(Row::new(page::THEIRS, name, set, result));
        Ok(())
    }

    /// The run with the middle cost of several; the first that runs into the limit ends it.
    fn median(&self, command: impl Fn() -> Command) -> Result<Measured, Trouble> {
        let mut runs: Vec<Measured> = Vec::new();
        for _ in 0..self.wish.runs {
            let run = measured(&mut command(), self.wish.limit)?;
            if !run.finished {
                return Ok(run);
            }
            runs.push(run);
        }
        runs.sort_by_key(|run| run.cpu);
        let middle = runs.len() / 2;
        runs.into_iter().nth(middle).ok_or_else(|| Trouble::usage("--runs: at least 1"))
    }
}

fn file_bytes(path: &Path) -> Result<u64, Trouble> {
    std::fs::metadata(path).map(|data| data.len()).map_err(|e| Trouble::io("look at", path, &e))
}

#[cfg(test)]
mod tests {
    use super::sets;

    #[test]
    fn rule_sets_are_chosen_by_number() {
        assert_eq!(sets(&[]).unwrap(), [0, 1, 10, 100, 1000]);
        assert_eq!(sets(&["10".to_owned()]).unwrap(), [10]);
        assert!(sets(&["7".to_owned()]).is_err());
    }
}
