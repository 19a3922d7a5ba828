//! A context folder that is read again when it changes.
//!
//! Owns: looking at it every few seconds. Never: what is in it.

use std::path::Path;
use std::time::Duration;

use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::error::{Class, Classified};
use tracing::{info, warn};

use super::Folder;
use crate::context::ContextCell;
use crate::metrics::EnrichMetrics;
use crate::problem::Problem;

/// Between two looks. A look costs one system call a file.
const INTERVAL: Duration = Duration::from_secs(2);

/// Keeps a context in step with its folder.
#[derive(Debug)]
pub struct Watch {
    folder: Folder,
    context: ContextCell,
    clock: Clock,
    metrics: EnrichMetrics,
    /// The folder itself could not be read at the last look.
    away: bool,
}

/// The task that looks has panicked.
#[derive(Debug, thiserror::Error)]
#[error("reading the context folder panicked")]
pub struct WatchError(#[source] tokio::task::JoinError);

impl Classified for WatchError {
    fn class(&self) -> Class {
        Class::Bug
    }
}

impl Watch {
    /// On this folder. Nothing is read before the first [`Watch::poll`].
    #[must_use]
    pub fn new(folder: &Path, context: ContextCell, clock: Clock, metrics: EnrichMetrics) -> Self {
        Self { folder: Folder::new(folder), context, clock, metrics, away: false }
    }

    /// Reads what has changed and puts it in force. Returns the mistakes in the files that were
    /// read now; they are also logged, once a change.
    pub fn poll(&mut self) -> Vec<Problem> {
        let now_ms = self.clock.unix_ms();
        let (kinds, mut problems) = self.folder.read(Some(now_ms));
        let changed = !kinds.is_empty();
        if changed {
            let Self { folder, context, .. } = &*self;
            problems.extend(context.update(|present| folder.context(present, &kinds)));
        }
        let away = !changed && !problems.is_empty();
        if away && self.away {
            // Said already.
            problems.clear();
        }
        self.away = away;
        for problem in &problems {
            warn!(%problem, "mistake in the context");
        }
        let context = self.context.load();
        if changed {
            for state in context.tables() {
                info!(table = state.table, rows = state.rows, "read context");
            }
        }
        for table in context.report(now_ms) {
            self.metrics.table(&table);
        }
        problems
    }

    /// Looks again and again until told to stop.
    ///
    /// # Errors
    /// Where a look panics.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), WatchError> {
        loop {
            let look = tokio::task::spawn_blocking(move || {
                self.poll();
                self
            });
            self = look.await.map_err(WatchError)?;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}
