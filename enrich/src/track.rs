//! Validity in event time.
//!
//! Owns: which of several spans holds at a moment. Never: what the spans mean.

use schemas::EventTime;

/// From `start` on and before `end`, row `fact` of a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: EventTime,
    pub(crate) end: EventTime,
    pub(crate) fact: u32,
}

/// Spans by their start. They may overlap: the one that started last holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track(Vec<Span>);

impl Track {
    /// Of two spans with one start the later listed holds.
    pub(crate) fn new(mut spans: Vec<Span>) -> Self {
        spans.sort_by_key(|span| span.start);
        Self(spans)
    }

    /// The span that holds at this moment.
    pub(crate) fn at(&self, moment: EventTime) -> Option<&Span> {
        let begun = self.0.partition_point(|span| span.start <= moment);
        self.0.iter().take(begun).rev().find(|span| moment < span.end)
    }

    /// The last span that has begun, over or not; before all of them, the first.
    pub(crate) fn near(&self, moment: EventTime) -> Option<&Span> {
        let begun = self.0.partition_point(|span| span.start <= moment);
        self.0.iter().take(begun).next_back().or_else(|| self.0.first())
    }
}

#[cfg(test)]
mod tests {
    use schemas::EventTime;

    use super::{Span, Track};

    fn track(spans: &[(i64, i64)]) -> Track {
        let span = |(fact, (start, end)): (usize, &(i64, i64))| Span {
            start: EventTime(*start),
            end: EventTime(*end),
            fact: u32::try_from(fact).unwrap(),
        };
        Track::new(spans.iter().enumerate().map(span).collect())
    }

    #[track_caller]
    fn check(spans: &[(i64, i64)], moment: i64, holds: Option<u32>, near: Option<u32>) {
        let track = track(spans);
        let moment = EventTime(moment);
        assert_eq!(track.at(moment).map(|span| span.fact), holds, "at");
        assert_eq!(track.near(moment).map(|span| span.fact), near, "near");
    }

    #[test]
    fn the_span_that_started_last_holds_until_its_end() {
        let spans = [(0, 100), (10, 20)];
        check(&spans, -1, None, Some(0));
        check(&spans, 9, Some(0), Some(0));
        check(&spans, 10, Some(1), Some(1));
        check(&spans, 20, Some(0), Some(1));
        check(&spans, 100, None, Some(1));
    }

    #[test]
    fn of_two_with_one_start_the_later_listed_holds() {
        check(&[(5, 9), (5, 9)], 5, Some(1), Some(1));
        check(&[], 5, None, None);
    }
}
