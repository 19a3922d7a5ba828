//! The keys of a step's rows.
//!
//! Owns: numbering them, each looked up at most once a row, and sorting hits into runs.
//! Never: filters, folds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};

use crate::hits::{Run, StepKey};
use crate::key::{HashKey, write_key};
use crate::keyed::ByText;
use crate::rows::circumstances::text_at;
use crate::rows::{count, place};

/// Not looked up yet, or not seen yet.
const UNKNOWN: u32 = u32::MAX;
/// Without a complete key.
const NOBODY: u32 = u32::MAX - 1;

/// The keys of a step, by the columns of one unit.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    hash_key: HashKey,
    columns: Vec<&'a ArrayRef>,
    /// The only column, where that is one of texts.
    texts: Option<&'a StringArray>,
    /// By row: its key.
    of: Vec<u32>,
    by_text: HashMap<&'a str, u32, ByText>,
    by_bytes: HashMap<Arc<[u8]>, u32, ByText>,
    pub(super) keys: Vec<StepKey>,
    scratch: Vec<u8>,
    /// By key: its run among those being made.
    runs_of: Vec<u32>,
    /// By row given: its run.
    run_of: Vec<u32>,
    /// By run: where its next row goes.
    next: Vec<u32>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(batch: &'a RecordBatch, key: &[usize], hash_key: HashKey) -> Self {
        let columns: Vec<&ArrayRef> =
            key.iter().filter_map(|column| batch.columns().get(*column)).collect();
        let texts = match columns.as_slice() {
            [only] => only.as_string_opt::<i32>(),
            _ => None,
        };
        Self {
            hash_key,
            columns,
            texts,
            of: vec![UNKNOWN; batch.num_rows()],
            by_text: HashMap::with_capacity_and_hasher(
                if texts.is_some() { batch.num_rows() / 2 } else { 0 },
                ByText::default(),
            ),
            by_bytes: HashMap::default(),
            keys: Vec::with_capacity(batch.num_rows() / 4),
            scratch: Vec::new(),
            runs_of: Vec::new(),
            run_of: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Rows in runs of one key, in order of its first row. Those without a key are left out.
    pub(super) fn in_runs(&mut self, rows: &[u32]) -> (Vec<Run>, Vec<u32>) {
        // Of short steps most.
        if let [only] = rows {
            return match self.of(*only) {
                NOBODY => Default::default(),
                key => (vec![Run { key, end: 1 }], vec![*only]),
            };
        }
        let mut runs: Vec<Run> = Vec::with_capacity(rows.len());
        let mut run_of = std::mem::take(&mut self.run_of);
        run_of.resize(rows.len(), UNKNOWN);
        for (row, run_of) in rows.iter().zip(&mut run_of) {
            let key = self.of(*row);
            let run = match self.runs_of.get_mut(place(key)) {
                None => UNKNOWN,
                Some(run) => {
                    if *run == UNKNOWN {
                        *run = count(runs.len());
                        runs.push(Run { key, end: 0 });
                    }
                    *run
                }
            };
            if let Some(run) = runs.get_mut(place(run)) {
                run.end += 1;
            }
            *run_of = run;
        }
        self.run_of = run_of;
        self.next.clear();
        let mut before = 0;
        for run in &mut runs {
            self.next.push(before);
            before += run.end;
            run.end = before;
            if let Some(run) = self.runs_of.get_mut(place(run.key)) {
                *run = UNKNOWN;
            }
        }
        let mut sorted = vec![0; place(before)];
        for (row, run) in rows.iter().zip(&self.run_of) {
            let Some(next) = self.next.get_mut(place(*run)) else { continue };
            if let Some(slot) = sorted.get_mut(place(*next)) {
                *slot = *row;
            }
            *next += 1;
        }
        (runs, sorted)
    }

    /// The number of a row's key.
    #[inline]
    fn of(&mut self, row: u32) -> u32 {
        match self.of.get(place(row)) {
            Some(&UNKNOWN) => self.look_up(row),
            known => known.copied().unwrap_or(NOBODY),
        }
    }

    /// Once a row; every unit of the key asks for it.
    #[inline(never)]
    fn look_up(&mut self, row: u32) -> u32 {
        let found = match self.texts {
            Some(texts) => text_at(texts, place(row)).map(|text| self.by_text(text, row)),
            None => {
                write_key(&self.columns, place(row), &mut self.scratch).then(|| self.by_bytes())
            }
        };
        let found = found.unwrap_or(NOBODY);
        if let Some(slot) = self.of.get_mut(place(row)) {
            *slot = found;
        }
        found
    }

    fn by_text(&mut self, text: &'a str, row: u32) -> u32 {
        if let Some(known) = self.by_text.get(text) {
            return *known;
        }
        write_key(&self.columns, place(row), &mut self.scratch);
        let (next, _) = self.push();
        self.by_text.insert(text, next);
        next
    }

    fn by_bytes(&mut self) -> u32 {
        if let Some(known) = self.by_bytes.get(self.scratch.as_slice()) {
            return *known;
        }
        let (next, bytes) = self.push();
        self.by_bytes.insert(bytes, next);
        next
    }

    /// A new key of the bytes written.
    fn push(&mut self) -> (u32, Arc<[u8]>) {
        let next = count(self.keys.len());
        let bytes: Arc<[u8]> = Arc::from(self.scratch.as_slice());
        let hash = self.hash_key.hash(&self.scratch);
        self.keys.push(StepKey { hash, bytes: Arc::clone(&bytes) });
        self.runs_of.push(UNKNOWN);
        (next, bytes)
    }
}
