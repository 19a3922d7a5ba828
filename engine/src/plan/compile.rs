//! One rule from SQL to a program.
//!
//! Owns: the order of steps, push-down, what is retained. Never: the meaning of SQL.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::optimizer::{Optimizer, OptimizerContext};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;

use super::atom::Atom;
use super::panes::{self, Panes};
use super::query::{Projection, Query, Slot, WindowCell};
use super::session::{Language, SESSION};
use super::{
    CompiledRule, FirstSeen, Possible, Program, State, Table, baseline, check, first_seen,
    functions, kinds, names, shape,
};
use crate::rule::lists::Lists;
use crate::rule::problem::{Level, Problem, nearest};
use crate::rule::source::nowhere;
use crate::rule::{Rule, duration, hash};

/// Columns that are retained whatever the query reads: the order of rows, and exemplars.
const ALWAYS: [&str; 2] = ["event_time", "event_id"];
/// Windows over rows at most; longer ones need panes or a memory of the past.
const ROWS_WINDOW_MAX_MS: i64 = 24 * 3_600_000;
/// Memory that a query may use beside the rows that its rule retains, as a multiple of those.
const MEMORY_FACTOR: usize = 4;
/// Rules of the optimizer that split projections: a rule without state keeps just one.
const SPLITTING: [&str; 3] =
    ["common_sub_expression_eliminate", "extract_leaf_expressions", "push_down_leaf_projections"];

/// Compiles a rule, or says everything that is wrong with it.
pub(super) fn rule(rule: &Arc<Rule>, lists: &Arc<Lists>) -> (Option<CompiledRule>, Vec<Problem>) {
    let (draft, mut problems) = match Draft::new(rule, lists) {
        Ok(draft) => draft,
        Err(problems) => return (None, problems),
    };
    let failed = |problems: &[Problem]| problems.iter().any(|p| p.level == Level::Error);
    problems.extend(draft.outputs());
    let key = match draft.key() {
        Ok(key) => key,
        Err(problem) => {
            problems.push(*problem);
            return (None, problems);
        }
    };
    if failed(&problems) {
        return (None, problems);
    }
    match draft.build(key) {
        Ok(compiled) => {
            problems.extend(baseline::placed(&compiled, &draft.analyzed));
            problems.extend(first_seen::unasked(&compiled));
            problems.extend(kinds::supposed(rule, lists, &draft.statement));
            (Some(compiled).filter(|_runs| !failed(&problems)), problems)
        }
        Err(error) => {
            problems.extend(kinds::planning(rule, lists, &draft.statement, &error));
            (None, problems)
        }
    }
}

/// The query of a rule over all rows of a window, with nothing pushed down: the definition that
/// everything faster is checked against.
pub(super) fn reference(rule: &Arc<Rule>, lists: &Arc<Lists>) -> Result<Query, Vec<Problem>> {
    let (draft, problems) = Draft::new(rule, lists)?;
    if problems.iter().any(|problem| problem.level == Level::Error) {
        return Err(problems);
    }
    let key = draft.key().map_err(|problem| vec![*problem])?;
    let schema = draft.table.schema();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let query = || {
        let plan = draft.optimized(&key, Pushdown::Nothing)?;
        draft.query(&plan, &all, &schema)
    };
    query().map_err(|error| check::planning(rule, &error))
}

/// What a scan takes over from the query above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pushdown {
    Filters,
    Nothing,
}

/// A rule whose query is planned and allowed.
struct Draft<'r> {
    rule: &'r Arc<Rule>,
    table: Table,
    state: State,
    statement: Statement,
    analyzed: LogicalPlan,
    output: Vec<String>,
    lists: &'r Arc<Lists>,
    window: Arc<WindowCell>,
}

impl<'r> Draft<'r> {
    fn new(
        rule: &'r Arc<Rule>,
        lists: &'r Arc<Lists>,
    ) -> std::result::Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (statement, mut problems) = names::parse(rule);
        let Some(statement) = statement.filter(|_| problems.is_empty()) else {
            return Err(problems);
        };
        let window = Arc::new(WindowCell::default());
        let analyzed = analyze(statement.clone(), lists, &window, Pushdown::Filters)
            .map_err(|error| kinds::planning(rule, lists, &statement, &error))?;
        problems.extend(check::plan(rule, lists, &analyzed));
        problems.extend(first_seen::check(rule, &analyzed));
        problems.extend(baseline::check(rule, &analyzed));
        let Some(table) = scans(&analyzed).first().and_then(|s| Table::named(s.table_name.table()))
        else {
            let problem = rule.source.in_sql(Level::Error, nowhere(), "the query reads no table");
            return Err(vec![problem.hint("write such as SELECT … FROM events WHERE …")]);
        };
        problems.extend(limits(rule, &analyzed));
        let state = if rule.window.is_some() { State::Rows } else { State::None };
        let output = analyzed.schema().fields().iter().map(|field| field.name().clone()).collect();
        let draft = Self { rule, table, state, statement, analyzed, output, lists, window };
        Ok((draft, problems))
    }

    /// Mistakes in what the query gives and in what the file says about it.
    fn outputs(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let known: Vec<&str> = self.output.iter().map(String::as_str).collect();
        let source = &self.rule.source;
        let message =
            |what: &str, name: &str| format!("{what} `{name}` is no output column of the query");
        let hint = |name: &str| match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it gives {}", known.join(", ")),
        };
        let unknown = |path: &[&str], what: &str, name: &str| {
            source.at(Level::Error, path, message(what, name)).hint(hint(name))
        };
        for (place, name) in known.iter().enumerate() {
            if known.iter().take(place).any(|other| other == name) {
                let at = source.word(name);
                let message = format!("two output columns are named `{name}`");
                problems.push(source.in_sql(Level::Error, at, message).hint("name them with AS"));
            } else if name.contains('(') {
                let message = format!("the output column `{name}` has no name of its own");
                let hint = "name it with AS: verdicts and tests use the name";
                problems.push(source.in_sql(Level::Warning, nowhere(), message).hint(hint));
            }
        }
        for key in self.rule.key.iter().flatten().filter(|key| !known.contains(&key.as_str())) {
            problems.push(unknown(&["key", key], "the key", key));
        }
        for (kind, column) in &self.rule.subject {
            if !known.contains(&column.as_str()) {
                problems.push(unknown(&["subject", kind], "the subject", column));
            }
        }
        for test in &self.rule.tests {
            for episode in &test.episodes {
                let names = episode.key.keys().chain(episode.values.keys());
                for name in names.chain(episode.totals.keys()) {
                    if !known.contains(&name.as_str()) {
                        let message = message("in this test,", name);
                        let problem = source.in_line(Level::Error, test.line, message);
                        problems.push(problem.hint(hint(name)));
                    }
                }
            }
        }
        problems
    }

    /// The output columns that form the key.
    fn key(&self) -> std::result::Result<Vec<String>, Box<Problem>> {
        if let Some(key) = &self.rule.key {
            return Ok(key.clone());
        }
        let source = &self.rule.source;
        let Some(grouped) = shape::grouped(&self.analyzed) else {
            let message = "the rule has no GROUP BY and no `key:`";
            let hint = "name the output columns that tell episodes apart: `key: [client_ip]`";
            return Err(Box::new(source.at(Level::Error, &["sql"], message).hint(hint)));
        };
        match grouped.keys(&self.output) {
            Ok(key) if key.is_empty() => {
                let message = "the query has no GROUP BY, so all events are one key";
                let hint = "add GROUP BY, or `key: []` if that is meant";
                Err(Box::new(source.in_sql(Level::Error, nowhere(), message).hint(hint)))
            }
            Ok(key) => Ok(key),
            Err(missing) => {
                let message = format!("the GROUP BY column `{missing}` is not selected");
                let hint = "add it to SELECT: a verdict names its key";
                let at = source.word("group");
                Err(Box::new(source.in_sql(Level::Error, at, message).hint(hint)))
            }
        }
    }

    fn optimized(&self, key: &[String], pushdown: Pushdown) -> Result<LogicalPlan> {
        let analyzed = match pushdown {
            Pushdown::Filters => self.analyzed.clone(),
            Pushdown::Nothing => {
                let statement = self.statement.clone();
                let analyzed = analyze(statement, self.lists, &self.window, pushdown)?;
                first_seen::taken_as_true(analyzed)?
            }
        };
        optimize(present(analyzed, key)?, self.state)
    }

    fn build(&self, key: Vec<String>) -> Result<CompiledRule> {
        let pushed = self.optimized(&key, Pushdown::Filters)?;
        let filters = Filters::of(&pushed);
        first_seen::check_pushed(&pushed)?;
        let plan = match filters.same {
            true => pushed.clone(),
            false => self.optimized(&key, Pushdown::Nothing)?,
        };
        let key_names = self.key_inputs(&key);
        let schema = self.table.schema();
        let past = filters.past.as_ref().map(|call| FirstSeen::of(call, &schema)).transpose()?;
        let (folds, possible) = match self.folds(&pushed, &plan, &key_names) {
            Ok(folds) => (Some(folds), Possible::Yes),
            Err((clause, why)) => (None, Possible::No { clause, why }),
        };
        let (panes, input_columns) = match folds {
            Some((panes, columns)) => (Some(panes), columns),
            None => (None, inputs(&plan, &schema, &key_names, &[])?),
        };
        let input: SchemaRef = Arc::new(schema.project(&input_columns)?);
        let filter = match &filters.any {
            None => None,
            Some(filter) => Some(physical(filter, &schema)?),
        };
        let atoms = filters.atoms(&schema)?;
        let program = match self.state {
            State::None => Program::None(self.projection(&plan, &input)?),
            State::Rows | State::Panes => {
                let query = self.query(&plan, &input_columns, &input)?;
                match panes {
                    Some(panes) => Program::Panes(Box::new(panes), query),
                    None => Program::Rows(query),
                }
            }
        };
        let key_columns = key_names
            .iter()
            .map(|name| name.as_deref().and_then(schemas::Field::named))
            .collect::<Option<Vec<_>>>()
            .filter(|_| self.table == Table::Events);
        let values =
            self.output.iter().filter(|name| !key.contains(name)).cloned().collect::<Vec<_>>();
        let windowed = self.state == State::Rows;
        let unit = self.unit(&filters.canonical, &key);
        Ok(CompiledRule {
            episode_version: self.episode_version(&unit),
            state: if matches!(program, Program::Panes(..)) { State::Panes } else { self.state },
            table: self.table,
            window: self.rule.window,
            rearm_ms: self.rule.rearm_ms,
            output: self.output_schema(),
            values,
            keys: key,
            input_columns,
            input,
            filter,
            atoms,
            filter_sql: filters.any.as_ref().map(shape::as_sql),
            early: windowed.then(|| shape::early(&self.analyzed)),
            by_key: windowed && shape::panes(&self.analyzed) == Possible::Yes,
            panes: windowed.then_some(possible),
            key_columns,
            past,
            program,
            unit,
            rule: Arc::clone(self.rule),
        })
    }

    /// The query as folds, with the columns of the table that are kept for them; or what stands in
    /// the way.
    fn folds(
        &self,
        pushed: &LogicalPlan,
        plan: &LogicalPlan,
        key_names: &[Option<String>],
    ) -> std::result::Result<(Panes, Vec<usize>), panes::No> {
        if let Possible::No { clause, why } = shape::panes(&self.analyzed) {
            return Err((clause, why));
        }
        let sql = self.rule.sql.to_ascii_lowercase();
        if let Some(name) = functions::WINDOW_FUNCTIONS.into_iter().find(|f| sql.contains(f)) {
            let why = "it is another for each window that an event is in; a verdict names its window anyway";
            return Err((format!("{name}()"), why.to_owned()));
        }
        if sql.contains(first_seen::NAME) {
            let why = "an event passes it once the watermark has; its row waits for that";
            return Err((format!("{}(…)", first_seen::NAME), why.to_owned()));
        }
        if panes::filters_left(pushed) {
            let why =
                "a part of it cannot be judged at the event alone; compare columns of one event";
            return Err(("WHERE".to_owned(), why.to_owned()));
        }
        if self.table != Table::Events {
            return Err((format!("FROM {}", self.table.name()), "panes are of events".to_owned()));
        }
        let sketch = panes::Sketch::of(&self.analyzed)?;
        let keys: Option<Vec<&str>> = key_names.iter().map(Option::as_deref).collect();
        let keys = keys.ok_or_else(|| {
            (
                "key".to_owned(),
                "a part of it is computed from an event; select and group by a column of it"
                    .to_owned(),
            )
        })?;
        let failed = |error: DataFusionError| ("this query".to_owned(), error.to_string());
        let schema = self.table.schema();
        let columns = inputs(plan, &schema, key_names, &sketch.columns()).map_err(failed)?;
        let panes = sketch.compile(&schema, &self.output_schema(), &keys)?;
        Ok((panes, columns))
    }

    /// What rules must have in common to share state: filter, keys, slide.
    fn unit(&self, filter: &str, key: &[String]) -> String {
        let slide = self.rule.window.map_or(0, |window| window.slide_ms).to_string();
        let inputs = self.key_inputs(key);
        let keys: Vec<String> = key
            .iter()
            .zip(inputs)
            .map(|(name, input)| input.unwrap_or_else(|| format!("{}.{name}", self.rule.id)))
            .collect();
        hash::text(&[self.table.name(), filter, &keys.join(","), &slide])
    }

    fn episode_version(&self, unit: &str) -> String {
        let size = self.rule.window.map_or(0, |window| window.size_ms).to_string();
        hash::text(&[unit, &size, &self.rule.rearm_ms.to_string()])
    }

    fn output_schema(&self) -> SchemaRef {
        let fields = self.analyzed.schema().fields();
        let field = |field: &Arc<ArrowField>| {
            ArrowField::new(field.name(), field.data_type().clone(), true)
        };
        Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
    }

    /// The table's column behind each key column, where one is.
    fn key_inputs(&self, key: &[String]) -> Vec<Option<String>> {
        key.iter()
            .map(|name| {
                let place = self.output.iter().position(|column| column == name)?;
                shape::trace(&self.analyzed, place)
            })
            .collect()
    }

    /// The single projection of a query that looks at one event at a time.
    fn projection(&self, plan: &LogicalPlan, input: &SchemaRef) -> Result<Projection> {
        let (exprs, scanned) = match plan {
            LogicalPlan::Projection(projection) => {
                (projection.expr.clone(), projection.input.as_ref())
            }
            other => (other.schema().columns().into_iter().map(Expr::Column).collect(), other),
        };
        let scanned = match scanned {
            LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
            other => other,
        };
        if !matches!(scanned, LogicalPlan::TableScan(_)) {
            let text = "a rule without a window is a plain SELECT … FROM events WHERE …";
            return Err(DataFusionError::Plan(text.to_owned()));
        }
        let output = self.output_schema();
        let exprs = exprs
            .iter()
            .map(|expr| physical(&expr.clone().unalias(), input))
            .collect::<Result<Vec<_>>>()?;
        Ok(Projection { exprs, output })
    }

    fn query(&self, plan: &LogicalPlan, columns: &[usize], input: &SchemaRef) -> Result<Query> {
        let slot = Arc::new(Slot::new(Arc::clone(input)));
        let source = provider_as_source(slot.table()?);
        let plan = plan.clone().transform_down_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
            let read = read_columns(&scan);
            let places = read.iter().filter_map(|place| columns.binary_search(place).ok());
            scan.projection = Some(places.collect());
            scan.source = Arc::clone(&source);
            scan.filters.clear();
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        })?;
        let physical = super::in_turn::single(SESSION.physical(&plan.data)?)?;
        let memory = self.rule.memory_bytes_max.saturating_mul(MEMORY_FACTOR);
        Ok(Query::new(physical, slot, Arc::clone(&self.window), SESSION.context(memory)?))
    }
}

fn analyze(
    statement: Statement,
    lists: &Arc<Lists>,
    window: &Arc<WindowCell>,
    pushdown: Pushdown,
) -> Result<LogicalPlan> {
    let own = functions::own(lists, window);
    let language = Language::new(own, pushdown == Pushdown::Filters);
    let options =
        ParserOptions::new().with_map_string_types_to_utf8view(false).with_collect_spans(true);
    let planner = SqlToRel::new_with_options(&language, options);
    let plan = planner.sql_statement_to_plan(statement)?;
    Analyzer::new().execute_and_check(plan, SESSION.state.config_options(), |_, _| {})
}

fn optimize(plan: LogicalPlan, state: State) -> Result<LogicalPlan> {
    let rules = Optimizer::new()
        .rules
        .into_iter()
        .filter(|rule| state != State::None || !SPLITTING.contains(&rule.name()))
        .collect();
    let options = Arc::clone(SESSION.state.config_options());
    let context =
        OptimizerContext::new_with_config_options(options).without_query_execution_start_time();
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

/// The plan without rows that have an empty key.
fn present(plan: LogicalPlan, key: &[String]) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let present = columns
        .into_iter()
        .filter(|column| key.contains(&column.name))
        .map(|column| Expr::Column(column).is_not_null());
    match conjunction(present) {
        None => Ok(plan),
        Some(filter) => LogicalPlanBuilder::from(plan).filter(filter)?.build(),
    }
}

/// Limits of the state that a rule needs.
fn limits(rule: &Rule, plan: &LogicalPlan) -> Vec<Problem> {
    let Some(window) = rule.window else {
        return match shape::needs_window(plan) {
            None => Vec::new(),
            Some(what) => {
                let message = format!("{what} needs a window");
                let problem = rule.source.in_sql(Level::Error, nowhere(), message);
                vec![problem.hint("add `window:`, such as `window: 5m`")]
            }
        };
    };
    if window.size_ms <= ROWS_WINDOW_MAX_MS {
        return Vec::new();
    }
    let (size, most) = (duration::format(window.size_ms), duration::format(ROWS_WINDOW_MAX_MS));
    let message = format!("the window {size} is longer than {most}, which rows are kept for");
    vec![rule.source.at(Level::Error, &["window"], message).hint("choose a shorter window")]
}

fn scans(plan: &LogicalPlan) -> Vec<TableScan> {
    let mut scans = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    scans
}

/// Columns of the table that a scan reads.
fn read_columns(scan: &TableScan) -> Vec<usize> {
    match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..scan.source.schema().fields().len()).collect(),
    }
}

/// What the scans of a plan ask of a row.
struct Filters {
    /// What a row must pass to contribute to any scan; absent where every row may.
    any: Option<Expr>,
    /// What each row must pass, where all scans ask the same.
    parts: Option<Vec<Expr>>,
    /// What they ask of the past.
    past: Option<Expr>,
    /// Whether all scans ask the same.
    same: bool,
    /// Written out in an order that does not depend on how the query was written.
    canonical: String,
}

impl Filters {
    fn of(plan: &LogicalPlan) -> Self {
        let mut scans: Vec<(String, Vec<Expr>)> = scans(plan)
            .iter()
            .map(|scan| {
                let parts = scan.filters.iter().flat_map(split_conjunction).cloned();
                let mut parts: Vec<Expr> = parts.map(unqualified).collect();
                parts.sort_by_key(ToString::to_string);
                parts.dedup();
                let texts: Vec<String> = parts.iter().map(ToString::to_string).collect();
                (texts.join(" AND "), parts)
            })
            .collect();
        scans.sort_by(|a, b| a.0.cmp(&b.0));
        scans.dedup_by(|a, b| a.0 == b.0);
        let same = scans.len() <= 1;
        let texts: Vec<&str> = scans.iter().map(|(text, _)| text.as_str()).collect();
        let canonical = texts.join(" OR ");
        let past = scans.iter_mut().find_map(|(_, parts)| first_seen::take_out(parts));
        if scans.iter().any(|(_, parts)| parts.is_empty()) {
            let parts = same.then(Vec::new);
            let canonical = if past.is_some() { canonical } else { String::new() };
            return Self { any: None, parts, past, same, canonical };
        }
        // Without scans the optimizer found that no row can pass.
        let nothing = Expr::Literal(ScalarValue::Boolean(Some(false)), None);
        let parts = match scans.as_slice() {
            [(_, parts)] => Some(parts.clone()),
            _ => None,
        };
        let any = disjunction(scans.into_iter().filter_map(|(_, parts)| conjunction(parts)));
        Self { any: Some(any.unwrap_or(nothing)), parts, past, same, canonical }
    }

    fn atoms(&self, schema: &SchemaRef) -> Result<Option<Vec<Atom>>> {
        let Some(parts) = &self.parts else { return Ok(None) };
        let atoms = parts.iter().map(|part| Atom::of(part, schema));
        Ok(Some(atoms.collect::<Result<Vec<_>>>()?))
    }
}

fn unqualified(expr: Expr) -> Expr {
    let plain = expr.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    });
    plain.map_or(expr, |plain| plain.data)
}

pub(super) fn physical(expr: &Expr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    physical_over(&unqualified(expr.clone()), &DFSchema::try_from(Arc::clone(schema))?)
}

/// An expression over columns that still say which table they are of.
pub(super) fn physical_over(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let props = ExecutionProps::new();
    create_physical_expr(expr, schema, &props, &PhysicalPlanningContext::default())
}

/// Columns of the table that must be retained, ascending.
fn inputs(
    plan: &LogicalPlan,
    schema: &Schema,
    keys: &[Option<String>],
    more: &[String],
) -> Result<Vec<usize>> {
    let mut columns: BTreeSet<usize> = scans(plan).iter().flat_map(read_columns).collect();
    let named = keys.iter().flatten().chain(more).map(String::as_str);
    for name in ALWAYS.into_iter().chain(named) {
        columns.insert(schema.index_of(name)?);
    }
    Ok(columns.into_iter().collect())
}
