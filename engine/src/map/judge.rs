//! Which rules are to see which rows of a table.
//!
//! Owns: filters, projections, keys and exchange partitions of rows. Never: time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::error::ArrowError;
use schemas::Field;

use super::asked::Asked;
use super::drops::{self, DropRow};
use super::taking::{Common, Draft};
use crate::frame::Block;
use crate::hits::Hits;
use crate::key::{HashKey, exchange_partition, write_key};
use crate::past::Mark;
use crate::past::chains::heads;
use crate::plan::{Program, RunError, Table};
use crate::reduce::{Failure, failed};
use crate::rows::circumstances::{Census, CensusMemory, column, text_at};
use crate::rows::{EXEMPLARS_MAX, Rows, Sparse, count, place};
use crate::ruleset::{Prepared, Ruleset, Unit};

/// Rows of one table, each at its place in time.
#[derive(Debug)]
pub(super) struct Rowset<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) at: &'a [i64],
    /// Rows whose stamp is another than `at`, ascending, and that stamp.
    pub(super) stamps: &'a [(u32, i64)],
    /// Whether rules see a row; absent where they see all.
    pub(super) on_time: Option<&'a [bool]>,
}

/// What rules saw in a step.
#[derive(Debug)]
pub(super) struct Seen {
    /// By exchange partition.
    pub(super) blocks: Vec<Vec<Block>>,
    pub(super) failures: Vec<Failure>,
}

/// Columns that every rule's rows take from the table.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) census: Census<'a>,
    pub(super) ids: Option<&'a StringArray>,
    pub(super) lines: Option<&'a StringArray>,
}

/// What a rule or a unit is to see.
enum Found<'r> {
    /// Marks one a row where the rule asks of the past.
    Rows(&'r Prepared, Box<Rows>, Vec<Mark>),
    Hits(&'r Unit, Draft),
}

impl Seen {
    pub(super) fn new(exchange_partitions: u32) -> Self {
        let blocks = (0..exchange_partitions.max(1)).map(|_partition| Vec::new()).collect();
        Self { blocks, failures: Vec::new() }
    }

    /// Shows rows of a table to all rules over it.
    pub(super) fn judge(
        &mut self,
        ruleset: &Ruleset,
        table: Table,
        rows: &Rowset<'_>,
        memory: &mut CensusMemory,
    ) -> Result<(), ArrowError> {
        let texts = |field| column(rows.batch, field).and_then(|column| column.as_string_opt());
        let shared = Shared {
            census: Census::new(rows.batch, memory),
            ids: texts(Field::EventId),
            lines: texts(Field::Line),
        };
        self.show(ruleset, table, rows, shared)
    }

    /// Shows dropped records to all rules over `drops`.
    pub(super) fn judge_drops(
        &mut self,
        ruleset: &Ruleset,
        dropped: &[DropRow<'_>],
        memory: &mut CensusMemory,
    ) -> Result<(), ArrowError> {
        if dropped.is_empty() || !ruleset.rules().any(|rule| rule.table == Table::Drops) {
            return Ok(());
        }
        let (batch, lines) = drops::batch(dropped)?;
        let at: Vec<i64> = dropped.iter().map(|row| row.at).collect();
        let rows = Rowset { batch: &batch, at: &at, stamps: &[], on_time: None };
        let shared = Shared {
            census: Census::new(&batch, memory),
            ids: batch.column_by_name("event_id").and_then(|column| column.as_string_opt()),
            lines: Some(&lines),
        };
        self.show(ruleset, Table::Drops, &rows, shared)
    }

    fn show(
        &mut self,
        ruleset: &Ruleset,
        table: Table,
        rows: &Rowset<'_>,
        mut shared: Shared<'_>,
    ) -> Result<(), ArrowError> {
        if rows.at.is_empty() {
            return Ok(());
        }
        let (index, hash_key) = (ruleset.index(), ruleset.hash_key());
        let mut asked = Asked::new(index.atoms(table), rows.batch, rows.on_time);
        let mut common = Common::new(rows.batch, hash_key);
        let mut found: Vec<Found<'_>> = Vec::new();
        for place in asked.concerned() {
            let Some(rule) = ruleset.prepared().get(place) else { continue };
            let unit = index.unit_of.get(place).copied().flatten();
            let unit = unit.and_then(|unit| index.units.get(unit));
            let filter = index.filters.get(place).and_then(Option::as_deref);
            let passing = filter.and_then(|filter| asked.passing(filter));
            if passing.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            if let Some(unit) = unit {
                let draft = self.take((ruleset, unit), rows, passing, &mut common);
                found.extend(draft.map(|draft| Found::Hits(unit, draft)));
                continue;
            }
            let selected = select(rule, (rows, hash_key), passing, &mut self.failures);
            let Some(Selected { places, batch, marks }) = selected else { continue };
            let built = build(rule, rows, (&places, batch), (&mut shared, hash_key))?;
            found.push(Found::Rows(rule, Box::new(built), marks));
        }
        let complete = common.complete(rows, &mut shared);
        for found in found {
            match found {
                Found::Rows(rule, rows, marks) => self.hand_out(rule, (rows, marks), hash_key)?,
                Found::Hits(unit, draft) => self.hand_out_hits(unit, complete.hits(draft)),
            }
        }
        Ok(())
    }

    /// The hits of a unit among rows that pass its filter, where these are known.
    fn take(
        &mut self,
        (ruleset, unit): (&Ruleset, &Unit),
        rows: &Rowset<'_>,
        passing: Option<Vec<u32>>,
        common: &mut Common<'_>,
    ) -> Option<Draft> {
        let rules = || unit.rules.iter().filter_map(|place| ruleset.prepared().get(*place));
        let mut could_not = |error: &RunError| {
            for rule in rules() {
                note(&mut self.failures, failed(&rule.id, None, error));
            }
        };
        let mut places = passing.unwrap_or_else(|| {
            let all = (0..count(rows.at.len())).filter(|row| is_seen(rows, *row));
            all.filter(|row| match rules().next().map(|rule| passes(rule, rows, *row)) {
                Some(Err(error)) => {
                    could_not(&error);
                    false
                }
                found => matches!(found, Some(Ok(true))),
            })
            .collect()
        });
        let draft = common.hits(unit, &places).or_else(|_of_some_row| {
            // A value that a fold cannot take: all but that row count.
            places.retain(|row| {
                let one = UInt32Array::from(vec![*row]);
                let read = unit.folds.iter().find_map(|fold| fold.read(rows.batch, &one).err());
                read.as_ref().is_none_or(|error| {
                    could_not(error);
                    false
                })
            });
            common.hits(unit, &places)
        });
        match draft {
            Ok(draft) => Some(draft).filter(|draft| !draft.is_empty()),
            Err(error) => {
                could_not(&error);
                None
            }
        }
    }

    /// Hits of a key go to the key's exchange partition.
    fn hand_out_hits(&mut self, unit: &Unit, hits: Hits) {
        let partitions = count(self.blocks.len());
        if let [blocks] = self.blocks.as_mut_slice() {
            blocks.push(Block::of_unit(unit, hits));
            return;
        }
        for (partition, blocks) in (0_u32..).zip(&mut self.blocks) {
            let hits = hits.of_keys(|key| exchange_partition(key, partitions) == partition);
            if hits.len() > 0 {
                blocks.push(Block::of_unit(unit, hits));
            }
        }
    }

    /// Rows of a key go to the key's exchange partition; rows of a rule whose keys cannot be judged
    /// apart all go to the rule's.
    fn hand_out(
        &mut self,
        rule: &Prepared,
        (rows, marks): (Box<Rows>, Vec<Mark>),
        hash_key: HashKey,
    ) -> Result<(), ArrowError> {
        let partitions = count(self.blocks.len());
        if rows.is_empty() {
            return Ok(());
        }
        if partitions == 1 || !rule.spreads {
            let home = exchange_partition(hash_key.hash(rule.id.as_bytes()), partitions);
            if let Some(blocks) = self.blocks.get_mut(place(home)) {
                blocks.push(Block::of_rule(rule, rows, marks));
            }
            return Ok(());
        }
        for (partition, blocks) in (0_u32..).zip(&mut self.blocks) {
            let inside: Vec<u32> = (0_u32..)
                .zip(&rows.keys)
                .filter(|(_, key)| exchange_partition(**key, partitions) == partition)
                .map(|(row, _)| row)
                .collect();
            if !inside.is_empty() {
                blocks.push(Block::of_rule(rule, Box::new(rows.select(&inside)?), Vec::new()));
            }
        }
        Ok(())
    }
}

/// The rows that pass the rule's filter, and what is kept of them: the rule's input columns, or
/// for rules without state their answer.
fn select(
    rule: &Prepared,
    (rows, hash_key): (&Rowset<'_>, HashKey),
    passing: Option<Vec<u32>>,
    failures: &mut Vec<Failure>,
) -> Option<Selected> {
    match attempt(rule, (rows, hash_key), passing.map(Only::Rows)) {
        Ok(found) => found,
        // A value that the filter cannot take, such as a divisor of zero: all but that row count.
        Err(_of_some_row) => {
            let (mut places, mut batches, mut marks) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..count(rows.at.len()) {
                match attempt(rule, (rows, hash_key), Some(Only::Row(row))) {
                    Ok(Some(selected)) => {
                        places.push(row);
                        batches.push(selected.batch);
                        marks.extend(selected.marks);
                    }
                    Ok(None) => {}
                    Err(error) => note(failures, failed(&rule.id, None, &error)),
                }
            }
            let schema = batches.first()?.schema();
            let joined = arrow::compute::concat_batches(&schema, &batches);
            joined.ok().map(|batch| Selected { places, batch, marks })
        }
    }
}

/// One failure a rule and step.
fn note(failures: &mut Vec<Failure>, failure: Failure) {
    match failures.last_mut().filter(|last| last.rule == failure.rule) {
        Some(last) => {
            last.count += failure.count;
            last.detail = failure.detail;
        }
        None => failures.push(failure),
    }
}

/// Rows that pass a rule's filter, by place.
struct Selected {
    places: Vec<u32>,
    batch: RecordBatch,
    /// One a row where the rule asks of the past; else none.
    marks: Vec<Mark>,
}

/// Rows to look at.
enum Only {
    /// This one, if it passes.
    Row(u32),
    /// These: they pass.
    Rows(Vec<u32>),
}

fn is_seen(rows: &Rowset<'_>, row: u32) -> bool {
    rows.on_time.is_none_or(|on_time| on_time.get(place(row)).copied().unwrap_or(false))
}

fn passes(rule: &Prepared, rows: &Rowset<'_>, row: u32) -> Result<bool, RunError> {
    Ok(!rule.rule.matching(&rows.batch.slice(place(row), 1))?.is_empty())
}

/// All rows, or only some.
fn attempt(
    rule: &Prepared,
    (rows, hash_key): (&Rowset<'_>, HashKey),
    only: Option<Only>,
) -> Result<Option<Selected>, RunError> {
    let mut places = match only {
        None => rule.rule.matching(rows.batch)?,
        Some(Only::Rows(places)) => places,
        Some(Only::Row(row)) if passes(rule, rows, row)? => vec![row],
        Some(Only::Row(_)) => Vec::new(),
    };
    places.retain(|row| is_seen(rows, *row));
    if places.is_empty() {
        return Ok(None);
    }
    let all = places.len() == rows.batch.num_rows();
    let index = UInt32Array::from(places.clone());
    let columns = rule.rule.input_columns.iter().filter_map(|at| rows.batch.columns().get(*at));
    let columns: Result<Vec<ArrayRef>, ArrowError> = columns
        .map(|column| if all { Ok(Arc::clone(column)) } else { take(column, &index, None) })
        .collect();
    let kept = RecordBatch::try_new(Arc::clone(&rule.rule.input), columns?)?;
    let batch = match &rule.rule.program {
        Program::None(answer) => answer.run(&kept)?,
        Program::Panes(..) | Program::Rows(_) => kept,
    };
    let Some(past) = &rule.rule.past else {
        return Ok(Some(Selected { places, batch, marks: Vec::new() }));
    };
    // Only now: a row without an answer neither fires nor teaches, whatever came beside it.
    let (first, marks) = heads(past, (rows.batch, rows.at), &places, hash_key)?;
    let at = first.iter().filter_map(|row| places.binary_search(row).ok());
    let at: UInt32Array = at.map(|at| Some(count(at))).collect();
    let batch = take_record_batch(&batch, &at)?;
    Ok((!first.is_empty()).then_some(Selected { places: first, batch, marks }))
}

fn build(
    rule: &Prepared,
    rows: &Rowset<'_>,
    (places, batch): (&[u32], RecordBatch),
    (shared, hash_key): (&mut Shared<'_>, HashKey),
) -> Result<Rows, ArrowError> {
    let pick = |row: &u32| rows.at.get(place(*row)).copied();
    let at: Vec<i64> = places.iter().filter_map(pick).collect();
    let key_columns = match (&rule.rule.program, &rule.keys_in) {
        (Program::None(_), _) => Some(&rule.keys_out),
        (Program::Panes(..) | Program::Rows(_), keys) => keys.as_ref(),
    };
    let keys = key_columns.map_or_else(Vec::new, |key| hashes(&batch, key, hash_key));
    let index = UInt32Array::from(places.to_vec());
    let ids = match shared.ids {
        Some(ids) => take(ids, &index, None)?.as_string::<i32>().clone(),
        None => StringArray::new_null(places.len()),
    };
    let (circumstances, table) = shared.census.of(places);
    let lines = match shared.lines.filter(|lines| lines.null_count() < lines.len()) {
        Some(lines) if !keys.is_empty() => {
            let firsts = match &rule.rule.past {
                // Any of them may turn out to be shown.
                Some(_) => (0..count(at.len())).collect(),
                None => firsts(&at, &keys, (&ids, rule.link.pane_ms())),
            };
            let from = firsts.iter().map(|row| places.get(place(*row)).copied());
            let texts = take(lines, &UInt32Array::from_iter(from), None)?;
            Sparse { rows: firsts, texts: texts.as_string::<i32>().clone() }
        }
        _ => Sparse::none(),
    };
    let stamps = rows.stamps.iter().filter_map(|(row, stamp)| {
        let at = places.binary_search(row).ok()?;
        Some((count(at), *stamp))
    });
    let stamps = stamps.collect();
    Ok(Rows { batch, at, keys, ids, circumstances, table, lines, stamps })
}

/// The hash of each row's key. A row without a complete key has none, and matches nobody's.
fn hashes(batch: &RecordBatch, key: &[usize], hash_key: HashKey) -> Vec<u128> {
    let columns: Vec<&ArrayRef> = key.iter().filter_map(|at| batch.columns().get(*at)).collect();
    let mut bytes = Vec::new();
    let hash = |row| if write_key(&columns, row, &mut bytes) { hash_key.hash(&bytes) } else { 0 };
    (0..batch.num_rows()).map(hash).collect()
}

/// The rows whose lines go along: the first five of each key and pane, by event time and id, which
/// are the same however the log is cut into batches. Any of the first five of an episode are.
fn firsts(at: &[i64], keys: &[u128], (ids, pane_ms): (&StringArray, i64)) -> Vec<u32> {
    let order = |row: u32| (at.get(place(row)).copied(), text_at(ids, place(row)), row);
    let mut places: HashMap<(u128, i64), usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for (row, (key, at)) in (0_u32..).zip(keys.iter().zip(at)) {
        let next = groups.len();
        let group = *places.entry((*key, at.div_euclid(pane_ms))).or_insert(next);
        if group == next {
            groups.push(Vec::new());
        }
        let Some(rows) = groups.get_mut(group) else { continue };
        let later = rows.partition_point(|held| order(*held) < order(row));
        if later < EXEMPLARS_MAX {
            rows.insert(later, row);
            rows.truncate(EXEMPLARS_MAX);
        }
    }
    let mut firsts: Vec<u32> = groups.into_iter().flatten().collect();
    firsts.sort_unstable();
    firsts
}
