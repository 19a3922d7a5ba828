//! `tidegate formats`: which formats there are, and which of them a file has.
//!
//! Owns: what is printed. Never: the guess, which is `ingest`'s.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::NOTHING;
use ingest::{Format, Guess, Keys, LINES_LOOKED_AT, Parsed, Parser, Place, Settings};
use schemas::EventTime;

use crate::cli::FormatsCommand;
use crate::fault::Fault;
use crate::lines::Lines;
use crate::parse::{dead_letter, stdout};
use crate::reading::REPLAY_KEY;
use crate::terminal;

/// Lines that are shown as they are read.
const LINES_SHOWN: usize = 3;

pub(crate) fn run(command: &FormatsCommand) -> Result<(), Fault> {
    let text = match command {
        FormatsCommand::List => list(),
        FormatsCommand::Detect { file } => detect(file)?,
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| stdout(&error))
}

fn list() -> String {
    let mut table = terminal::table(NOTHING);
    for format in Format::ALL {
        table.add_row([format.name(), format.doc()]);
    }
    format!(
        "{table}\n\nAny other: a template in the language of nginx, Envoy, Apache or HAProxy.\n"
    )
}

fn detect(file: &Path) -> Result<String, Fault> {
    let mut lines = Lines::open(file)?;
    let mut first = Vec::new();
    let mut line = Vec::new();
    // Directives and empty lines come on top.
    while first.len() < 2 * LINES_LOOKED_AT && lines.next(&mut line)?.is_some() {
        first.push(std::mem::take(&mut line));
    }
    let first: Vec<&[u8]> = first.iter().map(Vec::as_slice).collect();
    if first.iter().all(|line| line.trim_ascii().is_empty()) {
        terminal::say(&format!(
            "{}: no line in it, so no format to tell; give a log that something was written to",
            lines.name
        ));
        return Err(Fault::No);
    }
    let guesses = ingest::guesses(&first);
    let mut text = String::new();
    match guesses.first() {
        None => text.push_str("no format fits; the lines are read as\n\n"),
        Some(best) => {
            text.push_str(&scores(&guesses));
            text.push_str(&mapped(&first, best));
        }
    }
    let mut parser = Parser::new(Settings::default(), Keys::new(REPLAY_KEY));
    parser.learn(&first);
    let shown = first.iter().filter(|line| !line.starts_with(b"#") && !line.is_empty());
    for (offset, line) in (0..).zip(shown.take(LINES_SHOWN)) {
        let place = Place { topic: "line", partition: 0, offset };
        show(parser.line(line, place, EventTime(0)), &mut text);
    }
    if guesses.is_empty() {
        // The answer is printed, and it is no.
        io::stdout().write_all(text.as_bytes()).map_err(|error| stdout(&error))?;
        return Err(Fault::No);
    }
    Ok(text)
}

fn scores(guesses: &[Guess]) -> String {
    let mut table = terminal::table(NOTHING);
    table.set_header(["format", "score", "lines that fit", "envelopes", ""]);
    for guess in guesses {
        let share = format!("{:.0} %", guess.share * 100.0);
        table.add_row([
            guess.format.name(),
            &guess.score.to_string(),
            &share,
            &guess.envelopes.to_string(),
            guess.format.doc(),
        ]);
    }
    format!("{table}\n\n")
}

/// The names of a line that fits, and the columns that they fill.
fn mapped(lines: &[&[u8]], best: &Guess) -> String {
    let fits = |line: &&&[u8]| {
        ingest::guesses(&[line])
            .iter()
            .any(|guess| (guess.format, guess.envelopes) == (best.format, best.envelopes))
    };
    let Some(line) = lines.iter().find(fits) else { return String::new() };
    let mut table = terminal::table(NOTHING);
    table.set_header(["in the log", "column"]);
    for (name, column) in ingest::mapping(line, best) {
        table.add_row([name.as_str(), column.unwrap_or("–")]);
    }
    format!("{table}\n\n")
}

fn show(parsed: Parsed, text: &mut String) {
    match parsed {
        Parsed::Events(events) => {
            for mut event in events {
                event.observed_time = None;
                let json = serde_json::to_value(&event).unwrap_or_default();
                text.push_str(&format!("{json}\n"));
            }
        }
        Parsed::DeadLetter(letter) => text.push_str(&format!("{}\n", dead_letter(&letter))),
        Parsed::Directive(directive) => text.push_str(&format!("{directive}\n")),
        Parsed::Bundle(all) => all.into_iter().for_each(|parsed| show(parsed, text)),
    }
}
