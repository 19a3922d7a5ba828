//! What shape a query has: its key, the state it needs, whether it could fire early.
//!
//! Owns: reading an analyzed plan. Never: changing it.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::Dialect;
use schemas::{Field, Kind};

use super::{Possible, baseline};

/// The parts of `SELECT keys, aggregates FROM table WHERE … GROUP BY keys HAVING …`.
pub(super) struct Grouped<'p> {
    pub(super) select: &'p [Expr],
    pub(super) having: Option<&'p Expr>,
    pub(super) aggregate: &'p Aggregate,
}

/// The parts of a query that is a grouping at its top, whatever it groups.
pub(super) fn grouped(plan: &LogicalPlan) -> Option<Grouped<'_>> {
    let (select, input) = match plan {
        LogicalPlan::Projection(projection) => (&projection.expr, projection.input.as_ref()),
        LogicalPlan::Sort(sort) => return grouped(&sort.input),
        LogicalPlan::Limit(limit) => return grouped(&limit.input),
        _ => return None,
    };
    let (having, input) = match input {
        LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
        other => (None, other),
    };
    match input {
        LogicalPlan::Aggregate(aggregate) => {
            Some(Grouped { select: select.as_slice(), having, aggregate })
        }
        _ => None,
    }
}

impl Grouped<'_> {
    /// The output column that holds each grouping expression, or the expression that none holds.
    pub(super) fn keys(&self, output: &[String]) -> Result<Vec<String>, String> {
        let schema = &self.aggregate.schema;
        let mut keys = Vec::new();
        for place in 0..self.aggregate.group_expr.len() {
            let (qualifier, field) = schema.qualified_field(place);
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let at = self.select.iter().position(|expr| *bare(expr) == column);
            match at.and_then(|at| output.get(at)) {
                Some(name) => keys.push(name.clone()),
                None => return Err(field.name().clone()),
            }
        }
        Ok(keys)
    }
}

/// An expression without aliases and casts.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        Expr::Cast(cast) => bare(&cast.expr),
        Expr::TryCast(cast) => bare(&cast.expr),
        other => other,
    }
}

/// The first thing in a plan that needs more than one event at a time, as people write it.
pub(super) fn needs_window(plan: &LogicalPlan) -> Option<&'static str> {
    let mut found = None;
    let walked = plan.apply(|node| {
        found = match node {
            LogicalPlan::Projection(projection) => subquery(&projection.expr),
            LogicalPlan::Filter(filter) => subquery(std::slice::from_ref(&filter.predicate)),
            LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_) => None,
            LogicalPlan::Aggregate(_) => Some("an aggregate"),
            LogicalPlan::Window(_) => Some("a window function"),
            LogicalPlan::Join(_) => Some("a join"),
            LogicalPlan::Distinct(_) => Some("DISTINCT"),
            LogicalPlan::Union(_) => Some("UNION"),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => Some("LIMIT"),
            _ => Some("this query"),
        };
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    found
}

pub(super) fn subquery(exprs: &[Expr]) -> Option<&'static str> {
    let is = |expr: &Expr| {
        matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_))
    };
    let has = exprs.iter().any(|expr| expr.exists(|expr| Ok(is(expr))).unwrap_or(false));
    has.then_some("a subquery")
}

/// The input column that an output column of a plan passes on unchanged.
pub(super) fn trace(plan: &LogicalPlan, place: usize) -> Option<String> {
    let of = |input: &LogicalPlan, expr: &Expr| match bare(expr) {
        Expr::Column(column) => trace(input, input.schema().maybe_index_of_column(column)?),
        _ => None,
    };
    match plan {
        LogicalPlan::Projection(projection) => of(&projection.input, projection.expr.get(place)?),
        LogicalPlan::Aggregate(aggregate) => of(&aggregate.input, aggregate.group_expr.get(place)?),
        LogicalPlan::Filter(filter) => trace(&filter.input, place),
        LogicalPlan::Sort(sort) => trace(&sort.input, place),
        LogicalPlan::Limit(limit) => trace(&limit.input, place),
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input, place),
        LogicalPlan::Distinct(distinct) => trace(distinct.input(), place),
        LogicalPlan::Window(window) if place < window.input.schema().fields().len() => {
            trace(&window.input, place)
        }
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match place.checked_sub(left) {
                None => trace(&join.left, place),
                Some(place) => trace(&join.right, place),
            }
        }
        LogicalPlan::TableScan(scan) => {
            Some(scan.projected_schema.fields().get(place)?.name().clone())
        }
        _ => None,
    }
}

/// Why a clause that reads more than an event at a time keeps a rule from panes.
pub(super) const OTHER_ROWS: &str = "it looks at other rows than the one at hand; `count(*) FILTER \
                                     (WHERE …)` of the same key often says as much";

/// Whether a query could keep its state in panes.
pub(super) fn panes(plan: &LogicalPlan) -> Possible {
    let no = |clause: &str, why: &str| Possible::No { clause: clause.into(), why: why.into() };
    let Some(grouped) = grouped(plan) else {
        let clause = needs_window(plan).unwrap_or("a plain SELECT");
        return no(clause, "panes hold aggregates by key: SELECT … GROUP BY … HAVING …");
    };
    if !matches!(plan, LogicalPlan::Projection(_)) {
        return no("LIMIT", "it compares keys with each other; say with HAVING what is enough");
    }
    if grouped.aggregate.group_expr.is_empty() {
        return no(
            "no GROUP BY",
            "panes hold aggregates by key; group by what tells callers apart",
        );
    }
    let mut input = grouped.aggregate.input.as_ref();
    loop {
        input = match input {
            LogicalPlan::Filter(filter) => {
                if let Some(clause) = subquery(std::slice::from_ref(&filter.predicate)) {
                    return no(clause, OTHER_ROWS);
                }
                &filter.input
            }
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::TableScan(_) => return Possible::Yes,
            other => {
                let clause = needs_window(other).unwrap_or("this query");
                return no(clause, OTHER_ROWS);
            }
        };
    }
}

/// Whether, once true in a window, HAVING stays true: then it can fire at the event that crosses.
pub(super) fn early(plan: &LogicalPlan) -> Possible {
    let Some(grouped) = grouped(plan) else {
        return Possible::No {
            clause: needs_window(plan).unwrap_or("a plain SELECT").to_owned(),
            why: "only a grouping with a threshold can be known to stay true".to_owned(),
        };
    };
    match grouped.having {
        None => Possible::Yes,
        Some(having) => match stays(having, grouped.aggregate) {
            Ok(()) => Possible::Yes,
            Err((clause, why)) => Possible::No { clause, why: why.to_owned() },
        },
    }
}

/// Which way an expression over one window goes as rows come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trend {
    /// The same for all rows of the key: a literal, a key column.
    Constant,
    Grows,
    Shrinks,
    Unknown(&'static str),
}

type Stays = Result<(), (String, &'static str)>;

fn stays(having: &Expr, aggregate: &Aggregate) -> Stays {
    let fails = |why| Err((shown(having, aggregate), why));
    match bare(having) {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            stays(left, aggregate)?;
            stays(right, aggregate)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            match (trend(left, aggregate), op, trend(right, aggregate)) {
                (Trend::Constant, _, Trend::Constant) => Ok(()),
                (Trend::Unknown(why), ..) | (_, _, Trend::Unknown(why)) => fails(why),
                (
                    Trend::Grows | Trend::Constant,
                    Operator::Gt | Operator::GtEq,
                    Trend::Constant | Trend::Shrinks,
                )
                | (
                    Trend::Shrinks | Trend::Constant,
                    Operator::Lt | Operator::LtEq,
                    Trend::Constant | Trend::Grows,
                ) => Ok(()),
                (_, Operator::Eq | Operator::NotEq, _) if flag(having, aggregate) => Ok(()),
                (_, Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq, _) => {
                    fails("more events can make it false again")
                }
                _ => fails("more events can make it false again; compare with > or >="),
            }
        }
        Expr::Not(inner) => match trend(inner, aggregate) {
            Trend::Shrinks | Trend::Constant => Ok(()),
            Trend::Unknown(why) => fails(why),
            Trend::Grows => fails("more events can make it false again"),
        },
        Expr::IsTrue(inner) => stays(inner, aggregate),
        other => match trend(other, aggregate) {
            Trend::Grows | Trend::Constant => Ok(()),
            Trend::Unknown(why) => fails(why),
            Trend::Shrinks => fails("more events can make it false again"),
        },
    }
}

/// `bool_or(x) = true`, `bool_and(x) = false`.
fn flag(having: &Expr, aggregate: &Aggregate) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = bare(having) else {
        return false;
    };
    let Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(wanted)), _) = bare(right)
    else {
        return false;
    };
    match trend(left, aggregate) {
        Trend::Grows => *wanted,
        Trend::Shrinks => !*wanted,
        Trend::Constant => true,
        Trend::Unknown(_) => false,
    }
}

fn trend(expr: &Expr, aggregate: &Aggregate) -> Trend {
    match bare(expr) {
        Expr::Literal(..) => Trend::Constant,
        Expr::Column(column) => match aggregated(column, aggregate) {
            Some(function) => function_trend(function),
            None => Trend::Constant,
        },
        other if !other.any_column_refs() => Trend::Constant,
        other => {
            let mut constant = true;
            let walked = other.apply(|expr| {
                // What is usual is the same for the whole window.
                if baseline::is_call(expr) {
                    return Ok(TreeNodeRecursion::Jump);
                }
                if let Expr::Column(column) = expr {
                    constant &= aggregated(column, aggregate).is_none();
                }
                Ok(TreeNodeRecursion::Continue)
            });
            if constant && walked.is_ok() {
                Trend::Constant
            } else {
                Trend::Unknown("a calculation on aggregates can rise and fall")
            }
        }
    }
}

/// The aggregate that a column above it stands for; a grouping column stands for none.
fn aggregated<'a>(column: &Column, aggregate: &'a Aggregate) -> Option<&'a Expr> {
    let place = aggregate.schema.maybe_index_of_column(column)?;
    aggregate.aggr_expr.get(place.checked_sub(aggregate.group_expr.len())?)
}

fn function_trend(expr: &Expr) -> Trend {
    let Expr::AggregateFunction(function) = bare(expr) else {
        return Trend::Unknown("it is no aggregate");
    };
    match (function.func.name(), function.params.args.as_slice()) {
        ("count" | "approx_distinct" | "max" | "bool_or" | "bit_or" | "sequence", _) => {
            Trend::Grows
        }
        ("min" | "bool_and" | "bit_and", _) => Trend::Shrinks,
        ("sum", [summed]) if never_negative(summed) => Trend::Grows,
        ("sum", _) => Trend::Unknown("a sum falls when a negative number comes in"),
        ("avg" | "median" | "percentile_cont", _) => Trend::Unknown("an average can rise and fall"),
        _ => Trend::Unknown("this aggregate can rise and fall"),
    }
}

fn never_negative(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::Column(column) => {
            Field::named(&column.name).is_some_and(|field| field.spec().kind == Kind::Count)
        }
        Expr::Literal(scalar, _) => {
            let zero = datafusion::common::ScalarValue::new_zero(&scalar.data_type());
            scalar.is_null() || zero.is_ok_and(|zero| *scalar >= zero)
        }
        Expr::Case(case) => {
            case.when_then_expr.iter().all(|(_, then)| never_negative(then))
                && case.else_expr.as_ref().is_none_or(|otherwise| never_negative(otherwise))
        }
        _ => false,
    }
}

/// A clause as SQL, with aggregates written out.
pub(super) fn shown(having: &Expr, aggregate: &Aggregate) -> String {
    let written_out = |expr: Expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let place = aggregate.schema.maybe_index_of_column(column);
        let made = place
            .and_then(|place| aggregate.group_expr.iter().chain(&aggregate.aggr_expr).nth(place));
        Ok(made.cloned().map_or_else(|| Transformed::no(expr), Transformed::yes))
    };
    match having.clone().transform_down(written_out) {
        Ok(written) => as_sql(&written.data),
        Err(_) => as_sql(having),
    }
}

/// Quotes only the names that need it.
struct Plainly;

impl Dialect for Plainly {
    fn identifier_quote_style(&self, name: &str) -> Option<char> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        (!name.bytes().all(plain)).then_some('"')
    }
}

/// An expression as an analyst would write it: without the casts and prefixes that planning adds.
pub(super) fn as_sql(expr: &Expr) -> String {
    let bare = expr.clone().transform(|expr| match expr {
        Expr::Column(mut column) => {
            column.relation = None;
            Ok(Transformed::yes(Expr::Column(column)))
        }
        Expr::Cast(cast) => Ok(Transformed::yes(*cast.expr)),
        other => Ok(Transformed::no(other)),
    });
    let bare = bare.map_or_else(|_| expr.clone(), |bare| bare.data);
    let unparser = Unparser::new(&Plainly).with_pretty(true);
    unparser
        .expr_to_sql(&bare)
        .map_or_else(|_| bare.human_display().to_string(), |sql| sql.to_string())
}
