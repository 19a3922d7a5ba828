//! Windows over event time.
//!
//! Owns: the arithmetic of windows, panes and the distance at which firing windows are one
//! episode. Never: state, watermarks, SQL.
//!
//! Whole milliseconds since the epoch. Window `k` is `[k·slide, k·slide + size)` for every integer
//! `k`; pane `q` is `[q·slide, (q+1)·slide)`. The slide divides the size, so a window is
//! `size/slide` whole panes, from pane `k` on.

use crate::rule;

/// Panes in a window at most.
pub const PANES_MAX: i64 = 32;

/// The last moment that an event may claim, and its negative the first: the end of the year 9999.
/// Beyond it stand only watermarks, so that no sum of moment and window overflows.
pub const MOMENT_MAX_MS: i64 = 253_402_300_799_999;

/// Whether an event can be from this moment.
#[must_use]
pub fn is_moment(at_ms: i64) -> bool {
    (-MOMENT_MAX_MS..=MOMENT_MAX_MS).contains(&at_ms)
}

/// A size and slide that do not make windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Zero or less.
    #[error("a window of {size_ms} ms that slides by {slide_ms} ms holds no time")]
    Empty {
        /// Length asked for.
        size_ms: i64,
        /// Slide asked for.
        slide_ms: i64,
    },
    /// The slide does not divide the size, or too finely.
    #[error(
        "a slide of {slide_ms} ms does not cut a window of {size_ms} ms into 1 to {PANES_MAX} panes"
    )]
    Uneven {
        /// Length asked for.
        size_ms: i64,
        /// Slide asked for.
        slide_ms: i64,
    },
}

/// The windows of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    size_ms: i64,
    slide_ms: i64,
}

impl Windows {
    /// Windows of this size that start every `slide_ms`.
    ///
    /// # Errors
    /// Unless the slide divides the size into 1 to [`PANES_MAX`] panes.
    pub fn new(size_ms: i64, slide_ms: i64) -> Result<Self, WindowError> {
        if size_ms <= 0 || slide_ms <= 0 {
            return Err(WindowError::Empty { size_ms, slide_ms });
        }
        if size_ms % slide_ms != 0 || size_ms / slide_ms > PANES_MAX {
            return Err(WindowError::Uneven { size_ms, slide_ms });
        }
        Ok(Self { size_ms, slide_ms })
    }

    /// Length of a window in milliseconds.
    #[must_use]
    pub fn size_ms(self) -> i64 {
        self.size_ms
    }

    /// The first window that begins at a moment or later.
    #[must_use]
    pub fn first_from(self, at_ms: i64) -> i64 {
        let k = at_ms.div_euclid(self.slide_ms);
        if at_ms.rem_euclid(self.slide_ms) == 0 { k } else { k.saturating_add(1) }
    }

    /// Length of a pane in milliseconds.
    #[must_use]
    pub fn slide_ms(self) -> i64 {
        self.slide_ms
    }

    /// Panes in a window.
    #[must_use]
    pub fn panes(self) -> i64 {
        self.size_ms / self.slide_ms
    }

    /// The pane that holds a moment.
    #[must_use]
    pub fn pane_of(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.slide_ms)
    }

    /// The first window that holds a moment; the last is [`Windows::pane_of`] it.
    #[must_use]
    pub fn first_of(self, at_ms: i64) -> i64 {
        self.pane_of(at_ms).saturating_sub(self.panes() - 1)
    }

    /// First moment of window `k`, and of pane `k`.
    #[must_use]
    pub fn start(self, k: i64) -> i64 {
        k.saturating_mul(self.slide_ms)
    }

    /// First moment after window `k`.
    #[must_use]
    pub fn end(self, k: i64) -> i64 {
        self.start(k).saturating_add(self.size_ms)
    }
}

impl TryFrom<rule::Window> for Windows {
    type Error = WindowError;

    fn try_from(window: rule::Window) -> Result<Self, WindowError> {
        Self::new(window.size_ms, window.slide_ms)
    }
}

/// How far apart two firing points may be and still belong to one episode.
///
/// A firing point is a window's number, or an event's time for rules without a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Windows `k`, `k'` with `|k−k'| ≤ ⌊(W+G)/S⌋`.
    Windows {
        /// The rule's windows.
        windows: Windows,
        /// Re-arm gap G in milliseconds.
        rearm_ms: i64,
    },
    /// Events no more than this many milliseconds apart.
    Events {
        /// Re-arm gap in milliseconds.
        rearm_ms: i64,
    },
}

impl Link {
    /// Greatest distance of two linked firing points.
    #[must_use]
    pub fn reach(self) -> i64 {
        match self {
            Self::Windows { windows, rearm_ms } => {
                windows.size_ms.saturating_add(rearm_ms) / windows.slide_ms
            }
            Self::Events { rearm_ms } => rearm_ms,
        }
    }

    /// A stretch of time within which all firing of a key is one episode, in milliseconds: the
    /// slide, or for single events the re-arm gap.
    #[must_use]
    pub fn pane_ms(self) -> i64 {
        match self {
            Self::Windows { windows, .. } => windows.slide_ms,
            Self::Events { rearm_ms } => rearm_ms.max(1),
        }
    }

    /// The watermark from which nothing can extend an episode whose last firing point is `hi`.
    ///
    /// For windows `hi·S + 2W + G`: by then the last window within reach has closed. For events
    /// one more than `hi + G`, since an event exactly at the watermark is not late yet.
    #[must_use]
    pub fn over_at(self, hi: i64) -> i64 {
        match self {
            Self::Windows { windows, rearm_ms } => windows
                .start(hi)
                .saturating_add(windows.size_ms.saturating_mul(2))
                .saturating_add(rearm_ms),
            Self::Events { rearm_ms } => hi.saturating_add(rearm_ms).saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{Link, WindowError, Windows};

    #[test]
    fn an_event_on_the_edge_belongs_to_the_later_pane() {
        let windows = Windows::new(60_000, 10_000).unwrap();
        assert_eq!(windows.pane_of(9_999), 0);
        assert_eq!(windows.pane_of(10_000), 1);
        assert_eq!(windows.pane_of(-1), -1, "panes before the epoch count downwards");
    }

    #[test]
    fn a_slide_that_does_not_divide_the_window_is_refused() {
        let refused = WindowError::Uneven { size_ms: 60_000, slide_ms: 7_000 };
        assert_eq!(Windows::new(60_000, 7_000), Err(refused));
        assert!(Windows::new(33_000, 1_000).is_err(), "33 panes");
        assert!(Windows::new(0, 1_000).is_err());
    }

    #[test]
    fn an_episode_is_over_when_the_last_window_within_reach_has_closed() {
        let windows = Windows::new(60_000, 10_000).unwrap();
        let link = Link::Windows { windows, rearm_ms: 25_000 };
        assert_eq!(link.reach(), 8);
        assert!(windows.end(5 + link.reach()) <= link.over_at(5));
        assert_eq!(Link::Events { rearm_ms: 10 }.over_at(5), 16);
    }

    proptest! {
        #[test]
        fn exactly_the_windows_from_first_to_last_hold_a_moment(
            at in -10_000_000_i64..10_000_000, slide in 1_i64..5_000, panes in 1_i64..=32,
        ) {
            let windows = Windows::new(slide * panes, slide).unwrap();
            let (first, last) = (windows.first_of(at), windows.pane_of(at));
            prop_assert_eq!(last - first + 1, panes);
            for k in first - 2..=last + 2 {
                let holds = windows.start(k) <= at && at < windows.end(k);
                prop_assert_eq!(holds, (first..=last).contains(&k), "window {}", k);
            }
        }

        #[test]
        fn no_moment_is_too_far(at in any::<i64>(), slide in 1_i64..5_000) {
            let windows = Windows::new(slide * 32, slide).unwrap();
            prop_assert!(windows.start(windows.pane_of(at)) <= at);
            prop_assert!(windows.end(windows.pane_of(at)) > at || at > i64::MAX - slide * 64);
        }
    }
}
