//! `cargo xtask fuzz`: bytes that nobody would write, given to everything that reads bytes.
//!
//! Owns: building the fuzzer, which targets run and for how long, what is kept of what they find.
//! Never: what must hold of a target; that is `tests/fuzz`.
//!
//! A target is a file below `tests/fuzz/corpus`: what it begins with, one input a line, with
//! escapes for what is no printable ASCII. More to begin with comes from where it stands anyway:
//! a line of every log format, the rule pack, and frames and markers as the fuzzer itself writes
//! them.

mod corpus;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::args::Args;
use crate::clock::Stopwatch;
use crate::place;
use crate::process::{Running, succeeds};
use crate::trouble::Trouble;

/// Seconds a target in CI.
pub(crate) const SECONDS: u64 = 10;
/// Targets that run beside each other: as many as a small machine has cores.
const AT_ONCE: usize = 2;
/// A run that takes longer than this is a finding: an input may not hold up a stage.
const TIMEOUT_SECONDS: u64 = 10;
/// As the smallest machine that we run on has.
const MEMORY_MIB: u64 = 1024;

/// What is asked for on the command line.
struct Wish {
    targets: Vec<String>,
    seconds: u64,
    keep: bool,
}

/// The built fuzzer and its folders.
struct Bench {
    binary: PathBuf,
    folder: PathBuf,
}

/// What a target came to.
#[derive(Debug)]
enum Found {
    /// So many runs, and nothing.
    Nothing { runs: String },
    /// This input, and the last words.
    Input { file: Option<PathBuf>, words: String },
}

/// Runs the targets that are named, or all; or one over one input.
pub(crate) fn run(args: &mut Args) -> Result<(), Trouble> {
    let input = args.option("--input")?.map(PathBuf::from);
    let store = args.option("--store")?.map(PathBuf::from);
    let seconds = args.parsed("--seconds")?.unwrap_or(SECONDS);
    let keep = args.flag("--keep");
    let mut targets = Vec::new();
    while let Ok(name) = args.word("a target") {
        if name.starts_with("--") {
            return Err(Trouble::usage(format!("fuzz does not know `{name}`")));
        }
        targets.push(name);
    }
    let targets = chosen(&targets)?;
    if let Some(file) = store {
        return corpus::store(only(&targets)?, &file);
    }
    let bench = Bench::build()?;
    match input {
        Some(file) => bench.reproduce(only(&targets)?, &file),
        None => report(&bench, &Wish { targets, seconds, keep }),
    }
}

/// All targets for as long as CI gives each.
pub(crate) fn prove() -> Result<(), Trouble> {
    report(&Bench::build()?, &Wish { targets: chosen(&[])?, seconds: SECONDS, keep: false })
}

fn only(targets: &[String]) -> Result<&str, Trouble> {
    match targets {
        [one] => Ok(one),
        _ => Err(Trouble::usage("name one target: cargo xtask fuzz TARGET --input FILE")),
    }
}

/// The targets of these names, or whose names begin so up to a dash; all where none is named.
fn chosen(named: &[String]) -> Result<Vec<String>, Trouble> {
    let all = corpus::targets()?;
    let fits = |target: &str, name: &str| {
        target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(unknown) = named.iter().find(|name| !all.iter().any(|target| fits(target, name))) {
        return Err(Trouble::usage(format!(
            "there is no target `{unknown}`; there are: {}",
            all.join(", ")
        )));
    }
    let wanted = |target: &String| named.is_empty() || named.iter().any(|name| fits(target, name));
    Ok(all.into_iter().filter(wanted).collect())
}

fn report(bench: &Bench, wish: &Wish) -> Result<(), Trouble> {
    let (found, left) = (Mutex::new(Vec::new()), Mutex::new(wish.targets.iter()));
    let next = || left.lock().ok().and_then(|mut left| left.next().cloned());
    let work = || -> Result<(), Trouble> {
        while let Some(target) = next() {
            let watch = Stopwatch::start();
            let what = bench.fuzz(&target, wish)?;
            println!("{}", described(&target, &what, watch));
            if let Ok(mut found) = found.lock()
                && let Found::Input { .. } = what
            {
                found.push(target);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let gone = || Trouble::dependency("a worker ended early");
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_panic| gone())?)
    })?;
    let found = found.into_inner().unwrap_or_default();
    if found.is_empty() {
        println!("{} targets, {} s each: nothing found", wish.targets.len(), wish.seconds);
        return Ok(());
    }
    Err(Trouble::no(format!("found something in {}", found.join(", "))))
}

fn described(target: &str, what: &Found, watch: Stopwatch) -> String {
    let took = watch.elapsed().as_secs();
    match what {
        Found::Nothing { runs } => format!("{target:<26} {took:>4} s  {runs}"),
        Found::Input { file: None, words } => format!("{target:<26} {took:>4} s  FAILED\n{words}"),
        Found::Input { file: Some(file), words } => format!(
            "{target:<26} {took:>4} s  FOUND {0}\n{words}\n\
             again:  cargo xtask fuzz {target} --input {0}\n\
             mended: cargo xtask fuzz {target} --store {0}",
            file.display()
        ),
    }
}

impl Bench {
    fn build() -> Result<Self, Trouble> {
        let mut build = place::cargo();
        build.args(["build", "--workspace", "--features", "tests/fuzz", "--example", "fuzz"]);
        build.env("RUSTC_WORKSPACE_WRAPPER", place::root().join("tests/fuzz/rustc-with-coverage"));
        if !succeeds(&mut build)? {
            return Err(Trouble::no("the fuzzer was not built; the errors stand above"));
        }
        let folder = place::folder(&place::target().join("fuzz"))?;
        Ok(Self { binary: place::target().join("debug/examples/fuzz"), folder })
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("TIDEGATE_FUZZ", target).env("RUST_BACKTRACE", "0");
        command.arg(format!("-timeout={TIMEOUT_SECONDS}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB}"));
        command
    }

    fn reproduce(&self, target: &str, file: &Path) -> Result<(), Trouble> {
        let mut command = self.command(target);
        command.arg(place::program_at(file)?).env("RUST_BACKTRACE", "1");
        if succeeds(&mut command)? {
            println!("{target} takes it");
            return Ok(());
        }
        Err(Trouble::no(format!("{target} does not take {}", file.display())))
    }

    fn fuzz(&self, target: &str, wish: &Wish) -> Result<Found, Trouble> {
        let seeds = self.folder.join(target);
        corpus::unpack(target, &place::folder(&seeds)?)?;
        let found = place::folder(&self.folder.join("found"))?.join(format!("{target}-"));
        let said = self.folder.join(format!("{target}.log"));
        let log = || File::create(&said).map_err(|e| Trouble::io("write", &said, &e));
        let (out, err) = (log()?, File::options().append(true).open(&said));
        let err = err.map_err(|e| Trouble::io("write", &said, &e))?;
        let mut command = self.command(target);
        command.env("TIDEGATE_FUZZ_SEEDS", &seeds);
        command.arg(format!("-max_total_time={}", wish.seconds));
        command.arg(format!("-max_len={}", corpus::length_max(target)));
        command.arg(format!("-artifact_prefix={}", found.display()));
        command.args(["-print_final_stats=1", "-use_value_profile=1"]).arg(&seeds);
        let ended = Running::start(command.stdout(out).stderr(err))?.wait()?;
        let words = String::from_utf8_lossy(
            &std::fs::read(&said).map_err(|e| Trouble::io("read", &said, &e))?,
        )
        .into_owned();
        if ended.success() {
            if wish.keep {
                corpus::keep(target, &seeds, |into| self.merge(target, &seeds, into))?;
            }
            return Ok(Found::Nothing { runs: counted(&words) });
        }
        let file = words.lines().rev().find_map(|line| line.split_once("Test unit written to "));
        let file = file.map(|(_, file)| PathBuf::from(file.trim()));
        Ok(Found::Input { file, words: last_words(&words) })
    }

    /// The fewest inputs that reach what all of them reach.
    fn merge(&self, target: &str, seeds: &Path, into: &Path) -> Result<(), Trouble> {
        let mut command = self.command(target);
        command.arg("-merge=1").arg(into).arg(seeds).stderr(std::process::Stdio::null());
        if succeeds(&mut command)? {
            return Ok(());
        }
        Err(Trouble::no(format!("{target}: what was found could not be merged")))
    }
}

/// `123 runs, 45 a second, reached 678`.
fn counted(log: &str) -> String {
    let stat = |name: &str| {
        let found =
            log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.split_once(name));
        found.map_or("?", |(_, value)| value.trim())
    };
    let reached = log.lines().rev().find_map(|line| line.split_once(" cov: "));
    let reached = reached.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?");
    format!(
        "{} runs, {} a second, {reached} branches",
        stat("number_of_executed_units:"),
        stat("average_exec_per_sec:")
    )
}

/// What was said about the end: the panic, and libFuzzer's word on it.
fn last_words(log: &str) -> String {
    let from = log.lines().position(|line| line.contains("panicked at") || line.contains("ERROR:"));
    let lines = log.lines().skip(from.unwrap_or(0)).filter(|line| !line.starts_with("stat::"));
    lines.take(6).map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{chosen, counted, last_words};

    #[test]
    fn targets_are_chosen_by_name_or_by_its_beginning() {
        let chosen = |names: &[&str]| {
            chosen(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&["frames"]).unwrap(), ["frames"]);
        let lines = chosen(&["lines"]).unwrap();
        assert!(lines.len() > 20 && lines.iter().all(|target| target.starts_with("lines-")));
        assert!(chosen(&["line"]).unwrap_err().to_string().contains("lines-combined"));
    }

    #[test]
    fn figures_and_last_words_come_out_of_the_log() {
        let log = "#2\tINITED cov: 10 ft: 11\n#900\tDONE   cov: 345 ft: 9\n\
                   stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     90\n";
        assert_eq!(counted(log), "900 runs, 90 a second, 345 branches");
        let log = "#2\tINITED\nthread '<unnamed>' panicked at a.rs:1:2:\nindex out of bounds\n";
        assert!(last_words(log).starts_with("    thread '<unnamed>' panicked"));
    }
}
