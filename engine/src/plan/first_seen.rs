//! `first_seen('30d', a, b, …)`: whether an event's combination is new.
//!
//! Owns: its name and arguments, where it may stand, the fingerprint of a combination.
//! Never: what has been seen (see `past`); the query itself never asks the function.
//!
//! It is one of the conditions of WHERE, and an event is compared with those that pass the others.
//! What teaches is so under the rule's control: a refused attempt does not make the next one known
//! where the rule asks for `status < 400`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF, lit};
use datafusion::physical_plan::PhysicalExpr;

use super::CompiledRule;
use super::compile::physical;
use super::query::RunError;
use super::{functions, shape};
use crate::key::{HashKey, low, write_key};
use crate::rule::problem::{Level, Problem};
use crate::rule::{Rule, TestCase, duration};

/// Its name in SQL.
pub(super) const NAME: &str = "first_seen";

const MINUTE_MS: i64 = 60_000;
/// The longest span: a year and a month.
const SPAN_MAX_MS: i64 = 400 * 86_400_000;
/// Of the span, the part that is only for learning: of 30 days a week and half a day, so that a
/// whole week has been seen.
const LEARNING: i64 = 4;

/// The function.
pub(super) fn function() -> Arc<ScalarUDF> {
    functions::of_the_past(NAME, types, DataType::Boolean)
}

fn types(given: &[DataType]) -> Result<Vec<DataType>> {
    let [span, parts @ ..] = given else {
        return plan_err!(
            "first_seen takes a span and columns: first_seen('30d', principal, route)"
        );
    };
    if *span != DataType::Utf8 {
        return plan_err!("first_seen takes a span first, such as '30d', and not {span}");
    }
    if parts.is_empty() {
        return plan_err!(
            "first_seen('30d') says of nothing that it is new: name columns after the span"
        );
    }
    Ok(given.to_vec())
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.name() == NAME)
}

/// How often it stands anywhere in an expression.
fn calls(expr: &Expr) -> usize {
    let mut found = 0;
    let walked = expr.apply(|expr| {
        found += usize::from(is_call(expr));
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    found
}

/// Everything that is wrong with its use in an analyzed plan.
pub(super) fn check(rule: &Rule, plan: &LogicalPlan) -> Vec<Problem> {
    let (mut all, mut scans) = (0, 0);
    let mut stands: Vec<Expr> = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        scans += usize::from(matches!(node, LogicalPlan::TableScan(_)));
        node.apply_expressions(|expr| {
            all += calls(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        if let LogicalPlan::Filter(filter) = node
            && reads_the_table(&filter.input)
        {
            let parts = split_conjunction(&filter.predicate).into_iter();
            stands.extend(parts.filter(|part| is_call(part)).cloned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    if all == 0 {
        return Vec::new();
    }
    let error = |word: &str, message: String| {
        rule.source.in_sql(Level::Error, rule.source.word(word), message)
    };
    if all > stands.len() {
        let message = "`first_seen` is a condition of its own in WHERE".to_owned();
        return vec![
            error(NAME, message).hint("join it to the others with AND, without NOT or OR"),
        ];
    }
    if all > 1 {
        let message = "`first_seen` is there more than once".to_owned();
        return vec![error(NAME, message).hint("write two rules, or one with all the columns")];
    }
    if scans > 1 {
        let message = "`first_seen` in a query that reads its table more than once".to_owned();
        return vec![error(NAME, message).hint("write two rules")];
    }
    stands.iter().flat_map(|call| arguments(call, &error)).collect()
}

fn arguments(call: &Expr, error: &dyn Fn(&str, String) -> Problem) -> Vec<Problem> {
    let Expr::ScalarFunction(function) = call else { return Vec::new() };
    let Some((span, parts)) = function.args.split_first() else { return Vec::new() };
    let mut problems = Vec::new();
    match shape::bare(span) {
        Expr::Literal(text, _) => {
            let text = text.try_as_str().flatten().unwrap_or_default();
            if let Err(wrong) = length(text) {
                let at = if text.is_empty() { NAME } else { text };
                problems.push(error(at, format!("the span of `first_seen`: {wrong}")));
            }
        }
        other => {
            let message =
                format!("the span of `first_seen` is `{}`, not a text", shape::as_sql(other));
            problems.push(error(NAME, message).hint("write such as first_seen('30d', principal)"));
        }
    }
    for part in parts.iter().filter(|part| !part.any_column_refs()) {
        let message =
            format!("`{}` in `first_seen` is the same for every event", shape::as_sql(part));
        problems.push(error(NAME, message).hint("name columns after the span"));
    }
    problems
}

fn length(text: &str) -> std::result::Result<i64, String> {
    let span_ms = duration::parse(text)?;
    let most = duration::format(SPAN_MAX_MS);
    if !(MINUTE_MS..=SPAN_MAX_MS).contains(&span_ms) || span_ms % MINUTE_MS != 0 {
        return Err(format!("`{text}` is not in whole minutes from 1m to {most}"));
    }
    Ok(span_ms)
}

/// Events of tests that teach a rule which remembers nothing.
pub(super) fn unasked(rule: &CompiledRule) -> Vec<Problem> {
    if rule.asks_the_past() {
        return Vec::new();
    }
    let taught = rule.rule.tests.iter().filter(|test| !test.before.is_empty());
    let problem = |test: &TestCase| {
        let message = format!("`before:` of the test `{}` teaches nothing", test.name);
        let problem = rule.rule.source.at(Level::Warning, &["tests"], message);
        let hint = "only `first_seen` and `baseline_max` remember; what counts in a window goes to \
                    `events:`";
        Problem { line: test.line, ..problem.hint(hint) }
    };
    taught.map(problem).collect()
}

/// Whether rows come from the table one by one, unjoined and ungrouped.
fn reads_the_table(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => reads_the_table(&filter.input),
        LogicalPlan::Projection(projection) => reads_the_table(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => reads_the_table(&alias.input),
        _ => false,
    }
}

/// The plan as of events that are known to be the first.
pub(super) fn taken_as_true(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replace = |expr: Expr| {
        expr.transform(|expr| {
            Ok(if is_call(&expr) { Transformed::yes(lit(true)) } else { Transformed::no(expr) })
        })
    };
    Ok(plan.transform_down_with_subqueries(|node| node.map_expressions(replace))?.data)
}

/// That pushing filters down left no call anywhere but in the conditions of a scan.
pub(super) fn check_pushed(plan: &LogicalPlan) -> Result<()> {
    let mut left = 0;
    plan.apply_with_subqueries(|node| {
        if !matches!(node, LogicalPlan::TableScan(_)) {
            node.apply_expressions(|expr| {
                left += calls(expr);
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if left == 0 { Ok(()) } else { plan_err!("{NAME} cannot be asked of single events here") }
}

/// Takes the call out of the conditions of a scan.
pub(super) fn take_out(parts: &mut Vec<Expr>) -> Option<Expr> {
    let at = parts.iter().position(is_call)?;
    Some(parts.remove(at))
}

/// What a rule with `first_seen` compares.
#[derive(Debug)]
pub struct FirstSeen {
    /// As SQL.
    pub(crate) text: String,
    /// In minutes.
    pub(crate) span: i32,
    /// How long it only learns, in milliseconds.
    pub(crate) learns_ms: i64,
    /// Columns of the table that the parts read, and their schema.
    columns: Vec<usize>,
    schema: SchemaRef,
    parts: Vec<Arc<dyn PhysicalExpr>>,
}

impl FirstSeen {
    /// Of a call over the table with `schema`.
    pub(super) fn of(call: &Expr, schema: &SchemaRef) -> Result<Self> {
        let Expr::ScalarFunction(function) = call else { return plan_err!("no call of {NAME}") };
        let Some((Expr::Literal(span, _), parts)) = function.args.split_first() else {
            return plan_err!("{NAME} without a span");
        };
        let span_ms = match length(span.try_as_str().flatten().unwrap_or_default()) {
            Ok(span_ms) => span_ms,
            Err(wrong) => return plan_err!("{wrong}"),
        };
        let mut columns: Vec<usize> = parts
            .iter()
            .flat_map(Expr::column_refs)
            .map(|column| schema.index_of(&column.name))
            .collect::<std::result::Result<_, _>>()?;
        columns.sort_unstable();
        columns.dedup();
        let narrow: SchemaRef = Arc::new(schema.project(&columns)?);
        let parts = parts.iter().map(|part| physical(part, &narrow)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            text: shape::as_sql(call),
            span: i32::try_from(span_ms / MINUTE_MS).unwrap_or(i32::MAX),
            learns_ms: span_ms / LEARNING,
            columns,
            schema: narrow,
            parts,
        })
    }

    /// How long it only learns, from the first event that it sees, in milliseconds.
    #[must_use]
    pub fn learns_ms(&self) -> i64 {
        self.learns_ms
    }

    /// The span and the learning period, for people.
    pub(super) fn explained(&self) -> String {
        let span = duration::format(i64::from(self.span) * MINUTE_MS);
        let learns = duration::format(self.learns_ms);
        format!(
            "`{}`: what was seen in the {span} before, by combination, 12 to 16 B each; fires once \
             it has learned for {learns}",
            self.text
        )
    }

    /// The fingerprint of each row's combination; none where a part is absent.
    ///
    /// # Errors
    /// Where a part cannot be worked out.
    pub(crate) fn prints(
        &self,
        batch: &RecordBatch,
        rows: &[u32],
        hash_key: HashKey,
    ) -> std::result::Result<Vec<Option<u64>>, RunError> {
        let places = UInt32Array::from(rows.to_vec());
        let columns = self.columns.iter().filter_map(|column| batch.columns().get(*column));
        let columns: std::result::Result<Vec<ArrayRef>, _> =
            columns.map(|column| take(column, &places, None)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)?;
        let mut parts: Vec<ArrayRef> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push(part.evaluate(&batch)?.into_array(rows.len())?);
        }
        let parts: Vec<&ArrayRef> = parts.iter().collect();
        let mut bytes = Vec::new();
        let print = |row| write_key(&parts, row, &mut bytes).then(|| low(hash_key.hash(&bytes)));
        Ok((0..rows.len()).map(print).collect())
    }
}

/// The minute that a moment falls in.
pub(crate) fn minute(at: i64) -> i32 {
    i32::try_from(at.div_euclid(MINUTE_MS)).unwrap_or(if at < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use super::{length, minute};

    #[test]
    fn spans_are_whole_minutes() {
        assert_eq!(length("30d"), Ok(2_592_000_000));
        assert!(length("30s").is_err() && length("401d").is_err() && length("90s").is_err());
        assert!(length("a month").is_err());
    }

    #[test]
    fn minutes_before_the_epoch_count_down() {
        assert_eq!([minute(-1), minute(0), minute(59_999), minute(60_000)], [-1, 0, 0, 1]);
    }
}
