//! Time as this tool needs it: the machine's clock, waits, and dates as access logs write them.
//!
//! Owns: the only readings of the clock in `xtask`. Never: anything that the pipeline decides by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time: milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "the demo's traffic runs up to this moment")]
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment, later by `ms` (earlier where negative).
    pub(crate) fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// `10/Oct/2026:13:55:36 +0000`, as nginx and Apache write it.
    pub(crate) fn clf(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let name = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&"Jan");
        format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }

    /// `2026-10-10T13:55:36.250Z`.
    pub(crate) fn rfc3339(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let ms = self.0.rem_euclid(1000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }

    fn time(self) -> (i64, i64, i64) {
        let seconds = self.0.div_euclid(1000).rem_euclid(86_400);
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// The proleptic Gregorian date. Counting years from March puts the leap day at the end of a
    /// year, so that a month's first day is a linear function of its number (30.6 days each).
    fn date(self) -> (i64, i64, i64) {
        let days = self.0.div_euclid(86_400_000) + 719_468; // from 0000-03-01
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day_of_month = day - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        (era * 400 + year + carry, month, day_of_month)
    }
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "no runtime here whose clock could be paused")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "no runtime here that this could block")]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Asks every 50 ms until `ready` says so or `limit` has passed; false when it never did.
pub(crate) fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let watch = Stopwatch::start();
    loop {
        if ready() {
            return true;
        }
        if watch.elapsed() > limit {
            return false;
        }
        pause(Duration::from_millis(50));
    }
}

/// `1 min 05 s`, `7.3 s`.
pub(crate) fn spoken(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", length.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Moment, spoken};

    #[test]
    fn dates_are_right_on_both_sides_of_a_leap_day() {
        assert_eq!(Moment(0).rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Moment(951_782_399_999).rfc3339(), "2000-02-28T23:59:59.999Z");
        assert_eq!(Moment(951_782_400_000).rfc3339(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Moment(951_868_800_000).rfc3339(), "2000-03-01T00:00:00.000Z");
        assert_eq!(Moment(1_798_761_599_000).rfc3339(), "2026-12-31T23:59:59.000Z");
        assert_eq!(Moment(-1).rfc3339(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn log_dates_are_as_nginx_writes_them() {
        assert_eq!(Moment(1_476_107_736_000).clf(), "10/Oct/2016:13:55:36 +0000");
        assert_eq!(Moment(1_767_225_600_000).clf(), "01/Jan/2026:00:00:00 +0000");
    }

    #[test]
    fn lengths_are_spoken_in_minutes_from_one_minute_on() {
        assert_eq!(spoken(Duration::from_millis(7_340)), "7.3 s");
        assert_eq!(spoken(Duration::from_secs(65)), "1 min 05 s");
    }
}
