//! The join of a batch with everything that is known.
//!
//! Owns: the order of the joins, and the state that learns from traffic. Never: tables.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use schemas::{BatchBuilder, Event, Field, event_at};

use crate::columns::{Columns, JoinError, Seen};
use crate::context::{Context, ContextCell};
use crate::deploys::Grace;
use crate::facts::{Facts, Picks};
use crate::identities::Kinds;
use crate::metrics::EnrichMetrics;
use crate::missing::Missing;
use crate::network::NetworkState;
use crate::object_tenant;
use crate::routes::{Held, RouteState};

/// How to join.
#[derive(Debug, Clone, Copy)]
pub struct JoinOptions {
    /// The key of the hash in `object_id`: the same for all instances of an installation.
    pub object_key: [u8; 16],
    /// Whether templates are learned from traffic where no document has the route.
    pub learn_routes: bool,
}

/// Enriches batches. One for each thread of the stage, or shared; then the templates and addresses
/// that it remembers are shared too, and batches take turns.
#[derive(Debug)]
pub struct Joiner {
    context: ContextCell,
    metrics: EnrichMetrics,
    kinds: Kinds,
    missing_names: Facts,
    state: Mutex<State>,
    grace: Mutex<Grace>,
    /// The field of the log that says whose object was answered.
    object_tenant: String,
}

/// What is kept from batch to batch. None of it is needed for being right after a restart.
#[derive(Debug)]
struct State {
    routes: RouteState,
    network: NetworkState,
}

impl Joiner {
    /// Joins with the context in force at the time of each batch.
    #[must_use]
    pub fn new(context: ContextCell, options: JoinOptions, metrics: EnrichMetrics) -> Self {
        let routes = RouteState::new(options.object_key, options.learn_routes);
        Self {
            context,
            metrics,
            kinds: Kinds::default(),
            missing_names: Missing::names(),
            state: Mutex::new(State { routes, network: NetworkState::default() }),
            grace: Mutex::default(),
            object_tenant: Field::ObjectTenant.name().to_owned(),
        }
    }

    /// The same, where events of a version whose deploy is not known may wait for as long.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        let ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        Self { grace: Mutex::new(Grace::new(ms)), ..self }
    }

    /// The same, where this field of the log, which `attrs` has, says whose object was answered;
    /// otherwise it is the one called `object_tenant`.
    #[must_use]
    pub fn with_object_tenant(self, field: &str) -> Self {
        Self { object_tenant: field.to_owned(), ..self }
    }

    /// Whether any batch may have to wait.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        let grace = self.grace.lock().unwrap_or_else(PoisonError::into_inner);
        !grace.is_off() && !self.context.load().deploys().is_empty()
    }

    /// For how long the batch should wait at most before it is joined, since it names a version
    /// whose deploy may be told any moment; none where it should not wait. `now_ms` is the machine's
    /// clock. Whoever waits asks again, as news may come earlier.
    ///
    /// # Errors
    /// As [`Joiner::enrich`].
    pub fn patience(
        &self,
        batch: &RecordBatch,
        now_ms: i64,
    ) -> Result<Option<Duration>, JoinError> {
        let mut grace = self.grace.lock().unwrap_or_else(PoisonError::into_inner);
        if grace.is_off() || batch.num_rows() == 0 {
            return Ok(None);
        }
        let context = self.context.load();
        let mut columns = Columns::of(batch)?;
        name_service(&context, &mut columns)?;
        let left = grace.left_ms(context.deploys(), &columns, now_ms)?;
        let left = left.and_then(|left| u64::try_from(left).ok());
        Ok(left.map(Duration::from_millis))
    }

    /// The batch with everything filled in that is known at the time of each event. What is there
    /// already stays; columns that nothing fills are passed on as they are.
    ///
    /// # Errors
    /// Where the batch does not have the columns of events, which is a bug of the caller.
    pub fn enrich(&self, batch: &RecordBatch) -> Result<RecordBatch, JoinError> {
        let context = self.context.load();
        let mut columns = Columns::of(batch)?;
        if columns.rows() == 0 {
            return Ok(batch.clone());
        }
        let mut missing = Missing::new(columns.rows());
        name_service(&context, &mut columns)?;
        let mut seen = Seen::of(&columns)?;
        if !context.blocks().is_empty() {
            context.blocks().join(&seen, &mut columns)?;
            seen.blocked_by = columns.texts(Field::BlockedBy)?;
        }
        context.deploys().join(&seen, &mut columns, &mut missing)?;
        context.identities().join(&self.kinds, &seen, &mut columns, &mut missing)?;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let State { routes, network } = &mut *state;
            let held = Held { seen: &seen, deploys: context.deploys() };
            context.routes().join(routes, held, &mut columns, &mut missing)?;
            network.join(context.network(), &seen, &mut columns, &mut missing)?;
            let (templates, unlearned) = routes.counts();
            self.metrics.learned(templates, unlearned);
        }
        object_tenant::join(&self.object_tenant, &mut columns)?;
        self.metrics.joined(columns.rows(), missing.counts());
        self.count_payloads(&columns)?;
        missing.fill(&self.missing_names, &mut columns)?;
        Ok(columns.into_batch()?)
    }

    /// An attempt alone is no verdict; it is counted.
    fn count_payloads(&self, columns: &Columns) -> Result<(), JoinError> {
        let Some(lists) = columns.present(Field::AttackClass) else { return Ok(()) };
        let texts = lists.as_list_opt::<i32>().and_then(|l| l.values().as_string_opt::<i32>());
        let texts = texts.ok_or(JoinError::Type { field: Field::AttackClass.name() })?;
        self.metrics.payloads(texts.iter().flatten());
        Ok(())
    }

    /// One event, enriched; for tests and for questions of people.
    ///
    /// # Errors
    /// Never in practice; see [`Joiner::enrich`].
    pub fn enrich_event(&self, event: &Event<'_>) -> Result<Event<'static>, JoinError> {
        let mut builder = BatchBuilder::default();
        builder.push(event);
        let batch = self.enrich(&builder.finish()?)?;
        Ok(event_at(&batch, 0).into_owned())
    }
}

/// An event that names no service is of the one that the context speaks of, where it is one alone.
fn name_service(context: &Context, columns: &mut Columns) -> Result<(), JoinError> {
    if let Some(sole) = context.sole_service()
        && columns.lacks(Field::Service)
    {
        let mut picks = Picks::with_capacity(columns.rows());
        (0..columns.rows()).for_each(|_| picks.push(Some(0)));
        sole.fill(picks, columns)?;
    }
    Ok(())
}

#[cfg(test)]
mod by_force;
#[cfg(test)]
mod tests;
