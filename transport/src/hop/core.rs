//! What to write, given what was read.
//!
//! Owns: one input partition's way to its output partition: where it resumes, what it skips, how
//! it stamps.
//! Never: I/O, tasks, clocks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::HopError;
use crate::error::LogError;
use crate::log::{Bounds, Log};
use crate::origin::{
    Admission, DROP_HEADER, GateError, Kind, Origin, OriginGate, Stamp, VOID_HEADER,
};
use crate::record::{NewRecord, NextOffset, Offset, Partition, Record, TopicId};

/// The index of a time mark, which is not one of its input's records.
const MARK_INDEX: u32 = u32::MAX;
/// The reason of a void over a record of an internal topic that no hop wrote.
const FOREIGN: &str = "foreign-record";
/// The reason of a void over an input that gave nothing and did not say why.
const NOTHING: &str = "nothing";
/// The reason of a void that closes an input which gave more records on an earlier try.
const SPLIT_CHANGED: &str = "split-changed";

/// Who writes the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopInput {
    /// Others: every record is new, whatever its headers say.
    Raw,
    /// A hop: repeats are dropped, voids and time marks are passed on.
    Stamped,
}

/// What one input record gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Produced {
    /// The records for the output, in order; a [`gap`] where a part of the input gave none. How many
    /// there are must follow from the input's bytes alone; their content may differ between two
    /// tries.
    pub records: Vec<NewRecord>,
    /// What could not be used. They are acknowledged before anything later is written; they may
    /// repeat, so their key should be the origin.
    pub dead_letters: Vec<NewRecord>,
    /// Why there are no records, when there are none.
    pub void_reason: Cow<'static, str>,
    /// Goes along with the void, in a header, to whoever judges what was dropped.
    pub dropped: Option<Bytes>,
}

impl Produced {
    /// One record.
    #[must_use]
    pub fn one(record: NewRecord) -> Self {
        Self { records: vec![record], ..Self::default() }
    }

    /// Nothing, for this reason.
    #[must_use]
    pub fn nothing(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { void_reason: reason.into(), ..Self::default() }
    }

    /// Nothing but dead letters, for this reason.
    #[must_use]
    pub fn dead(reason: impl Into<Cow<'static, str>>, dead_letters: Vec<NewRecord>) -> Self {
        Self { void_reason: reason.into(), dead_letters, ..Self::default() }
    }
}

/// A record of an input's records that stands for a part of it which gave nothing: in the place that
/// it would have had, so that how many there are does not depend on what could be read.
#[must_use]
pub fn gap(reason: &str, dropped: Bytes, timestamp_ms: Option<i64>) -> NewRecord {
    let mut record = NewRecord { timestamp_ms, ..NewRecord::default() };
    record.headers.push((VOID_HEADER.to_owned(), Bytes::copy_from_slice(reason.as_bytes())));
    record.headers.push((DROP_HEADER.to_owned(), dropped));
    record
}

/// What a step gave. First all dead letters must be acknowledged, then the records be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// To be acknowledged first.
    pub dead_letters: Vec<NewRecord>,
    /// To be sent to the output partition, in order.
    pub records: Vec<NewRecord>,
    /// Repeats that were dropped.
    pub repeats: u64,
    /// Inputs that gave no record, by reason.
    pub voids: BTreeMap<Cow<'static, str>, u64>,
}

/// Where a hop stands between an input partition and its output partition.
#[derive(Debug)]
pub struct Hop {
    input: Arc<str>,
    partition: Partition,
    topic: TopicId,
    /// None over a raw input.
    gate: Option<OriginGate>,
    next: NextOffset,
    /// The last origin in the output, where it was not the last of its input.
    there: Option<Origin>,
    /// The last input that is wholly in the output; before the first when there is none.
    complete: Offset,
}

/// One end of a hop: a partition of a log.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The log.
    pub log: &'a Log,
    /// The partition.
    pub partition: Partition,
}

/// What an output partition says about where to go on.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The last record of the output partition.
    pub last: Option<&'a Record>,
    /// What was committed for the input partition; counts only when the output is empty.
    pub committed: Option<NextOffset>,
    /// What the input partition holds.
    pub bounds: Bounds,
}

/// What is to become of one input record.
struct Plan {
    offset: Offset,
    timestamp_ms: Option<i64>,
    /// Where the gate stood after it.
    upstream: Option<Origin>,
    fate: Fate,
}

enum Fate {
    /// The transform answers for it.
    Answer,
    Void(String, Option<Bytes>),
    Mark(i64),
}

impl Hop {
    /// Where to go on: after the last record of the output partition, and from nothing else
    /// (delivery rule 4).
    ///
    /// # Errors
    /// When the output was made from another incarnation of the input, or by something other than
    /// a hop, or when what is to be read next is gone.
    pub fn resume(
        input: End<'_>,
        kind: HopInput,
        output: End<'_>,
        standing: Standing<'_>,
    ) -> Result<Self, HopError> {
        let Standing { last, committed, bounds } = standing;
        let mut hop = Self {
            input: Arc::clone(input.log.topic()),
            partition: input.partition,
            topic: input.log.topic_id(),
            gate: (kind == HopInput::Stamped).then(OriginGate::new),
            next: committed.unwrap_or(bounds.start),
            there: None,
            complete: Offset(-1),
        };
        if let Some(last) = last {
            let topic = Arc::clone(output.log.topic());
            let (stamp, _) =
                Stamp::read(last).map_err(|source| HopError::Gate { topic, source })?;
            hop.resume_after(stamp, output)?;
        }
        hop.complete = hop.next.last_before();
        if hop.next < bounds.start || hop.next > bounds.end {
            return Err(HopError::Log(LogError::OutOfRange {
                topic: hop.input,
                partition: hop.partition,
                asked: hop.next,
                start: bounds.start,
                end: bounds.end,
            }));
        }
        Ok(hop)
    }

    fn resume_after(&mut self, stamp: Stamp, output: End<'_>) -> Result<(), HopError> {
        if stamp.topic != self.topic {
            return Err(HopError::Recreated {
                input: Arc::clone(&self.input),
                output: Arc::clone(output.log.topic()),
                partition: output.partition,
                was: stamp.topic,
                is: self.topic,
            });
        }
        let mut upstream = stamp.upstream;
        if stamp.last {
            self.next = NextOffset::after(stamp.origin.offset);
        } else {
            self.next = NextOffset(stamp.origin.offset.0);
            self.there = Some(stamp.origin);
            // The input is read again, so that it must pass the gate once more.
            upstream = upstream.and_then(just_below);
        }
        if let Some(gate) = &mut self.gate {
            *gate = OriginGate::after(upstream);
        }
        Ok(())
    }

    /// The offset of the input to read next.
    #[must_use]
    pub fn next_offset(&self) -> NextOffset {
        self.next
    }

    /// Turns input records into output records. `transform` gives one answer for each record it is
    /// given. When this fails, or what it gives cannot be written, the hop is of no further use.
    ///
    /// # Errors
    /// [`HopError`].
    pub fn step(
        &mut self,
        batch: Vec<Record>,
        transform: &mut dyn FnMut(&[Record]) -> Vec<Produced>,
    ) -> Result<Written, HopError> {
        let mut written = Written::default();
        let mut plans = Vec::with_capacity(batch.len());
        let mut inputs = Vec::with_capacity(batch.len());
        for record in batch {
            let Some(plan) = self.plan(&record)? else {
                written.repeats += 1;
                continue;
            };
            if matches!(plan.fate, Fate::Answer) {
                inputs.push(record);
            }
            plans.push(plan);
        }
        let asked = inputs.len();
        let answers = if asked == 0 { Vec::new() } else { transform(&inputs) };
        if answers.len() != asked {
            let (input, given) = (Arc::clone(&self.input), answers.len());
            return Err(HopError::Answers { input, asked, given });
        }
        let mut answers = answers.into_iter();
        for mut plan in plans {
            let produced = match std::mem::replace(&mut plan.fate, Fate::Answer) {
                Fate::Answer => answers.next().unwrap_or_default(),
                Fate::Void(reason, dropped) => Produced { dropped, ..Produced::nothing(reason) },
                Fate::Mark(time_ms) => {
                    written.records.push(self.marked(time_ms, plan.upstream));
                    continue;
                }
            };
            self.stamp(&plan, produced, &mut written);
        }
        Ok(written)
    }

    /// The mark that says "all before this time is here", for the end of the input partition.
    #[must_use]
    pub fn mark(&self, time_ms: i64) -> NewRecord {
        self.marked(time_ms, self.gate.as_ref().and_then(OriginGate::last))
    }

    /// What is to become of a record; none for a repeat.
    fn plan(&mut self, record: &Record) -> Result<Option<Plan>, HopError> {
        if record.offset.0 < self.next.0 {
            let (input, partition) = (Arc::clone(&self.input), self.partition);
            let (next, got) = (self.next, record.offset);
            return Err(HopError::Backwards { input, partition, next, got });
        }
        self.next = record.next();
        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
        let Some(gate) = &mut self.gate else {
            return Ok(Some(Plan { offset, timestamp_ms, upstream: None, fate: Fate::Answer }));
        };
        let fate = match gate.admit(record) {
            Ok(Admission::Repeat) => return Ok(None),
            Ok(Admission::Payload(_)) => Fate::Answer,
            Ok(Admission::Void(_, reason)) => {
                Fate::Void(reason, record.header(DROP_HEADER).cloned())
            }
            Ok(Admission::Mark(time_ms)) => Fate::Mark(time_ms),
            Err(GateError::Foreign { .. }) => Fate::Void(FOREIGN.to_owned(), None),
            Err(source) => {
                return Err(HopError::Gate { topic: Arc::clone(&self.input), source });
            }
        };
        Ok(Some(Plan { offset, timestamp_ms, upstream: gate.last(), fate }))
    }

    /// Stamps all records of one input, and leaves out those that are there already.
    fn stamp(&mut self, plan: &Plan, produced: Produced, written: &mut Written) {
        let there = self.there.take().filter(|there| there.offset == plan.offset);
        let first = there.map_or(0, |there| there.index.saturating_add(1));
        self.complete = plan.offset;
        written.dead_letters.extend(produced.dead_letters);
        let stamp = |index, last| Stamp {
            topic: self.topic,
            origin: Origin { offset: plan.offset, index },
            last,
            upstream: plan.upstream,
        };
        let count = u32::try_from(produced.records.len()).unwrap_or(u32::MAX);
        if count <= first {
            let reason = match (first, produced.void_reason) {
                (0, Cow::Borrowed("")) => NOTHING.into(),
                (0, reason) => reason,
                // After an update of the stage the input gives less than is there already. What is
                // there counts, and is closed.
                _ => SPLIT_CHANGED.into(),
            };
            let timestamp_ms = plan.timestamp_ms;
            let mut void = NewRecord { timestamp_ms, ..NewRecord::default() };
            let dropped = produced.dropped.map(|dropped| (DROP_HEADER.to_owned(), dropped));
            void.headers.extend(dropped);
            *written.voids.entry(reason.clone()).or_default() += 1;
            stamp(first, true).write(&Kind::Void(reason.into_owned()), &mut void);
            written.records.push(void);
            return;
        }
        for (index, mut record) in (0..count).zip(produced.records) {
            if index >= first {
                if let Some(reason) = gap_reason(&record) {
                    *written.voids.entry(reason).or_default() += 1;
                }
                stamp(index, index + 1 == count).write(&Kind::Payload, &mut record);
                written.records.push(record);
            }
        }
    }

    fn marked(&self, time_ms: i64, upstream: Option<Origin>) -> NewRecord {
        let origin = Origin { offset: self.complete, index: MARK_INDEX };
        let stamp = Stamp { topic: self.topic, origin, last: true, upstream };
        let mut record = NewRecord { timestamp_ms: Some(time_ms), ..NewRecord::default() };
        stamp.write(&Kind::Mark(time_ms), &mut record);
        record
    }
}

fn gap_reason(record: &NewRecord) -> Option<Cow<'static, str>> {
    let reason = record.headers.iter().find(|(name, _)| name == VOID_HEADER);
    reason.map(|(_, reason)| Cow::Owned(String::from_utf8_lossy(reason).into_owned()))
}

/// The largest origin below `origin`; none below the first.
fn just_below(origin: Origin) -> Option<Origin> {
    let Origin { offset, index } = origin;
    match index.checked_sub(1) {
        Some(index) => Some(Origin { offset, index }),
        None => {
            offset.0.checked_sub(1).map(|offset| Origin { offset: Offset(offset), index: u32::MAX })
        }
    }
}
