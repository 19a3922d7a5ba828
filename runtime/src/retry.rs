//! Waiting for a dependency that is away.
//!
//! Owns: how long to wait between two tries.
//! Never: retrying what will not get better; only [`Class::Dependency`] is tried again.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::{Class, Classified, chain};
use crate::ready::Condition;

/// The longest wait that the other side may ask for; more than this is a mistake or an attack.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);

/// Waits that double from `first` to `cap`, each shortened at random by up to a half, so that many
/// processes do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// From 100 ms to 30 s; for anything across the network.
    #[must_use]
    pub fn network() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }

    /// From `first` to `cap`, with a seed that differs from process to process.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self::seeded(first, cap, RandomState::new().hash_one(0_u8))
    }

    /// From `first` to `cap`; the same seed gives the same waits.
    #[must_use]
    pub fn seeded(first: Duration, cap: Duration, seed: u64) -> Self {
        Self { first, cap, next: first.min(cap), random: seed }
    }

    /// The next wait. A hint of the other side replaces a shorter one, up to 15 minutes.
    pub fn next_wait(&mut self, hint: Option<Duration>) -> Duration {
        let half = self.next / 2;
        let wait = half + half.mul_f64(self.random_unit());
        self.next = self.next.saturating_mul(2).min(self.cap);
        hint.map_or(wait, |hint| wait.max(hint.min(RETRY_AFTER_MAX)))
    }

    /// Begins again at `first`; to be called after a success.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.cap);
    }

    /// Uniform in [0, 1). The generator is SplitMix64 (Steele, Lea, Flood 2014), which is good
    /// enough to spread waits.
    fn random_unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let upper = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
        f64::from(upper) / (f64::from(u32::MAX) + 1.0)
    }
}

/// How to try again.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What is tried, for the log: `connect to the broker`.
    pub what: String,
    /// The waits between tries.
    pub backoff: Backoff,
    /// After so many tries the last error is given back; none: never.
    pub tries_max: Option<u32>,
    /// Told while waiting, and when it worked.
    pub condition: Option<Condition>,
}

impl Policy {
    /// For ever, with the waits of [`Backoff::network`].
    #[must_use]
    pub fn network(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            backoff: Backoff::network(),
            tries_max: None,
            condition: None,
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub enum Ended<E> {
    /// Trying again does not help, or was done often enough.
    Failed(E),
    /// The process ends.
    Shutdown,
}

impl<E: fmt::Display> fmt::Display for Ended<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Shutdown => f.write_str("not tried again, because the process ends"),
        }
    }
}

impl<E: Error> Error for Ended<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Shutdown => None,
        }
    }
}

impl<E: Classified> Classified for Ended<E> {
    fn class(&self) -> Class {
        match self {
            Self::Failed(error) => error.class(),
            Self::Shutdown => Class::Dependency,
        }
    }
}

/// Runs `attempt` until it succeeds, fails with something else than [`Class::Dependency`], has
/// been tried often enough, or the process ends. An attempt that is under way at that moment is
/// dropped.
///
/// # Errors
/// The last error, or [`Ended::Shutdown`].
pub async fn retry<T, E, F>(
    policy: Policy,
    shutdown: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Ended<E>>
where
    F: Future<Output = Result<T, E>>,
    E: Error + Classified + 'static,
{
    let Policy { what, mut backoff, tries_max, condition } = policy;
    let mut tries: u32 = 0;
    loop {
        let Some(result) = shutdown.run_until_cancelled(attempt()).await else {
            return Err(Ended::Shutdown);
        };
        tries = tries.saturating_add(1);
        let error = match result {
            Ok(value) => {
                if tries > 1 {
                    info!(what, tries, "worked again");
                }
                if let Some(condition) = &condition {
                    condition.ready();
                }
                return Ok(value);
            }
            Err(error) => error,
        };
        let enough = tries_max.is_some_and(|max| tries >= max);
        if error.class() != Class::Dependency || enough {
            return Err(Ended::Failed(error));
        }
        let wait = backoff.next_wait(error.retry_after());
        let reason = chain(&error);
        warn!(what, tries, reason, wait_ms = wait.as_millis(), "waiting to try again");
        if let Some(condition) = &condition {
            condition.waiting(&reason);
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return Err(Ended::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests;
