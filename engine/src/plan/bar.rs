//! What a HAVING asks for, without evaluating it.
//!
//! Owns: thresholds on folds and how AND and OR join them; how many more rows a group needs at
//! least before it can pass. Never: anything but whole numbers, and what is usual; the rest is asked of DataFusion.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Operator};

use super::baseline::{self, Calls};
use super::panes::{Fold, Held, Kind};
use super::shape;

/// The condition under which a group fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bar {
    Always,
    /// The fold at this place comes to this much.
    AtLeast(usize, i64),
    /// The fold at this place comes to what is usual according to a call.
    Unusual(usize, usize),
    /// The fold at this place comes to no more than this.
    AtMost(usize, i64),
    All(Vec<Bar>),
    Any(Vec<Bar>),
    /// Only the expression itself knows.
    Ask,
}

/// What is known of groups beside the bar.
pub(crate) struct Known<'a> {
    pub(crate) folds: &'a [Fold],
    /// What the fold at a place comes to, or nothing where it saw no value. Where it is told how
    /// much is enough, it may say too much of a number that is not, as long as that is not enough
    /// either, and too little of one that is.
    pub(crate) value: &'a dyn Fn(usize, Option<i64>) -> Option<i64>,
    /// What a row adds at most to the fold at a place, where that is a sum.
    pub(crate) most: &'a dyn Fn(usize) -> u64,
    /// What is usual according to a call.
    pub(crate) usual: &'a dyn Fn(usize) -> f64,
}

/// What a bar says of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passes {
    Yes,
    /// Not before so many more rows have come, at least one.
    After(u64),
    /// The expression has to be asked.
    Ask,
}

impl Bar {
    /// Of a HAVING over the columns of `aggregate` and those that stand for calls.
    pub(super) fn of(having: &Expr, aggregate: &Aggregate, known: (&[Fold], &Calls)) -> Self {
        let of = |expr: &Expr| Self::of(expr, aggregate, known);
        let (folds, calls) = known;
        match having {
            Expr::Alias(alias) => of(&alias.expr),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Self::All(vec![of(left), of(right)])
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Self::Any(vec![of(left), of(right)])
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let folded = |expr: &Expr| place(expr, aggregate, folds);
                match (folded(left), number(right), number(left), folded(right)) {
                    (Some(fold), Some(number), ..) => Self::compare(fold, *op, number),
                    (_, _, Some(number), Some(fold)) => {
                        op.swap().map_or(Self::Ask, |op| Self::compare(fold, op, number))
                    }
                    _ => {
                        let fraction = |expr: &Expr| fraction(expr, aggregate, folds);
                        match (fraction(left), op, fraction(right)) {
                            (Some(fold), Operator::GtEq, _) => Self::reaches(fold, right, calls),
                            (_, Operator::LtEq, Some(fold)) => Self::reaches(fold, left, calls),
                            _ => Self::Ask,
                        }
                    }
                }
            }
            _ => Self::Ask,
        }
    }

    /// Whether a fold comes to a fraction, or to what is usual, or to the greatest of such.
    fn reaches(fold: usize, bound: &Expr, calls: &Calls) -> Self {
        match shape::bare(bound) {
            Expr::ScalarFunction(function) if function.name() == "greatest" => {
                Self::All(function.args.iter().map(|of| Self::reaches(fold, of, calls)).collect())
            }
            Expr::Column(column) => {
                calls.named(column).map_or(Self::Ask, |call| Self::Unusual(fold, call))
            }
            literal => {
                baseline::number(literal).map_or(Self::Ask, |n| Self::AtLeast(fold, least(n)))
            }
        }
    }

    fn compare(fold: usize, op: Operator, number: i64) -> Self {
        let made = match op {
            Operator::GtEq => Some(Self::AtLeast(fold, number)),
            Operator::Gt => number.checked_add(1).map(|least| Self::AtLeast(fold, least)),
            Operator::LtEq => Some(Self::AtMost(fold, number)),
            Operator::Lt => number.checked_sub(1).map(|most| Self::AtMost(fold, most)),
            _ => None,
        };
        made.unwrap_or(Self::Ask)
    }

    /// Rows that a group has at least when it passes, whatever they add to sums.
    pub(crate) fn rows_ever(&self, folds: &[Fold]) -> u64 {
        let (value, most) = (&|_fold, _enough| None, &|_fold| u64::MAX);
        self.rows_min(&Known { folds, value, most, usual: &|_call| 0.0 })
    }

    /// Rows that a group has at least when it passes.
    pub(crate) fn rows_min(&self, known: &Known<'_>) -> u64 {
        match self {
            Self::AtLeast(fold, least) => known.rows_for(*fold, u64::try_from(*least).unwrap_or(0)),
            Self::All(bars) => bars.iter().map(|bar| bar.rows_min(known)).max().unwrap_or(1),
            Self::Any(bars) => bars.iter().map(|bar| bar.rows_min(known)).min().unwrap_or(1),
            Self::Always | Self::AtMost(..) | Self::Unusual(..) | Self::Ask => 1,
        }
    }

    /// Asks about a group.
    pub(crate) fn passes(&self, known: &Known<'_>) -> Passes {
        match self {
            Self::Always => Passes::Yes,
            Self::AtLeast(fold, least) => known.reached(*fold, *least),
            Self::Unusual(fold, call) => known.reached(*fold, least((known.usual)(*call))),
            Self::AtMost(fold, most) => match (known.value)(*fold, None) {
                Some(found) if found <= *most => Passes::Yes,
                _ => Passes::After(1),
            },
            Self::All(bars) => {
                let mut all = Passes::Yes;
                for bar in bars {
                    match bar.passes(known) {
                        Passes::Yes => {}
                        Passes::Ask => all = Passes::Ask,
                        after @ Passes::After(_) => return after,
                    }
                }
                all
            }
            Self::Any(bars) => {
                let mut least = u64::MAX;
                let mut asks = false;
                for bar in bars {
                    match bar.passes(known) {
                        Passes::Yes => return Passes::Yes,
                        Passes::Ask => asks = true,
                        Passes::After(rows) => least = least.min(rows),
                    }
                }
                if asks { Passes::Ask } else { Passes::After(least) }
            }
            Self::Ask => Passes::Ask,
        }
    }
}

impl Known<'_> {
    /// Whether a fold comes to so much.
    fn reached(&self, fold: usize, least: i64) -> Passes {
        match (self.value)(fold, Some(least)) {
            Some(found) if found >= least => Passes::Yes,
            Some(found) => Passes::After(self.rows_for(fold, least.abs_diff(found))),
            None => Passes::After(1),
        }
    }

    /// As many rows it takes at least, at least one, for a fold to come to so much more.
    fn rows_for(&self, fold: usize, more: u64) -> u64 {
        let rows = match self.folds.get(fold).map(|fold| fold.kind) {
            Some(Kind::Count | Kind::Distinct) => more,
            Some(Kind::Sum) => more.div_ceil((self.most)(fold).max(1)),
            _ => 1,
        };
        rows.max(1)
    }
}

/// The fold that a column stands for, where it comes to whole numbers.
fn place(expr: &Expr, aggregate: &Aggregate, folds: &[Fold]) -> Option<usize> {
    match expr {
        Expr::Cast(cast) if cast.field.data_type().is_integer() => {
            place(&cast.expr, aggregate, folds)
        }
        Expr::Column(column) => {
            let at = aggregate.schema.maybe_index_of_column(column)?;
            let place = at.checked_sub(aggregate.group_expr.len())?;
            let is_moment = !aggregate.schema.field(at).data_type().is_integer();
            match folds.get(place)?.kind {
                Kind::Count | Kind::Distinct | Kind::Sum | Kind::Steps(_) => Some(place),
                Kind::Least(Held::Whole) | Kind::Greatest(Held::Whole) if !is_moment => Some(place),
                _ => None,
            }
        }
        _ => None,
    }
}

/// As [`place`], of what is compared with fractions.
fn fraction(expr: &Expr, aggregate: &Aggregate, folds: &[Fold]) -> Option<usize> {
    match expr {
        Expr::Cast(cast) if cast.field.data_type() == &DataType::Float64 => {
            place(&cast.expr, aggregate, folds)
        }
        _ => None,
    }
}

/// The least whole number that comes to a fraction.
#[expect(clippy::cast_possible_truncation, reason = "it saturates, and so does what is counted")]
fn least(fraction: f64) -> i64 {
    fraction.ceil() as i64
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Cast(cast) if cast.field.data_type().is_integer() => match cast.expr.as_ref() {
            Expr::Literal(value, _) if value.data_type().is_integer() => number(&cast.expr),
            _ => None,
        },
        Expr::Literal(value, _) => match value {
            ScalarValue::Int64(value) => *value,
            ScalarValue::Int32(value) => value.map(i64::from),
            ScalarValue::UInt64(value) => value.and_then(|value| i64::try_from(value).ok()),
            _ => None,
        },
        _ => None,
    }
}
