//! The conjuncts of filters: each is asked once a batch, for all rules that have it.
//!
//! Owns: what an atom reads, and asking it. Never: which rules have it, whom it lets through.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_plan::PhysicalExpr;

use super::compile::physical;
use super::query::{self, RunError};
use super::shape;

/// One conjunct of a filter.
#[derive(Debug, Clone)]
pub(crate) struct Atom {
    /// Equal for atoms that ask the same.
    pub(crate) text: String,
    /// As SQL, for people.
    pub(crate) sql: String,
    /// A guess at how many rows it lets through: the lower the fewer.
    pub(crate) rank: u8,
    /// The columns that it reads, by their place in the table: where AND lets few rows through,
    /// DataFusion copies these rows of all columns that it is given.
    columns: Vec<usize>,
    /// Over these columns.
    run: Arc<dyn PhysicalExpr>,
    /// Where it reads one column of texts and nothing else.
    pub(crate) of_texts: Option<OfTexts>,
}

/// An atom that reads one column of texts.
#[derive(Debug, Clone)]
pub(crate) struct OfTexts {
    /// The column's place in the table.
    pub(crate) column: usize,
    /// The texts that it is true for, where it lists them.
    pub(crate) listed: Option<BTreeSet<String>>,
    /// Whether to ask it takes longer than to look a text up.
    pub(crate) is_dear: bool,
    /// The same over that column alone.
    run: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

impl Atom {
    /// Of a conjunct over the table with `schema`.
    pub(super) fn of(expr: &Expr, schema: &SchemaRef) -> Result<Self> {
        let names = expr.column_refs();
        let columns: Result<BTreeSet<usize>, ArrowError> =
            names.iter().map(|column| schema.index_of(&column.name)).collect();
        let columns: Vec<usize> = columns?.into_iter().collect();
        let run = physical(expr, &Arc::new(schema.project(&columns)?))?;
        let of_texts = OfTexts::of(expr, schema)?;
        let (text, sql) = (expr.to_string(), shape::as_sql(expr));
        Ok(Self { text, sql, rank: rank(expr), columns, run, of_texts })
    }

    /// What it asks.
    pub(super) fn expr(&self) -> &Arc<dyn PhysicalExpr> {
        &self.run
    }

    /// The rows of a batch of the table for which it is true.
    pub(crate) fn ask(&self, batch: &RecordBatch) -> std::result::Result<BooleanBuffer, RunError> {
        query::true_for(&self.run, &batch.project(&self.columns)?)
    }
}

impl OfTexts {
    fn of(expr: &Expr, schema: &SchemaRef) -> Result<Option<Self>> {
        let columns = expr.column_refs();
        let [column] = columns.into_iter().collect::<Vec<_>>()[..] else { return Ok(None) };
        let column = schema.index_of(&column.name)?;
        let field = schema.field(column);
        let is_trivial = matches!(expr, Expr::IsNotNull(_) | Expr::IsNull(_));
        if *field.data_type() != DataType::Utf8 || is_trivial || expr.is_volatile() {
            return Ok(None);
        }
        let alone = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
        let run = physical(expr, &alone)?;
        let is_dear = expr.exists(|part| Ok(takes_long(part)))?;
        Ok(Some(Self { column, listed: listed(expr), is_dear, run, schema: alone }))
    }

    /// The places in `texts` for which it is true.
    pub(crate) fn ask(&self, texts: &StringArray) -> std::result::Result<BooleanBuffer, RunError> {
        let options = RecordBatchOptions::new().with_row_count(Some(texts.len()));
        let columns = vec![Arc::new(texts.clone()) as _];
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        query::true_for(&self.run, &batch)
    }
}

/// Functions and regular expressions read a whole text, and write another or follow branches.
fn takes_long(expr: &Expr) -> bool {
    use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
    match expr {
        Expr::ScalarFunction(_) => true,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            matches!(op, RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch)
        }
        _ => false,
    }
}

/// The texts of `column = 'a' OR column IN ('b', …)`.
fn listed(expr: &Expr) -> Option<BTreeSet<String>> {
    let text = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
        _ => None,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut both = listed(left)?;
            both.extend(listed(right)?);
            Some(both)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (left.as_ref(), right.as_ref()) {
                (Expr::Column(_), other) | (other, Expr::Column(_)) => {
                    Some(BTreeSet::from([text(other)?]))
                }
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated && matches!(*list.expr, Expr::Column(_)) => {
            list.list.iter().map(text).collect()
        }
        _ => None,
    }
}

fn rank(expr: &Expr) -> u8 {
    match expr {
        _ if listed(expr).is_some() => 0,
        Expr::BinaryExpr(BinaryExpr { op: Operator::Eq | Operator::Or, .. }) => 1,
        Expr::Like(like) if !like.negated => 1,
        Expr::InList(list) if !list.negated => 1,
        Expr::IsNotNull(_) | Expr::Like(_) | Expr::InList(_) | Expr::Not(_) => 3,
        Expr::BinaryExpr(BinaryExpr { op: Operator::NotEq, .. }) => 3,
        _ => 2,
    }
}
