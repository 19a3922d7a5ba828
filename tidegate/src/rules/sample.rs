//! Events to hold rules against: of log files, through the real parser and joins, or made up.
//!
//! Owns: reading them into batches. Never: judging them.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use enrich::{Joiner, load_folder};
use ingest::{Fed, Keys, Parser, Place, Settings};
use schemas::{BATCH_ROWS_MAX, BatchBuilder, EventTime};

use super::traffic;
use crate::cli::Sampling;
use crate::fault::Fault;
use crate::lines::{self, Lines};
use crate::reading::{Input, REPLAY_KEY};
use crate::replay::joiner_of;
use crate::terminal;

/// Events, enriched, in the order in which they were read.
pub(super) struct Sample {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) events: usize,
    /// Lines that gave no event.
    pub(super) dropped: u64,
    /// Where they come from.
    pub(super) name: String,
}

/// Reads files up to the number of events that is asked for.
pub(super) fn read(files: &[PathBuf], asked: &Sampling) -> Result<Sample, Fault> {
    let name = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut taking = Taking::new(asked, name);
    let bar = terminal::bar(lines::total_bytes(files));
    for file in files {
        let mut input = Input::new(Lines::open(file)?, &asked.reading)?;
        let topic = input.lines.name.clone();
        let mut line = Vec::new();
        while taking.wants_more()
            && let Some(offset) = input.next(&mut line)?
        {
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let place = Place { topic: &topic, partition: 0, offset };
            taking.take(&mut input.parser, &line, place)?;
            bar.set_position(input.lines.bytes_read());
        }
    }
    bar.finish_and_clear();
    taking.finish()
}

/// Makes traffic up and reads it like any other.
pub(super) fn made(asked: &Sampling) -> Result<Sample, Fault> {
    let mut taking = Taking::new(asked, "made-up traffic".to_owned());
    let mut parser = Parser::new(Settings::default(), Keys::new(REPLAY_KEY));
    for (offset, line) in (0..).zip(traffic::lines(asked.events)) {
        let place = Place { topic: "made", partition: 0, offset };
        taking.take(&mut parser, line.as_bytes(), place)?;
    }
    taking.finish()
}

struct Taking {
    joiner: Joiner,
    builder: BatchBuilder,
    sample: Sample,
    events_max: usize,
}

impl Taking {
    fn new(asked: &Sampling, name: String) -> Self {
        let (context, problems) = asked.context.as_deref().map(load_folder).unwrap_or_default();
        for problem in problems {
            terminal::say(&format!("context: {problem}"));
        }
        let sample = Sample { batches: Vec::new(), events: 0, dropped: 0, name };
        let builder = BatchBuilder::default();
        Self { joiner: joiner_of(context), builder, sample, events_max: asked.events }
    }

    fn wants_more(&self) -> bool {
        self.sample.events < self.events_max
    }

    fn take(&mut self, parser: &mut Parser, line: &[u8], place: Place<'_>) -> Result<(), Fault> {
        let (events, dropped) = match parser.feed(line, place, EventTime(0), &mut self.builder) {
            Fed::Events(events) => (events, 0),
            Fed::DeadLetter(_) => (0, 1),
            Fed::Directive(_) => (0, 0),
            Fed::Bundle { events, letters } => (events, letters.len()),
        };
        self.sample.events += events;
        self.sample.dropped += u64::try_from(dropped).unwrap_or(u64::MAX);
        if self.builder.len() >= BATCH_ROWS_MAX { self.enrich() } else { Ok(()) }
    }

    fn enrich(&mut self) -> Result<(), Fault> {
        let batch = self.builder.finish().map_err(|error| Fault::bug(&error))?;
        if batch.num_rows() > 0 {
            let batch = self.joiner.enrich(&batch).map_err(|error| Fault::bug(&error))?;
            self.sample.batches.push(batch);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Sample, Fault> {
        self.enrich()?;
        if self.sample.events == 0 {
            return Err(Fault::Usage(format!(
                "{} holds no event: {} lines cannot be used; `tidegate parse` says why",
                self.sample.name, self.sample.dropped
            )));
        }
        Ok(self.sample)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::{made, read};
    use crate::cli::{Reading, Sampling};

    pub(crate) fn sampling(events: usize) -> Sampling {
        let reading = Reading {
            format: "auto".to_owned(),
            service: None,
            time_zone: "UTC".to_owned(),
            trusted_proxy: Vec::new(),
        };
        Sampling { reading, context: None, events }
    }

    #[test]
    fn made_traffic_is_read_whole_and_the_same_each_time() {
        let (one, other) = (made(&sampling(5_000)).unwrap(), made(&sampling(5_000)).unwrap());
        assert_eq!((one.events, one.dropped), (5_000, 0));
        assert_eq!(one.batches, other.batches);
    }

    #[test]
    fn a_file_without_events_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        std::fs::write(&file, "hello\nworld\n").unwrap();
        let Err(fault) = read(&[file], &sampling(10)) else { panic!("events of nothing") };
        assert!(fault.to_string().contains("holds no event: 2 lines"), "{fault}");
        assert!(read(&[Path::new("/nowhere").to_owned()], &sampling(10)).is_err());
    }
}
