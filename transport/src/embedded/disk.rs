//! How much room the disk has.
//!
//! Owns: the low-water mark.
//! Never: freeing anything.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::LogError;

/// How often the disk is asked: at 200 MB/s of appends 20 MB may pass in between.
const EVERY: Duration = Duration::from_millis(100);

/// Says how many bytes are free where a path lies.
pub(super) type Probe = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Asks the file system.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses appends while less than `min_bytes` are free.
pub(super) struct LowWater {
    path: PathBuf,
    min_bytes: u64,
    probe: Probe,
    looked: Option<Instant>,
    is_low: bool,
}

impl fmt::Debug for LowWater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LowWater")
            .field("path", &self.path)
            .field("min_bytes", &self.min_bytes)
            .finish_non_exhaustive()
    }
}

impl LowWater {
    pub(super) fn new(path: &Path, min_bytes: u64, probe: Probe) -> Self {
        Self { path: path.to_owned(), min_bytes, probe, looked: None, is_low: false }
    }

    /// Fails while the disk is nearly full. While it is, every call looks again, so that appends
    /// are taken as soon as there is room.
    pub(super) fn check(&mut self) -> Result<(), LogError> {
        let recent = self.looked.is_some_and(|at| at.elapsed() < EVERY);
        if recent && !self.is_low {
            return Ok(());
        }
        let free_bytes = (self.probe)(&self.path).map_err(|source| LogError::Storage {
            path: self.path.clone(),
            doing: "ask for the free space",
            source: Arc::new(source),
        })?;
        self.looked = Some(Instant::now());
        let is_low = free_bytes < self.min_bytes;
        self.tell(is_low, free_bytes);
        if is_low {
            let (path, min_bytes) = (self.path.clone(), self.min_bytes);
            return Err(LogError::DiskLow { path, free_bytes, min_bytes });
        }
        Ok(())
    }

    fn tell(&mut self, is_low: bool, free_bytes: u64) {
        if is_low == self.is_low {
            return;
        }
        self.is_low = is_low;
        let (path, min_bytes) = (self.path.display(), self.min_bytes);
        if is_low {
            tracing::error!(%path, free_bytes, min_bytes, "disk nearly full, appends are refused");
        } else {
            tracing::info!(%path, free_bytes, min_bytes, "disk has room again, appends are taken");
        }
    }
}
