//! `tidegate rules …`: check, test, explain, bench, list, schema.
//!
//! Owns: what is printed about rules. Never: their meaning.

mod against;
mod cost;
mod never;
mod sample;
mod tested;
mod traffic;

use std::io::{self, Write};

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use engine::plan::{self, CompiledRule, State};
use engine::rule::{self, Level, Rule};

use crate::cli::{
    Output, RulesBench, RulesCheck, RulesExplain, RulesExport, RulesFolder, RulesTest,
};
use crate::fault::Fault;
use crate::pack::{Pack, counted, write_pack};
use crate::parse::stdout;
use crate::terminal;

/// Shows every mistake, then a line for each rule, and what else was asked for.
pub(crate) fn check(command: &RulesCheck) -> Result<(), Fault> {
    let pack = Pack::load(command.folder.as_deref())?;
    for problem in &pack.problems {
        terminal::say(&problem.render(terminal::colour()));
    }
    print(&table(&pack))?;
    if let Some(what) = &command.against {
        print(&against::compared(&pack, what, &command.config)?)?;
    }
    if !command.sample.is_empty() {
        let sample = sample::read(&command.sample, &command.reading)?;
        print(&never::found(&pack, &sample)?)?;
    }
    let errors = pack.problems.iter().filter(|problem| problem.fails_check()).count();
    terminal::say(&format!(
        "{}, {}, {}",
        counted(pack.rules.len(), "rule"),
        counted(errors, "error"),
        counted(pack.problems.len() - errors, "warning")
    ));
    if errors > 0 { Err(Fault::No) } else { Ok(()) }
}

/// Says what each rule costs.
pub(crate) fn bench(command: &RulesBench) -> Result<(), Fault> {
    let pack = Pack::load(command.folder.as_deref())?;
    let errors = pack.problems.iter().filter(|problem| problem.level == Level::Error);
    for problem in errors {
        terminal::say(&problem.render(terminal::colour()));
    }
    let sample = if command.sample.is_empty() {
        sample::made(&command.reading)?
    } else {
        sample::read(&command.sample, &command.reading)?
    };
    let costs = cost::of(&pack, &sample, command.runs)?;
    match command.output {
        Output::Table => print(&costs.table(&sample)),
        Output::Json => print(&costs.json(&sample)),
    }
}

/// Lists the rules.
pub(crate) fn list(command: &RulesFolder) -> Result<(), Fault> {
    print(&table(&Pack::load(command.folder.as_deref())?))
}

/// Writes the pack of the binary into a folder.
pub(crate) fn export(command: &RulesExport) -> Result<(), Fault> {
    let folder = command.folder.display();
    let count = write_pack(&command.folder)
        .map_err(|error| Fault::Usage(format!("cannot write the rules to {folder}: {error}")))?;
    terminal::say(&format!(
        "{} written to {folder}; change them, add yours, and let `up` take them in:\n\n[rules]\nfolder = \"{folder}\"",
        counted(count, "file")
    ));
    Ok(())
}

fn print(text: &impl std::fmt::Display) -> Result<(), Fault> {
    writeln!(io::stdout(), "{text}").map_err(|error| stdout(&error))
}

fn table(pack: &Pack) -> Table {
    let mut table = terminal::table(UTF8_BORDERS_ONLY);
    table.set_header(["rule", "severity", "mode", "state", "window", "tests", "title"]);
    terminal::keep_whole(&mut table, &[0]);
    for rule in &pack.rules {
        let compiled = pack.compiled.iter().find(|compiled| compiled.id() == rule.id);
        table.add_row([
            rule.id.clone(),
            format!("{:?}", rule.severity).to_lowercase(),
            format!("{:?}", rule.mode).to_lowercase(),
            state(compiled).to_owned(),
            window(rule),
            rule.tests.len().to_string(),
            rule.title.clone(),
        ]);
    }
    table
}

fn state(compiled: Option<&CompiledRule>) -> &'static str {
    match compiled.map(|compiled| compiled.state) {
        None => "cannot run",
        Some(State::None) => "none",
        Some(State::Panes) => "panes",
        Some(State::Rows) => "rows",
    }
}

fn window(rule: &Rule) -> String {
    rule.window.map_or_else(
        || "event".to_owned(),
        |window| {
            let span = |ms: i64| {
                let ms = u64::try_from(ms).unwrap_or_default();
                runtime::config::Span::from_ms(ms).to_string()
            };
            format!("{} by {}", span(window.size_ms), span(window.slide_ms))
        },
    )
}

/// Says how one rule runs.
pub(crate) fn explain(command: &RulesExplain) -> Result<(), Fault> {
    let pack = Pack::load(command.rules.as_deref())?;
    let id = |path: &str| path.trim_end_matches(".yml").trim_end_matches(".yaml").to_owned();
    let mine = |path: &str| id(path) == command.rule;
    for problem in pack.problems.iter().filter(|problem| mine(&problem.path)) {
        terminal::say(&problem.render(terminal::colour()));
    }
    let Some(compiled) = pack.compiled.iter().find(|compiled| compiled.id() == command.rule) else {
        let known: Vec<&str> = pack.rules.iter().map(|rule| rule.id.as_str()).collect();
        let of = match &command.rules {
            Some(folder) => format!("in {}", folder.display()),
            None => {
                "in the pack that comes with the binary (`--rules DIR` for your own)".to_owned()
            }
        };
        return Err(Fault::Usage(format!(
            "no rule `{}` that can run {of}; there are: {}",
            command.rule,
            known.join(", ")
        )));
    };
    let explanation = plan::explain(compiled);
    print(&format!("{}\n{explanation}", compiled.rule.title))?;
    let shares: Vec<String> = pack
        .compiled
        .iter()
        .map(plan::explain)
        .filter(|other| other.unit == explanation.unit && other.rule != explanation.rule)
        .map(|other| other.rule)
        .collect();
    if !shares.is_empty() {
        print(&format!("  shares   what it takes of events with {}", shares.join(", ")))?;
    }
    Ok(())
}

/// Prints the JSON Schema of a rule file.
pub(crate) fn schema() -> Result<(), Fault> {
    print(&rule::json_schema())
}

/// Runs the rules' tests.
pub(crate) fn test(command: &RulesTest) -> Result<(), Fault> {
    // `rules test NAME` with no such folder means the filter.
    let (folder, filter) = match (&command.folder, &command.filter) {
        (Some(folder), None) if !folder.is_dir() => (None, Some(folder.display().to_string())),
        (folder, filter) => (folder.clone(), filter.clone()),
    };
    let pack = Pack::load(folder.as_deref())?;
    let mut broken = 0;
    for problem in pack.problems.iter().filter(|problem| problem.level == Level::Error) {
        broken += 1;
        terminal::say(&problem.render(terminal::colour()));
    }
    let results = tested::run(&pack, filter.as_deref())?;
    let mut out = io::stdout().lock();
    for result in &results {
        let mark = if result.failures.is_empty() { "ok  " } else { "FAIL" };
        writeln!(out, "{mark} {} · {}", result.rule, result.test).map_err(|e| stdout(&e))?;
        for failure in &result.failures {
            writeln!(out, "{failure}").map_err(|error| stdout(&error))?;
        }
    }
    if let Some(path) = &command.junit {
        std::fs::write(path, tested::junit(&results))
            .map_err(|error| Fault::Usage(format!("cannot write {}: {error}", path.display())))?;
    }
    let failed = results.iter().filter(|result| !result.failures.is_empty()).count();
    let passed = results.len() - failed;
    writeln!(out, "{passed} passed, {failed} failed").map_err(|error| stdout(&error))?;
    if results.is_empty() {
        return Err(Fault::Usage("no test was run: no rule matches, or none has tests".to_owned()));
    }
    if failed + broken > 0 { Err(Fault::No) } else { Ok(()) }
}
