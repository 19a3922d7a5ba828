//! Under what circumstances an event happened: where, in which deploy, with what left unknown.
//!
//! Owns: the part of an event that verdicts report beside key and values, and reading it from a
//! batch. Never: the rule's own columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use schemas::Field;

use super::{count, place};
use crate::keyed::ByText;
use crate::wire::wire_struct;

/// Circumstances of an event. Few distinct ones in a pane, however many events it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Circumstances {
    pub(crate) service: Option<String>,
    /// `METHOD template`.
    pub(crate) route: Option<String>,
    pub(crate) deploy: Option<Deploy>,
    pub(crate) missing: Vec<String>,
}

/// The deploy that answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Deploy {
    pub(crate) id: String,
    pub(crate) commit: Option<String>,
    pub(crate) change: Option<String>,
    pub(crate) owner: Option<String>,
    /// Milliseconds since the epoch.
    pub(crate) since: Option<i64>,
}

wire_struct!(Circumstances { service, route, deploy, missing });
wire_struct!(Deploy { id, commit, change, owner, since });

/// Circumstances that are remembered from one batch to the next at most.
const REMEMBERED_MAX: usize = 4_096;

/// Circumstances of batches before: most come again.
#[derive(Debug, Default)]
pub(crate) struct CensusMemory {
    /// By the bytes of the columns, so that a known one costs no allocation.
    known: HashMap<Vec<u8>, Remembered, ByText>,
    batch: u64,
}

#[derive(Debug)]
struct Remembered {
    circumstances: Arc<Circumstances>,
    /// The last batch that had it, and its place in the table of that one.
    batch: u64,
    place: u32,
}

/// Reads circumstances from one batch of a table, each distinct one once.
#[derive(Debug)]
pub(crate) struct Census<'a> {
    columns: Columns<'a>,
    memory: &'a mut CensusMemory,
    scratch: Vec<u8>,
    table: Vec<Arc<Circumstances>>,
    /// By row: its place in the table, or not read yet.
    rows: Vec<u32>,
}

impl<'a> Census<'a> {
    pub(crate) fn new(batch: &'a RecordBatch, memory: &'a mut CensusMemory) -> Self {
        memory.batch += 1;
        if memory.known.len() > REMEMBERED_MAX {
            memory.known.clear();
        }
        Self {
            columns: Columns::new(batch),
            memory,
            scratch: Vec::new(),
            table: Vec::new(),
            rows: vec![u32::MAX; batch.num_rows()],
        }
    }

    /// The circumstances of the given rows: places in a table of their own.
    pub(crate) fn of(&mut self, rows: &[u32]) -> (Vec<u32>, Vec<Arc<Circumstances>>) {
        let mut renamed = Vec::new();
        let mut table = Vec::new();
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            let entry = place(self.at(*row));
            if renamed.len() <= entry {
                renamed.resize(entry + 1, u32::MAX);
            }
            let Some(new) = renamed.get_mut(entry) else { continue };
            if *new == u32::MAX {
                *new = count(table.len());
                table.extend(self.table.get(entry).cloned());
            }
            places.push(*new);
        }
        (places, table)
    }

    /// All that have been read so far.
    pub(crate) fn table(&self) -> &[Arc<Circumstances>] {
        &self.table
    }

    /// The circumstances of a row: their place in the table.
    pub(crate) fn at(&mut self, row: u32) -> u32 {
        let known = self.rows.get(place(row)).copied().unwrap_or(u32::MAX);
        if known != u32::MAX {
            return known;
        }
        self.scratch.clear();
        self.columns.write(place(row), &mut self.scratch);
        let CensusMemory { known, batch } = &mut *self.memory;
        let next = count(self.table.len());
        let found = match known.get_mut(&self.scratch) {
            Some(found) => {
                if found.batch != *batch {
                    (found.batch, found.place) = (*batch, next);
                    self.table.push(Arc::clone(&found.circumstances));
                }
                found.place
            }
            None => {
                let circumstances = Arc::new(self.columns.read(place(row)));
                self.table.push(Arc::clone(&circumstances));
                let new = Remembered { circumstances, batch: *batch, place: next };
                known.insert(self.scratch.clone(), new);
                next
            }
        };
        if let Some(slot) = self.rows.get_mut(place(row)) {
            *slot = found;
        }
        found
    }
}

const TEXTS: [Field; 7] = [
    Field::Service,
    Field::Method,
    Field::Route,
    Field::DeployId,
    Field::Commit,
    Field::ChangeId,
    Field::Owner,
];

/// The columns that circumstances are read from, where the table has them.
#[derive(Debug)]
struct Columns<'a> {
    texts: [Option<&'a StringArray>; 7],
    since: Option<&'a TimestampMillisecondArray>,
    missing: Option<&'a ListArray>,
}

impl<'a> Columns<'a> {
    fn new(batch: &'a RecordBatch) -> Self {
        let filled = |column: &&ArrayRef| column.null_count() < column.len();
        let since = column(batch, Field::DeployedAt).filter(filled);
        let missing = column(batch, Field::ContextMissing).filter(filled);
        let has_routes = column(batch, Field::Route).filter(filled).is_some();
        Self {
            texts: TEXTS.map(|field| {
                // A method is told with the route only.
                let told = field != Field::Method || has_routes;
                let column = column(batch, field).filter(filled).filter(|_column| told);
                column.and_then(|column| column.as_string_opt())
            }),
            since: since.and_then(|column| column.as_primitive_opt()),
            missing: missing.and_then(|column| column.as_list_opt()),
        }
    }

    fn text(&self, field: Field, row: usize) -> Option<&'a str> {
        let place = TEXTS.iter().position(|of| *of == field)?;
        self.texts.get(place).copied().flatten().and_then(|texts| text_at(texts, row))
    }

    fn since(&self, row: usize) -> Option<i64> {
        self.since.filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    fn missing(&self, row: usize) -> Vec<String> {
        let items = self.missing.filter(|lists| lists.is_valid(row)).map(|lists| lists.value(row));
        let texts = items.as_ref().and_then(|items| items.as_string_opt::<i32>());
        texts.map_or_else(Vec::new, |texts| texts.iter().flatten().map(str::to_owned).collect())
    }

    /// The same bytes for the same circumstances, and no others: which parts there are, a bit each,
    /// then these.
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        let begin = out.len();
        out.push(0);
        let part = |text: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(&count(text.len()).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        let mut parts = 0;
        for (bit, texts) in self.texts.iter().enumerate() {
            if let Some(text) = texts.and_then(|texts| text_at(texts, row)) {
                parts |= 1 << bit;
                part(text, out);
            }
        }
        if let Some(since) = self.since(row) {
            parts |= 1 << TEXTS.len();
            out.extend_from_slice(&since.to_le_bytes());
        }
        if let Some(first) = out.get_mut(begin) {
            *first = parts;
        }
        for item in self.missing(row) {
            part(&item, out);
        }
    }

    fn read(&self, row: usize) -> Circumstances {
        let owned = |field| self.text(field, row).map(str::to_owned);
        let route = match (self.text(Field::Method, row), self.text(Field::Route, row)) {
            (Some(method), Some(route)) => Some(format!("{method} {route}")),
            (None, Some(route)) => Some(route.to_owned()),
            (_, None) => None,
        };
        let deploy = owned(Field::DeployId).map(|id| Deploy {
            id,
            commit: owned(Field::Commit),
            change: owned(Field::ChangeId),
            owner: owned(Field::Owner),
            since: self.since(row),
        });
        Circumstances { service: owned(Field::Service), route, deploy, missing: self.missing(row) }
    }
}

/// A column of the table by its field; table `drops` has few of them.
pub(crate) fn column(batch: &RecordBatch, field: Field) -> Option<&ArrayRef> {
    let fields = batch.schema_ref().fields();
    if fields.get(field.index()).is_some_and(|found| found.name() == field.name()) {
        return batch.columns().get(field.index());
    }
    batch.column_by_name(field.name())
}

pub(crate) fn text_at(texts: &StringArray, row: usize) -> Option<&str> {
    (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row))
}
