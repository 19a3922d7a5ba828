//! From a source partition's events to frames.
//!
//! Owns: where each event falls in time, what is late, which rules are to see which rows.
//! Never: windows, episodes; other partitions; a clock.
//!
//! Everything that is decided per event is decided here, once for all rules: with the event in
//! hand and as a function of the partition's log, so that another owner comes to the same.

mod drops;
mod judge;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMillisecondType;
use arrow::error::ArrowError;
use schemas::{DeadLetter, EventTime, Field, Origin, Reason, event_at};

use crate::frame::{Frame, Open, Owner, Straggler};
use crate::plan::Table;
use crate::reduce::Failure;
use crate::rows::{circumstances, count, place};
use crate::ruleset::Ruleset;
use crate::watermark::{Guard, Watermark, straggler_bound};
use drops::DropRow;
use judge::{Rowset, Seen};

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
}

/// The events of a step, each at its place.
#[derive(Debug, Default)]
struct Placed {
    /// By row: the moment it counts at.
    at: Vec<i64>,
    /// By row: whether rules see it.
    on_time: Vec<bool>,
    /// Rows whose stamp is another than `at`, and that stamp.
    stamps: Vec<(u32, i64)>,
    /// Rows that rules do not see, why, and where their drop counts.
    dropped: Vec<(u32, Reason, i64)>,
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
        let stamps = stamps(&batch)?;
        let mut placed = Placed::default();
        for (row, stamp) in stamps.iter().copied().enumerate() {
            let ceiling = match (&ceilings, self.settings.guard) {
                (Some(ceilings), _) => ceilings.get(row).copied(),
                (None, Guard::Replay { jump_ms }) => {
                    self.ceiling(stamp, following(&stamps, row), jump_ms)
                }
                (None, _) => Some(i64::MAX),
            };
            let Some(ceiling) = ceiling else {
                self.held = Some(batch.slice(row, stamps.len() - row));
                break;
            };
            self.place(stamp, ceiling, &mut placed);
        }
        let held = stamps.len() - placed.at.len();
        self.origin = input.origin.cloned().or(self.origin.take());
        let to = input.next.saturating_sub(i64::from(count(held)));
        self.step(&batch.slice(0, placed.at.len()), &placed, (before, to))
    }

    /// The highest moment a row is believed to be from. `None`: wait for a second opinion.
    fn ceiling(&self, stamp: Option<i64>, next: Next, jump_ms: i64) -> Option<i64> {
        let Some(stamp) = stamp.filter(|stamp| self.watermark.jumps(*stamp, jump_ms)) else {
            return Some(i64::MAX);
        };
        match next {
            Next::Unknown => None,
            Next::Stamp(next) if self.watermark.jumps(next, jump_ms) => Some(stamp),
            Next::Stamp(_) => self.watermark.seen(),
        }
    }

    fn ceilings(
        &self,
        append_times: Option<&[i64]>,
        rows: usize,
    ) -> Result<Option<Vec<i64>>, MapError> {
        let Guard::Live { ahead_ms } = self.settings.guard else { return Ok(None) };
        let times = append_times.unwrap_or_default();
        if times.len() != rows {
            return Err(MapError::AppendTimes { rows, times: times.len() });
        }
        Ok(Some(times.iter().map(|time| time.saturating_add(ahead_ms)).collect()))
    }

    /// Puts one row in its place.
    fn place(&mut self, stamp: Option<i64>, ceiling: i64, placed: &mut Placed) {
        let row = count(placed.at.len());
        let Some(stamp) = stamp else {
            let at = self.watermark.clamp(self.watermark.seen().unwrap_or_default());
            placed.at.push(at);
            placed.on_time.push(false);
            placed.dropped.push((row, Reason::BadValue, at));
            return;
        };
        // In a live log a stamp above the ceiling takes the moment at which the log took it.
        let ceiling = match self.settings.guard {
            Guard::Live { ahead_ms } if stamp > ceiling => ceiling.saturating_sub(ahead_ms),
            _ => ceiling,
        };
        let before = self.watermark;
        let found = self.watermark.take(stamp, ceiling);
        placed.at.push(found.at);
        placed.on_time.push(!found.late);
        if found.future {
            placed.stamps.push((row, stamp));
        }
        if found.late {
            placed.dropped.push((row, Reason::Late, before.clamp(found.at)));
        }
    }

    /// Rows before `held` came with an earlier batch; `to` is the next offset after all of them.
    fn step(
        &mut self,
        batch: &RecordBatch,
        placed: &Placed,
        (held, to): (usize, i64),
    ) -> Result<Mapped, MapError> {
        let late = late_rows(batch, placed, held);
        let mut seen = Seen::new(self.settings.exchange_partitions);
        let events = Rowset {
            batch,
            at: &placed.at,
            stamps: &placed.stamps,
            on_time: (!placed.dropped.is_empty()).then_some(placed.on_time.as_slice()),
        };
        seen.judge(&self.ruleset, Table::Events, &events)?;
        let letters: Vec<DropRow<'_>> = late
            .iter()
            .zip(&placed.dropped)
            .map(|(late, (row, _, at))| DropRow {
                letter: &late.letter,
                event_id: id_at(batch, *row),
                at: *at,
            })
            .collect();
        seen.judge_drops(&self.ruleset, &letters)?;
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
                let stamp = letter.event_time.map(EventTime::millis).or(self.watermark.seen());
                DropRow {
                    letter,
                    event_id: letter.origin.as_ref().map(schemas::event_id),
                    at: self.watermark.clamp(stamp.unwrap_or_default()),
                }
            })
            .collect();
        let mut seen = Seen::new(self.settings.exchange_partitions);
        seen.judge_drops(&self.ruleset, &rows)?;
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
        let mut placed = Placed::default();
        for stamp in stamps(&batch)? {
            self.place(stamp, i64::MAX, &mut placed);
        }
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

/// What comes after a row.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Nothing yet.
    Unknown,
    /// An event of this stamp.
    Stamp(i64),
}

fn following(stamps: &[Option<i64>], row: usize) -> Next {
    let rest = stamps.get(row + 1..).unwrap_or_default();
    rest.iter().flatten().next().map_or(Next::Unknown, |stamp| Next::Stamp(*stamp))
}

/// The events' own stamps.
fn stamps(batch: &RecordBatch) -> Result<Vec<Option<i64>>, MapError> {
    let column = circumstances::column(batch, Field::EventTime).ok_or(MapError::NoTimes)?;
    let times = column.as_primitive_opt::<TimestampMillisecondType>().ok_or(MapError::NoTimes)?;
    Ok(times.iter().collect())
}

fn id_at(batch: &RecordBatch, row: u32) -> Option<String> {
    let ids = circumstances::column(batch, Field::EventId)?.as_string_opt::<i32>()?;
    circumstances::text_at(ids, place(row)).map(str::to_owned)
}

/// Letters for the rows that rules over `events` do not see, in order.
fn late_rows(batch: &RecordBatch, placed: &Placed, held: usize) -> Vec<LateRow> {
    let letter = |(row, reason, at): &(u32, Reason, i64)| {
        let event = event_at(batch, place(*row));
        let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(|text| text.into_owned());
        let detail = match reason {
            Reason::Late => format!("it came when its partition had reached {}", EventTime(*at)),
            _ => "an event without a time".to_owned(),
        };
        LateRow {
            row: place(*row).checked_sub(held),
            letter: DeadLetter {
                reason: *reason,
                detail,
                origin: None,
                sensor: owned(event.sensor),
                client_ip: owned(event.client_ip),
                event_time: event.event_time,
                line: owned(event.line).unwrap_or_default(),
            },
        }
    };
    placed.dropped.iter().map(letter).collect()
}

#[cfg(test)]
mod tests;
