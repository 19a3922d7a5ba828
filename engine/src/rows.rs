//! Rows between map and the query that judges them.
//!
//! Owns: [`Rows`], the rows of one rule with what a verdict needs to know about each; their
//! retention in panes ([`store`]); asking a rule's query about a window ([`firing`]).
//! Never: episodes, verdicts, frames.
//!
//! What a row costs beyond the rule's own input columns: 8 B event time, 16 B key hash, 4 B place
//! of its circumstances (service, route, deploy, …, kept once per distinct combination and pane),
//! and its redacted line while it is one of the first five of its key and pane.

pub(crate) mod circumstances;
pub(crate) mod firing;
pub(crate) mod store;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use arrow::compute::{concat, concat_batches, take};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::window::is_moment;
use crate::wire::{Reader, WireError, Writer, read_batch, write_batch};
use circumstances::Circumstances;

/// Events that a verdict shows at most.
pub(crate) const EXEMPLARS_MAX: usize = 5;

/// Rows of one rule, in order of arrival or of a pane.
///
/// For rules over retained rows `batch` has the rule's input columns; for rules without state it
/// has the columns of its answer, one row a hit.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    /// The moment that windows go by.
    pub(crate) at: Vec<i64>,
    /// Hash of each row's key; empty where the key is not made of plain columns.
    pub(crate) keys: Vec<u128>,
    /// Event ids.
    pub(crate) ids: StringArray,
    /// Places in `table`.
    pub(crate) circumstances: Vec<u32>,
    pub(crate) table: Vec<Arc<Circumstances>>,
    /// Redacted lines, of some rows.
    pub(crate) lines: Sparse,
    /// Rows whose own stamp is not `at`, ascending, and that stamp.
    pub(crate) stamps: Vec<(u32, i64)>,
}

/// Texts of some rows.
#[derive(Debug, Clone)]
pub(crate) struct Sparse {
    /// Ascending.
    pub(crate) rows: Vec<u32>,
    pub(crate) texts: StringArray,
}

impl Sparse {
    pub(crate) fn none() -> Self {
        Self { rows: Vec::new(), texts: StringArray::new_null(0) }
    }

    pub(crate) fn get(&self, row: u32) -> Option<&str> {
        let place = self.rows.binary_search(&row).ok()?;
        (place < self.texts.len() && self.texts.is_valid(place)).then(|| self.texts.value(place))
    }

    fn bytes(&self) -> usize {
        self.rows.len() * 8 + self.texts.value_data().len()
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The stamp that row's event carried.
    pub(crate) fn stamp(&self, row: u32) -> Option<i64> {
        match self.stamps.binary_search_by_key(&row, |(place, _)| *place) {
            Ok(found) => self.stamps.get(found).map(|(_, stamp)| *stamp),
            Err(_own) => self.at.get(place(row)).copied(),
        }
    }

    /// Whether that row's event carried a stamp from the future.
    pub(crate) fn is_future(&self, row: u32) -> bool {
        self.stamps.binary_search_by_key(&row, |(place, _)| *place).is_ok()
    }

    /// Bytes held, as the sum over rows: buffers shared with other batches count once a row.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.batch.columns().iter().map(column_bytes).sum::<usize>();
        let fixed = self.at.len() * 8 + self.keys.len() * 16 + self.circumstances.len() * 4;
        columns + fixed + self.lines.bytes() + self.table.len() * 256
    }

    /// Bytes of the lines among them, which can be given up without changing an answer.
    pub(crate) fn line_bytes(&self) -> usize {
        self.lines.bytes()
    }

    pub(crate) fn drop_lines(&mut self) {
        self.lines = Sparse::none();
    }

    /// The given rows, in the given order, each at most once.
    pub(crate) fn select(&self, rows: &[u32]) -> Result<Self, ArrowError> {
        let places = UInt32Array::from(rows.to_vec());
        let columns: Result<Vec<ArrayRef>, _> =
            self.batch.columns().iter().map(|column| take(column, &places, None)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(self.batch.schema(), columns?, &options)?;
        let (circumstances, table) = self.narrow(rows);
        let (lines, stamps) = self.follow(rows)?;
        Ok(Self {
            batch,
            at: pick(&self.at, rows),
            keys: pick(&self.keys, rows),
            ids: take(&self.ids, &places, None)?.as_string::<i32>().clone(),
            circumstances,
            table,
            lines,
            stamps,
        })
    }

    /// The circumstances of the given rows, each kept once.
    fn narrow(&self, rows: &[u32]) -> (Vec<u32>, Vec<Arc<Circumstances>>) {
        let mut renamed = vec![u32::MAX; self.table.len()];
        let mut table = Vec::new();
        let mut places = Vec::with_capacity(rows.len());
        for old in pick(&self.circumstances, rows) {
            let (Some(new), Some(entry)) =
                (renamed.get_mut(place(old)), self.table.get(place(old)))
            else {
                continue;
            };
            if *new == u32::MAX {
                *new = count(table.len());
                table.push(Arc::clone(entry));
            }
            places.push(*new);
        }
        (places, table)
    }

    /// Lines and stamps at their new places.
    fn follow(&self, rows: &[u32]) -> Result<(Sparse, Vec<(u32, i64)>), ArrowError> {
        if self.lines.rows.is_empty() && self.stamps.is_empty() {
            return Ok((Sparse::none(), Vec::new()));
        }
        let (mut at, mut from, mut stamps) = (Vec::new(), Vec::new(), Vec::new());
        for (new, old) in rows.iter().enumerate() {
            if let Ok(line) = self.lines.rows.binary_search(old) {
                at.push(count(new));
                from.push(count(line));
            }
            if self.is_future(*old)
                && let Some(stamp) = self.stamp(*old)
            {
                stamps.push((count(new), stamp));
            }
        }
        let texts = take(&self.lines.texts, &UInt32Array::from(from), None)?;
        Ok((Sparse { rows: at, texts: texts.as_string::<i32>().clone() }, stamps))
    }

    /// Several one after the other. `None` of nothing.
    pub(crate) fn join(parts: &[Self]) -> Result<Option<Self>, ArrowError> {
        let [first, rest @ ..] = parts else { return Ok(None) };
        if rest.is_empty() {
            return Ok(Some(first.clone()));
        }
        let batch = concat_batches(&first.batch.schema(), parts.iter().map(|part| &part.batch))?;
        let ids: Vec<&dyn Array> = parts.iter().map(|part| &part.ids as &dyn Array).collect();
        let texts: Vec<&dyn Array> =
            parts.iter().map(|part| &part.lines.texts as &dyn Array).collect();
        let mut joined = Self {
            batch,
            at: parts.iter().flat_map(|part| part.at.iter().copied()).collect(),
            keys: parts.iter().flat_map(|part| part.keys.iter().copied()).collect(),
            ids: concat(&ids)?.as_string::<i32>().clone(),
            circumstances: Vec::new(),
            table: Vec::new(),
            lines: Sparse { rows: Vec::new(), texts: concat(&texts)?.as_string::<i32>().clone() },
            stamps: Vec::new(),
        };
        let mut known = HashMap::new();
        let mut before = 0;
        for part in parts {
            joined.append_places(part, before, &mut known);
            before += count(part.len());
        }
        Ok(Some(joined))
    }

    fn append_places<'a>(
        &mut self,
        part: &'a Self,
        before: u32,
        known: &mut HashMap<&'a Circumstances, u32>,
    ) {
        let mut renamed = Vec::with_capacity(part.table.len());
        for entry in &part.table {
            let next = count(self.table.len());
            let new = *known.entry(entry.as_ref()).or_insert(next);
            if new == next {
                self.table.push(Arc::clone(entry));
            }
            renamed.push(new);
        }
        self.circumstances
            .extend(part.circumstances.iter().filter_map(|old| renamed.get(place(*old)).copied()));
        self.lines.rows.extend(part.lines.rows.iter().map(|row| before + row));
        self.stamps.extend(part.stamps.iter().map(|(row, stamp)| (before + row, *stamp)));
    }

    /// Keeps the lines of the first five rows of each key; the rows stand in their final order.
    pub(crate) fn trim_lines(&mut self) -> Result<(), ArrowError> {
        if self.lines.rows.is_empty() {
            return Ok(());
        }
        let mut seen: HashMap<u128, usize> = HashMap::new();
        let mut firsts = Vec::new();
        for row in 0..count(self.len()) {
            let key = self.keys.get(place(row)).copied().unwrap_or_default();
            let before = seen.entry(key).or_default();
            if *before < EXEMPLARS_MAX {
                *before += 1;
                firsts.push(row);
            }
        }
        let keep: Vec<usize> = (0..self.lines.rows.len())
            .filter(|line| {
                self.lines.rows.get(*line).is_some_and(|row| firsts.binary_search(row).is_ok())
            })
            .collect();
        if keep.len() == self.lines.rows.len() {
            return Ok(());
        }
        let from: UInt32Array = keep.iter().map(|line| Some(count(*line))).collect();
        let texts = take(&self.lines.texts, &from, None)?.as_string::<i32>().clone();
        let rows = keep.iter().filter_map(|line| self.lines.rows.get(*line).copied()).collect();
        self.lines = Sparse { rows, texts };
        Ok(())
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.at);
        out.put(&self.keys);
        write_batch(&self.batch, out);
        // The ids are mostly a column of the batch already.
        let inside = self.ids_column();
        out.put(&inside.is_some());
        if inside.is_none() {
            write_batch(&texts_batch(&self.ids), out);
        }
        out.put(&self.circumstances);
        out.put(&self.table);
        out.put(&self.lines.rows);
        write_batch(&texts_batch(&self.lines.texts), out);
        out.put(&self.stamps);
    }

    fn ids_column(&self) -> Option<&StringArray> {
        let ids = self.batch.column_by_name("event_id")?.as_string_opt::<i32>()?;
        (ids == &self.ids).then_some(ids)
    }

    /// Reads rows whose batch has the schema `wanted`.
    pub(crate) fn read(from: &mut Reader<'_>, wanted: &SchemaRef) -> Result<Self, WireError> {
        let malformed = || WireError::Malformed { what: "rows" };
        let at: Vec<i64> = from.get()?;
        let keys: Vec<u128> = from.get()?;
        let rows = at.len();
        let batch = read_batch(from, wanted, rows)?;
        let ids = if from.get()? {
            let ids = batch.column_by_name("event_id").ok_or_else(malformed)?;
            ids.as_string_opt::<i32>().ok_or_else(malformed)?.clone()
        } else {
            read_texts(from, rows)?
        };
        let circumstances: Vec<u32> = from.get()?;
        let table: Vec<Arc<Circumstances>> = from.get()?;
        let line_rows: Vec<u32> = from.get()?;
        let texts = read_texts(from, line_rows.len())?;
        let stamps: Vec<(u32, i64)> = from.get()?;
        let ascending = |rows: &[u32]| {
            rows.is_sorted_by(|a, b| a < b)
                && rows.last().is_none_or(|last| place(*last) < at.len())
        };
        let stamped: Vec<u32> = stamps.iter().map(|(row, _)| *row).collect();
        let sound = at.iter().all(|at| is_moment(*at))
            && (keys.is_empty() || keys.len() == rows)
            && circumstances.len() == rows
            && circumstances.iter().all(|entry| place(*entry) < table.len())
            && ascending(&line_rows)
            && ascending(&stamped);
        if !sound {
            return Err(malformed());
        }
        let lines = Sparse { rows: line_rows, texts };
        Ok(Self { batch, at, keys, ids, circumstances, table, lines, stamps })
    }
}

fn texts_batch(texts: &StringArray) -> RecordBatch {
    let column: ArrayRef = Arc::new(texts.clone());
    RecordBatch::try_from_iter_with_nullable([("text", column, true)])
        .unwrap_or_else(|_one_column| RecordBatch::new_empty(texts_schema()))
}

fn texts_schema() -> SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema};
    Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]))
}

fn read_texts(from: &mut Reader<'_>, rows: usize) -> Result<StringArray, WireError> {
    let batch = read_batch(from, &texts_schema(), rows)?;
    let texts = batch.column_by_name("text").and_then(|column| column.as_string_opt::<i32>());
    texts.cloned().ok_or(WireError::Malformed { what: "texts" })
}

fn column_bytes(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_else(|_no_slice| column.len() * 16)
}

fn pick<T: Copy>(from: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().filter_map(|row| from.get(place(*row)).copied()).collect()
}

/// A row number as an index.
pub(crate) fn place(row: u32) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

/// An index as a row number. Blocks and panes hold fewer than 4 Gi rows: budgets see to that.
pub(crate) fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
