//! The join of a batch with everything that is known.
//!
//! Owns: the order of the joins, and the state that learns from traffic. Never: tables.

use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use schemas::{BatchBuilder, Event, Field, event_at};

use crate::columns::{Columns, JoinError, Seen};
use crate::context::{Context, ContextCell};
use crate::facts::{Facts, Picks};
use crate::identities::Kinds;
use crate::metrics::EnrichMetrics;
use crate::missing::Missing;
use crate::network::NetworkState;
use crate::routes::RouteState;

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
        }
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
            context.routes().join(routes, &seen, &mut columns, &mut missing)?;
            network.join(context.network(), &seen, &mut columns, &mut missing)?;
            let (templates, unlearned) = routes.counts();
            self.metrics.learned(templates, unlearned);
        }
        self.metrics.joined(columns.rows(), missing.counts());
        missing.fill(&self.missing_names, &mut columns)?;
        Ok(columns.into_batch()?)
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
