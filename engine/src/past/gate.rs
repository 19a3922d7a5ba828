//! Which rows are the first of their combination.
//!
//! Owns: what one rule has seen, rows that wait for the watermark, learning. Never: what firing
//! means.
//!
//! A row of a combination that was seen within the span is done with at once: whatever comes, it is
//! not the first. The others wait until the watermark has passed them.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use schemas::EventTime;

use super::Mark;
use super::prints::{ENTRY_BYTES, Prints};
use crate::key::ByHash;
use crate::plan::{FirstSeen, minute};
use crate::rows::circumstances::text_at;
use crate::rows::store::Shed;
use crate::rows::{Rows, place};
use crate::wire::{Reader, WireError, Writer};

/// Bytes that a fingerprint may come to.
const PRINT_BYTES: usize = 16;
/// Bytes that a waiting row is counted as, and each of its columns, beside what is in them.
const ROW_BYTES: usize = 512;
const COLUMN_BYTES: usize = 96;
/// Of the budget, the part for rows that wait; the rest is for fingerprints.
const WAITING: usize = 4;

/// When a row happened, its id, its fingerprint.
type Place = (i64, Option<String>, u64);

/// A row that may be the first of its combination.
#[derive(Debug)]
struct Waiting {
    rows: Rows,
    until: i32,
    bytes: usize,
}

/// What one rule remembers.
#[derive(Debug)]
pub(crate) struct Gate {
    span: i32,
    learns_ms: i64,
    /// When learning ends, where that is told.
    learned_at: Option<EventTime>,
    prints: Prints,
    prints_max: usize,
    waiting: BTreeMap<Place, Waiting>,
    /// By fingerprint: places of rows that wait, ascending.
    chains: HashMap<u64, Vec<Place>, ByHash>,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
    /// Events before this are decided on.
    watermark: i64,
    /// When it began to learn.
    since: Option<i64>,
    /// The last minute of what it has seen since.
    covered: i32,
    /// Up to this minute something may be said to be the first that is not.
    lossy_until: i32,
}

/// What a step led to.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Firsts, one row each, in order of time and id.
    pub(crate) firsts: Vec<Rows>,
    /// What was decided on or forgotten before its time.
    pub(crate) shed: Shed,
    /// The last moment that was decided on.
    pub(crate) last: Option<i64>,
}

impl Gate {
    pub(crate) fn new(rule: &FirstSeen, learned_at: Option<EventTime>, bytes_max: usize) -> Self {
        let waiting_bytes_max = bytes_max / WAITING;
        Self {
            span: rule.span,
            learns_ms: rule.learns_ms,
            learned_at,
            prints: Prints::default(),
            prints_max: bytes_max.saturating_sub(waiting_bytes_max) / PRINT_BYTES,
            waiting: BTreeMap::new(),
            chains: HashMap::default(),
            waiting_bytes: 0,
            waiting_bytes_max,
            watermark: i64::MIN,
            since: None,
            covered: i32::MIN,
            lossy_until: i32::MIN,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.prints.bytes() + self.waiting_bytes
    }

    /// Whether a first of this moment may be none.
    pub(crate) fn is_lossy_at(&self, at: i64) -> bool {
        minute(at) <= self.lossy_until
    }

    /// Takes rows, each with its mark.
    pub(crate) fn take(&mut self, rows: &Rows, marks: &[Mark]) -> Result<Passed, ArrowError> {
        let mut passed = Passed::default();
        for (row, mark) in (0_u32..).zip(marks) {
            let Some(at) = rows.at.get(place(row)).copied() else { break };
            if self.is_seen(mark.print, minute(at)) {
                self.covered = self.covered.max(mark.until);
                self.see(*mark, self.watermark, &mut passed.shed);
                continue;
            }
            let id = text_at(&rows.ids, place(row)).map(str::to_owned);
            let rows = rows.select(&[row])?;
            let columns = rows.batch.num_columns();
            let bytes = rows.bytes() + ROW_BYTES + COLUMN_BYTES * columns;
            self.wait((at, id, mark.print), Waiting { rows, until: mark.until, bytes });
        }
        // What there is no room for is decided on as things stand.
        while self.waiting_bytes > self.waiting_bytes_max {
            let Some((place, waiting)) = self.next() else { break };
            self.lossy_until = self.lossy_until.max(minute(place.0));
            passed.shed.rows += 1;
            passed.shed.bytes += u64::try_from(waiting.bytes).unwrap_or(u64::MAX);
            self.decide(&place, waiting, &mut passed);
        }
        Ok(passed)
    }

    /// Decides on all that the watermark has passed.
    pub(crate) fn settle(&mut self, watermark: EventTime) -> Passed {
        let mut passed = Passed::default();
        self.watermark = watermark.millis();
        while self.waiting.first_key_value().is_some_and(|(place, _)| place.0 < self.watermark) {
            let Some((place, waiting)) = self.next() else { break };
            self.decide(&place, waiting, &mut passed);
        }
        passed
    }

    fn is_seen(&self, print: u64, now: i32) -> bool {
        self.prints.get(print).is_some_and(|last| now.saturating_sub(last) <= self.span)
    }

    /// `now` is a moment before which nothing is to be decided any more.
    fn see(&mut self, mark: Mark, now: i64, shed: &mut Shed) {
        let forget = minute(now).saturating_sub(self.span);
        self.prints.see(mark.print, mark.until, forget);
        if let Some((forgotten, last)) = self.prints.make_room(self.prints_max, forget) {
            self.lossy_until = self.lossy_until.max(last.saturating_add(self.span));
            shed.rows += u64::try_from(forgotten).unwrap_or(u64::MAX);
            shed.bytes += u64::try_from(forgotten * ENTRY_BYTES).unwrap_or(u64::MAX);
        }
    }

    /// Puts a row among those of its combination: of two within the span the later one is done with.
    fn wait(&mut self, at: Place, waiting: Waiting) {
        let print = at.2;
        let mut all: BTreeMap<Place, Waiting> = BTreeMap::new();
        for place in self.chains.remove(&print).unwrap_or_default() {
            if let Some(waiting) = self.waiting.remove(&place) {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
                all.insert(place, waiting);
            }
        }
        // The same event twice is one.
        match all.get_mut(&at) {
            Some(same) => same.until = same.until.max(waiting.until),
            None => {
                all.insert(at, waiting);
            }
        }
        let mut apart: Vec<(Place, Waiting)> = Vec::with_capacity(all.len());
        for (place, waiting) in all {
            match apart.last_mut() {
                Some((_, before)) if minute(place.0).saturating_sub(before.until) <= self.span => {
                    before.until = before.until.max(waiting.until);
                }
                _ => apart.push((place, waiting)),
            }
        }
        let places = apart.iter().map(|(place, _)| place.clone()).collect();
        self.chains.insert(print, places);
        for (place, waiting) in apart {
            self.waiting_bytes += waiting.bytes;
            self.waiting.insert(place, waiting);
        }
    }

    /// The first row that waits.
    fn next(&mut self) -> Option<(Place, Waiting)> {
        let (place, waiting) = self.waiting.pop_first()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
        if let Some(places) = self.chains.get_mut(&place.2) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.chains.remove(&place.2);
            }
        }
        Some((place, waiting))
    }

    fn decide(&mut self, place: &Place, waiting: Waiting, passed: &mut Passed) {
        let (at, print) = (place.0, place.2);
        let now = minute(at);
        passed.last = Some(at);
        if now.saturating_sub(self.covered) > self.span {
            self.since = Some(at);
        }
        self.covered = self.covered.max(waiting.until);
        let is_seen = self.is_seen(print, now);
        let mark = Mark { print, until: waiting.until };
        self.see(mark, at.min(self.watermark), &mut passed.shed);
        let has_learned = match self.learned_at {
            Some(learned_at) => EventTime(at) >= learned_at,
            None => self.since.is_some_and(|since| at.saturating_sub(since) >= self.learns_ms),
        };
        if !is_seen && has_learned {
            passed.firsts.push(waiting.rows);
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.watermark);
        out.put(&self.since);
        out.put(&self.covered);
        out.put(&self.lossy_until);
        self.prints.write(out);
        out.len(self.waiting.len());
        for ((at, id, print), waiting) in &self.waiting {
            out.put(at);
            out.put(id);
            out.put(print);
            out.put(&waiting.until);
            out.put(&u64::try_from(waiting.bytes).unwrap_or(u64::MAX));
            waiting.rows.write(out);
        }
    }

    /// Reads what [`Gate::write`] wrote into one that has seen nothing; rows have the schema
    /// `wanted`.
    pub(crate) fn read(
        &mut self,
        from: &mut Reader<'_>,
        wanted: &SchemaRef,
    ) -> Result<(), WireError> {
        self.watermark = from.get()?;
        self.since = from.get()?;
        self.covered = from.get()?;
        self.lossy_until = from.get()?;
        self.prints = Prints::read(from)?;
        let waiting = from.count("rows that wait")?;
        for _row in 0..waiting {
            let place: Place = (from.get()?, from.get()?, from.get()?);
            let (until, bytes) = (from.get()?, from.get::<u64>()?);
            let rows = Rows::read(from, wanted)?;
            if rows.len() != 1 || rows.at.first() != Some(&place.0) {
                return Err(WireError::Malformed { what: "a row that waits" });
            }
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
            self.chains.entry(place.2).or_default().push(place.clone());
            self.waiting.insert(place, Waiting { rows, until, bytes });
        }
        Ok(())
    }
}
