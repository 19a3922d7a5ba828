//! What map tells reduce: frames, and who speaks for a source partition.
//!
//! Owns: the shape of a frame and its bytes on a log. Never: whether to believe one (`accept`).
//!
//! In one process a frame is handed over as it is. On a log it is bytes with version, checksum and
//! compression; there is one frame per exchange partition for each step of map.

use std::sync::Arc;

use schemas::{EventTime, Origin};

use crate::hits::{Events, Hits, Steps, read_steps};
use crate::past::Mark;
use crate::rows::Rows;
use crate::ruleset::{Prepared, Ruleset, Unit};
use crate::wire::{self, Kind, Reader, WireError, Writer, wire_struct};

const FRAME: Kind = Kind { name: "frame", tag: b'f', version: 4 };
const OPEN: Kind = Kind { name: "open", tag: b'o', version: 2 };

/// Who maps a source partition. The highest wins, not the latest in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// 1 + the highest term of the partition in any exchange partition.
    pub term: u64,
    /// Random, new at every assignment, also of the same process.
    pub id: u128,
}

wire_struct!(Owner { term, id });

/// An owner's first word about its source partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Who speaks.
    pub owner: Owner,
    /// Source partition.
    pub partition: u32,
    /// Number of exchange partitions. Another number is another exchange.
    pub exchange_partitions: u32,
    /// Where the partition begins, for a reducer that has applied nothing of it.
    pub start: i64,
    /// The number of the rules by which this owner maps; greater is later.
    pub rules: i64,
}

wire_struct!(Open { owner, partition, exchange_partitions, start, rules });

/// A partition that fell too far behind, as declared by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Straggler {
    /// Its watermark before.
    pub was: EventTime,
    /// Its watermark from here on: what it brings from before is late.
    pub raised_to: EventTime,
}

wire_struct!(Straggler { was, raised_to });

/// What one rule, or the rules of one unit, are to see.
#[derive(Debug, Clone)]
pub struct Block {
    pub(crate) seen: Seen,
}

/// The two forms of what rules see.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// Rows of a rule: its id and version; a mark for each where it asks of the past, else none.
    Rows { rule: Arc<str>, version: Arc<str>, rows: Box<Rows>, marks: Vec<Mark> },
    /// Hits of a unit, and the names of the folds.
    Hits { unit: UnitName, folds: Arc<[Arc<str>]>, hits: Hits },
}

/// A unit, as whoever made hits of it names it.
#[derive(Debug, Clone)]
pub(crate) struct UnitName {
    pub(crate) name: Arc<str>,
    /// Its place among the units of that process.
    pub(crate) place: Option<usize>,
}

impl Block {
    pub(crate) fn of_rule(rule: &Prepared, rows: Box<Rows>, marks: Vec<Mark>) -> Self {
        let (rule, version) = (Arc::clone(&rule.id), Arc::clone(&rule.version));
        Self { seen: Seen::Rows { rule, version, rows, marks } }
    }

    pub(crate) fn of_unit(unit: &Unit, hits: Hits) -> Self {
        let name = UnitName { name: Arc::clone(&unit.name), place: Some(unit.place) };
        Self { seen: Seen::Hits { unit: name, folds: Arc::clone(&unit.names), hits } }
    }

    /// Id of the rule, or the name of the unit.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.seen {
            Seen::Rows { rule, .. } => rule,
            Seen::Hits { unit, .. } => &unit.name,
        }
    }

    /// Number of rows or hits.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.seen {
            Seen::Rows { rows, .. } => rows.len(),
            Seen::Hits { hits, .. } => hits.len(),
        }
    }

    /// Number of keys, of hits of a unit.
    pub(crate) fn keys(&self) -> usize {
        match &self.seen {
            Seen::Rows { .. } => 0,
            Seen::Hits { hits, .. } => hits.runs.len(),
        }
    }

    /// No moment in it is before this one.
    pub(crate) fn earliest(&self) -> Option<i64> {
        match &self.seen {
            Seen::Rows { rows, .. } => rows.at.iter().copied().min(),
            Seen::Hits { hits, .. } => (hits.len() > 0).then_some(hits.events.earliest),
        }
    }
}

/// One step of a source partition, for one exchange partition.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Who speaks.
    pub owner: Owner,
    /// Source partition.
    pub partition: u32,
    /// The next offset before this step.
    pub from: i64,
    /// The next offset after it.
    pub to: i64,
    /// Origin of the last record that the step used.
    pub origin: Option<Origin>,
    /// The partition's watermark as of `to`.
    pub watermark: EventTime,
    /// The owner's declaration that the partition is a straggler.
    pub straggler: Option<Straggler>,
    /// What rules are to see, in the order of the ruleset.
    pub blocks: Vec<Block>,
}

impl Frame {
    /// Its bytes on a log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(&self.owner);
        out.put(&self.partition);
        out.put(&self.from);
        out.put(&self.to);
        out.put(&self.origin);
        out.put(&self.watermark);
        out.put(&self.straggler);
        let hits = self.blocks.iter().filter_map(|block| match &block.seen {
            Seen::Hits { hits, .. } => Some(hits),
            Seen::Rows { .. } => None,
        });
        let steps = Steps::of(&hits);
        steps.write(&mut out);
        out.len(self.blocks.len());
        for block in &self.blocks {
            let mut inner = Writer::default();
            match &block.seen {
                Seen::Rows { rule, version, rows, marks } => {
                    out.put(&false);
                    out.put(rule);
                    out.put(version);
                    rows.write(&mut inner);
                    inner.put(marks);
                }
                Seen::Hits { unit, folds, hits } => {
                    out.put(&true);
                    out.put(&unit.name);
                    out.put(&folds.to_vec());
                    steps.write_hits(hits, &mut inner);
                }
            }
            out.len(inner.bytes.len());
            out.raw(&inner.bytes);
        }
        wire::seal(FRAME, &out.bytes)
    }
}

impl Open {
    /// Its bytes on a log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(self);
        wire::seal(OPEN, &out.bytes)
    }
}

/// What stands on the exchange.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An owner begins.
    Open(Open),
    /// An owner goes on.
    Frame(Frame),
}

/// An entry as read, with what this ruleset does not know.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The entry.
    pub entry: Entry,
    /// Blocks of rules that do not run here, or run in another version: left out.
    pub foreign_blocks: usize,
}

impl Entry {
    /// Reads an entry of the exchange for the rules that run here.
    ///
    /// # Errors
    /// Where the bytes are torn, foreign, of another version, or say what cannot be.
    pub fn decode(bytes: &[u8], ruleset: &Ruleset) -> Result<Decoded, WireError> {
        if wire::tag(bytes) == Some(OPEN.tag) {
            let body = wire::unseal(OPEN, bytes)?;
            let mut from = Reader::new(&body);
            let open = from.get()?;
            from.end("an open")?;
            return Ok(Decoded { entry: Self::Open(open), foreign_blocks: 0 });
        }
        let body = wire::unseal(FRAME, bytes)?;
        let mut from = Reader::new(&body);
        let mut frame = Frame {
            owner: from.get()?,
            partition: from.get()?,
            from: from.get()?,
            to: from.get()?,
            origin: from.get()?,
            watermark: from.get()?,
            straggler: from.get()?,
            blocks: Vec::new(),
        };
        let steps = read_steps(&mut from)?;
        let count = from.count("the number of blocks")?;
        let mut foreign_blocks = 0;
        for _block in 0..count {
            match read_block(&mut from, &steps, ruleset)? {
                Some(block) => frame.blocks.push(block),
                None => foreign_blocks += 1,
            }
        }
        from.end("a frame")?;
        Ok(Decoded { entry: Self::Frame(frame), foreign_blocks })
    }
}

fn read_block(
    from: &mut Reader<'_>,
    steps: &[Arc<Events>],
    ruleset: &Ruleset,
) -> Result<Option<Block>, WireError> {
    if from.get()? {
        return read_hits(from, steps, ruleset);
    }
    let (rule, version): (Arc<str>, Arc<str>) = (from.get()?, from.get()?);
    let length = from.len("a block")?;
    let mut bytes = Reader::new(from.take(length, "a block")?);
    let known = ruleset.find(&rule, &version).and_then(|place| ruleset.prepared().get(place));
    let Some(known) = known else { return Ok(None) };
    let wanted = match known.query() {
        Some(_) => &known.rule.input,
        None => &known.rule.output,
    };
    let rows = match Rows::read(&mut bytes, wanted) {
        // Mapped by an edit of the rule that keeps other columns.
        Err(WireError::Malformed { what: wire::OTHER_COLUMNS }) => return Ok(None),
        rows => Box::new(rows?),
    };
    let marks: Vec<Mark> = bytes.get()?;
    bytes.end("a block")?;
    let marked = if known.rule.past.is_some() { rows.len() } else { 0 };
    if marks.len() != marked {
        return Err(WireError::Malformed { what: "marks of rows" });
    }
    Ok(Some(Block { seen: Seen::Rows { rule, version, rows, marks } }))
}

fn read_hits(
    from: &mut Reader<'_>,
    steps: &[Arc<Events>],
    ruleset: &Ruleset,
) -> Result<Option<Block>, WireError> {
    let unit: Arc<str> = from.get()?;
    let names: Vec<Arc<str>> = from.get()?;
    let length = from.len("a block")?;
    let mut bytes = Reader::new(from.take(length, "a block")?);
    let Some(known) = ruleset.index().unit(&unit) else { return Ok(None) };
    let same = *known.names == *names;
    let folds = if same { Arc::clone(&known.names) } else { Arc::from(names) };
    let hits = Hits::read(&mut bytes, steps, known.pane_ms)?;
    bytes.end("a block")?;
    if hits.folds.len() != folds.len() {
        return Err(WireError::Malformed { what: "the folds of hits" });
    }
    let unit = UnitName { name: unit, place: None };
    Ok(Some(Block { seen: Seen::Hits { unit, folds, hits } }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Entry, FRAME, Open, Owner, wire};
    use crate::trial::{COUNT, ruleset};

    /// A frame's bytes with its body changed and everything around it right.
    pub(crate) fn with_changed_body(frame: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut body = wire::unseal(FRAME, frame).unwrap();
        change(&mut body);
        wire::seal(FRAME, &body)
    }

    #[test]
    fn an_open_reads_back_as_written() {
        let owner = Owner { term: 3, id: u128::MAX };
        let open = Open { owner, partition: 5, exchange_partitions: 16, start: -1, rules: 7 };
        let decoded = Entry::decode(&open.encode(), &ruleset(&[COUNT])).unwrap();
        assert!(matches!(decoded.entry, Entry::Open(read) if read == open));
    }

    #[test]
    fn the_higher_term_is_the_higher_owner() {
        assert!(Owner { term: 2, id: 0 } > Owner { term: 1, id: u128::MAX });
    }
}
