//! `tidegate parse`: lines in, events and dead letters out.
//!
//! Owns: the JSON lines that it prints. Never: context or rules.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use ingest::{Parsed, Place};
use schemas::{DeadLetter, EventTime};
use serde_json::{Value, json};

use crate::cli::Parse;
use crate::fault::Fault;
use crate::lines::Lines;
use crate::pack::counted;
use crate::reading::Input;
use crate::terminal;

/// Prints one line for each line, in order.
pub(crate) fn run(command: &Parse) -> Result<(), Fault> {
    let mut out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let mut counts = Counts::default();
    for path in &command.files {
        let mut input = Input::new(Lines::open(path)?, &command.reading)?;
        let name = input.lines.name.clone();
        let mut line = Vec::new();
        while let Some(offset) = input.next(&mut line)? {
            counts.lines += 1;
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let place = Place { topic: &name, partition: 0, offset };
            let parsed = input.parser.line(&line, place, EventTime(0));
            write(&mut out, parsed, &mut counts)?;
            if input.is_quiet() {
                out.flush().map_err(|error| stdout(&error))?;
            }
        }
    }
    out.flush().map_err(|error| stdout(&error))?;
    terminal::say(&counts.summary());
    Ok(())
}

fn write(out: &mut impl Write, parsed: Parsed, counts: &mut Counts) -> Result<(), Fault> {
    match parsed {
        Parsed::Events(events) => {
            for mut event in events {
                counts.events += 1;
                event.observed_time = None;
                print(out, &serde_json::to_value(&event).unwrap_or_default())?;
            }
        }
        Parsed::DeadLetter(letter) => {
            *counts.dead.entry(letter.reason.name()).or_default() += 1;
            print(out, &dead_letter(&letter))?;
        }
        Parsed::Directive(text) => print(out, &json!({ "directive": text }))?,
        Parsed::Bundle(all) => {
            for parsed in all {
                write(out, parsed, counts)?;
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    lines: usize,
    events: usize,
    dead: BTreeMap<&'static str, usize>,
}

impl Counts {
    fn summary(&self) -> String {
        let dead: usize = self.dead.values().sum();
        let mut text = format!(
            "{}, {}, {}",
            counted(self.lines, "line"),
            counted(self.events, "event"),
            counted(dead, "dead letter")
        );
        for (reason, count) in &self.dead {
            text.push_str(&format!("\n  {count} {reason}"));
        }
        text
    }
}

/// A dead letter as `parse` and `--dead-letters` write it.
pub(crate) fn dead_letter(letter: &DeadLetter) -> Value {
    let mut body = json!({ "reason": letter.reason.name(), "detail": letter.detail });
    if let (Some(body), Some(address)) = (body.as_object_mut(), &letter.client_ip) {
        body.insert("client_ip".to_owned(), Value::from(address.as_str()));
    }
    json!({ "dead_letter": body, "line": letter.line })
}

fn print(out: &mut impl Write, value: &Value) -> Result<(), Fault> {
    writeln!(out, "{value}").map_err(|error| stdout(&error))
}

/// A reader that went away (`| head`) is no mistake of ours or of the user.
pub(crate) fn stdout(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Fault::No
    } else {
        Fault::Dependency(format!("cannot write to standard output: {error}"))
    }
}
