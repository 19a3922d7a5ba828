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

/// Says how many bytes are free where a path lies. Cheap to clone.
#[derive(Clone)]
pub struct FreeSpace(Arc<Probe>);

type Probe = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

impl FreeSpace {
    /// What the file system says is free for us.
    #[must_use]
    pub fn of_disk() -> Self {
        Self::from_fn(|path| {
            let stat = rustix::fs::statvfs(path)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    /// What `free_bytes` says. For tests.
    #[must_use]
    pub fn from_fn(free_bytes: impl Fn(&Path) -> io::Result<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(free_bytes))
    }

    /// How many bytes are free where `path` lies.
    ///
    /// # Errors
    /// What the file system says.
    pub fn bytes(&self, path: &Path) -> io::Result<u64> {
        (self.0)(path)
    }
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreeSpace")
    }
}

/// Refuses appends while less than `min_bytes` are free.
#[derive(Debug)]
pub(super) struct LowWater {
    path: PathBuf,
    min_bytes: u64,
    free_space: FreeSpace,
    looked: Option<Instant>,
    is_low: bool,
}

impl LowWater {
    pub(super) fn new(path: &Path, min_bytes: u64, free_space: FreeSpace) -> Self {
        Self { path: path.to_owned(), min_bytes, free_space, looked: None, is_low: false }
    }

    /// Fails while the disk is nearly full. While it is, every call looks again, so that appends
    /// are taken as soon as there is room.
    pub(super) fn check(&mut self) -> Result<(), LogError> {
        let recent = self.looked.is_some_and(|at| at.elapsed() < EVERY);
        if recent && !self.is_low {
            return Ok(());
        }
        let free_bytes = self.free_space.bytes(&self.path).map_err(|source| LogError::Storage {
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
