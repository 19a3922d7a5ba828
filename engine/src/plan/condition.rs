//! The conditions of a rule on one row, each for itself.
//!
//! Owns: asking them of a batch, one by one. Never: the fast way, which asks each once for all
//! rules.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;

use super::query::{self, RunError};
use super::{Atom, CompiledRule};

/// One of the conditions that a row must meet.
#[derive(Debug)]
pub struct Condition<'r> {
    /// As SQL.
    pub sql: String,
    /// The columns that it reads, by name.
    pub columns: Vec<String>,
    asked: Asked<'r>,
}

#[derive(Debug)]
enum Asked<'r> {
    Atom(&'r Atom),
    Whole(&'r Arc<dyn PhysicalExpr>),
}

impl Condition<'_> {
    /// How many rows of a batch of the table meet it.
    ///
    /// # Errors
    /// Where it fails on a value.
    pub fn met(&self, batch: &RecordBatch) -> Result<usize, RunError> {
        match self.asked {
            Asked::Atom(atom) => Ok(atom.ask(batch)?.count_set_bits()),
            Asked::Whole(whole) => Ok(query::true_for(whole, batch)?.count_set_bits()),
        }
    }
}

impl CompiledRule {
    /// The conditions that a row must all meet; the whole filter where it is no conjunction.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition<'_>> {
        let names = |expr: &Arc<dyn PhysicalExpr>| {
            let mut names: Vec<String> =
                collect_columns(expr).iter().map(|column| column.name().to_owned()).collect();
            names.sort_unstable();
            names
        };
        match (&self.atoms, &self.filter) {
            (Some(atoms), _) => atoms
                .iter()
                .map(|atom| Condition {
                    sql: atom.sql.clone(),
                    columns: names(atom.expr()),
                    asked: Asked::Atom(atom),
                })
                .collect(),
            (None, Some(filter)) => vec![Condition {
                sql: self.filter_sql.clone().unwrap_or_default(),
                columns: names(filter),
                asked: Asked::Whole(filter),
            }],
            (None, None) => Vec::new(),
        }
    }
}
