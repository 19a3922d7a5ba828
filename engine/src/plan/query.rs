//! Running what was planned: filters, projections and queries over given batches.
//!
//! Owns: one physical plan per rule, its input slot, polling it to the end on the caller's thread.
//! Never: tasks, a runtime, planning.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use tokio::task::unconstrained;

/// Times a stream may say "not yet" in a row. Nothing waits for anything here, so more than a few
/// mean an operator that wants a task, which is a bug.
const PENDING_MAX: usize = 1024;

/// What went wrong while a program ran.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// DataFusion refused a value or ran into its limits.
    #[error("run the query")]
    Query(#[from] DataFusionError),
    /// Arrow refused a batch.
    #[error("build a batch")]
    Batch(#[from] ArrowError),
    /// A filter that does not give booleans.
    #[error("the filter gives {found} instead of booleans")]
    NotBoolean {
        /// The type found.
        found: String,
    },
    /// An operator that never finishes without a task.
    #[error("the query does not finish on its own")]
    Stuck,
}

/// Places of the rows for which `filter` is true.
pub(super) fn matching(
    filter: Option<&dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<Vec<u32>, RunError> {
    let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
    let Some(filter) = filter else { return Ok((0..rows).collect()) };
    let array = filter.evaluate(batch)?.into_array(batch.num_rows())?;
    let Some(mask) = array.as_any().downcast_ref::<BooleanArray>() else {
        return Err(RunError::NotBoolean { found: array.data_type().to_string() });
    };
    let places = match mask.nulls() {
        Some(nulls) => (mask.values() & nulls.inner()).set_indices_u32().collect(),
        None => mask.values().set_indices_u32().collect(),
    };
    Ok(places)
}

/// The rows of a batch for which an expression is true.
pub(super) fn true_for(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<BooleanBuffer, RunError> {
    let flags = flags(expr, batch)?;
    Ok(match flags.nulls() {
        Some(nulls) => flags.values() & nulls.inner(),
        None => flags.values().clone(),
    })
}

/// What an expression that gives booleans says of the rows of a batch.
pub(super) fn flags(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<BooleanArray, RunError> {
    let array = expr.evaluate(batch)?.into_array(batch.num_rows())?;
    let found = array.as_any().downcast_ref::<BooleanArray>().cloned();
    found.ok_or_else(|| RunError::NotBoolean { found: array.data_type().to_string() })
}

/// The given rows and columns of a batch.
pub(super) fn gather(
    batch: &RecordBatch,
    rows: Vec<u32>,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch, RunError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let all = rows.len() == batch.num_rows();
    let rows = UInt32Array::from(rows);
    let arrays = columns
        .iter()
        .filter_map(|place| batch.columns().get(*place))
        .map(|array| if all { Ok(Arc::clone(array)) } else { take(array, &rows, None) })
        .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

/// The program of a rule without state: an expression for each output column.
#[derive(Debug)]
pub struct Projection {
    pub(super) exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) output: SchemaRef,
}

impl Projection {
    /// One output row for each of `rows`, in their order. The rows have passed the filter and
    /// have the schema of retained rows.
    ///
    /// # Errors
    /// Where an expression fails on a value.
    pub fn run(&self, rows: &RecordBatch) -> Result<RecordBatch, RunError> {
        let arrays = self
            .exprs
            .iter()
            .map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()))
            .collect::<Result<Vec<_>, DataFusionError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), arrays, &options)?)
    }
}

/// The bounds of the window that a query runs for, as its functions see them.
#[derive(Debug, Default)]
pub(super) struct WindowCell {
    bounds: Mutex<(i64, i64)>,
}

impl WindowCell {
    /// First moment inside and first moment after the window.
    pub(super) fn bounds(&self) -> (i64, i64) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, window: (i64, i64)) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = window;
    }
}

/// The batches that the scans of one plan read.
#[derive(Debug)]
pub(super) struct Slot {
    schema: SchemaRef,
    batches: Mutex<Vec<RecordBatch>>,
}

impl Slot {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, batches: Mutex::new(Vec::new()) }
    }

    /// The slot as a table to scan.
    pub(super) fn table(self: &Arc<Self>) -> Result<Arc<StreamingTable>, DataFusionError> {
        let partition: Arc<dyn PartitionStream> = Arc::<Self>::clone(self);
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.schema), vec![partition])?))
    }

    fn set(&self, batches: Vec<RecordBatch>) {
        *self.batches.lock().unwrap_or_else(PoisonError::into_inner) = batches;
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    #[expect(clippy::expect_used, reason = "without a projection the constructor cannot fail")]
    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = MemoryStream::try_new(batches, Arc::clone(&self.schema), None);
        Box::pin(stream.expect("no projection, no error"))
    }
}

/// A planned query whose input can be swapped. Runs one at a time: a second caller waits.
#[derive(Debug)]
pub struct Query {
    plan: Mutex<Arc<dyn ExecutionPlan>>,
    slot: Arc<Slot>,
    window: Arc<WindowCell>,
    context: Arc<TaskContext>,
    /// Whether some operator keeps what it read, so that the plan must be made anew.
    keeps: bool,
}

impl Query {
    pub(super) fn new(
        plan: Arc<dyn ExecutionPlan>,
        slot: Arc<Slot>,
        window: Arc<WindowCell>,
        context: Arc<TaskContext>,
    ) -> Self {
        let keeps = keeps_state(plan.as_ref());
        Self { plan: Mutex::new(plan), slot, window, context, keeps }
    }

    /// The rows that the query returns for a window that holds exactly `rows`, which have passed
    /// the rule's filter and have the schema of retained rows.
    ///
    /// Give the rows in order of event time and event id: functions that depend on order then
    /// give the same answer on every run.
    ///
    /// # Errors
    /// Where an expression fails on a value, or memory runs out.
    pub fn run(
        &self,
        rows: &[RecordBatch],
        window: (i64, i64),
    ) -> Result<Vec<RecordBatch>, RunError> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot.set(rows.to_vec());
        self.window.set(window);
        let answer =
            plan.execute(0, Arc::clone(&self.context)).map_err(RunError::from).and_then(drain);
        self.slot.set(Vec::new());
        if self.keeps {
            *plan = reset_plan_states(Arc::clone(&plan))?;
        }
        answer
    }
}

fn keeps_state(plan: &dyn ExecutionPlan) -> bool {
    const STATELESS: &[&str] = &[
        "AggregateExec",
        "FilterExec",
        "ProjectionExec",
        "StreamingTableExec",
        "CoalesceBatchesExec",
        "WindowAggExec",
        "BoundedWindowAggExec",
        "UnionExec",
        "InTurnExec",
        "EmptyExec",
        "PlaceholderRowExec",
    ];
    !STATELESS.contains(&plan.name())
        || plan.children().into_iter().any(|child| keeps_state(child.as_ref()))
}

/// All batches of a stream that waits for nothing.
///
/// DataFusion's operators draw on the budget of the Tokio task that polls them, and once it is
/// spent say "not yet" until that task has yielded. This never yields, so it takes no part in it;
/// whoever calls from a task should know that it keeps the thread busy.
pub(super) fn drain(mut stream: SendableRecordBatchStream) -> Result<Vec<RecordBatch>, RunError> {
    let mut context = Context::from_waker(Waker::noop());
    let mut batches = Vec::new();
    let mut pending = 0;
    loop {
        let next = pin!(unconstrained(poll_fn(|context| stream.as_mut().poll_next(context))));
        match next.poll(&mut context) {
            Poll::Ready(None) => return Ok(batches),
            Poll::Ready(Some(batch)) => {
                let batch = batch?;
                if batch.num_rows() > 0 {
                    batches.push(batch);
                }
                pending = 0;
            }
            Poll::Pending if pending == PENDING_MAX => return Err(RunError::Stuck),
            Poll::Pending => pending += 1,
        }
    }
}
