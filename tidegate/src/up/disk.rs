//! Room on the disk of the storage folder, for Prometheus.
//!
//! Owns: the sizes that are shown, and how often the disk is asked.
//! Never: refusing anything; the store does, by the same bound.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use runtime::CancellationToken;
use runtime::metrics::{Gauge, Metrics, Unit};
use transport::embedded::FreeSpace;

/// As often as state is marked; no scrape sees more.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The sizes.
#[derive(Debug, Clone)]
pub(super) struct DiskMetrics {
    free: Gauge,
    free_min: Gauge,
}

impl DiskMetrics {
    /// Declares them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let part = metrics.component("storage");
        let least = "Below so much free space inputs are refused (`storage.free_min`)";
        Self {
            free: part.gauge("free", Unit::Bytes, "Free space where the storage folder lies"),
            free_min: part.gauge("free_min", Unit::Bytes, least),
        }
    }
}

/// The disk below a store.
pub(super) struct Disk {
    pub(super) folder: PathBuf,
    pub(super) space: FreeSpace,
    pub(super) free_bytes_min: u64,
    pub(super) metrics: DiskMetrics,
}

impl Disk {
    /// Looks until `stop`.
    pub(super) async fn watch(self, stop: CancellationToken) -> Result<(), Infallible> {
        self.metrics.free_min.set(shown(self.free_bytes_min));
        loop {
            let (space, folder) = (self.space.clone(), self.folder.clone());
            // A disk that hangs holds up this task alone.
            let asked = tokio::task::spawn_blocking(move || space.bytes(&folder)).await;
            match asked {
                Ok(Ok(bytes)) => {
                    self.metrics.free.set(shown(bytes));
                }
                Ok(Err(error)) => tracing::warn!(%error, "the disk does not say what is free"),
                Err(gone) => tracing::error!(error = %gone, "asking the disk panicked"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

fn shown(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use runtime::CancellationToken;
    use runtime::metrics::Metrics;
    use transport::embedded::FreeSpace;

    use super::{Disk, DiskMetrics, LOOK_EVERY};

    #[tokio::test(start_paused = true)]
    async fn what_is_free_is_shown_anew_every_ten_seconds_beside_what_must_stay() {
        let metrics = Metrics::new();
        let free = Arc::new(AtomicU64::new(7_000));
        let probe = Arc::clone(&free);
        let disk = Disk {
            folder: "data".into(),
            space: FreeSpace::from_fn(move |path| {
                assert_eq!(path, std::path::Path::new("data"));
                Ok(probe.load(Ordering::Relaxed))
            }),
            free_bytes_min: 4_000,
            metrics: DiskMetrics::new(&metrics),
        };
        let stop = CancellationToken::new();
        let watching = disk.watch(stop.clone());
        let changing = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let text = metrics.encode();
            assert!(text.contains("tidegate_storage_free_bytes 7000\n"), "{text}");
            assert!(text.contains("tidegate_storage_free_min_bytes 4000\n"), "{text}");
            free.store(3_000, Ordering::Relaxed);
            tokio::time::sleep(LOOK_EVERY).await;
            let text = metrics.encode();
            assert!(text.contains("tidegate_storage_free_bytes 3000\n"), "{text}");
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(watching, changing);
        assert!(ended.is_ok());
    }
}
