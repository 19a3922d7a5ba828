//! `tidegate replay`: files in, the verdicts that the rules would have given out.
//!
//! Owns: the order in which files are read, and what is printed. Never: a clock in the results;
//! the same files give the same bytes.

mod output;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use engine::run::{Fed, RunSettings, Runner};
use enrich::{Context, ContextCell, EnrichMetrics, JoinOptions, Joiner, load_folder};
use ingest::Place;
use runtime::config::Span;
use runtime::metrics::Metrics;
use schemas::{BATCH_ROWS_MAX, BatchBuilder, DeadLetter, EventTime, event_at};
use tokio::time::Instant;

use crate::cli::Replay;
use crate::fault::Fault;
use crate::lines::{self, Lines};
use crate::pack::Pack;
use crate::parse::dead_letter;
use crate::reading::{Input, REPLAY_KEY};
use crate::terminal;
use output::{Counts, Printer};

/// So many rules are many: what a step costs beside its events is then worth more memory.
const MANY_RULES: usize = 32;
/// Lines that they are given at once.
const MANY_RULES_STEP: usize = 4 * BATCH_ROWS_MAX;
/// Bytes of lines at once, whatever the rules.
const STEP_BYTES_MAX: usize = 32 << 20;

/// Runs the rules over the files.
pub(crate) fn run(command: &Replay) -> Result<(), Fault> {
    let ruleset = Pack::load(command.rules.as_deref())?.ruleset()?;
    let joiner = joiner(command.context.as_deref())?;
    let lateness: Span = command
        .lateness
        .parse()
        .map_err(|error| Fault::Usage(format!("--lateness {}: {error}", command.lateness)))?;
    let mut inputs = Vec::new();
    for path in &command.files {
        inputs.push(Input::new(Lines::open(path)?, &command.reading)?);
    }
    let mut settings = RunSettings::over(u32::try_from(inputs.len()).unwrap_or(u32::MAX));
    settings.map.lateness_ms = lateness.as_ms_i64();
    settings.learned_at = command.learned_at;
    let many = ruleset.rules().nth(MANY_RULES - 1).is_some();
    let runner = Runner::new(ruleset, settings).map_err(|error| Fault::bug(&error))?;
    let mut replay = Playing {
        builder: BatchBuilder::default(),
        step: if many { MANY_RULES_STEP } else { BATCH_ROWS_MAX },
        runner,
        joiner,
        printer: Printer::new(command)?,
        dead_letters: writer(command.dead_letters.as_deref())?,
        events: writer(command.events.as_deref())?,
        counts: Counts::default(),
        bar: terminal::bar(lines::total_bytes(&command.files)),
    };
    replay.play(&mut inputs, command.no_close)?;
    for input in &mut inputs {
        if let Some(advice) = input.parser.news() {
            terminal::say(&format!("{}: {advice}", input.lines.name));
        }
    }
    replay.counts.seconds = replay.counts.started.elapsed().as_secs_f64();
    terminal::say(&replay.counts.summary(command.timing));
    Ok(())
}

fn joiner(folder: Option<&Path>) -> Result<Joiner, Fault> {
    if let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
        let missing = missing.display();
        return Err(Fault::Usage(format!(
            "--context {missing}: no such folder; give the one that holds deploys.jsonl, openapi/ \
             and the rest"
        )));
    }
    let (context, problems) = folder.map(load_folder).unwrap_or_default();
    for problem in problems {
        terminal::say(&format!("context: {problem}"));
    }
    Ok(joiner_of(context))
}

/// A join of files with this context.
pub(crate) fn joiner_of(context: Context) -> Joiner {
    let options = JoinOptions { object_key: REPLAY_KEY, learn_routes: true };
    Joiner::new(ContextCell::new(context), options, EnrichMetrics::new(&Metrics::new()))
}

fn writer(path: Option<&Path>) -> Result<Option<BufWriter<File>>, Fault> {
    let Some(path) = path else { return Ok(None) };
    let made = File::create(path).map(BufWriter::new);
    made.map(Some)
        .map_err(|error| Fault::Usage(format!("cannot write {}: {error}", path.display())))
}

struct Playing {
    builder: BatchBuilder,
    /// Lines of a step at most.
    step: usize,
    runner: Runner,
    joiner: Joiner,
    printer: Printer,
    dead_letters: Option<BufWriter<File>>,
    events: Option<BufWriter<File>>,
    counts: Counts,
    bar: indicatif::ProgressBar,
}

impl Playing {
    fn play(&mut self, inputs: &mut [Input], no_close: bool) -> Result<(), Fault> {
        self.begin(inputs)?;
        // With one file, or none that waits for another, `lowest` is the next to read.
        while let Some(partition) = self.runner.lowest() {
            let Some(input) = inputs.get_mut(partition as usize) else { break };
            let ended = self.chunk(partition, input)?;
            self.printer.flush()?;
            self.bar.set_position(inputs.iter().map(|input| input.lines.bytes_read()).sum());
            if ended {
                if no_close && inputs.len() == 1 {
                    break;
                }
                let fed = self.runner.end_partition(partition).map_err(|e| Fault::bug(&e))?;
                if !(no_close && self.runner.lowest().is_none()) {
                    self.fed(fed)?;
                }
            }
        }
        self.bar.finish_and_clear();
        self.printer.flush()?;
        for writer in [&mut self.dead_letters, &mut self.events].into_iter().flatten() {
            writer.flush().map_err(|error| written(&error))?;
        }
        Ok(())
    }

    /// Of several files, each waits until the others have come to where it begins: whoever names
    /// them in whatever order, a log that was rotated is read as it was written.
    fn begin(&mut self, inputs: &mut [Input]) -> Result<(), Fault> {
        if inputs.len() < 2 {
            return Ok(());
        }
        for (partition, input) in (0_u32..).zip(inputs) {
            if let Some(begins) = input.begins()? {
                let fed = self.runner.quiet(partition, begins).map_err(|e| Fault::bug(&e))?;
                self.fed(fed)?;
            }
        }
        Ok(())
    }

    /// Reads one batch of a file; true at its end.
    fn chunk(&mut self, partition: u32, input: &mut Input) -> Result<bool, Fault> {
        let started = Instant::now();
        let builder = &mut self.builder;
        let mut letters = Vec::new();
        let mut line = Vec::new();
        let mut ended = false;
        let mut bytes = 0;
        let name = input.lines.name.clone();
        for taken in 0..self.step {
            // What somebody still writes is judged as far as it goes.
            let full = bytes >= STEP_BYTES_MAX || builder.len() >= self.step;
            if taken > 0 && (full || input.is_quiet()) {
                break;
            }
            let Some(offset) = input.next(&mut line)? else {
                ended = true;
                break;
            };
            self.counts.lines += 1;
            bytes += line.len();
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let place = Place { topic: &name, partition: 0, offset };
            match input.parser.feed(&line, place, EventTime(0), builder) {
                ingest::Fed::Events(events) => self.counts.events += events,
                ingest::Fed::DeadLetter(letter) => letters.push(*letter),
                ingest::Fed::Bundle { events, letters: more } => {
                    self.counts.events += events;
                    letters.extend(more);
                }
                ingest::Fed::Directive(_) => self.counts.directives += 1,
            }
        }
        let batch = builder.finish().map_err(|error| Fault::bug(&error))?;
        self.counts.parse += started.elapsed();
        self.enriched(partition, &batch, &letters)?;
        Ok(ended)
    }

    fn enriched(
        &mut self,
        partition: u32,
        batch: &RecordBatch,
        letters: &[DeadLetter],
    ) -> Result<(), Fault> {
        if batch.num_rows() > 0 {
            let started = Instant::now();
            let batch = self.joiner.enrich(batch).map_err(|error| Fault::bug(&error))?;
            self.counts.enrich += started.elapsed();
            self.write_events(&batch)?;
            let started = Instant::now();
            let fed = self.runner.feed(partition, &batch).map_err(|error| Fault::bug(&error))?;
            self.counts.detect += started.elapsed();
            self.fed(fed)?;
        }
        if !letters.is_empty() {
            self.letters(letters)?;
            let fed = self.runner.dropped(partition, letters).map_err(|e| Fault::bug(&e))?;
            self.fed(fed)?;
        }
        Ok(())
    }

    fn fed(&mut self, fed: Fed) -> Result<(), Fault> {
        let late: Vec<DeadLetter> = fed.late.into_iter().map(|row| row.letter).collect();
        self.letters(&late)?;
        self.counts.future += fed.future;
        for failure in &fed.failures {
            self.counts.failed(failure);
        }
        for verdict in &output::in_order(fed.verdicts) {
            self.counts.judged(verdict);
            self.printer.print(verdict)?;
        }
        Ok(())
    }

    fn letters(&mut self, letters: &[DeadLetter]) -> Result<(), Fault> {
        for letter in letters {
            self.counts.dropped(letter.reason);
            if let Some(writer) = &mut self.dead_letters {
                writeln!(writer, "{}", dead_letter(letter)).map_err(|error| written(&error))?;
            }
        }
        Ok(())
    }

    fn write_events(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        let Some(writer) = &mut self.events else { return Ok(()) };
        for row in 0..batch.num_rows() {
            let mut event = event_at(batch, row);
            event.observed_time = None;
            let text = serde_json::to_string(&event).map_err(|error| Fault::bug(&error))?;
            writeln!(writer, "{text}").map_err(|error| written(&error))?;
        }
        Ok(())
    }
}

fn written(error: &std::io::Error) -> Fault {
    Fault::Dependency(format!("cannot write: {error}"))
}
