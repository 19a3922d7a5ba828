//! Rules over aggregates by key, as folds that take one row after the other.
//!
//! Owns: which queries can be kept as folds, reading the arguments of the folds from rows, and the
//! query's answer from what the folds come to. Never: state, windows.
//!
//! Only folds that come to the same in whatever order rows are taken and panes are joined: a sum
//! of fractions that are not whole numbers is none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, filter_record_batch, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;

use super::bar::Bar;
use super::baseline::Calls;
use super::compile::{physical, physical_over};
use super::query::{RunError, flags, true_for};
use super::session::SESSION;
use super::shape::{self, Grouped};
use super::{baseline, sequence, stepping};

/// What a fold does with its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counts rows.
    Count,
    /// Counts distinct values.
    Distinct,
    /// Adds whole numbers up.
    Sum,
    /// Adds fractions up that are whole.
    SumFraction,
    /// The mean of fractions that are whole.
    Average,
    /// The least value.
    Least(Held),
    /// The greatest value.
    Greatest(Held),
    /// Whether all are true.
    All,
    /// Whether any is true.
    Any,
    /// How many conditions were met in their order, of so many.
    Steps(u8),
}

/// The form of a value that a fold holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Whole,
    Fraction,
    Text,
    Flag,
}

/// One aggregate of a query.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub(crate) kind: Kind,
    /// Equal for folds that come to the same.
    pub(crate) name: Arc<str>,
    /// The column of the table that it takes as it stands, where it is that plain.
    pub(crate) column: Option<usize>,
    /// As SQL: state of one text is not read as that of another.
    text: String,
    /// Columns of the table that argument and filter read, and their schema.
    columns: Vec<usize>,
    schema: SchemaRef,
    argument: Option<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// A fold's argument in a batch.
#[derive(Debug)]
pub(crate) struct Argument {
    /// Rows that the fold takes; absent where it takes all.
    pub(crate) takes: Option<BooleanBuffer>,
    /// The values, cast to the form that is held; absent where only rows count.
    pub(crate) values: Option<ArrayRef>,
}

/// A query over aggregates by key, without its state.
#[derive(Debug)]
pub struct Panes {
    pub(crate) folds: Vec<Fold>,
    /// Whether all arguments can be read of any event.
    pub(crate) never_fails: bool,
    /// What HAVING asks for, as far as it can be said without evaluating it.
    pub(crate) bar: Bar,
    /// What it asks of the past of a key.
    pub(crate) baselines: Calls,
    /// For each grouping column: its place in the rule's key.
    groups: Vec<usize>,
    /// Types of the rule's key columns in rows.
    pub(crate) key_types: Vec<DataType>,
    schema: SchemaRef,
    having: Option<Arc<dyn PhysicalExpr>>,
    select: Vec<Arc<dyn PhysicalExpr>>,
    output: SchemaRef,
}

/// What stands in the way: the clause and why.
pub(super) type No = (String, String);

/// A query whose aggregates can be folded, before its columns are known.
pub(super) struct Sketch<'p> {
    grouped: Grouped<'p>,
    aggregate: &'p Aggregate,
    /// The column of the table behind each grouping expression.
    groups: Vec<String>,
    /// By aggregate: name, argument and filter over the table.
    folds: Vec<(&'p AggregateFunction, Option<Expr>, Option<Expr>)>,
}

impl<'p> Sketch<'p> {
    /// Reads an analyzed plan of which [`shape::panes`] says that it is a grouping by key.
    pub(super) fn of(plan: &'p LogicalPlan) -> std::result::Result<Self, No> {
        let grouped = shape::grouped(plan)
            .ok_or_else(|| ("this query".to_owned(), "it is no grouping by key".to_owned()))?;
        let aggregate = grouped.aggregate;
        let asked = grouped.select.iter().chain(grouped.having).cloned().collect::<Vec<_>>();
        if let Some(clause) = shape::subquery(&asked) {
            return Err((clause.to_owned(), shape::OTHER_ROWS.to_owned()));
        }
        let mut groups = Vec::new();
        for expr in &aggregate.group_expr {
            match over_table(expr, &aggregate.input) {
                Ok(Expr::Column(column)) => groups.push(column.name),
                _ => {
                    let why = "it is computed from an event; group by a column of it";
                    return Err((shape::as_sql(expr), why.to_owned()));
                }
            }
        }
        let mut folds = Vec::new();
        for expr in &aggregate.aggr_expr {
            folds.push(fold(expr, aggregate)?);
        }
        Ok(Self { grouped, aggregate, groups, folds })
    }

    /// Columns of the table that the folds read.
    pub(super) fn columns(&self) -> Vec<String> {
        let exprs =
            self.folds.iter().flat_map(|(_, argument, filter)| argument.iter().chain(filter));
        let mut names: Vec<String> =
            exprs.flat_map(Expr::column_refs).map(|column| column.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Makes it run over a table with the schema `input`, giving `output`. `keys` are the table's
    /// columns behind the rule's key.
    pub(super) fn compile(
        &self,
        input: &SchemaRef,
        output: &SchemaRef,
        keys: &[&str],
    ) -> std::result::Result<Panes, No> {
        let failed = |error: &DataFusionError| ("this query".to_owned(), error.to_string());
        let groups: Option<Vec<usize>> =
            self.groups.iter().map(|name| keys.iter().position(|key| key == name)).collect();
        let groups = groups.filter(|groups| groups.len() == keys.len()).ok_or_else(|| {
            (
                "key".to_owned(),
                "it is another than the query groups by; leave `key:` out".to_owned(),
            )
        })?;
        let mut key_types = Vec::new();
        for key in keys {
            let kind = input.field_with_name(key).map(|field| field.data_type().clone());
            match kind {
                Ok(kind) if crate::cell::has_value(&kind) => key_types.push(kind),
                _ => return Err(((*key).to_owned(), "a key of this type is not held".to_owned())),
            }
        }
        let mut folds = Vec::new();
        for (place, (function, argument, filter)) in self.folds.iter().enumerate() {
            let out = self.aggregate.schema.field(self.groups.len() + place).data_type();
            folds.push(compiled(function, (argument, filter), input, out)?);
        }
        let asked = self.asked(&folds)?;
        let over = |expr: &Expr| physical_over(&simple(expr, &asked.schema)?, &asked.schema);
        let having = asked.having.as_ref().map(over).transpose().map_err(|error| failed(&error))?;
        let select: Result<Vec<_>> = asked.select.iter().map(over).collect();
        let bar = match &asked.having {
            Some(having) => Bar::of(having, self.aggregate, (&folds, &asked.baselines)),
            None => Bar::Always,
        };
        let read =
            self.folds.iter().flat_map(|(_, argument, filter)| argument.iter().chain(filter));
        Ok(Panes {
            never_fails: read.into_iter().all(never_fails),
            folds,
            bar,
            baselines: asked.baselines,
            groups,
            key_types,
            schema: Arc::new(nullable(asked.schema.as_arrow())),
            having,
            select: select.map_err(|error| failed(&error))?,
            output: Arc::clone(output),
        })
    }
}

/// What a query asks of its groups, over the columns of the grouping and those that stand for
/// their past.
struct Asked {
    schema: DFSchemaRef,
    having: Option<Expr>,
    select: Vec<Expr>,
    baselines: Calls,
}

impl Sketch<'_> {
    fn asked(&self, folds: &[Fold]) -> std::result::Result<Asked, No> {
        let failed = |error: DataFusionError| ("this query".to_owned(), error.to_string());
        let mut baselines = Calls::default();
        let mut taken_out = |expr: &Expr| baselines.taken_out(expr, self.aggregate);
        let having = self.grouped.having.map(&mut taken_out).transpose().map_err(failed)?;
        let select = self.grouped.select.iter().map(|expr| taken_out(&expr.clone().unalias()));
        let select = select.collect::<Result<Vec<Expr>>>().map_err(failed)?;
        let of = baselines.fold().and_then(|fold| folds.get(fold));
        if let Some(fold) = of.filter(|fold| !baseline::learns(fold.kind)) {
            let why = "only whole numbers are learned: count, sum or max of whole numbers";
            return Err((fold.text.clone(), why.to_owned()));
        }
        let schema = baselines.schema(&self.aggregate.schema).map_err(failed)?;
        let having = having.map(|having| simple(&having, &schema)).transpose().map_err(failed)?;
        Ok(Asked { schema, having, select, baselines })
    }
}

/// Whether an optimized plan has a filter below its grouping that the scan did not take over.
pub(super) fn filters_left(plan: &LogicalPlan) -> bool {
    let mut left = false;
    let walked = plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            let grouped =
                filter.input.exists(|below| Ok(matches!(below, LogicalPlan::Aggregate(_))));
            left |= !grouped.unwrap_or(false);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    left || walked.is_err()
}

fn nullable(schema: &Schema) -> Schema {
    let field = |field: &Arc<arrow::datatypes::Field>| field.as_ref().clone().with_nullable(true);
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

fn fold<'p>(
    expr: &'p Expr,
    aggregate: &Aggregate,
) -> std::result::Result<(&'p AggregateFunction, Option<Expr>, Option<Expr>), No> {
    let no = |why: &str| (shape::as_sql(expr), why.to_owned());
    let Expr::AggregateFunction(function) = shape::bare(expr) else {
        return Err(no("it is no plain aggregate"));
    };
    let params = &function.params;
    let name = function.func.name();
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(no("its value depends on the order of events; `min` and `max` do not"));
    }
    let steps = match params.args.as_slice() {
        [time, conditions @ ..] if name == sequence::NAME && !params.distinct => {
            if !is_event_time(time) {
                return Err(no("panes follow each other in `event_time`, and in no other time"));
            }
            if conditions.len() > stepping::CONDITIONS_MAX {
                return Err(no("panes hold steps through 8 conditions at most"));
            }
            stepping::steps(&params.args).map_err(|error| no(&error.to_string()))?
        }
        _ => None,
    };
    let ((Some(argument), _) | (None, [argument])) = (&steps, params.args.as_slice()) else {
        return Err(no("it takes more than one argument"));
    };
    if params.distinct && !matches!(name, "count" | "min" | "max") {
        return Err(no("panes count distinct values, and fold nothing else over them"));
    }
    let down = |expr: &Expr| {
        over_table(expr, &aggregate.input).map_err(|_other_rows| no("it reads more than an event"))
    };
    // `count(*)` counts a constant.
    let constant = matches!(argument, Expr::Literal(value, _) if !value.is_null());
    let argument =
        if name == "count" && constant && !params.distinct { None } else { Some(down(argument)?) };
    let filter = params.filter.as_deref().map(down).transpose()?;
    Ok((function, argument, filter))
}

fn is_event_time(expr: &Expr) -> bool {
    matches!(shape::bare(expr), Expr::Column(column) if column.name == "event_time")
}

fn compiled(
    function: &AggregateFunction,
    (argument, filter): (&Option<Expr>, &Option<Expr>),
    input: &SchemaRef,
    out: &DataType,
) -> std::result::Result<Fold, No> {
    let shown = || shape::as_sql(&Expr::AggregateFunction(function.clone()));
    let no = |why: &str| (shown(), why.to_owned());
    let failed = |error: &DataFusionError| (shown(), error.to_string());
    let name = |expr: &Option<Expr>| expr.as_ref().map(ToString::to_string).unwrap_or_default();
    let name = |kind: Kind| format!("{kind:?} of {} where {}", name(argument), name(filter));
    let column = match (argument, filter) {
        (Some(Expr::Column(column)), None) => input.index_of(&column.name).ok(),
        _ => None,
    };
    let mut columns: Vec<usize> = [argument, filter]
        .into_iter()
        .flatten()
        .flat_map(Expr::column_refs)
        .filter_map(|column| input.index_of(&column.name).ok())
        .collect();
    columns.sort_unstable();
    columns.dedup();
    let input = input.project(&columns).map_err(|error| failed(&error.into()))?;
    let input = &Arc::new(input);
    let run = |expr: &Option<Expr>| -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let Some(expr) = expr else { return Ok(None) };
        let schema = Arc::new(DFSchema::try_from(Arc::clone(input))?);
        Ok(Some(physical(&simple(expr, &schema)?, input)?))
    };
    let filter = run(filter).map_err(|error| failed(&error))?;
    let argument_run = run(argument).map_err(|error| failed(&error))?;
    let taken = argument_run.as_ref().map(|run| run.data_type(input)).transpose();
    let taken = taken.map_err(|error| failed(&error))?.unwrap_or(DataType::Int64);
    let whole = || argument.as_ref().is_some_and(|argument| is_whole(argument, input));
    let held = || held(&taken).ok_or_else(|| no("values of this type are not held"));
    let kind = match (function.func.name(), function.params.distinct) {
        ("count", false) => Kind::Count,
        ("count", true) => Kind::Distinct,
        ("sum", _) if *out == DataType::Int64 && taken.is_signed_integer() => Kind::Sum,
        ("sum", _) if *out == DataType::Float64 && whole() => Kind::SumFraction,
        ("avg", _) if *out == DataType::Float64 && whole() => Kind::Average,
        ("sum" | "avg", _) => {
            return Err(no(
                "adding fractions up depends on the order of events; whole numbers do not",
            ));
        }
        ("min", _) => Kind::Least(held()?),
        ("max", _) => Kind::Greatest(held()?),
        ("bool_and", _) => Kind::All,
        ("bool_or", _) => Kind::Any,
        (sequence::NAME, _) => {
            let conditions = function.params.args.len().saturating_sub(1);
            Kind::Steps(u8::try_from(conditions).unwrap_or(u8::MAX))
        }
        _ => return Err(no("panes do not hold this aggregate")),
    };
    Ok(Fold {
        kind,
        name: Arc::from(name(kind)),
        column,
        text: shown(),
        columns,
        schema: Arc::clone(input),
        argument: argument_run,
        filter,
    })
}

/// An expression without what can be worked out beforehand; some functions only run like that.
fn simple(expr: &Expr, schema: &DFSchemaRef) -> Result<Expr> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(schema))
        .with_config_options(Arc::clone(SESSION.state.config_options()))
        .build();
    ExprSimplifier::new(context).simplify(expr.clone())
}

/// How values of a type are held, where they are.
fn held(of: &DataType) -> Option<Held> {
    Some(match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Held::Text,
        DataType::Boolean => Held::Flag,
        DataType::Float64 => Held::Fraction,
        DataType::Timestamp(..) => Held::Whole,
        whole if whole.is_signed_integer() => Held::Whole,
        _ => return None,
    })
}

/// Whether an expression only gives whole numbers, so that their sums are exact.
fn is_whole(expr: &Expr, input: &SchemaRef) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(value), _) => {
            value.is_none_or(|value| value.fract() == 0.0)
        }
        Expr::Literal(value, _) => value.data_type().is_integer() || value.is_null(),
        Expr::Alias(alias) => is_whole(&alias.expr, input),
        Expr::Cast(cast) if cast.field.data_type().is_floating() => is_whole(&cast.expr, input),
        Expr::Case(case) => {
            case.when_then_expr.iter().all(|(_, then)| is_whole(then, input))
                && case.else_expr.as_ref().is_none_or(|otherwise| is_whole(otherwise, input))
        }
        other => DFSchema::try_from(Arc::clone(input))
            .and_then(|schema| other.get_type(&schema))
            .is_ok_and(|of| of.is_integer()),
    }
}

/// Whether an expression has a value for every event. Of what is not known to have, the rules that
/// read it are kept apart from others, so that they alone miss an event.
fn never_fails(expr: &Expr) -> bool {
    let fine = |expr: &Expr| match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(
            op,
            Operator::And
                | Operator::Or
                | Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
        ),
        Expr::Cast(cast) => cast.field.data_type().is_floating(),
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::Between(_)
        | Expr::Like(_)
        | Expr::InList(_)
        | Expr::Case(_) => true,
        _ => false,
    };
    !expr.exists(|expr| Ok(!fine(expr))).unwrap_or(true)
}

/// An expression over a plan's output as one over the table that it scans.
fn over_table(expr: &Expr, plan: &LogicalPlan) -> Result<Expr> {
    let replaced = expr.clone().transform_down(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let place = plan.schema().index_of_column(column)?;
        Ok(Transformed::new(column_of_table(plan, place)?, true, TreeNodeRecursion::Jump))
    })?;
    Ok(replaced.data)
}

fn column_of_table(plan: &LogicalPlan, place: usize) -> Result<Expr> {
    let none = || DataFusionError::Plan("a column that is not there".to_owned());
    match plan {
        LogicalPlan::Projection(projection) => {
            let expr = projection.expr.get(place).ok_or_else(none)?;
            over_table(&expr.clone().unalias(), &projection.input)
        }
        LogicalPlan::Filter(filter) => column_of_table(&filter.input, place),
        LogicalPlan::SubqueryAlias(alias) => column_of_table(&alias.input, place),
        LogicalPlan::TableScan(scan) => {
            let field = scan.projected_schema.fields().get(place).ok_or_else(none)?;
            Ok(Expr::Column(Column::new_unqualified(field.name())))
        }
        _ => Err(none()),
    }
}

impl Panes {
    /// What a fold does.
    pub(crate) fn kind(&self, fold: usize) -> Option<Kind> {
        self.folds.get(fold).map(|fold| fold.kind)
    }

    /// What the state of these folds looks like, as text.
    pub(crate) fn shape(&self) -> String {
        let folds = self.folds.iter().map(|fold| format!("{} {:?}; ", fold.text, fold.kind));
        let learned = self.baselines.fold().and_then(|fold| self.folds.get(fold));
        let learned = learned.map(|fold| format!("{} learned; ", fold.text));
        folds.chain(learned).collect()
    }

    /// The query's answer for groups: columns of the rule's key, what each fold came to, and what
    /// is usual according to each call.
    ///
    /// # Errors
    /// Where an expression fails on a value.
    pub(crate) fn answer(
        &self,
        keys: &[ArrayRef],
        folded: Vec<ArrayRef>,
        rows: usize,
    ) -> std::result::Result<RecordBatch, RunError> {
        let groups = self.groups.iter().filter_map(|place| keys.get(*place)).map(Arc::clone);
        let columns: std::result::Result<Vec<ArrayRef>, _> = groups
            .chain(folded)
            .zip(self.schema.fields())
            .map(|(column, field)| cast(&column, field.data_type()))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)?;
        if let Some(having) = &self.having {
            batch = filter_record_batch(&batch, &flags(having, &batch)?)?;
        }
        let rows = batch.num_rows();
        let columns: std::result::Result<Vec<ArrayRef>, DataFusionError> =
            self.select.iter().map(|expr| expr.evaluate(&batch)?.into_array(rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), columns?, &options)?)
    }
}

impl Fold {
    /// Whether it takes every row, whatever is in it.
    pub(crate) fn takes_all(&self) -> bool {
        self.argument.is_none() && self.filter.is_none()
    }

    /// Its argument in some rows of a batch of the table, which have passed the rule's filter.
    ///
    /// # Errors
    /// Where an expression fails on a value.
    pub(crate) fn read(
        &self,
        batch: &RecordBatch,
        rows: &UInt32Array,
    ) -> std::result::Result<Argument, RunError> {
        let columns = self.columns.iter().filter_map(|column| batch.columns().get(*column));
        let columns: std::result::Result<Vec<ArrayRef>, _> =
            columns.map(|column| take(column, rows, None)).collect();
        self.read_of(columns?, rows.len())
    }

    /// As [`Fold::read`], in all rows, also in those that have not passed the filter.
    ///
    /// # Errors
    /// Where an expression fails on a value.
    pub(crate) fn read_all(&self, batch: &RecordBatch) -> std::result::Result<Argument, RunError> {
        let columns = self.columns.iter().filter_map(|column| batch.columns().get(*column));
        self.read_of(columns.map(Arc::clone).collect(), batch.num_rows())
    }

    fn read_of(
        &self,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> std::result::Result<Argument, RunError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let rows = &RecordBatch::try_new_with_options(schema, columns, &options)?;
        let mut takes = match &self.filter {
            Some(filter) => Some(true_for(filter, rows)?),
            None => None,
        };
        let Some(argument) = &self.argument else { return Ok(Argument { takes, values: None }) };
        let values = argument.evaluate(rows)?.into_array(rows.num_rows())?;
        if let Some(nulls) = values.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
            takes = Some(match takes {
                Some(takes) => &takes & nulls.inner(),
                None => nulls.into_inner(),
            });
        }
        let values = match self.kind {
            Kind::Count => None,
            Kind::Distinct => Some(values),
            Kind::Sum | Kind::Steps(_) => Some(cast(&values, &DataType::Int64)?),
            Kind::SumFraction | Kind::Average => Some(cast(&values, &DataType::Float64)?),
            Kind::All | Kind::Any => Some(cast(&values, &DataType::Boolean)?),
            Kind::Least(held) | Kind::Greatest(held) => Some(cast(&values, &held.data_type())?),
        };
        Ok(Argument { takes, values })
    }
}

impl Held {
    /// The type of the column that holds such values.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Whole => DataType::Int64,
            Self::Fraction => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Flag => DataType::Boolean,
        }
    }
}
