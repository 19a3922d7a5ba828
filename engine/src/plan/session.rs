//! DataFusion, set up once: the functions and options that every rule is planned with.
//!
//! Owns: options, functions, the planner's view of tables. Never: files, networks, clocks.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SessionStateDefaults, TaskContext};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableProviderFilterPushDown,
    TableSource, WindowUDF,
};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use super::{Table, sequence};

/// Times the planner may say "not yet": it waits for nothing, so a few are plenty.
const PLANNING_POLLS_MAX: usize = 10_000;

/// What rules are planned with.
pub(super) struct Session {
    pub(super) state: SessionState,
    planners: Vec<Arc<dyn ExprPlanner>>,
    scalars: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    windows: BTreeMap<String, Arc<WindowUDF>>,
}

/// The one session; making it costs as much as planning a rule.
pub(super) static SESSION: LazyLock<Session> = LazyLock::new(Session::new);

fn options() -> SessionConfig {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    // One partition, so that no operator wants a task and rows keep their order.
    options.execution.target_partitions = 1;
    options.execution.planning_concurrency = 1;
    options.execution.collect_statistics = false;
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.enable_recursive_ctes = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    // A plan lives for many windows: nothing in it may depend on what an earlier one held.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Subqueries become joins, so that every scan is in the one tree.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    config
}

impl Session {
    fn new() -> Self {
        // Left out: what makes operators yield to other tasks, of which there are none.
        let rules = PhysicalOptimizer::new().rules;
        let rules = rules
            .into_iter()
            .filter(|rule| !matches!(rule.name(), "EnsureCooperative" | "HashJoinBuffering"))
            .collect();
        let state = SessionStateBuilder::new()
            .with_config(options())
            .with_session_id("rules".to_owned())
            .with_runtime_env(Arc::new(RuntimeEnv::default()))
            .with_physical_optimizer_rules(rules)
            .build();
        let scalars = SessionStateDefaults::default_scalar_functions();
        let mut aggregates = SessionStateDefaults::default_aggregate_functions();
        aggregates.push(sequence::function());
        let windows = SessionStateDefaults::default_window_functions();
        Self {
            state,
            planners: SessionStateDefaults::default_expr_planners(),
            scalars: by_name(scalars, |f| (f.name(), f.aliases())),
            aggregates: by_name(aggregates, |f| (f.name(), f.aliases())),
            windows: by_name(windows, |f| (f.name(), f.aliases())),
        }
    }

    /// Names of all functions of standard SQL.
    pub(super) fn function_names(&self) -> impl Iterator<Item = &str> {
        self.scalars
            .keys()
            .chain(self.aggregates.keys())
            .chain(self.windows.keys())
            .map(String::as_str)
    }

    /// The physical plan of an optimized logical one.
    pub(super) fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        finish(planner.create_physical_plan(plan, &self.state))?
    }

    /// What a plan runs in: no disk, and this much memory.
    pub(super) fn context(&self, memory_bytes_max: usize) -> Result<Arc<TaskContext>> {
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
            )
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes_max)))
            .build_arc()?;
        let context = TaskContext::default()
            .with_session_config(self.state.config().clone())
            .with_runtime(runtime);
        Ok(Arc::new(context))
    }
}

fn by_name<F>(
    functions: Vec<Arc<F>>,
    names: impl for<'f> Fn(&'f F) -> (&'f str, &'f [String]),
) -> BTreeMap<String, Arc<F>> {
    let mut named = BTreeMap::new();
    for function in functions {
        let (name, aliases) = names(&function);
        let all: Vec<String> =
            std::iter::once(name.to_owned()).chain(aliases.iter().cloned()).collect();
        for name in all {
            named.insert(name, Arc::clone(&function));
        }
    }
    named
}

/// Polls a future that waits for nothing.
fn finish<T>(future: impl Future<Output = T>) -> Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..PLANNING_POLLS_MAX {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
    }
    Err(DataFusionError::Internal("planning waits for something".to_owned()))
}

/// A table for planning: its columns, and whether scans take filters.
#[derive(Debug)]
struct RuleTable {
    schema: SchemaRef,
    takes_filters: bool,
}

impl TableSource for RuleTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let takes = |filter: &&Expr| {
            if self.takes_filters && !filter.is_volatile() {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(takes).collect())
    }
}

/// The tables and functions that one rule may name.
pub(super) struct Language {
    own: BTreeMap<String, Arc<ScalarUDF>>,
    takes_filters: bool,
}

impl Language {
    pub(super) fn new(own: Vec<Arc<ScalarUDF>>, takes_filters: bool) -> Self {
        Self { own: by_name(own, |f| (f.name(), f.aliases())), takes_filters }
    }
}

impl ContextProvider for Language {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match Table::named(name.table()) {
            Some(table) => {
                let takes_filters = self.takes_filters;
                Ok(Arc::new(RuleTable { schema: table.schema(), takes_filters }))
            }
            None => plan_err!("unknown table `{}`", name.table()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &SESSION.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.own.get(name).or_else(|| SESSION.scalars.get(name)).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        SESSION.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        SESSION.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        SESSION.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.own.keys().chain(SESSION.scalars.keys()).cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        SESSION.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        SESSION.windows.keys().cloned().collect()
    }
}

static DROPS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        text("event_id"),
        Field::new("event_time", time, true),
        text("reason"),
        text("client_ip"),
        text("sensor"),
    ]))
});

impl Table {
    /// Every table.
    pub const ALL: [Self; 2] = [Self::Events, Self::Drops];

    /// The name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Drops => "drops",
        }
    }

    /// The columns.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Events => schemas::arrow_schema(),
            Self::Drops => Arc::clone(&DROPS),
        }
    }

    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}
