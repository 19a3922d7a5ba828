//! From a source partition's events to frames.
//!
//! Owns: where each event falls in time, what is late, which rules are to see which rows.
//! Never: windows, episodes; other partitions; a clock.
//!
//! Everything that is decided per event is decided here, once for all rules: with the event in
//! hand and as a function of the partition's log, so that another owner comes to the same.

mod asked;
mod drops;
mod judge;
mod place;
mod taking;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use schemas::{DeadLetter, EventTime, Origin};

use crate::frame::{Frame, Open, Owner, Straggler};
use crate::plan::Table;
use crate::reduce::Failure;
use crate::rows::circumstances::CensusMemory;
use crate::rows::count;
use crate::ruleset::Ruleset;
use crate::watermark::{Guard, Watermark, straggler_bound};
use crate::window::is_moment;
use drops::DropRow;
use judge::{Rowset, Seen};
use place::{Ceiling, Placed};

/// What a mapper is told when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSettings {
    /// D: how far behind the latest event another may be and still be on time.
    pub lateness_ms: i64,
    /// What protects against stamps from the future.
    pub guard: Guard,
    /// How many exchange partitions there are.
    pub exchange_partitions: u32,
}

impl Default for MapSettings {
    fn default() -> Self {
        Self { lateness_ms: 10_000, guard: Guard::REPLAY, exchange_partitions: 1 }
    }
}

/// Where an owner begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Who it is.
    pub owner: Owner,
    /// The next offset.
    pub position: i64,
    /// The watermark as of there: that of the frame that ended there.
    pub watermark: EventTime,
    /// Origin of the last record before.
    pub origin: Option<Origin>,
}

impl Start {
    /// At the beginning of a log, as its first owner.
    #[must_use]
    pub fn of_log(position: i64) -> Self {
        let owner = Owner { term: 1, id: 0 };
        Self { owner, position, watermark: EventTime::MIN, origin: None }
    }
}

/// Events as they stand in the log.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Rows of `schemas::arrow_schema`.
    pub batch: &'a RecordBatch,
    /// When the log took each row, in milliseconds. Needed by [`Guard::Live`].
    pub append_times: Option<&'a [i64]>,
    /// The next offset after them. Under [`Guard::Replay`] offsets count rows.
    pub next: i64,
    /// Origin of the last of them.
    pub origin: Option<&'a Origin>,
}

/// An event that rules over `events` do not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRow {
    /// Its row in the batch given; absent for a row held since an earlier one.
    pub row: Option<usize>,
    /// What goes to the dead letters. Its origin is for the caller to fill in.
    pub letter: DeadLetter,
}

/// What a step of map gives.
#[derive(Debug, Clone, Default)]
pub struct Mapped {
    /// One frame for each exchange partition, in order.
    pub frames: Vec<Frame>,
    /// What came late, or without a time.
    pub late: Vec<LateRow>,
    /// Events whose stamp lies in the future: they count at a moment that can be.
    pub future: u64,
    /// Rules that could not judge an event.
    pub failures: Vec<Failure>,
}

/// Why map must stop.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A live log without the moments at which it took its records.
    #[error("a batch of {rows} rows with {times} append times")]
    AppendTimes {
        /// Rows of the batch.
        rows: usize,
        /// Times that came with it.
        times: usize,
    },
    /// Not a batch of events.
    #[error("a batch without a column `event_time` of milliseconds")]
    NoTimes,
    /// Offsets that do not go up.
    #[error("offset {next} after {position}: a step that brings rows moves on")]
    Backwards {
        /// Where the mapper stands.
        position: i64,
        /// The next offset given.
        next: i64,
    },
    /// Input after the end.
    #[error("rows after the end of source partition {partition}")]
    Ended {
        /// Source partition.
        partition: u32,
    },
    /// Arrow refused to move rows.
    #[error("move rows")]
    Rows(#[from] ArrowError),
}

/// Maps one source partition.
#[derive(Debug)]
pub struct Mapper {
    ruleset: Arc<Ruleset>,
    partition: u32,
    settings: MapSettings,
    owner: Owner,
    position: i64,
    origin: Option<Origin>,
    watermark: Watermark,
    /// An event that jumps ahead and waits for a second one that agrees.
    held: Option<RecordBatch>,
    ended: bool,
    census: CensusMemory,
}

impl Mapper {
    /// Begins or takes over a source partition.
    #[must_use]
    pub fn new(ruleset: Arc<Ruleset>, partition: u32, settings: MapSettings, start: Start) -> Self {
        Self {
            ruleset,
            partition,
            settings,
            owner: start.owner,
            position: start.position,
            origin: start.origin,
            watermark: Watermark::resumed(settings.lateness_ms, start.watermark),
            held: None,
            ended: start.watermark == EventTime::MAX,
            census: CensusMemory::default(),
        }
    }

    /// What to say to every exchange partition before the first frame.
    #[must_use]
    pub fn open(&self) -> Open {
        Open {
            owner: self.owner,
            partition: self.partition,
            exchange_partitions: self.settings.exchange_partitions,
            start: self.position,
            rules: 0,
        }
    }

    /// The partition's watermark.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.watermark.current()
    }

    /// The next offset.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Lets these rules take the place of those that run: for all events that are given from here
    /// on.
    pub fn switch(&mut self, ruleset: Arc<Ruleset>) {
        self.ruleset = ruleset;
    }

    /// Whether an event of what was given is not in a frame yet, so that a mapper that began anew
    /// from the last frame would lack it. Only under [`Guard::Replay`].
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the next events of the log.
    ///
    /// # Errors
    /// Where the input breaks the rules for inputs, or Arrow fails. The mapper has then to begin
    /// anew from the last frame.
    pub fn map(&mut self, input: Input<'_>) -> Result<Mapped, MapError> {
        self.admit(input.batch.num_rows(), input.next)?;
        let ceilings = self.ceilings(input.append_times, input.batch.num_rows())?;
        let held = self.held.take();
        let before = held.as_ref().map_or(0, RecordBatch::num_rows);
        let batch = match &held {
            Some(held) => concat_batches(&held.schema(), [held, input.batch])?,
            None => input.batch.clone(),
        };
        let stamps = place::stamps(&batch)?;
        let placed = match (ceilings, self.settings.guard) {
            (Some(ceilings), _) => Placed::live(&mut self.watermark, &stamps, &ceilings),
            (None, Guard::Replay { jump_ms }) => {
                Placed::replay(&mut self.watermark, &stamps, jump_ms)
            }
            (None, Guard::Live { .. } | Guard::Off) => {
                Placed::as_stamped(&mut self.watermark, &stamps)
            }
        };
        // At most the last: a jump that no event follows yet.
        self.held = (placed.at.len() < stamps.len())
            .then(|| batch.slice(placed.at.len(), stamps.len() - placed.at.len()));
        let held = stamps.len() - placed.at.len();
        self.origin = input.origin.cloned().or(self.origin.take());
        let to = input.next.saturating_sub(i64::from(count(held)));
        // To slice all columns costs more than to count them once more.
        let seen = if held == 0 { batch.clone() } else { batch.slice(0, placed.at.len()) };
        self.step(&seen, &placed, (before, to))
    }

    /// By row, in a live log: when the log took it, and the latest stamp believed of it.
    fn ceilings(
        &self,
        append_times: Option<&[i64]>,
        rows: usize,
    ) -> Result<Option<Vec<Ceiling>>, MapError> {
        let Guard::Live { ahead_ms } = self.settings.guard else { return Ok(None) };
        let times = append_times.unwrap_or_default();
        if times.len() != rows {
            return Err(MapError::AppendTimes { rows, times: times.len() });
        }
        let ceiling =
            |taken: &i64| Ceiling { taken: *taken, latest: taken.saturating_add(ahead_ms) };
        Ok(Some(times.iter().map(ceiling).collect()))
    }

    /// Rows before `held` came with an earlier batch; `to` is the next offset after all of them.
    fn step(
        &mut self,
        batch: &RecordBatch,
        placed: &Placed,
        (held, to): (usize, i64),
    ) -> Result<Mapped, MapError> {
        let late = place::late_rows(batch, placed, held);
        let mut seen = Seen::new(self.settings.exchange_partitions);
        let events = Rowset {
            batch,
            at: &placed.at,
            stamps: &placed.stamps,
            on_time: (!placed.dropped.is_empty()).then_some(placed.on_time.as_slice()),
        };
        seen.judge(&self.ruleset, Table::Events, &events, &mut self.census)?;
        let letters: Vec<DropRow<'_>> = late
            .iter()
            .zip(&placed.dropped)
            .map(|(late, (row, _, at))| DropRow {
                letter: &late.letter,
                event_id: place::id_at(batch, *row),
                at: *at,
            })
            .collect();
        seen.judge_drops(&self.ruleset, &letters, &mut self.census)?;
        let future = u64::try_from(placed.stamps.len()).unwrap_or(u64::MAX);
        Ok(Mapped { late, future, ..self.frames(seen, to) })
    }

    /// Takes dead letters of the log, which rules over `drops` see. Each counts at its own time
    /// where that lies between watermark and latest event, else at the nearer of them.
    ///
    /// # Errors
    /// As [`Mapper::map`].
    pub fn dropped(&mut self, letters: &[DeadLetter], next: i64) -> Result<Mapped, MapError> {
        self.admit(letters.len(), next)?;
        let rows: Vec<DropRow<'_>> = letters
            .iter()
            .map(|letter| {
                let stamp = letter.event_time.map(EventTime::millis).filter(|at| is_moment(*at));
                let stamp = stamp.or(self.watermark.seen());
                DropRow {
                    letter,
                    event_id: letter.origin.as_ref().map(schemas::event_id),
                    at: self.watermark.clamp(stamp.unwrap_or_default()),
                }
            })
            .collect();
        let mut seen = Seen::new(self.settings.exchange_partitions);
        seen.judge_drops(&self.ruleset, &rows, &mut self.census)?;
        let last = letters.iter().rev().find_map(|letter| letter.origin.clone());
        self.origin = last.or(self.origin.take());
        let held = self.held.as_ref().map_or(0, RecordBatch::num_rows);
        Ok(self.frames(seen, next.saturating_sub(i64::from(count(held)))))
    }

    /// A frame for each exchange partition, up to the next offset `to`.
    fn frames(&mut self, seen: Seen, to: i64) -> Mapped {
        let from = std::mem::replace(&mut self.position, to);
        let frame = |blocks| Frame {
            owner: self.owner,
            partition: self.partition,
            from,
            to,
            origin: self.origin.clone(),
            watermark: self.watermark.current(),
            straggler: None,
            blocks,
        };
        let frames = seen.blocks.into_iter().map(frame).collect();
        Mapped { frames, failures: seen.failures, ..Mapped::default() }
    }

    /// The reader stands at the end of the partition at `now`: the watermark follows to `now − D`.
    ///
    /// # Errors
    /// Where Arrow fails.
    pub fn quiet(&mut self, now: EventTime) -> Result<Mapped, MapError> {
        let mapped = self.release()?;
        self.watermark.quiet(now);
        Ok(self.marked(mapped))
    }

    /// The partition has ended: the watermark goes to infinity.
    ///
    /// # Errors
    /// Where Arrow fails.
    pub fn end(&mut self) -> Result<Mapped, MapError> {
        let mapped = self.release()?;
        self.watermark.end();
        self.ended = true;
        Ok(self.marked(mapped))
    }

    /// Declares the partition a straggler where it is more than `skew_ms` (Λ) behind the fastest,
    /// and raises its watermark to that bound.
    ///
    /// # Errors
    /// Where Arrow fails.
    pub fn keep_up(
        &mut self,
        fastest: EventTime,
        skew_ms: i64,
    ) -> Result<Option<Mapped>, MapError> {
        let was = self.watermark.current();
        let Some(raised_to) = straggler_bound(was, fastest, skew_ms) else { return Ok(None) };
        let mut mapped = self.release()?;
        self.watermark.raise(raised_to);
        for frame in &mut mapped.frames {
            frame.straggler = Some(Straggler { was, raised_to });
        }
        Ok(Some(self.marked(mapped)))
    }

    /// A held event has nobody left to disagree: it counts at its own time.
    fn release(&mut self) -> Result<Mapped, MapError> {
        let Some(batch) = self.held.take() else {
            let nothing = Seen::new(self.settings.exchange_partitions);
            return Ok(self.frames(nothing, self.position));
        };
        let placed = Placed::as_stamped(&mut self.watermark, &place::stamps(&batch)?);
        let held = batch.num_rows();
        self.step(&batch, &placed, (held, self.position.saturating_add(i64::from(count(held)))))
    }

    /// The same frames with the watermark as it is now.
    fn marked(&self, mut mapped: Mapped) -> Mapped {
        for frame in &mut mapped.frames {
            frame.watermark = self.watermark.current();
        }
        mapped
    }

    fn admit(&self, rows: usize, next: i64) -> Result<(), MapError> {
        if self.ended {
            return Err(MapError::Ended { partition: self.partition });
        }
        let position = self.position;
        // Where events are held back, offsets count rows, so that a frame can end before one.
        let least = match self.settings.guard {
            Guard::Replay { .. } => position.saturating_add(i64::from(count(rows))),
            Guard::Live { .. } | Guard::Off => position.saturating_add(i64::from(rows > 0)),
        };
        if next < least { Err(MapError::Backwards { position, next }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
