//! `tidegate routes list`: traffic held against OpenAPI documents.
//!
//! Owns: reading the files, and what is printed. Never: what a call says of a route; `seen` has it.

mod seen;

use std::io::{self, Write};

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use enrich::{Context, load_folder};
use ingest::Place;
use schemas::{BATCH_ROWS_MAX, BatchBuilder, EventTime, event_at};

use crate::cli::{Output, RoutesList};
use crate::fault::Fault;
use crate::lines::{self, Lines};
use crate::pack::counted;
use crate::parse::stdout;
use crate::reading::Input;
use crate::terminal;
use seen::{Line, RouteState, Seen};

/// Lists routes.
pub(crate) fn list(command: &RoutesList) -> Result<(), Fault> {
    let states = states(&command.states)?;
    let context = match &command.context {
        None => Context::default(),
        Some(folder) if folder.is_dir() => {
            let (context, problems) = load_folder(folder);
            for problem in problems {
                terminal::say(&format!("context: {problem}"));
            }
            context
        }
        Some(folder) => {
            let folder = folder.display();
            return Err(Fault::Usage(format!("{folder} is no folder; name the context folder")));
        }
    };
    let mut reading = Reading {
        seen: Seen::new(context.routes()),
        joiner: crate::replay::joiner_of(context),
        builder: BatchBuilder::default(),
        bar: terminal::bar(lines::total_bytes(&command.files)),
        lines: 0,
        unread: 0,
    };
    for path in &command.files {
        reading.read(&mut Input::new(Lines::open(path)?, &command.reading)?)?;
    }
    reading.bar.finish_and_clear();
    let mut listed = reading.seen.lines();
    listed.retain(|line| states.is_empty() || states.contains(&line.state));
    print(command.output, &listed)?;
    terminal::say(&summary(&reading, &listed));
    Ok(())
}

fn states(names: &[String]) -> Result<Vec<RouteState>, Fault> {
    let state = |name: &String| {
        RouteState::ALL.into_iter().find(|state| state.name() == *name).ok_or_else(|| {
            let known: Vec<&str> = RouteState::ALL.iter().map(|state| state.name()).collect();
            Fault::Usage(format!("--states {name}: the states are {}", known.join(", ")))
        })
    };
    names.iter().map(state).collect()
}

struct Reading {
    seen: Seen,
    joiner: enrich::Joiner,
    builder: BatchBuilder,
    bar: indicatif::ProgressBar,
    lines: usize,
    /// Lines that gave no event.
    unread: usize,
}

impl Reading {
    fn read(&mut self, input: &mut Input) -> Result<(), Fault> {
        let name = input.lines.name.clone();
        let mut line = Vec::new();
        let mut waiting = 0;
        while let Some(offset) = input.next(&mut line)? {
            self.lines += 1;
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let place = Place { topic: &name, partition: 0, offset };
            match input.parser.feed(&line, place, EventTime(0), &mut self.builder) {
                ingest::Fed::Events(events) => waiting += events,
                ingest::Fed::DeadLetter(_) => self.unread += 1,
                ingest::Fed::Bundle { events, letters } => {
                    waiting += events;
                    self.unread += letters.len();
                }
                ingest::Fed::Directive(_) => {}
            }
            if waiting >= BATCH_ROWS_MAX {
                self.take()?;
                self.bar.set_position(input.lines.bytes_read());
                waiting = 0;
            }
        }
        self.take()
    }

    fn take(&mut self) -> Result<(), Fault> {
        let batch = self.builder.finish().map_err(|error| Fault::bug(&error))?;
        let batch = self.joiner.enrich(&batch).map_err(|error| Fault::bug(&error))?;
        for row in 0..batch.num_rows() {
            self.seen.call(&event_at(&batch, row));
        }
        Ok(())
    }
}

fn print(output: Output, listed: &[Line]) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    if output == Output::Json {
        for line in listed {
            let text = serde_json::to_string(line).map_err(|error| Fault::bug(&error))?;
            writeln!(out, "{text}").map_err(|error| stdout(&error))?;
        }
        return Ok(());
    }
    if listed.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", table(listed)).map_err(|error| stdout(&error))
}

fn table(listed: &[Line]) -> Table {
    let mut table = terminal::table(UTF8_BORDERS_ONLY);
    table.set_header(["state", "service", "method", "route", "calls", "no auth", "first", "last"]);
    for line in listed {
        let time = |time: Option<EventTime>| time.map(|t| t.to_string()).unwrap_or_default();
        table.add_row([
            line.state.name().to_owned(),
            line.service.clone().unwrap_or_default(),
            line.method.clone(),
            line.route.clone(),
            line.calls.to_string(),
            line.unauthenticated.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default(),
            time(line.first),
            time(line.last),
        ]);
    }
    table
}

fn summary(reading: &Reading, listed: &[Line]) -> String {
    let of = |state: RouteState| listed.iter().filter(|line| line.state == state).count();
    let states = RouteState::ALL.into_iter().filter(|state| of(*state) > 0);
    let states: Vec<String> =
        states.map(|state| format!("{} {}", of(state), state.name())).collect();
    let mut text = format!(
        "{}: {}",
        counted(listed.len(), "route"),
        if states.is_empty() { "none to show".to_owned() } else { states.join(", ") }
    );
    text.push_str(&format!("\n{} read", counted(reading.lines, "line")));
    for (count, of, what) in [
        (reading.unread, "line", "without an event (`tidegate parse` says why)"),
        (reading.seen.unanswered, "call", "to paths that nothing declares and nobody answered"),
        (reading.seen.without_route, "call", "without a route"),
        (reading.seen.left_out, "call", "of routes beyond the bound"),
    ] {
        if count > 0 {
            text.push_str(&format!("; {} {what}", counted(count, of)));
        }
    }
    if reading.seen.nothing_declared() {
        text.push_str(
            "\nno OpenAPI document is known: put each as openapi/<service>.yml into a folder, and \
             name the folder with --context",
        );
    }
    text
}
