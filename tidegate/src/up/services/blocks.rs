//! Blocks in force, as orders and outcomes tell.
//!
//! Owns: which orders stand. Never: deciding about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use enrich::{Block, Blocks, ContextCell};
use schemas::{EventTime, Order, Outcome, OutcomeState, WireRecord};
use transport::Record;

use crate::up::forms::Reading;

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

impl Standing {
    pub(super) fn new(context: ContextCell) -> Self {
        Self { context, known: Arc::default() }
    }

    /// Takes records of the one topic.
    pub(super) fn orders(&self, records: &[Record], reading: &mut Reading<Order>) {
        self.take(&read(records, reading), |known, order| known.order(order));
    }

    /// Takes records of the other.
    pub(super) fn outcomes(&self, records: &[Record], reading: &mut Reading<Outcome>) {
        self.take(&read(records, reading), |known, outcome| known.outcome(outcome));
    }

    fn take<R>(&self, told: &[R], take: impl Fn(&mut Known, &R)) {
        if told.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for told in told {
            take(&mut known, told);
        }
        let (blocks, unusable) = Blocks::new(known.blocks.values().cloned());
        if unusable > 0 {
            tracing::warn!(unusable, "blocks whose subject cannot be told from events");
        }
        self.context.set_blocks(blocks);
    }
}

fn read<R: WireRecord>(records: &[Record], reading: &mut Reading<R>) -> Vec<R> {
    let read = |record: &Record| {
        let told = reading.decode(&record.value);
        if let Err(error) = &told {
            tracing::warn!(%error, "an order or outcome cannot be read");
        }
        told.ok()
    };
    records.iter().filter_map(read).collect()
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
