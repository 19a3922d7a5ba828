//! Which format an input has.
//!
//! Owns: the score of formats over lines, and when an input settles or detects anew.
//! Never: makes events.

use std::collections::BTreeMap;

use crate::bundle;
use crate::clean;
use crate::envelope;
use crate::format::{Desk, Format, Layout};
use crate::parts::{Kept, Parts};

/// Lines by which an input is judged.
pub const LINES_LOOKED_AT: usize = 64;

/// Lines in a row that do not fit before an input is judged anew.
const MISFITS_MAX: usize = 32;

/// How lines are read: so many envelopes off, then a format. Formats come in the order of the
/// list, so the least key is the first of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) envelopes: usize,
}

/// What lines look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guess {
    /// The format.
    pub format: Format,
    /// Envelopes around each line: 0 for raw lines.
    pub envelopes: usize,
    /// The share of lines, empty ones and directives aside, that fit.
    pub share: f64,
    /// The sum over those lines of how much it says that a line fits the format.
    pub score: u32,
}

/// Scores of readings.
#[derive(Debug, Clone, Default)]
struct Tally {
    scores: BTreeMap<Reading, u32>,
}

impl Tally {
    fn add(&mut self, reading: Reading) {
        *self.scores.entry(reading).or_default() += reading.format.weight();
    }

    /// The greatest score; of equal ones the first of the list.
    fn best(&self) -> Option<Reading> {
        let by_score = |(reading, score): (&Reading, &u32)| (*score, std::cmp::Reverse(*reading));
        self.scores.iter().map(by_score).max().map(|(_, reading)| reading.0)
    }
}

/// What an input has settled on, and what speaks against it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Habit {
    settled: Option<Reading>,
    tally: Tally,
    /// Lines in the tally: looked at while unsettled, misfits in a row when settled.
    lines: usize,
}

impl Habit {
    /// A habit from the start.
    pub(crate) fn settled_on(reading: Reading) -> Self {
        Self { settled: Some(reading), ..Self::default() }
    }

    /// What lines are first tried as.
    pub(crate) fn reading(&self) -> Option<Reading> {
        self.settled
    }

    /// The line was read by habit.
    pub(crate) fn fits(&mut self) {
        if self.lines > 0 {
            (self.tally, self.lines) = (Tally::default(), 0);
        }
    }

    /// The line was read otherwise, or not at all.
    pub(crate) fn misses(&mut self, otherwise: Option<Reading>) {
        if let Some(reading) = otherwise {
            self.tally.add(reading);
        }
        self.lines += 1;
        let enough = if self.settled.is_some() { MISFITS_MAX } else { LINES_LOOKED_AT };
        if self.lines >= enough {
            self.settled = self.tally.best();
            (self.tally, self.lines) = (Tally::default(), 0);
        }
    }
}

/// What was seen of lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survey {
    tally: Tally,
    fitting: BTreeMap<Reading, u32>,
    looked_at: u32,
}

impl Survey {
    /// Looks at the first [`LINES_LOOKED_AT`] lines that are neither empty nor directives.
    pub(crate) fn of(lines: &[&[u8]], desk: &mut Desk) -> Self {
        let mut survey = Self::default();
        for bytes in lines {
            match bundle::open(bytes) {
                Some(bundle) => {
                    bundle.lines.iter().for_each(|line| survey.line(line.as_bytes(), desk));
                }
                None => survey.line(bytes, desk),
            }
            if usize::try_from(survey.looked_at).is_ok_and(|lines| lines >= LINES_LOOKED_AT) {
                break;
            }
        }
        survey
    }

    fn line(&mut self, bytes: &[u8], desk: &mut Desk) {
        let text = clean::text(bytes);
        if let Some(layout) = Layout::of_directive(&text) {
            desk.fields = Some(layout);
        }
        if text.is_empty() || crate::format::directive(&text).is_some() {
            return;
        }
        self.looked_at += 1;
        for reading in readings(&text, desk) {
            self.tally.add(reading);
            *self.fitting.entry(reading).or_default() += 1;
        }
    }

    /// The readings that fitted any line, the best first.
    pub(crate) fn guesses(&self) -> Vec<Guess> {
        let mut scored: Vec<(u32, Reading)> =
            self.tally.scores.iter().map(|(reading, score)| (*score, *reading)).collect();
        scored.sort_by_key(|(score, reading)| (std::cmp::Reverse(*score), *reading));
        let guess = |(score, reading): (u32, Reading)| {
            let fit = self.fitting.get(&reading).copied().unwrap_or(0);
            let share = f64::from(fit) / f64::from(self.looked_at.max(1));
            Guess { format: reading.format, envelopes: reading.envelopes, share, score }
        };
        scored.into_iter().map(guess).collect()
    }
}

/// What lines look like; nothing where no format fits any.
pub(crate) fn detect(lines: &[&[u8]], desk: &mut Desk) -> Option<Guess> {
    Survey::of(lines, desk).guesses().into_iter().next()
}

/// Every way in which a line can be read, with the fewest envelopes taken off.
fn readings(text: &str, desk: &mut Desk) -> Vec<Reading> {
    for envelopes in 0..=envelope::DEPTH_MAX {
        let Some(line) = envelope::open_all(text, envelopes) else { break };
        let kept = Kept::default();
        let fits = |format: &Format| format.read(&line, desk, &mut Parts::new(&kept)).is_ok();
        let found: Vec<Format> = Format::ALL.into_iter().filter(fits).collect();
        if !found.is_empty() {
            return found.into_iter().map(|format| Reading { format, envelopes }).collect();
        }
    }
    Vec::new()
}
