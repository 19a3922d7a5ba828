//! Orders and outcomes to their topics.
//!
//! Owns: how far the ledger was published. Never: deciding what is written there.

use std::path::PathBuf;
use std::time::Duration;

use respond::{LedgerError, Record, Responder};
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use schemas::{CodecError, OrderCodec, OutcomeCodec, RecordCodec, WireRecord};
use tracing::warn;
use transport::{Log, LogError, NewRecord, Partition};

/// Before trying again.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes what the ledger says to topics. After a crash the last lines may come twice; their ids
/// and attempts tell.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) responder: Responder,
    pub(super) orders: Log,
    pub(super) outcomes: Log,
    pub(super) order: OrderCodec,
    pub(super) outcome: OutcomeCodec,
    /// The file with the number of the last line published.
    pub(super) place: PathBuf,
}

/// Why publishing stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("read the ledger")]
    Ledger(#[from] LedgerError),
    #[error("publish")]
    Log(#[from] LogError),
    #[error("write an order or outcome")]
    Codec(#[from] CodecError),
    #[error("remember how far orders were published, in {path}")]
    Place { path: String, source: std::io::Error },
}

impl Classified for PublishError {
    fn class(&self) -> Class {
        match self {
            Self::Ledger(error) => error.class(),
            Self::Log(error) => error.class(),
            Self::Codec(_) => Class::Bug,
            Self::Place { .. } => Class::Dependency,
        }
    }
}

impl Published {
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), PublishError> {
        let mut changed = self.responder.subscribe();
        changed.mark_changed();
        let mut at: u64 = match std::fs::read_to_string(&self.place) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(_none_yet) => 0,
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.publish(&mut at).await,
                told = changed.changed() => if told.is_err() { return Ok(()) },
            }
            while let Err(error) = self.publish(&mut at).await {
                if error.class() != Class::Dependency {
                    return Err(error);
                }
                warn!(error = %runtime::error::chain(&error), "orders wait to be published");
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
    }

    async fn publish(&self, at: &mut u64) -> Result<(), PublishError> {
        let (last, records) = self.responder.records_since(*at).await?;
        let (mut orders, mut outcomes) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Taken(taken) => {
                    for order in &taken.orders {
                        orders.push(written(&self.order, &order.id, order)?);
                    }
                    for told in &taken.outcomes {
                        outcomes.push(written(&self.outcome, &told.order_id, told)?);
                    }
                }
                Record::Outcome(told) => {
                    outcomes.push(written(&self.outcome, &told.order_id, &told)?);
                }
                _ => {}
            }
        }
        self.orders.append(Partition(0), orders).await?;
        self.outcomes.append(Partition(0), outcomes).await?;
        if last != *at {
            let path = self.place.display().to_string();
            std::fs::write(&self.place, last.to_string())
                .map_err(|source| PublishError::Place { path, source })?;
            *at = last;
        }
        Ok(())
    }
}

fn written<R: WireRecord>(
    codec: &RecordCodec<R>,
    key: &str,
    told: &R,
) -> Result<NewRecord, CodecError> {
    Ok(NewRecord { key: Some(key.to_owned().into()), ..NewRecord::new(codec.encode(told)?) })
}
