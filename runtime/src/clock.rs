//! Processing time.
//!
//! Owns: the only reading of the machine's clock.
//! Never: event time, which comes with the events; sleeping, which is tokio's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the processing time. Cheap to clone; clones of a manual clock move together.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock. It may jump, also backwards.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands at `unix_ms` until it is moved.
    #[must_use]
    pub fn manual(unix_ms: i64) -> ManualClock {
        ManualClock(Arc::new(AtomicI64::new(unix_ms)))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds; negative before.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        match &self.0 {
            Kind::System => system_ms(),
            Kind::Manual(now) => now.load(Ordering::SeqCst),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that the lint points to")]
fn system_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// Moves the clocks it gives. For tests and for replaying.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows what this one is set to.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Kind::Manual(Arc::clone(&self.0)))
    }

    /// Sets all clocks of this hand.
    pub fn set_ms(&self, unix_ms: i64) {
        self.0.store(unix_ms, Ordering::SeqCst);
    }

    /// Moves all clocks of this hand; negative is backwards.
    pub fn advance_ms(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_manual_clock_moves_only_by_hand_and_with_its_clones() {
        let hand = Clock::manual(1_000);
        let (one, other) = (hand.clock(), hand.clock());
        hand.advance_ms(500);
        assert_eq!((one.unix_ms(), other.clone().unix_ms()), (1_500, 1_500));
        hand.set_ms(-1);
        assert_eq!(one.unix_ms(), -1);
    }

    #[test]
    fn the_system_clock_is_past_the_day_this_was_written() {
        assert!(Clock::system().unix_ms() > 1_760_000_000_000);
    }
}
