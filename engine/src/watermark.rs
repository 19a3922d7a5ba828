//! How far a source partition has come.
//!
//! Owns: the watermark of one partition, the guard against stamps from the future, the bound for
//! stragglers. Never: a clock; moments come in with the events.
//!
//! Everything here is a function of the partition's log, event by event, and not of how that log
//! was cut into batches.

use schemas::EventTime;

/// An event may be this much later than the log's own stamp before it is taken for wrong.
pub const AHEAD_MS_MAX: i64 = 5_000;
/// In replay an event may be this much later than the one before without a second that agrees.
pub const JUMP_MS_MAX: i64 = 3_600_000;
/// Λ is the largest lateness of any source and this.
pub const STRAGGLER_SLACK_MS: i64 = 60_000;

/// What protects the others from a wrong or hostile clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A live log, whose records carry the moment at which they were appended.
    Live {
        /// Milliseconds that an event may be ahead of that moment.
        ahead_ms: i64,
    },
    /// Files: no such moment, so an event that jumps ahead waits for a second one that agrees.
    Replay {
        /// Milliseconds that an event may be ahead of the latest before it.
        jump_ms: i64,
    },
    /// Every stamp is believed.
    Off,
}

impl Guard {
    /// For a live log, as documented.
    pub const LIVE: Self = Self::Live { ahead_ms: AHEAD_MS_MAX };
    /// For files, as documented.
    pub const REPLAY: Self = Self::Replay { jump_ms: JUMP_MS_MAX };
}

/// Where an event falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The moment that windows and watermark go by.
    pub at: i64,
    /// Whether that is not the event's own stamp, because that one lies in the future.
    pub future: bool,
    /// Whether it was before the watermark.
    pub late: bool,
}

/// The watermark of one source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    lateness_ms: i64,
    current: EventTime,
    seen: Option<i64>,
}

impl Watermark {
    /// Before the first event. `lateness_ms` is D.
    #[must_use]
    pub fn new(lateness_ms: i64) -> Self {
        Self { lateness_ms, current: EventTime::MIN, seen: None }
    }

    /// As of a frame that was sent: the latest event is taken to be D ahead of the watermark.
    #[must_use]
    pub fn resumed(lateness_ms: i64, current: EventTime) -> Self {
        let seen = (current != EventTime::MIN).then(|| current.plus(lateness_ms).millis());
        Self { lateness_ms, current, seen }
    }

    /// The watermark: no event before it is to come, and one that does is late.
    #[must_use]
    pub fn current(&self) -> EventTime {
        self.current
    }

    /// The latest event so far.
    #[must_use]
    pub fn seen(&self) -> Option<i64> {
        self.seen
    }

    /// Whether a stamp jumps further ahead than `jump_ms`, so that a second must agree.
    #[must_use]
    pub fn jumps(&self, stamp: i64, jump_ms: i64) -> bool {
        self.seen.is_some_and(|seen| stamp > seen.saturating_add(jump_ms))
    }

    /// Takes the next event of the partition. `ceiling` is the latest moment it is believed to
    /// be from; a stamp above takes the ceiling's place.
    pub fn take(&mut self, stamp: i64, ceiling: i64) -> Place {
        let at = stamp.min(ceiling);
        let late = EventTime(at) < self.current;
        self.seen = self.seen.max(Some(at));
        self.raise(EventTime(at).minus(self.lateness_ms));
        Place { at, future: at < stamp, late }
    }

    /// The reader stands at the end of the partition at `now`: all before is here.
    pub fn quiet(&mut self, now: EventTime) {
        self.raise(now.minus(self.lateness_ms));
    }

    /// The partition has ended for ever.
    pub fn end(&mut self) {
        self.current = EventTime::MAX;
    }

    /// Raises the watermark to `bound`; it never falls.
    pub fn raise(&mut self, bound: EventTime) {
        self.current = self.current.max(bound);
    }

    /// Where a row stands that belongs to no moment of its own, such as a dropped line: at its
    /// own time where that is between watermark and latest event, else at the nearer of them.
    #[must_use]
    pub fn clamp(&self, stamp: i64) -> i64 {
        let at = stamp.max(self.current.millis());
        match self.seen {
            Some(seen) => at.min(seen.max(self.current.millis())),
            None => at,
        }
    }
}

/// The bound that a partition's watermark is raised to when the fastest is more than Λ ahead.
///
/// Its owner then declares it a straggler: what it brings before the bound is late. `None` while
/// it keeps up, and where the fastest has ended, since an end says nothing about the present.
#[must_use]
pub fn straggler_bound(own: EventTime, fastest: EventTime, skew_ms: i64) -> Option<EventTime> {
    if fastest == EventTime::MAX {
        return None;
    }
    let bound = fastest.minus(skew_ms);
    (own < bound).then_some(bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use schemas::EventTime;

    use super::{Place, Watermark, straggler_bound};

    fn on_time(at: i64) -> Place {
        Place { at, future: false, late: false }
    }

    #[test]
    fn an_event_at_the_watermark_is_not_late_and_one_before_is() {
        let mut watermark = Watermark::new(10);
        assert_eq!(watermark.take(100, i64::MAX), on_time(100));
        assert_eq!(watermark.take(90, i64::MAX), on_time(90));
        assert_eq!(watermark.take(89, i64::MAX), Place { late: true, ..on_time(89) });
        assert_eq!(watermark.current(), EventTime(90));
    }

    #[test]
    fn a_stamp_above_its_ceiling_makes_nobody_late() {
        let mut watermark = Watermark::new(10);
        assert_eq!(watermark.take(1_000_000, 100), Place { future: true, ..on_time(100) });
        assert_eq!(watermark.take(95, 101), on_time(95));
    }

    #[test]
    fn a_quiet_partition_follows_the_reader_and_never_falls_back() {
        let mut watermark = Watermark::new(10);
        watermark.quiet(EventTime(50));
        assert_eq!(watermark.current(), EventTime(40));
        watermark.quiet(EventTime(30));
        assert_eq!(watermark.current(), EventTime(40));
        watermark.end();
        assert_eq!(watermark.current(), EventTime::MAX);
    }

    #[test]
    fn a_dropped_row_stands_between_watermark_and_latest_event() {
        let mut watermark = Watermark::new(10);
        assert_eq!(watermark.clamp(7), 7, "nothing seen yet");
        watermark.take(100, i64::MAX);
        assert_eq!((watermark.clamp(7), watermark.clamp(95), watermark.clamp(700)), (90, 95, 100));
    }

    #[test]
    fn only_a_partition_more_than_the_bound_behind_is_a_straggler() {
        let bound = |own, fastest| straggler_bound(EventTime(own), EventTime(fastest), 70);
        assert_eq!(bound(30, 100), None);
        assert_eq!(bound(29, 100), Some(EventTime(30)));
        assert_eq!(bound(i64::MIN, 100), Some(EventTime(30)));
        assert_eq!(bound(29, i64::MAX), None);
        assert_eq!(bound(i64::MIN, i64::MIN), None);
    }

    proptest! {
        #[test]
        fn it_is_the_greatest_event_less_the_lateness(
            stamps in proptest::collection::vec(-1_000_i64..1_000, 1..50), lateness in 0_i64..200,
        ) {
            let mut watermark = Watermark::new(lateness);
            let mut greatest = i64::MIN;
            for stamp in stamps {
                let late = greatest > i64::MIN && stamp < greatest - lateness;
                prop_assert_eq!(watermark.take(stamp, i64::MAX).late, late);
                greatest = greatest.max(stamp);
                prop_assert!(watermark.current() == EventTime(greatest - lateness));
                let resumed = Watermark::resumed(lateness, watermark.current());
                prop_assert_eq!(resumed, watermark);
            }
        }
    }
}
