//! Blocks in force, as orders and outcomes tell.
//!
//! Owns: which orders stand. Never: deciding about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use enrich::{Block, Blocks, ContextCell};
use schemas::{EventTime, Order, Outcome, OutcomeState};
use serde::Deserialize;
use transport::Record;

/// Blocks remembered after their end: so long events may still be on their way.
const KEPT_MS: i64 = 3_600_000;

/// What both topics have told.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    context: ContextCell,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    blocks: BTreeMap<String, Block>,
    ended: BTreeMap<String, EventTime>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Order(Box<Order>),
    Outcome(Box<Outcome>),
}

impl Standing {
    pub(super) fn new(context: ContextCell) -> Self {
        Self { context, known: Arc::default() }
    }

    /// Takes records of either topic.
    pub(super) fn take(&self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            match serde_json::from_slice(&record.value) {
                Ok(Told::Order(order)) => known.order(&order),
                Ok(Told::Outcome(outcome)) => known.outcome(&outcome),
                Err(error) => tracing::warn!(%error, "an order or outcome cannot be read"),
            }
        }
        let (blocks, unusable) = Blocks::new(known.blocks.values().cloned());
        if unusable > 0 {
            tracing::warn!(unusable, "blocks whose subject cannot be told from events");
        }
        self.context.set_blocks(blocks);
    }
}

impl Known {
    fn order(&mut self, order: &Order) {
        let Some(mut block) = Block::of(order) else { return };
        let forget = order.decided_at.millis().saturating_sub(KEPT_MS);
        self.blocks.retain(|_, block| block.until.is_none_or(|until| until.millis() > forget));
        if let Some(end) = self.ended.remove(&order.id) {
            block.until = Some(end);
        }
        self.blocks.insert(order.id.clone(), block);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        if !matches!(outcome.state, OutcomeState::Released | OutcomeState::Expired) {
            return;
        }
        match self.blocks.get_mut(&outcome.order_id) {
            Some(block) => block.until = Some(outcome.at),
            // The two topics are read one beside the other.
            None => {
                self.ended.insert(outcome.order_id.clone(), outcome.at);
            }
        }
    }
}
