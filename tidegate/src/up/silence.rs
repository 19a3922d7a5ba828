//! Inputs that fall silent.
//!
//! Owns: what silence is, and the alarm. Never: reading an input.

use runtime::metrics::{Gauges, Metrics, Unit};
use tracing::{error, info};

/// Lines before an input has a habit.
const LINES_MIN: u64 = 100;
/// No silence below this is worth an alarm, in milliseconds.
const SILENT_MS_MIN: i64 = 120_000;
/// How many times the longest usual gap a silence must be.
const GAPS: i64 = 4;

/// How often lines come from one input.
#[derive(Debug, Default)]
pub(super) struct Habit {
    lines: u64,
    last_ms: Option<i64>,
    longest_gap_ms: i64,
    silent: bool,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has been silent for so many milliseconds, longer than its habit.
    FellSilent(i64),
    /// Lines come again.
    CameBack,
}

/// The gauge of the alarm, for all inputs.
pub(super) fn declare(metrics: &Metrics) -> Gauges<1> {
    metrics.component("pipeline").gauges(
        "silent",
        Unit::Of("inputs"),
        "1 while an input is silent for longer than its habit",
        ["input"],
    )
}

/// Raises or ends the alarm.
pub(super) fn say(turn: Turn, input: &str, silent: &Gauges<1>) {
    let silent = silent.with([input]);
    match turn {
        Turn::FellSilent(ms) => {
            silent.set(1);
            error!(input, seconds = ms / 1000, "an input fell silent, longer than its habit");
        }
        Turn::CameBack => {
            silent.set(0);
            info!(input, "the input speaks again");
        }
    }
}

impl Habit {
    /// A line came.
    pub(super) fn line(&mut self, now_ms: i64) -> Option<Turn> {
        let gap = self.last_ms.map_or(0, |last| now_ms.saturating_sub(last));
        self.last_ms = Some(now_ms);
        self.lines += 1;
        let came_back = std::mem::take(&mut self.silent);
        if !came_back {
            self.longest_gap_ms = self.longest_gap_ms.max(gap);
        }
        came_back.then_some(Turn::CameBack)
    }

    /// Nothing came until now.
    pub(super) fn quiet(&mut self, now_ms: i64) -> Option<Turn> {
        let last = self.last_ms?;
        let silent_ms = now_ms.saturating_sub(last);
        let usual = self.longest_gap_ms.saturating_mul(GAPS).max(SILENT_MS_MIN);
        if self.silent || self.lines < LINES_MIN || silent_ms <= usual {
            return None;
        }
        self.silent = true;
        Some(Turn::FellSilent(silent_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::{Habit, Turn};

    #[test]
    fn silence_is_measured_by_the_inputs_own_habit_and_said_once() {
        let mut habit = Habit::default();
        for line in 0..200 {
            assert_eq!(habit.line(line * 60_000), None);
        }
        let last = 199 * 60_000;
        assert_eq!(habit.quiet(last + 240_000), None, "four usual gaps");
        assert_eq!(habit.quiet(last + 240_001), Some(Turn::FellSilent(240_001)));
        assert_eq!(habit.quiet(last + 500_000), None, "said already");
        assert_eq!(habit.line(last + 600_000), Some(Turn::CameBack));
        assert_eq!(habit.quiet(last + 600_000 + 240_001), Some(Turn::FellSilent(240_001)));
    }

    #[test]
    fn an_input_that_has_hardly_begun_is_not_silent() {
        let mut habit = Habit::default();
        habit.line(0);
        assert_eq!(habit.quiet(1_000_000_000), None);
    }
}
