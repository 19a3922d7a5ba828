//! Lines to events.
//!
//! Owns: the way of a line through cleaning, envelopes, formats and assembly; what an input has
//! settled on. Never: reads inputs, drops a line.

use std::sync::Arc;

use schemas::{BatchBuilder, DeadLetter, Event, EventIds, EventTime, Reason};

use crate::address;
use crate::assemble::{self, Job};
use crate::bundle::{self, Bundle};
use crate::clean;
use crate::dead::{self, Arrival, Refusal};
use crate::detect::{self, Guess, Habit, Reading};
use crate::envelope;
use crate::format::{self, Aliases, Desk, Format, Layout, Memory, Template};
use crate::keys::Keys;
use crate::memo::Agents;
use crate::parts::{Kept, Parts};
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
    /// What each line of a record came to that held several, in order.
    Bundle(Vec<Parsed>),
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
    /// A record that held several lines.
    Bundle {
        /// So many events were appended.
        events: usize,
        /// What could not be used of it, in order.
        letters: Vec<DeadLetter>,
    },
}

/// Where and when a line came.
#[derive(Debug, Clone, Copy)]
struct Spot<'p> {
    place: Place<'p>,
    /// Its number in a record that holds several lines.
    index: u32,
    observed: EventTime,
}

/// Where events go.
enum Sink<'s> {
    Batch(&'s mut BatchBuilder),
    Events(&'s mut Vec<Event<'static>>),
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
    ids: EventIds,
    habit: Habit,
    watch: Watch,
}

impl Parser {
    /// A parser for one input.
    #[must_use]
    pub fn new(settings: Settings, keys: Keys) -> Self {
        let desk = desk(&settings);
        let habit = match named(&settings.format) {
            None => Habit::default(),
            Some(format) => Habit::settled_on(Reading { format, envelopes: 0 }),
        };
        let (agents, ids, watch) = (Agents::default(), EventIds::default(), Watch::default());
        Self { settings, keys, desk, agents, ids, habit, watch }
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

    /// Whether so many events were read that having no advice means that there is none to give.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.watch.is_judged()
    }

    /// The same, where it was not given by this yet.
    pub fn news(&mut self) -> Option<&Advice> {
        self.watch.news()
    }

    /// The format that the input has settled on.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.habit.reading().map(|reading| reading.format)
    }

    /// Reads a line. Every line comes to events, a dead letter or a directive.
    pub fn line(&mut self, bytes: &[u8], place: Place<'_>, observed: EventTime) -> Parsed {
        let mut spot = Spot { place, index: 0, observed };
        let Some(bundle) = bundle::open(bytes) else { return self.parsed(bytes, spot) };
        let mut all = Vec::with_capacity(bundle.lines.len());
        for line in &bundle.lines {
            all.push(self.parsed(line.as_bytes(), spot));
            spot.index = spot.index.saturating_add(1);
        }
        if let Some(letter) = self.remains(bytes, &bundle, spot) {
            all.push(Parsed::DeadLetter(Box::new(letter)));
        }
        Parsed::Bundle(all)
    }

    /// Reads a line into a batch.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        place: Place<'_>,
        observed: EventTime,
        batch: &mut BatchBuilder,
    ) -> Fed {
        let mut spot = Spot { place, index: 0, observed };
        let Some(bundle) = bundle::open(bytes) else {
            return self.read(bytes, spot, &mut Sink::Batch(batch));
        };
        let (mut events, mut letters) = (0, Vec::new());
        let mut sink = Sink::Batch(batch);
        for line in &bundle.lines {
            match self.read(line.as_bytes(), spot, &mut sink) {
                Fed::Events(more) => events += more,
                Fed::DeadLetter(letter) => letters.push(*letter),
                Fed::Directive(_) | Fed::Bundle { .. } => {}
            }
            spot.index = spot.index.saturating_add(1);
        }
        letters.extend(self.remains(bytes, &bundle, spot));
        Fed::Bundle { events, letters }
    }

    fn parsed(&mut self, bytes: &[u8], spot: Spot<'_>) -> Parsed {
        let mut events = Vec::new();
        match self.read(bytes, spot, &mut Sink::Events(&mut events)) {
            Fed::Events(_) | Fed::Bundle { .. } => Parsed::Events(events),
            Fed::DeadLetter(letter) => Parsed::DeadLetter(letter),
            Fed::Directive(text) => Parsed::Directive(text),
        }
    }

    /// What could not be taken out of a record that holds several lines.
    fn remains(&self, bytes: &[u8], bundle: &Bundle, spot: Spot<'_>) -> Option<DeadLetter> {
        let why = bundle.broken?;
        let text = String::from_utf8_lossy(bytes);
        let rest = text.get(text.floor_char_boundary(bundle.read_to)..).unwrap_or("");
        let reason = (Reason::BadEnvelope, why.to_owned());
        Some(dead::unread(rest.as_bytes(), reason, arrival(&self.settings, spot)))
    }

    fn read(&mut self, bytes: &[u8], spot: Spot<'_>, sink: &mut Sink<'_>) -> Fed {
        if bytes.len() > LINE_BYTES_MAX {
            let detail = format!("{} bytes; at most {LINE_BYTES_MAX} are read", bytes.len());
            return self.unread(bytes, (Reason::TooLong, detail), spot);
        }
        let text = clean::text(bytes);
        if text.is_empty() {
            return self.unread(bytes, (Reason::Empty, "an empty line".to_owned()), spot);
        }
        if self.by_habit(&text, spot, sink) {
            self.habit.fits();
            return Fed::Events(1);
        }
        if let Some(text) = self.directive(&text) {
            return Fed::Directive(text);
        }
        match self.by_trial(&text, spot, sink) {
            Ok(reading) => {
                self.misses(Some(reading));
                Fed::Events(1)
            }
            Err(refusal) => {
                self.misses(None);
                let arrival = arrival(&self.settings, spot);
                Fed::DeadLetter(Box::new(dead::refused(&text, refusal, arrival)))
            }
        }
    }

    fn unread(&self, bytes: &[u8], reason: (Reason, String), spot: Spot<'_>) -> Fed {
        Fed::DeadLetter(Box::new(dead::unread(bytes, reason, arrival(&self.settings, spot))))
    }

    /// A line about the log itself, in whatever envelope; what it says of columns is kept.
    fn directive(&mut self, text: &str) -> Option<String> {
        if !text.contains('#') {
            return None;
        }
        for envelopes in 0..=envelope::DEPTH_MAX {
            let line = envelope::open_all(text, envelopes)?;
            if let Some(directive) = format::directive(&line) {
                if let Some(layout) = Layout::of_directive(directive) {
                    self.desk.fields = Some(layout);
                }
                return Some(directive.to_owned());
            }
        }
        None
    }

    fn misses(&mut self, otherwise: Option<Reading>) {
        match (named(&self.settings.format), otherwise) {
            (None, _) => self.habit.misses(otherwise),
            // What is named stays, but for the envelopes around it.
            (Some(format), Some(reading)) if reading.format == format => {
                self.habit = Habit::settled_on(reading);
            }
            (Some(_), _) => {}
        }
    }

    /// Reads a line as the ones before it. Whether it was one.
    fn by_habit(&mut self, text: &str, spot: Spot<'_>, sink: &mut Sink<'_>) -> bool {
        let Some(reading) = self.habit.reading() else { return false };
        let Some(line) = envelope::open_all(text, reading.envelopes) else { return false };
        let kept = Kept::default();
        let mut parts = Parts::new(&kept);
        if reading.format.read(&line, &mut self.desk, &mut parts).is_err() {
            return false;
        }
        self.made((reading.format, &line), &mut parts, spot, sink);
        true
    }

    /// Reads a line as the first format of the list that it fits, with the fewest envelopes off.
    fn by_trial(
        &mut self,
        text: &str,
        spot: Spot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Reading, Option<Refusal>> {
        let mut refusal: Option<Refusal> = None;
        let formats = candidates(&self.settings.format);
        for envelopes in 0..=envelope::DEPTH_MAX {
            let Some(line) = envelope::open_all(text, envelopes) else { break };
            for format in &formats {
                let kept = Kept::default();
                let mut parts = Parts::new(&kept);
                match format.read(&line, &mut self.desk, &mut parts) {
                    Ok(()) => {
                        self.made((*format, &line), &mut parts, spot, sink);
                        return Ok(Reading { format: *format, envelopes });
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

    /// Hands on the event of a line whose parts were found.
    fn made<'a>(
        &'a mut self,
        (format, line): (Format, &'a str),
        parts: &mut Parts<'a>,
        spot: Spot<'a>,
        sink: &mut Sink<'_>,
    ) {
        let (settings, keys) = (&self.settings, &self.keys);
        let Spot { place, index, observed } = spot;
        let event_id = self.ids.of(place.topic, place.partition, place.offset, index);
        let job = Job { settings, keys, format, line, event_id, observed };
        let trusted = |ip| address::trusts(&settings.trusted_proxies, ip);
        let addresses = assemble::addresses(parts, settings);
        match sink {
            // Columns given by their names go before those that are made, which takes an event.
            Sink::Batch(batch) if parts.columns.is_none() => {
                self.watch.see(addresses.0.as_deref(), trusted);
                assemble::fill(&mut batch.row(), parts, addresses, job, &mut self.agents);
            }
            sink => {
                let event = assemble::event(parts, addresses, job, &mut self.agents);
                self.watch.see(event.client_ip.as_deref(), trusted);
                match sink {
                    Sink::Batch(batch) => batch.push(&event),
                    Sink::Events(events) => events.push(event.into_owned()),
                }
            }
        }
    }
}

fn arrival<'a>(settings: &'a Settings, spot: Spot<'a>) -> Arrival<'a> {
    Arrival { settings, place: spot.place, index: spot.index, observed: spot.observed }
}

/// The format that an input is said to have.
fn named(choice: &Choice) -> Option<Format> {
    match choice {
        Choice::Auto => None,
        Choice::Named(format) => Some(*format),
        Choice::Template(_) => Some(Format::Template),
    }
}

/// The formats that a line is tried as.
fn candidates(choice: &Choice) -> Vec<Format> {
    let Some(format) = named(choice) else { return Format::ALL.to_vec() };
    let family = format.family().iter().copied().filter(|other| *other != format);
    std::iter::once(format).chain(family).collect()
}

pub(crate) fn desk(settings: &Settings) -> Desk {
    let template = match &settings.format {
        Choice::Template(template) => {
            Some(Arc::new(Template::clone(template).mapped(&settings.mapping)))
        }
        Choice::Auto | Choice::Named(_) => None,
    };
    let names = template.as_ref().and_then(|template| template.names()).unwrap_or_default();
    Desk {
        times: Times::new(settings.time_zone.tz()),
        aliases: Aliases::new(&settings.mapping, names),
        memory: Memory::default(),
        own_memory: Memory::default(),
        clear_time: String::new(),
        fields: None,
        template,
    }
}

/// What lines look like, without any settings.
#[must_use]
pub fn detect(lines: &[&[u8]]) -> Option<Guess> {
    detect::detect(lines, &mut desk(&Settings::default()))
}

#[cfg(test)]
mod tests;
