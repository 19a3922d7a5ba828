//! From a rule's SQL to something that runs: DataFusion as the language.
//!
//! Owns: planning, what is pushed down to single events, which state a rule needs.
//! Never: windows, watermarks, episodes, clocks.

mod atom;
mod bar;
mod baseline;
mod check;
mod compile;
mod condition;
mod explain;
mod first_seen;
mod functions;
mod identity;
mod in_turn;
mod kinds;
mod names;
mod panes;
mod query;
mod sequence;
mod session;
mod shape;
mod signature;
pub(crate) mod stepping;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::PhysicalExpr;
use schemas::Field;

pub(crate) use atom::{Atom, OfTexts};
pub(crate) use bar::{Known, Passes};
pub(crate) use baseline::Call;
pub use condition::Condition;
pub use explain::{Explanation, explain};
pub use first_seen::FirstSeen;
pub(crate) use first_seen::minute;
pub use identity::{Fate, Identity, fates};
pub use panes::Panes;
pub(crate) use panes::{Argument, Fold, Held, Kind};
pub use query::{Projection, Query, RunError};

use crate::rule::{Lists, Problem, Rule, Window, problem};

/// Compiles rules: every one that can run, and everything that is wrong with the others. A rule
/// with a window keeps panes where it can, and rows otherwise.
#[must_use]
pub fn compile(rules: &[Rule], lists: &Lists) -> (Vec<CompiledRule>, Vec<Problem>) {
    let lists = Arc::new(lists.clone());
    let mut compiled = Vec::with_capacity(rules.len());
    let mut problems = Vec::new();
    for rule in rules {
        let (rule, wrong) = compile::rule(&Arc::new(rule.clone()), &lists);
        compiled.extend(rule);
        problems.extend(wrong);
    }
    problem::sort(&mut problems);
    (compiled, problems)
}

/// The query of a rule with nothing pushed down, over whole rows of its table: the definition
/// that everything faster is checked against.
///
/// # Errors
/// Everything that is wrong with the rule.
pub fn reference(rule: &Rule, lists: &Lists) -> Result<Query, Vec<Problem>> {
    compile::reference(&Arc::new(rule.clone()), &Arc::new(lists.clone()))
}

/// What a rule has to keep between events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing: each event is judged alone.
    None,
    /// What each aggregate comes to, by key and pane.
    Panes,
    /// The rows of the window.
    Rows,
}

/// The table that a rule reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Access events, with the columns of `schemas::arrow_schema`.
    Events,
    /// What could not be used or came late: `reason`, `client_ip`, `sensor`, `event_time`,
    /// `event_id`.
    Drops,
}

/// Whether something can be done for a rule, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Possible {
    /// It can.
    Yes,
    /// It cannot.
    No {
        /// The clause that stands in the way, as SQL.
        clause: String,
        /// Why.
        why: String,
    },
}

/// How a rule runs.
#[derive(Debug)]
pub enum Program {
    /// One output row for each row that passed the filter.
    None(Projection),
    /// Folds of each row that passed the filter, and the same as a query over rows.
    Panes(Box<Panes>, Query),
    /// The query over the retained rows of a window.
    Rows(Query),
}

/// A rule ready to run.
///
/// A batch of the table goes through [`CompiledRule::select`]; what is left goes to the
/// [`Program`], at once or when its window closes.
#[derive(Debug)]
pub struct CompiledRule {
    /// The rule as written.
    pub rule: Arc<Rule>,
    /// Hash of filter, keys, window, slide and re-arm gap: a new title, severity or threshold
    /// does not fork episode ids.
    pub episode_version: String,
    /// What it keeps.
    pub state: State,
    /// What it reads.
    pub table: Table,
    /// The window; absent exactly where the state is [`State::None`].
    pub window: Option<Window>,
    /// Re-arm gap in milliseconds.
    pub rearm_ms: i64,
    /// Output columns that form the key, in order. Never null in what a program returns.
    pub keys: Vec<String>,
    /// The other output columns, in order.
    pub values: Vec<String>,
    /// Columns of the program's output: keys and values in the order of the SELECT.
    pub output: SchemaRef,
    /// Columns of the table that must be retained, as ascending places in its schema. Always with
    /// `event_time` and `event_id`, and the input columns of the key.
    pub input_columns: Vec<usize>,
    /// The schema of retained rows: the table's, cut to `input_columns`.
    pub input: SchemaRef,
    /// True for rows that may contribute, over the table's schema; absent where all may.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The conjuncts of the filter, where it is a plain conjunction.
    pub(crate) atoms: Option<Vec<Atom>>,
    /// The filter as SQL, for people.
    pub filter_sql: Option<String>,
    /// Whether the rule can fire at the event that crosses, with state in panes: once true in a
    /// window, HAVING stays true. Absent for [`State::None`], which always does.
    pub early: Option<Possible>,
    /// Whether it is one grouping of a table by key, so that each key can be judged by its rows.
    pub by_key: bool,
    /// Whether state can be kept in panes; absent for [`State::None`].
    pub panes: Option<Possible>,
    /// Equal for rules that take the same of events: the same table, filter, keys and slide.
    pub unit: String,
    /// The key as columns of an event, in the order of `keys`, where it is that plain.
    pub key_columns: Option<Vec<Field>>,
    /// What it asks of the past.
    pub past: Option<FirstSeen>,
    /// How it runs.
    pub program: Program,
}

impl CompiledRule {
    /// Rule id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.rule.id
    }

    /// Hash of the whole rule text.
    #[must_use]
    pub fn rule_version(&self) -> &str {
        &self.rule.text_hash
    }

    /// Whether it remembers more than its window.
    #[must_use]
    pub fn asks_the_past(&self) -> bool {
        self.past.is_some() || self.learns()
    }

    /// Whether it learns what is usual for a key. Such a rule runs in panes only.
    #[must_use]
    pub fn learns(&self) -> bool {
        matches!(&self.program, Program::Panes(panes, _) if panes.baselines.fold().is_some())
    }

    /// The same rule with state in rows, which is what its state in panes is checked against. A
    /// rule that learns cannot run like that.
    #[must_use]
    pub fn into_rows(mut self) -> Self {
        if let Program::Panes(_, query) = self.program {
            self.program = Program::Rows(query);
            self.state = State::Rows;
        }
        self
    }

    /// Places of the rows of a batch of the table that may contribute, ascending.
    ///
    /// # Errors
    /// Where the filter fails on a value, such as a division by zero.
    pub fn matching(&self, batch: &RecordBatch) -> Result<Vec<u32>, RunError> {
        query::matching(self.filter.as_deref(), batch)
    }

    /// The rows of a batch of the table that may contribute, cut to the columns needed.
    ///
    /// # Errors
    /// As [`CompiledRule::matching`].
    pub fn select(&self, batch: &RecordBatch) -> Result<RecordBatch, RunError> {
        let rows = self.matching(batch)?;
        query::gather(batch, rows, &self.input_columns, &self.input)
    }
}
