//! Lines to events.
//!
//! Owns: the way of a line through cleaning, envelopes, formats and assembly; what an input has
//! settled on. Never: reads inputs, drops a line.

use schemas::{BatchBuilder, DeadLetter, Event, EventTime, Reason};

use crate::assemble::{self, Job};
use crate::clean;
use crate::dead::{self, Arrival, Refusal};
use crate::detect::{self, Guess, Habit, Reading};
use crate::envelope;
use crate::format::{self, Aliases, Desk, Format, Memory};
use crate::keys::Keys;
use crate::memo::Agents;
use crate::parts::Parts;
use crate::read::times::Times;
use crate::settings::{Choice, Settings};
use crate::watch::{Advice, Watch};

/// Bytes of a line that is read. Gateways cut request lines at 8 to 64 KiB and headers likewise; a
/// JSON line with all of them stays below this.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Where a line stands: its origin, but for the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'p> {
    /// Topic, file or input.
    pub topic: &'p str,
    /// Partition of it.
    pub partition: u32,
    /// Offset of the record, or of the line's first byte in a file.
    pub offset: i64,
}

/// What a line came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Events, in order: one, but for formats that hold several.
    Events(Vec<Event<'static>>),
    /// Nothing that could be used.
    DeadLetter(Box<DeadLetter>),
    /// A line about the log itself, such as `#Fields:`.
    Directive(String),
}

/// What a line came to whose events went into a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Fed {
    /// So many events were appended.
    Events(usize),
    /// Nothing that could be used.
    DeadLetter(Box<DeadLetter>),
    /// A line about the log itself.
    Directive(String),
}

/// Reads the lines of one input.
///
/// ```
/// use ingest::{Keys, Parsed, Parser, Place, Settings};
/// use schemas::EventTime;
/// let mut parser = Parser::new(Settings::default(), Keys::new([7; 16]));
/// let line = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /v1/a?b=c HTTP/1.1" 200 5"#;
/// let place = Place { topic: "access.log", partition: 0, offset: 0 };
/// let Parsed::Events(events) = parser.line(line, place, EventTime(0)) else { unreachable!() };
/// assert_eq!(events[0].path.as_deref(), Some("/v1/a"));
/// ```
#[derive(Debug)]
pub struct Parser {
    settings: Settings,
    keys: Keys,
    desk: Desk,
    agents: Agents,
    habit: Habit,
    watch: Watch,
}

impl Parser {
    /// A parser for one input.
    #[must_use]
    pub fn new(settings: Settings, keys: Keys) -> Self {
        let desk = desk(&settings);
        let habit = match settings.format {
            Choice::Auto => Habit::default(),
            Choice::Named(format) => Habit::settled_on(Reading { format, envelopes: 0 }),
        };
        let (agents, watch) = (Agents::default(), Watch::default());
        Self { settings, keys, desk, agents, habit, watch }
    }

    /// Looks at the first lines of an input before any is read, so that even they are read as what
    /// most of them are. Nothing changes where the format is named.
    pub fn learn(&mut self, lines: &[&[u8]]) -> Option<Guess> {
        let guess = detect::detect(lines, &mut self.desk)?;
        if self.settings.format == Choice::Auto {
            let Guess { format, envelopes, .. } = guess;
            self.habit = Habit::settled_on(Reading { format, envelopes });
        }
        Some(guess)
    }

    /// What the settings seem to lack, by the last thousand events.
    #[must_use]
    pub fn advice(&self) -> Option<&Advice> {
        self.watch.advice()
    }

    /// The format that the input has settled on.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.habit.reading().map(|reading| reading.format)
    }

    /// Reads a line. Every line comes to events, a dead letter or a directive.
    pub fn line(&mut self, bytes: &[u8], place: Place<'_>, observed: EventTime) -> Parsed {
        let mut events = Vec::new();
        match self
            .read(bytes, place, observed, &mut |event| events.push(event.clone().into_owned()))
        {
            Fed::Events(_) => Parsed::Events(events),
            Fed::DeadLetter(letter) => Parsed::DeadLetter(letter),
            Fed::Directive(text) => Parsed::Directive(text),
        }
    }

    /// Reads a line into a batch.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        place: Place<'_>,
        observed: EventTime,
        batch: &mut BatchBuilder,
    ) -> Fed {
        self.read(bytes, place, observed, &mut |event| batch.push(event))
    }

    fn read(
        &mut self,
        bytes: &[u8],
        place: Place<'_>,
        observed: EventTime,
        sink: &mut dyn FnMut(&Event<'_>),
    ) -> Fed {
        let arrival = Arrival { settings: &self.settings, place, observed };
        if bytes.len() > LINE_BYTES_MAX {
            let detail = format!("{} bytes; at most {LINE_BYTES_MAX} are read", bytes.len());
            let letter = dead::unread(bytes, (Reason::TooLong, detail), arrival);
            return Fed::DeadLetter(Box::new(letter));
        }
        let text = clean::text(bytes);
        if text.is_empty() {
            let letter = dead::unread(bytes, (Reason::Empty, "an empty line".to_owned()), arrival);
            return Fed::DeadLetter(Box::new(letter));
        }
        if self.by_habit(&text, place, observed, sink) {
            self.habit.fits();
            return Fed::Events(1);
        }
        if let Some(text) = format::directive(&text) {
            return Fed::Directive(text.to_owned());
        }
        match self.by_trial(&text, place, observed, sink) {
            Ok(reading) => {
                self.misses(Some(reading));
                Fed::Events(1)
            }
            Err(refusal) => {
                self.misses(None);
                let arrival = Arrival { settings: &self.settings, place, observed };
                Fed::DeadLetter(Box::new(dead::refused(&text, refusal, arrival)))
            }
        }
    }

    fn misses(&mut self, otherwise: Option<Reading>) {
        match (self.settings.format, otherwise) {
            (Choice::Auto, _) => self.habit.misses(otherwise),
            // What is named stays, but for the envelopes around it.
            (Choice::Named(format), Some(reading)) if reading.format == format => {
                self.habit = Habit::settled_on(reading);
            }
            (Choice::Named(_), _) => {}
        }
    }

    /// Reads a line as the ones before it. Whether it was one.
    fn by_habit(
        &mut self,
        text: &str,
        place: Place<'_>,
        observed: EventTime,
        sink: &mut dyn FnMut(&Event<'_>),
    ) -> bool {
        let Some(reading) = self.habit.reading() else { return false };
        let Some(line) = envelope::open_all(text, reading.envelopes) else { return false };
        let mut parts = Parts::default();
        if reading.format.read(&line, &mut self.desk, &mut parts).is_err() {
            return false;
        }
        let (settings, keys) = (&self.settings, &self.keys);
        let job = Job { settings, keys, format: reading.format, line: &line, place, observed };
        let event = assemble::event(&mut parts, job, &mut self.agents);
        self.watch.see(event.client_ip.as_deref().filter(|_| settings.trusted_proxies.is_empty()));
        sink(&event);
        true
    }

    /// Reads a line as the first format of the list that it fits, with the fewest envelopes off.
    fn by_trial(
        &mut self,
        text: &str,
        place: Place<'_>,
        observed: EventTime,
        sink: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Reading, Option<Refusal>> {
        let mut refusal: Option<Refusal> = None;
        let formats = candidates(self.settings.format);
        for envelopes in 0..=envelope::DEPTH_MAX {
            let Some(line) = envelope::open_all(text, envelopes) else { break };
            for format in &formats {
                let mut parts = Parts::default();
                match format.read(&line, &mut self.desk, &mut parts) {
                    Ok(()) => {
                        let (format, line) = (*format, &*line);
                        let (settings, keys) = (&self.settings, &self.keys);
                        let job = Job { settings, keys, format, line, place, observed };
                        let event = assemble::event(&mut parts, job, &mut self.agents);
                        self.watch.see(
                            event
                                .client_ip
                                .as_deref()
                                .filter(|_| settings.trusted_proxies.is_empty()),
                        );
                        sink(&event);
                        return Ok(Reading { format, envelopes });
                    }
                    Err(failure) => {
                        let next = Refusal::of(failure, &parts, &self.settings);
                        refusal = Some(next.or(refusal));
                    }
                }
            }
        }
        Err(refusal)
    }
}

/// The formats that a line is tried as.
fn candidates(choice: Choice) -> Vec<Format> {
    match choice {
        Choice::Auto => Format::ALL.to_vec(),
        Choice::Named(format) => {
            let family = format.family().iter().copied().filter(|other| *other != format);
            std::iter::once(format).chain(family).collect()
        }
    }
}

fn desk(settings: &Settings) -> Desk {
    Desk {
        times: Times::new(settings.time_zone.tz()),
        aliases: Aliases::new(&settings.mapping),
        memory: Memory::default(),
        own_memory: Memory::default(),
    }
}

/// What lines look like, without any settings.
#[must_use]
pub fn detect(lines: &[&[u8]]) -> Option<Guess> {
    detect::detect(lines, &mut desk(&Settings::default()))
}

#[cfg(test)]
mod tests;
