//! How lines of files are read: the flags that `parse` and `replay` share.
//!
//! Owns: flags to parser settings. Never: configuration files.

use std::collections::VecDeque;
use std::str::FromStr;

use ingest::{Keys, Parser, Place, Settings};
use schemas::{BatchBuilder, EventTime, event_at};

use crate::cli::Reading;
use crate::fault::Fault;
use crate::lines::Lines;

/// Lines looked at before the first is read.
const LOOK_AHEAD: usize = ingest::LINES_LOOKED_AT;

/// One file with its parser.
pub(crate) struct Input {
    pub(crate) lines: Lines,
    pub(crate) parser: Parser,
    settings: Settings,
    ahead: VecDeque<(u64, Vec<u8>)>,
    looked: bool,
}

/// The key of hashes in `parse` and `replay`: fixed, so that the same files give the same bytes.
pub(crate) const REPLAY_KEY: [u8; 16] = *b"tidegate/replay!";

impl Input {
    pub(crate) fn new(lines: Lines, reading: &Reading) -> Result<Self, Fault> {
        let settings = settings(&lines.name, reading)?;
        let parser = Parser::new(settings.clone(), Keys::new(REPLAY_KEY));
        Ok(Self { lines, parser, settings, ahead: VecDeque::new(), looked: false })
    }

    /// The earliest moment among its first lines, where one of them is an event.
    pub(crate) fn begins(&mut self) -> Result<Option<EventTime>, Fault> {
        self.look()?;
        let mut parser = Parser::new(self.settings.clone(), Keys::new(REPLAY_KEY));
        let mut builder = BatchBuilder::default();
        let lines: Vec<&[u8]> = self.ahead.iter().map(|(_, line)| line.as_slice()).collect();
        parser.learn(&lines);
        for line in lines {
            let place = Place { topic: &self.lines.name, partition: 0, offset: 0 };
            parser.feed(line, place, EventTime(0), &mut builder);
        }
        let batch = builder.finish().map_err(|error| Fault::bug(&error))?;
        Ok((0..batch.num_rows()).filter_map(|row| event_at(&batch, row).event_time).min())
    }

    /// The next line; the first ones are looked at together, so that the format is known.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<u64>, Fault> {
        self.look()?;
        match self.ahead.pop_front() {
            Some((offset, bytes)) => {
                *line = bytes;
                Ok(Some(offset))
            }
            None => self.lines.next(line),
        }
    }

    /// Whether a further line would have to be waited for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.looked && self.ahead.is_empty() && self.lines.is_quiet()
    }

    fn look(&mut self) -> Result<(), Fault> {
        if std::mem::replace(&mut self.looked, true) {
            return Ok(());
        }
        let mut line = Vec::new();
        while self.ahead.len() < LOOK_AHEAD
            && (self.ahead.is_empty() || !self.lines.is_quiet())
            && let Some(offset) = self.lines.next(&mut line)?
        {
            self.ahead.push_back((offset, std::mem::take(&mut line)));
        }
        let first: Vec<&[u8]> = self.ahead.iter().map(|(_, line)| line.as_slice()).collect();
        self.parser.learn(&first);
        Ok(())
    }
}

fn settings(name: &str, reading: &Reading) -> Result<Settings, Fault> {
    fn flag<T: FromStr<Err: std::fmt::Display>>(flag: &str, text: &str) -> Result<T, Fault> {
        text.parse().map_err(|error| Fault::Usage(format!("{flag} {text}: {error}")))
    }
    let mut trusted_proxies = Vec::new();
    for network in &reading.trusted_proxy {
        trusted_proxies.push(flag("--trusted-proxy", network)?);
    }
    Ok(Settings {
        sensor: name.to_owned(),
        format: flag("--format", &reading.format)?,
        service: reading.service.clone(),
        time_zone: flag("--time-zone", &reading.time_zone)?,
        trusted_proxies,
        ..Settings::default()
    })
}
