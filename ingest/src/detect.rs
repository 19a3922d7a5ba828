//! Which format an input has.
//!
//! Owns: the score of formats over lines, and when an input settles or detects anew.
//! Never: makes events.

use std::collections::BTreeMap;

use crate::clean;
use crate::envelope;
use crate::format::{Desk, Format};
use crate::parts::Parts;

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
    /// The format that fits best: the sum over lines of how specific it is.
    pub format: Format,
    /// Envelopes around each line: 0 for raw lines.
    pub envelopes: usize,
    /// The share of lines, empty ones and directives aside, that fit.
    pub share: f64,
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

/// What lines look like, by the first [`LINES_LOOKED_AT`] that are neither empty nor directives.
pub(crate) fn detect(lines: &[&[u8]], desk: &mut Desk) -> Option<Guess> {
    let mut tally = Tally::default();
    let mut fitting: BTreeMap<Reading, u32> = BTreeMap::new();
    let mut looked_at = 0_u32;
    for bytes in lines {
        let text = clean::text(bytes);
        if text.is_empty() || crate::format::directive(&text).is_some() {
            continue;
        }
        looked_at += 1;
        for reading in readings(&text, desk) {
            tally.add(reading);
            *fitting.entry(reading).or_default() += 1;
        }
        if usize::try_from(looked_at).is_ok_and(|looked_at| looked_at >= LINES_LOOKED_AT) {
            break;
        }
    }
    let best = tally.best()?;
    let fit = fitting.get(&best).copied().unwrap_or(0);
    Some(Guess {
        format: best.format,
        envelopes: best.envelopes,
        share: f64::from(fit) / f64::from(looked_at.max(1)),
    })
}

/// Every way in which a line can be read, with the fewest envelopes taken off.
fn readings(text: &str, desk: &mut Desk) -> Vec<Reading> {
    for envelopes in 0..=envelope::DEPTH_MAX {
        let Some(line) = envelope::open_all(text, envelopes) else { break };
        let fits = |format: &Format| format.read(&line, desk, &mut Parts::default()).is_ok();
        let found: Vec<Format> = Format::ALL.into_iter().filter(fits).collect();
        if !found.is_empty() {
            return found.into_iter().map(|format| Reading { format, envelopes }).collect();
        }
    }
    Vec::new()
}
