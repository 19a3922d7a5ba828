//! Where each event falls in time.
//!
//! Owns: the order of events against the watermark: on time, late, from the future.
//! Never: rules.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use schemas::{DeadLetter, EventTime, Field, Reason, event_at};

use super::{LateRow, MapError};
use crate::rows::circumstances::{column, text_at};
use crate::rows::{count, place};
use crate::watermark::Watermark;
use crate::window::is_moment;

/// The events of a step, each at its place.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// By row: the moment it counts at.
    pub(super) at: Vec<i64>,
    /// By row: whether rules see it.
    pub(super) on_time: Vec<bool>,
    /// Rows whose stamp is another than `at`, and that stamp.
    pub(super) stamps: Vec<(u32, i64)>,
    /// Rows that rules do not see, why, and where their drop counts.
    pub(super) dropped: Vec<(u32, Reason, i64)>,
}

/// What a live log knows of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    /// When the log took it.
    pub(super) taken: i64,
    /// The latest stamp that is believed; a later one takes the place of `taken`.
    pub(super) latest: i64,
}

impl Placed {
    /// Every stamp is believed.
    pub(super) fn as_stamped(watermark: &mut Watermark, stamps: &[Option<i64>]) -> Self {
        let mut placed = Self::default();
        for stamp in stamps {
            placed.put(watermark, *stamp, i64::MAX);
        }
        placed
    }

    /// A stamp later than the log's own by too much takes that one's place.
    pub(super) fn live(
        watermark: &mut Watermark,
        stamps: &[Option<i64>],
        ceilings: &[Ceiling],
    ) -> Self {
        let mut placed = Self::default();
        for (stamp, ceiling) in stamps.iter().zip(ceilings) {
            let is_future = stamp.is_some_and(|stamp| stamp > ceiling.latest);
            placed.put(watermark, *stamp, if is_future { ceiling.taken } else { i64::MAX });
        }
        placed
    }

    /// A stamp that jumps ahead is believed if the next event jumps as well; otherwise it takes
    /// the place of the latest event before it. The last one waits: it is left out.
    pub(super) fn replay(watermark: &mut Watermark, stamps: &[Option<i64>], jump_ms: i64) -> Self {
        let mut placed = Self::default();
        for (row, stamp) in stamps.iter().copied().enumerate() {
            let jumps = |stamp: Option<i64>| {
                stamp.is_some_and(|at| is_moment(at) && watermark.jumps(at, jump_ms))
            };
            let ceiling = match (jumps(stamp), stamps.get(row + 1)) {
                (true, None) => break,
                (true, Some(next)) if !jumps(*next) => watermark.seen().unwrap_or(i64::MAX),
                _ => i64::MAX,
            };
            placed.put(watermark, stamp, ceiling);
        }
        placed
    }

    fn put(&mut self, watermark: &mut Watermark, stamp: Option<i64>, ceiling: i64) {
        let row = count(self.at.len());
        let Some(stamp) = stamp.filter(|stamp| is_moment(*stamp)) else {
            let at = watermark.clamp(watermark.seen().unwrap_or_default());
            self.at.push(at);
            self.on_time.push(false);
            self.dropped.push((row, Reason::BadValue, at));
            return;
        };
        let before = *watermark;
        let found = watermark.take(stamp, ceiling);
        self.at.push(found.at);
        self.on_time.push(!found.late);
        if found.future {
            self.stamps.push((row, stamp));
        }
        if found.late {
            self.dropped.push((row, Reason::Late, before.clamp(found.at)));
        }
    }
}

/// The events' own stamps.
pub(super) fn stamps(batch: &RecordBatch) -> Result<Vec<Option<i64>>, MapError> {
    let column = column(batch, Field::EventTime).ok_or(MapError::NoTimes)?;
    let times = column.as_primitive_opt::<TimestampMillisecondType>().ok_or(MapError::NoTimes)?;
    Ok(times.iter().collect())
}

pub(super) fn id_at(batch: &RecordBatch, row: u32) -> Option<String> {
    let ids = column(batch, Field::EventId)?.as_string_opt::<i32>()?;
    text_at(ids, place(row)).map(str::to_owned)
}

/// Letters for the rows that rules over `events` do not see, in order. The first `held` rows came
/// with an earlier batch.
pub(super) fn late_rows(batch: &RecordBatch, placed: &Placed, held: usize) -> Vec<LateRow> {
    let letter = |(row, reason, at): &(u32, Reason, i64)| {
        let event = event_at(batch, place(*row));
        let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(|text| text.into_owned());
        let detail = if *reason == Reason::Late {
            format!("it came when its partition had reached {}", EventTime(*at))
        } else {
            "an event without a time, or from beyond the year 9999".to_owned()
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
