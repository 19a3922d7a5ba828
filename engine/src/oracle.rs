//! The definition of a rule, run as it is written.
//!
//! Owns: closed episodes from a whole history at once: for every window its rows, one query, and
//! the connected parts of what fires. Never: watermarks, state, anything done step by step.
//!
//! This is what the engine is compared with; it is slow and has to be plain.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use schemas::{EventTime, Verdict, VerdictKind};
use serde_json::{Map, Value};

use crate::key::HashKey;
use crate::plan::{FirstSeen, Query, RunError, Table, minute, reference};
use crate::rows::firing::{self, Firing};
use crate::rows::{circumstances, count, place};
use crate::rule::{Lists, Problem};
use crate::ruleset::{Prepared, Ruleset};
use crate::totals::compare;

/// Rows of a table, each with the moment that it counts at.
#[derive(Debug, Clone)]
pub struct History {
    /// The table.
    pub table: Table,
    /// Its rows.
    pub batch: RecordBatch,
    /// By row: the moment.
    pub at: Vec<i64>,
}

/// An episode as everybody must see it in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedEpisode {
    /// Rule id.
    pub rule: String,
    /// Key columns and their values.
    pub key: Map<String, Value>,
    /// From the start of the first firing window to the end of the last, or from the first firing
    /// event to the last.
    pub span: (EventTime, EventTime),
    /// By column: the greatest number, or what the last firing point says.
    pub totals: Map<String, Value>,
}

impl ClosedEpisode {
    /// What a verdict of kind `closed` says of it.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Option<Self> {
        let events = (verdict.first_event, verdict.last_event);
        (verdict.kind == VerdictKind::Closed).then(|| Self {
            rule: verdict.rule.clone(),
            key: verdict.key.clone(),
            span: verdict.window.map_or(events, |window| (window.start, window.end)),
            totals: verdict.values.clone(),
        })
    }

    /// The closed episodes among verdicts, sorted.
    #[must_use]
    pub fn all(verdicts: &[Verdict]) -> Vec<Self> {
        let mut closed: Vec<Self> = verdicts.iter().filter_map(Self::of).collect();
        sort(&mut closed);
        closed
    }
}

fn sort(episodes: &mut [ClosedEpisode]) {
    episodes.sort_by_cached_key(|episode| {
        let key = Value::Object(episode.key.clone()).to_string();
        (episode.rule.clone(), key, episode.span)
    });
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// The rule cannot be planned without pushing anything down.
    #[error("rule `{rule}` cannot be planned as it is written")]
    Plan {
        /// Rule id.
        rule: String,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// Its query failed.
    #[error("rule `{rule}`")]
    Run {
        /// Rule id.
        rule: String,
        /// Why.
        source: RunError,
    },
}

/// All closed episodes of a whole history, sorted.
///
/// # Errors
/// Where a rule cannot be planned or its query fails.
pub fn closed(
    ruleset: &Ruleset,
    lists: &Lists,
    histories: &[History],
) -> Result<Vec<ClosedEpisode>, OracleError> {
    let mut episodes = Vec::new();
    for rule in ruleset.prepared() {
        let query = reference(&rule.rule.rule, lists)
            .map_err(|problems| OracleError::Plan { rule: rule.id.to_string(), problems })?;
        let asked = Asked { rule, query, hash_key: ruleset.hash_key() };
        let mut points: BTreeMap<Vec<u8>, Vec<(i64, Firing)>> = BTreeMap::new();
        let fired = asked.points(histories);
        let fired =
            fired.map_err(|source| OracleError::Run { rule: rule.id.to_string(), source })?;
        for (at, firing) in fired {
            points.entry(firing.key.bytes.clone()).or_default().push((at, firing));
        }
        for (_, mut of_key) in points {
            of_key.sort_by_key(|(at, _)| *at);
            episodes.extend(connected(rule, of_key));
        }
    }
    sort(&mut episodes);
    Ok(episodes)
}

/// A rule with its query as written.
struct Asked<'a> {
    rule: &'a Prepared,
    query: Query,
    hash_key: HashKey,
}

impl Asked<'_> {
    /// Every firing point.
    fn points(&self, histories: &[History]) -> Result<Vec<(i64, Firing)>, RunError> {
        let (rows, at, passes) = self.rows(histories)?;
        let mut points = Vec::new();
        let Some(windows) = self.rule.windows else {
            // One event at a time.
            for (row, at) in at.iter().enumerate() {
                let fired = self.ask(rows.slice(row, 1), (*at, *at))?;
                points.extend(fired.into_iter().map(|firing| (*at, firing)));
            }
            return Ok(points);
        };
        let (Some(first), Some(last)) = (at.first(), at.last()) else { return Ok(points) };
        for k in windows.first_of(*first)..=windows.pane_of(*last) {
            let (start, end) = (windows.start(k), windows.end(k));
            let from = at.partition_point(|at| *at < start);
            let to = at.partition_point(|at| *at < end);
            if passes.get(from..to).unwrap_or_default().contains(&true) {
                let fired = self.ask(rows.slice(from, to - from), (start, end))?;
                points.extend(fired.into_iter().map(|firing| (k, firing)));
            }
        }
        Ok(points)
    }

    fn ask(&self, rows: RecordBatch, window: (i64, i64)) -> Result<Vec<Firing>, RunError> {
        let answer = self.query.run(&[rows], window)?;
        Ok(firing::firings(self.rule, &answer, self.hash_key))
    }

    /// All rows of the table by event time and id, their moments, and whether each passes the
    /// rule's filter.
    fn rows(&self, histories: &[History]) -> Result<(RecordBatch, Vec<i64>, Vec<bool>), RunError> {
        let schema = self.rule.rule.table.schema();
        let of_table = |history: &&History| history.table == self.rule.rule.table;
        let batches: Vec<&RecordBatch> =
            histories.iter().filter(of_table).map(|history| &history.batch).collect();
        let rows = concat_batches(&schema, batches)?;
        let mut at: Vec<i64> =
            histories.iter().filter(of_table).flat_map(|history| history.at.clone()).collect();
        let ids = rows.column_by_name("event_id").and_then(|ids| ids.as_string_opt::<i32>());
        let mut order: Vec<usize> = (0..at.len()).collect();
        order.sort_by_key(|row| {
            let id = ids.and_then(|ids| circumstances::text_at(ids, *row));
            (at.get(*row).copied(), id)
        });
        let index: UInt32Array = order.iter().map(|row| Some(count(*row))).collect();
        let rows = take_record_batch(&rows, &index)?;
        at.sort_unstable();
        let mut passes = vec![false; at.len()];
        for row in self.rule.rule.matching(&rows)? {
            if let Some(passes) = passes.get_mut(place(row)) {
                *passes = true;
            }
        }
        let Some(past) = &self.rule.rule.past else { return Ok((rows, at, passes)) };
        let places: Vec<u32> =
            (0_u32..).zip(&passes).filter(|(_, passes)| **passes).map(|(row, _)| row).collect();
        let prints = past.prints(&rows, &places, self.hash_key)?;
        let events: Vec<(u32, i64, u64)> = places
            .iter()
            .zip(prints)
            .filter_map(|(row, print)| Some((*row, *at.get(place(*row))?, print?)))
            .collect();
        let firsts = firsts(past, &events);
        let at: Vec<i64> = firsts.iter().map(|(_, at, _)| *at).collect();
        let index: UInt32Array = firsts.iter().map(|(row, ..)| Some(*row)).collect();
        let passes = vec![true; at.len()];
        Ok((take_record_batch(&rows, &index)?, at, passes))
    }
}

/// Of events in their order, each with the fingerprint of its combination: those that are the first
/// of theirs within the span, once learning has ended.
fn firsts(past: &FirstSeen, events: &[(u32, i64, u64)]) -> Vec<(u32, i64, u64)> {
    let mut firsts = Vec::new();
    let mut since = i64::MIN;
    for (place, (row, at, print)) in events.iter().enumerate() {
        let before = events.get(..place).unwrap_or_default();
        let within = |(_, then, _): &&(u32, i64, u64)| minute(*at) - minute(*then) <= past.span;
        if !before.iter().any(|event| within(&event)) {
            since = *at;
        }
        let is_new = !before.iter().filter(within).any(|(_, _, other)| other == print);
        if is_new && at - since >= past.learns_ms {
            firsts.push((*row, *at, *print));
        }
    }
    firsts
}

/// Points of one key in order of time, cut where two neighbours are further apart than the reach.
fn connected(rule: &Prepared, points: Vec<(i64, Firing)>) -> Vec<ClosedEpisode> {
    let mut parts: Vec<Vec<(i64, Firing)>> = Vec::new();
    for point in points {
        match parts.last_mut() {
            Some(part) if part.last().is_some_and(|(at, _)| point.0 - at <= rule.link.reach()) => {
                part.push(point);
            }
            _ => parts.push(vec![point]),
        }
    }
    parts.iter().filter_map(|part| episode(rule, part)).collect()
}

fn episode(rule: &Prepared, part: &[(i64, Firing)]) -> Option<ClosedEpisode> {
    let ((lo, first), (hi, _)) = (part.first()?, part.last()?);
    let span = match rule.windows {
        Some(windows) => (EventTime(windows.start(*lo)), EventTime(windows.end(*hi))),
        None => (EventTime(*lo), EventTime(*hi)),
    };
    let mut totals = Map::new();
    for name in &rule.rule.values {
        let values =
            || part.iter().filter_map(|(at, firing)| Some((*at, firing.values.get(name)?)));
        let greatest =
            values().filter(|(_, value)| value.is_number()).max_by(|a, b| compare(a.1, b.1));
        let last = || values().max_by(|a, b| a.0.cmp(&b.0).then_with(|| compare(a.1, b.1)));
        if let Some((_, value)) = greatest.or_else(last) {
            totals.insert(name.clone(), value.clone());
        }
    }
    Some(ClosedEpisode { rule: rule.id.to_string(), key: first.key.columns.clone(), span, totals })
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
