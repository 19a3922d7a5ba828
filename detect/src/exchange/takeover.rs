//! Taking a source partition over (delivery rule 9).
//!
//! Owns: the own term, the opens, and where to begin. Never: mapping.

use std::sync::Arc;

use engine::frame::{Open, Owner};
use schemas::{EventTime, Origin};
use tracing::info;
use transport::{NewRecord, NextOffset, Output, Partition};

use super::marker::Folded;
use super::{Exchange, ExchangeError, Numbered};

/// What an owner begins with.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) owner: Owner,
    /// By exchange partition: up to where it has applied the source partition.
    pub(super) applied: Vec<i64>,
    /// The least of them.
    pub(super) position: i64,
    /// The watermark as of there.
    pub(super) watermark: EventTime,
    /// The origin of the last record before.
    pub(super) origin: Option<Origin>,
    /// The rules to map by.
    pub(super) rules: Numbered,
}

/// Becomes the owner of `partition`, whose log begins at `start`.
pub(super) async fn take_over(
    exchange: &Exchange,
    session: &Output,
    partition: u32,
    start: NextOffset,
) -> Result<Taken, ExchangeError> {
    loop {
        let mut folded = Vec::new();
        for place in 0..exchange.partitions() {
            let mut fold = Folded::of(exchange, Partition(place)).await?;
            let end = exchange.frames.bounds(fold.partition).await?.end;
            fold.up_to(exchange, end).await?;
            folded.push(fold);
        }
        let terms = folded.iter().filter_map(|fold| owner_of(fold, partition));
        let term = terms.map(|owner| owner.term).max().unwrap_or(0) + 1;
        let owner = Owner { term, id: uuid::Uuid::new_v4().as_u128() };
        #[cfg(test)]
        let owner = exchange.without_part_of_owner(owner, &folded, partition);
        let rules = rules_of(exchange, &folded).await?;
        let (exchange_partitions, number) = (exchange.partitions(), rules.number);
        let open = Open { owner, partition, exchange_partitions, start: start.0, rules: number };
        let open = open.encode();
        let mut is_highest = true;
        for fold in &mut folded {
            #[cfg(test)]
            if exchange.is_not_opened(fold.partition) {
                continue;
            }
            let sent = session.append(fold.partition, vec![NewRecord::new(open.clone())]).await?;
            #[cfg(test)]
            if exchange.does_not_read_back() {
                continue;
            }
            fold.up_to(exchange, sent.end).await?;
            is_highest &= owner_of(fold, partition) == Some(owner);
        }
        if is_highest {
            let taken = begin((owner, rules), &folded, partition, start);
            #[cfg(test)]
            let taken = exchange.without_part_of_taken(taken);
            let (position, rules) = (taken.position, taken.rules.number);
            info!(partition, term, position, rules, "took a source partition over");
            return Ok(taken);
        }
    }
}

/// Who owns a source partition, by the word of this exchange partition.
pub(super) fn owner_of(fold: &Folded, partition: u32) -> Option<Owner> {
    let mut progress = fold.sources.progress();
    progress.find(|(of, _)| *of == partition).and_then(|(_, progress)| progress.owner)
}

/// The latest rules, but never older ones than anybody has mapped by: frames of rules that a
/// reducer has left behind would be of no use to it.
async fn rules_of(exchange: &Exchange, folded: &[Folded]) -> Result<Numbered, ExchangeError> {
    let latest = exchange.rules.latest();
    match folded.iter().map(|fold| fold.rules).max() {
        Some(seen) if seen > latest.number => Ok(exchange.rules.get(seen).await?),
        _ => Ok(latest),
    }
}

fn begin(
    (owner, rules): (Owner, Numbered),
    folded: &[Folded],
    partition: u32,
    start: NextOffset,
) -> Taken {
    let mut taken = Taken {
        owner,
        applied: Vec::with_capacity(folded.len()),
        position: i64::MAX,
        watermark: EventTime::MIN,
        origin: None,
        rules,
    };
    for fold in folded {
        let progress = fold.sources.progress().find(|(of, _)| *of == partition);
        let progress = progress.map(|(_, progress)| progress);
        let applied = progress.and_then(|progress| progress.applied).unwrap_or(start.0);
        taken.applied.push(applied);
        let watermark = progress.map_or(EventTime::MIN, |progress| progress.watermark);
        let origin = progress.and_then(|progress| progress.origin.clone());
        if applied < taken.position {
            (taken.position, taken.watermark, taken.origin) = (applied, watermark, origin);
        } else if applied == taken.position {
            // Marks between two records raise the watermark of some before that of others.
            taken.watermark = taken.watermark.max(watermark);
        }
    }
    taken
}

/// The topics' names of an origin are all one; only offset and index tell records apart.
pub(super) fn gate_origin(origin: &Origin) -> transport::Origin {
    transport::Origin { offset: transport::Offset(origin.offset), index: origin.index }
}

/// The origin that goes into frames.
pub(super) fn frame_origin(topic: &Arc<str>, partition: u32, origin: transport::Origin) -> Origin {
    let topic = topic.to_string();
    Origin { topic, partition, offset: origin.offset.0, index: origin.index }
}
