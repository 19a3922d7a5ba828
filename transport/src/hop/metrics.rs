//! What a hop counts.
//!
//! Owns: its metrics, and the log lines that go with them.
//! Never: deciding anything.

use runtime::metrics::{Counter, Counters, Metrics, Unit};

use super::core::Written;

/// The metrics of a hop, within those of the service that runs it. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct HopMetrics {
    read: Counter,
    written: Counter,
    repeats: Counter,
    dead_letters: Counter,
    voids: Counters<1>,
    restarts: Counter,
}

impl HopMetrics {
    /// Declares the metrics of a hop among those of its service.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, Unit::Records, help);
        Self {
            read: counter("hop_read", "Records read from the input"),
            written: counter("hop_written", "Records sent to the output, voids and marks included"),
            repeats: counter(
                "hop_repeats",
                "Records of the input dropped because they are repeats",
            ),
            dead_letters: counter("hop_dead_letters", "Dead letters written"),
            voids: metrics.counters(
                "hop_voids",
                Unit::Records,
                "Inputs that gave no record, by reason",
                ["reason"],
            ),
            restarts: metrics.counter(
                "hop_restarts",
                Unit::Of("sessions"),
                "Times that all partitions were taken up anew because a log was away",
            ),
        }
    }

    /// A batch was read, and this became of it.
    pub(super) fn stepped(&self, input: &str, read: usize, written: &Written) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.read.inc_by(count(read));
        self.written.inc_by(count(written.records.len()));
        self.dead_letters.inc_by(count(written.dead_letters.len()));
        if written.repeats > 0 {
            self.repeats.inc_by(written.repeats);
            tracing::debug!(input, repeats = written.repeats, "dropped repeats");
        }
        for (reason, records) in &written.voids {
            self.voids.with([reason.as_ref()]).inc_by(*records);
            tracing::debug!(input, %reason, records, "inputs gave nothing");
        }
    }

    /// A log was away; everything begins anew after a while.
    pub(super) fn restarting(&self, input: &str, reason: &str, wait: std::time::Duration) {
        self.restarts.inc();
        tracing::warn!(input, reason, ?wait, "hop begins anew");
    }
}
