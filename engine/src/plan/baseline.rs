//! `baseline_max(aggregate, k)`: the most that is usual for a key, learned from its past.
//!
//! Owns: its name and arguments, where it may stand, a query in which columns stand for its calls.
//! Never: what has been learned (see `past`); the query itself never asks the function.
//!
//! For one window it is a constant, so that `count(*) >= baseline_max(count(*), 6)` stays true once
//! it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, ScalarUDF};

use super::panes::{Held, Kind};
use super::{CompiledRule, Possible, functions, shape};
use crate::rule::Rule;
use crate::rule::problem::{Level, Problem};

/// Its name in SQL.
pub(super) const NAME: &str = "baseline_max";

/// Columns that stand for calls begin like this.
const COLUMN: &str = "__baseline_";

/// The function.
pub(super) fn function() -> Arc<ScalarUDF> {
    functions::of_the_past(NAME, arguments, DataType::Float64)
}

fn arguments(given: &[DataType]) -> Result<Vec<DataType>> {
    let [aggregate, numbers @ ..] = given else {
        return plan_err!(
            "baseline_max takes an aggregate and a number: baseline_max(count(*), 6)"
        );
    };
    if !aggregate.is_integer() {
        return plan_err!(
            "baseline_max learns whole numbers, such as count(*), and not {aggregate}"
        );
    }
    if numbers.is_empty() || numbers.len() > 2 {
        return plan_err!(
            "baseline_max takes an aggregate, how many deviations are usual, and perhaps what \
             stands for a key that is not known yet: baseline_max(count(*), 6, 1000)"
        );
    }
    if let Some(other) = numbers.iter().find(|of| !of.is_numeric()) {
        return plan_err!("baseline_max takes numbers after the aggregate, and not {other}");
    }
    let numbers = std::iter::repeat_n(DataType::Float64, numbers.len());
    Ok(std::iter::once(DataType::Int64).chain(numbers).collect())
}

/// Whether an expression is a call, and with it the same for all rows of a key in a window.
pub(super) fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.name() == NAME)
}

/// The calls in an expression.
fn calls(expr: &Expr) -> Vec<Expr> {
    let mut found = Vec::new();
    let walked = expr.apply(|expr| {
        if is_call(expr) {
            found.push(expr.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    found
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Call {
    /// The place of its aggregate among the folds.
    pub(crate) fold: usize,
    /// How many deviations above the mean are usual.
    pub(crate) deviations: f64,
    /// What stands for a key that is not known yet. Nothing is as much as infinity.
    pub(crate) unknown: f64,
}

/// Calls of a query, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Calls {
    pub(crate) all: Vec<Call>,
    /// The first, as SQL.
    text: String,
}

impl Calls {
    /// The expression with a column in the place of each call.
    pub(super) fn taken_out(&mut self, expr: &Expr, aggregate: &Aggregate) -> Result<Expr> {
        let replaced = expr.clone().transform_down(|expr| {
            if !is_call(&expr) {
                return Ok(Transformed::no(expr));
            }
            let call = match call(&expr, aggregate) {
                Ok(call) => call,
                Err((message, _hint)) => return plan_err!("{message}"),
            };
            let place = match self.all.iter().position(|known| *known == call) {
                Some(place) => place,
                None => self.add(call, || shape::shown(&expr, aggregate)),
            };
            let column = Expr::Column(Column::new_unqualified(format!("{COLUMN}{place}")));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(replaced.data)
    }

    fn add(&mut self, call: Call, text: impl FnOnce() -> String) -> usize {
        if self.all.is_empty() {
            self.text = text();
        }
        self.all.push(call);
        self.all.len() - 1
    }

    /// What is learned, for people.
    pub(super) fn explained(&self) -> Option<String> {
        let first = self.all.first()?;
        let unknown = match first.unknown.is_finite() {
            true => format!("{} holds for", first.unknown),
            false => "nothing is unusual for".to_owned(),
        };
        Some(format!(
            "`{}`: the greatest value of each hour, on weekdays or at weekends, by key, 24 B each; \
             {unknown} a key that was not seen on three days",
            self.text
        ))
    }

    /// The columns of a grouping, and after them those that stand for calls.
    pub(super) fn schema(&self, grouping: &DFSchemaRef) -> Result<DFSchemaRef> {
        let field = |place: usize| Field::new(format!("{COLUMN}{place}"), DataType::Float64, false);
        let fields: Vec<Field> = (0..self.all.len()).map(field).collect();
        let more = DFSchema::from_unqualified_fields(fields.into(), Default::default())?;
        Ok(Arc::new(grouping.join(&more)?))
    }

    /// The call that a column stands for.
    pub(super) fn named(&self, column: &Column) -> Option<usize> {
        let place = column.name.strip_prefix(COLUMN)?.parse().ok()?;
        (place < self.all.len()).then_some(place)
    }

    /// The fold that the past of is learned, where there are calls.
    pub(crate) fn fold(&self) -> Option<usize> {
        self.all.first().map(|call| call.fold)
    }
}

/// What is wrong, and what to write.
type Wrong = (String, &'static str);

fn call(expr: &Expr, aggregate: &Aggregate) -> std::result::Result<Call, Wrong> {
    let example = "write such as baseline_max(count(*), 6)";
    let Expr::ScalarFunction(function) = expr else {
        return Err((format!("no call of {NAME}"), example));
    };
    let [of, deviations, rest @ ..] = function.args.as_slice() else {
        return Err((format!("`{NAME}` without its arguments"), example));
    };
    let fold = match shape::bare(of) {
        Expr::Column(column) => aggregate
            .schema
            .maybe_index_of_column(column)
            .and_then(|place| place.checked_sub(aggregate.group_expr.len())),
        _ => None,
    };
    let Some(fold) = fold else {
        let of = shape::shown(of, aggregate);
        let message = format!("`{NAME}` is of one aggregate, not of `{of}`");
        return Err((message, example));
    };
    let deviations =
        number(deviations).filter(|deviations| *deviations >= 0.0).ok_or_else(|| {
            (format!("how many deviations `{NAME}` takes is no number of 0 or more"), example)
        })?;
    let unknown = match rest {
        [] => f64::INFINITY,
        [unknown, ..] => number(unknown).ok_or_else(|| {
            let message = format!("what `{NAME}` takes for a key that is not known is no number");
            (message, "write such as baseline_max(count(*), 6, 1000)")
        })?,
    };
    Ok(Call { fold, deviations, unknown })
}

/// A finite number as it stands in SQL.
pub(super) fn number(expr: &Expr) -> Option<f64> {
    let number = match shape::bare(expr) {
        Expr::Negative(of) => -number(of)?,
        Expr::Literal(value, _) => match value.cast_to(&DataType::Float64).ok()? {
            ScalarValue::Float64(value) if value.is_some() => value?,
            _ => return None,
        },
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Whether the past of such a fold can be learned.
pub(super) fn learns(kind: Kind) -> bool {
    matches!(kind, Kind::Count | Kind::Distinct | Kind::Sum | Kind::Greatest(Held::Whole))
}

/// How many calls there are anywhere in a plan.
fn calls_in(plan: &LogicalPlan) -> usize {
    let mut found = 0;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found += calls(expr).len();
            Ok(TreeNodeRecursion::Continue)
        })
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    found
}

/// Everything that is wrong with its use in an analyzed plan.
pub(super) fn check(rule: &Rule, plan: &LogicalPlan) -> Vec<Problem> {
    let all = calls_in(plan);
    if all == 0 {
        return Vec::new();
    }
    let error = |message: String, hint: &str| {
        let at = rule.source.word(NAME);
        vec![rule.source.in_sql(Level::Error, at, message).hint(hint)]
    };
    let grouped = shape::grouped(plan);
    let Some(grouped) = grouped else {
        let message = format!("`{NAME}` says what is usual for a group");
        return error(message, "write SELECT … FROM events GROUP BY … HAVING …");
    };
    let above: Vec<Expr> = grouped.select.iter().chain(grouped.having).flat_map(calls).collect();
    if all > above.len() {
        let message = format!("`{NAME}` compares a group with its past");
        return error(message, "it belongs into HAVING or SELECT, and not into WHERE or FILTER");
    }
    let mut folds = Vec::new();
    for expr in &above {
        match call(expr, grouped.aggregate) {
            Ok(call) => folds.push(call.fold),
            Err((message, hint)) => return error(message, hint),
        }
    }
    if folds.windows(2).any(|pair| matches!(pair, [one, other] if one != other)) {
        let message = format!("`{NAME}` of two aggregates in one rule");
        return error(message, "write two rules");
    }
    Vec::new()
}

/// That a rule which asks what is usual, by its analyzed plan, has its state where that is known.
pub(super) fn placed(rule: &CompiledRule, plan: &LogicalPlan) -> Option<Problem> {
    let Some(Possible::No { clause, why }) = &rule.panes else { return None };
    if calls_in(plan) == 0 {
        return None;
    }
    let source = &rule.rule.source;
    let message = format!("`{NAME}` needs state in panes, which `{clause}` stands in the way of");
    Some(source.in_sql(Level::Error, source.word(NAME), message).hint(why.clone()))
}
