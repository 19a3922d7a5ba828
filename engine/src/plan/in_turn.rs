//! Reading the partitions of a plan one after the other.
//!
//! Owns: the operator that stands where DataFusion would start tasks. Never: order between rows
//! of different partitions other than that of the partitions.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{internal_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties,
};

use super::query::{RunError, drain};

/// The plan with one partition, and with no operator that would start a task.
pub(super) fn single(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan
        .transform_up(|node| {
            if let Some(coalesce) = node.downcast_ref::<CoalescePartitionsExec>() {
                let in_turn = InTurnExec::new(Arc::clone(coalesce.input()));
                return Ok(Transformed::yes(Arc::new(in_turn) as Arc<dyn ExecutionPlan>));
            }
            match node.name() {
                "RepartitionExec" => plan_err!("the query cannot run in one partition"),
                "SortPreservingMergeExec" if partitions(&node) > 1 => {
                    plan_err!("the query cannot run in one partition")
                }
                _ => Ok(Transformed::no(node)),
            }
        })
        .data()?;
    if plan.output_partitioning().partition_count() > 1 {
        return Ok(Arc::new(InTurnExec::new(plan)));
    }
    Ok(plan)
}

fn partitions(node: &Arc<dyn ExecutionPlan>) -> usize {
    node.children()
        .into_iter()
        .map(|child| child.output_partitioning().partition_count())
        .max()
        .unwrap_or(1)
}

/// All partitions of its input, first to last, as one.
#[derive(Debug)]
struct InTurnExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InTurnExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for InTurnExec {
    fn fmt_as(&self, _kind: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("InTurnExec")
    }
}

impl ExecutionPlan for InTurnExec {
    fn name(&self) -> &'static str {
        "InTurnExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.into_iter().next() {
            Some(input) => Ok(Arc::new(Self::new(input))),
            None => internal_err!("InTurnExec has one input"),
        }
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partitions = self.input.output_partitioning().partition_count();
        let mut batches = Vec::new();
        for partition in 0..partitions {
            let stream = self.input.execute(partition, Arc::clone(&context))?;
            batches.extend(drain(stream).map_err(|error| match error {
                RunError::Query(error) => error,
                other => DataFusionError::External(Box::new(other)),
            })?);
        }
        Ok(Box::pin(MemoryStream::try_new(batches, self.input.schema(), None)?))
    }
}
