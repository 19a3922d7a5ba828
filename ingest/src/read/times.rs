//! Moments as logs write them.
//!
//! Owns: the shapes of time and the input's zone. Never: reads a clock.
//!
//! Lines of one second share most of their stamp, so the last reading of each shape is kept.

use jiff::civil;
use jiff::tz::TimeZone;
use schemas::{EventTime, same};

const MILLIS_PER_SECOND: i64 = 1_000;

/// Reads moments; stamps without a zone are in the input's.
#[derive(Debug)]
pub(crate) struct Times {
    zone: TimeZone,
    clf: Memo,
    iso: Stamp,
}

/// Bytes of a zone behind an ISO stamp. None is longer.
const ZONE_BYTES_MAX: usize = 13;

/// The last stamp of ISO 8601, to the second, its zone, and what they came to.
#[derive(Debug, Default)]
struct Stamp {
    seconds: [u8; 19],
    zone: String,
    millis: Option<i64>,
}

impl Stamp {
    fn get(&self, seconds: &[u8; 19], zone: &str) -> Option<i64> {
        self.millis
            .filter(|_| self.seconds == *seconds && same(self.zone.as_bytes(), zone.as_bytes()))
    }

    /// What a stamp of the same second and zone with three digits behind a dot comes to: what most
    /// lines write.
    #[inline]
    fn again(&self, text: &[u8]) -> Option<i64> {
        let (seconds, rest) = text.split_first_chunk::<19>()?;
        let [b'.', a, b, c, zone @ ..] = rest else { return None };
        let digits = [*a, *b, *c].map(|byte| i64::from(byte.wrapping_sub(b'0')));
        if self.seconds != *seconds
            || !same(self.zone.as_bytes(), zone)
            || digits.iter().any(|digit| *digit > 9)
        {
            return None;
        }
        let [a, b, c] = digits;
        self.millis.map(|millis| millis + a * 100 + b * 10 + c)
    }

    fn put(&mut self, seconds: &[u8; 19], zone: &str, millis: i64) {
        (self.seconds, self.millis) = (*seconds, Some(millis));
        zone.clone_into(&mut self.zone);
    }
}

/// The last stamp read, and what it came to.
#[derive(Debug, Default)]
struct Memo {
    key: [u8; 32],
    len: usize,
    millis: i64,
}

impl Memo {
    fn get(&self, key: &[u8]) -> Option<i64> {
        (self.len > 0 && self.key.get(..self.len) == Some(key)).then_some(self.millis)
    }

    fn put(&mut self, key: &[u8], millis: i64) {
        if let Some(place) = self.key.get_mut(..key.len()) {
            place.copy_from_slice(key);
            (self.len, self.millis) = (key.len(), millis);
        }
    }
}

impl Times {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone, clf: Memo::default(), iso: Stamp::default() }
    }

    /// `07/Dec/2016:11:05:07 +0100`; also with a fraction of a second, or without a zone.
    pub(crate) fn clf(&mut self, text: &str) -> Option<EventTime> {
        if let Some(millis) = self.clf.get(text.as_bytes()) {
            return Some(EventTime(millis));
        }
        let millis = self.read_clf(text)?;
        self.clf.put(text.as_bytes(), millis);
        Some(EventTime(millis))
    }

    fn read_clf(&self, text: &str) -> Option<i64> {
        let (stamp, zone) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let (date, clock) = stamp.split_once(':')?;
        let mut date = date.split('/');
        let (day, month, year) = (date.next()?, month(date.next()?)?, date.next()?);
        let date = civil::Date::new(year.parse().ok()?, month, day.parse().ok()?).ok()?;
        let (clock, fraction) = split_fraction(clock);
        self.on(date, clock, Zone::read(zone)?).map(|millis| millis + fraction)
    }

    /// RFC 3339 and its relatives: `2026-11-20T08:00:00.123Z`, a space for the `T`, a comma for the
    /// dot, `+0000` for `+00:00`, no zone at all.
    pub(crate) fn iso(&mut self, text: &str) -> Option<EventTime> {
        if let Some(millis) = self.iso.again(text.as_bytes()) {
            return Some(EventTime(millis));
        }
        let (seconds, rest) = (text.get(..19)?, text.get(19..)?);
        let digits = rest
            .strip_prefix(['.', ','])
            .map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
        let (fraction, zone) = (millis_of(rest.get(..digits)?), rest.get(digits..)?);
        if zone.len() > ZONE_BYTES_MAX {
            return None;
        }
        let stamp = seconds.as_bytes().first_chunk::<19>()?;
        let millis = match self.iso.get(stamp, zone) {
            Some(millis) => millis,
            None => {
                let millis = self.read_iso(seconds, zone)?;
                self.iso.put(stamp, zone, millis);
                millis
            }
        };
        Some(EventTime(millis + fraction))
    }

    fn read_iso(&self, seconds: &str, zone: &str) -> Option<i64> {
        let (date, clock) = (seconds.get(..10)?, seconds.get(11..)?);
        matches!(seconds.as_bytes().get(10)?, b'T' | b't' | b' ' | b'_').then_some(())?;
        let mut date = date.split(['-', '/']);
        let (year, month, day) = (date.next()?, date.next()?, date.next()?);
        let date =
            civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
        self.on(date, clock, Zone::read(zone.trim())?)
    }

    /// `1763625600`, `1763625600.123`, or the same in milli-, micro- or nanoseconds, told apart by
    /// size.
    pub(crate) fn epoch(text: &str) -> Option<EventTime> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if text.contains(['e', 'E']) {
            return Self::epoch_of_float(text);
        }
        let whole = super::number::count(whole).filter(|whole| *whole > 0)?;
        let millis = match whole {
            ..=99_999_999_999 => whole * MILLIS_PER_SECOND + millis_of_digits(fraction)?,
            100_000_000_000..=99_999_999_999_999 => whole,
            100_000_000_000_000..=99_999_999_999_999_999 => whole / 1_000,
            _ => return None,
        };
        Some(EventTime(millis))
    }

    #[expect(clippy::cast_possible_truncation, reason = "bounded by the comparison before")]
    fn epoch_of_float(text: &str) -> Option<EventTime> {
        let seconds: f64 = text.parse().ok()?;
        (1.0..1e11).contains(&seconds).then_some(EventTime((seconds * 1e3) as i64))
    }

    /// Any of the shapes above.
    pub(crate) fn any(&mut self, text: &str) -> Option<EventTime> {
        if let [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] = text.as_bytes()
            && let Some(time) = self.iso(text)
        {
            return Some(time);
        }
        let text = text.trim().trim_start_matches('[').trim_end_matches(']');
        match text.as_bytes() {
            [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-' | b'/', ..] => self.iso(text),
            [b'0'..=b'9', .., _] if text.bytes().any(|b| b == b'/') => self.clf(text),
            [b'0'..=b'9', ..] if text.len() == 19 => Self::nanos(text),
            [b'0'..=b'9', ..] => Self::epoch(text),
            _ => None,
        }
    }

    fn nanos(text: &str) -> Option<EventTime> {
        text.parse::<i64>().ok().map(|nanos| EventTime(nanos / 1_000_000))
    }

    fn on(&self, date: civil::Date, clock: &str, zone: Zone) -> Option<i64> {
        let mut clock = clock.split(':');
        let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
        // A leap second counts as the last ordinary one.
        let second = second.parse::<i8>().ok()?.min(59);
        let time = civil::Time::new(hour.parse().ok()?, minute.parse().ok()?, second, 0).ok()?;
        let time = civil::DateTime::from_parts(date, time);
        match zone {
            Zone::Input => {
                let zoned = self.zone.to_ambiguous_zoned(time).compatible().ok()?;
                Some(zoned.timestamp().as_millisecond())
            }
            Zone::Offset(seconds) => {
                let utc = TimeZone::UTC.to_timestamp(time).ok()?;
                Some(utc.as_millisecond() - seconds * MILLIS_PER_SECOND)
            }
        }
    }
}

/// Where a stamp says it was.
#[derive(Debug, Clone, Copy)]
enum Zone {
    /// Nowhere: it is the input's.
    Input,
    /// Seconds east of Greenwich.
    Offset(i64),
}

impl Zone {
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Input);
        }
        if matches!(text, "Z" | "z" | "UTC" | "GMT") {
            return Some(Self::Offset(0));
        }
        let (sign, digits) = match text.split_at_checked(1)? {
            ("+", digits) => (1, digits),
            ("-", digits) => (-1, digits),
            _ => return None,
        };
        let (hours, minutes) = match digits.len() {
            2 => (digits, "0"),
            4 => digits.split_at_checked(2)?,
            5 => digits.split_once(':')?,
            _ => return None,
        };
        let (hours, minutes) = (super::number::count(hours)?, super::number::count(minutes)?);
        (hours <= 18 && minutes < 60).then_some(Self::Offset(sign * (hours * 3600 + minutes * 60)))
    }
}

/// The clock without its fraction, and the fraction in milliseconds.
fn split_fraction(clock: &str) -> (&str, i64) {
    match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, millis_of_digits(fraction).unwrap_or(0)),
        None => (clock, 0),
    }
}

/// `.123456` in whole milliseconds.
fn millis_of(fraction: &str) -> i64 {
    fraction.get(1..).and_then(millis_of_digits).unwrap_or(0)
}

fn millis_of_digits(digits: &str) -> Option<i64> {
    let mut step = 100;
    let mut millis = 0;
    for digit in digits.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        millis += i64::from(digit - b'0') * step;
        step /= 10;
    }
    Some(millis)
}

fn month(name: &str) -> Option<i8> {
    let names =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let place = names.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    i8::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::Times;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut times = Times::new(TimeZone::get("Europe/Berlin").unwrap());
        let first = times.any(text).map(|time| time.to_string());
        assert_eq!(first.as_deref(), Some(expected), "{text}");
        assert_eq!(times.any(text).map(|time| time.to_string()), first, "{text}, remembered");
    }

    #[test]
    fn common_log_times_read_in_their_zone() {
        check("07/Dec/2016:11:05:07 +0100", "2016-12-07T10:05:07.000Z");
        check("10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36.000Z");
        check("10/Dec/2018:12:01:46.395", "2018-12-10T11:01:46.395Z");
        check("30/Jul/2018:09:03:52.726", "2018-07-30T07:03:52.726Z");
    }

    #[test]
    fn iso_times_read_in_any_dress() {
        check("2026-11-20T08:00:00.123+00:00", "2026-11-20T08:00:00.123Z");
        check("2026-11-20T08:00:00Z", "2026-11-20T08:00:00.000Z");
        check("2021-11-12T16:59:45+0000", "2021-11-12T16:59:45.000Z");
        check("2021-11-12 16:59:45,5", "2021-11-12T15:59:45.500Z");
        check("2025-12-31T17:37:40.493035218+01:00", "2025-12-31T16:37:40.493Z");
        check("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z");
    }

    #[test]
    fn epochs_are_told_apart_by_size() {
        check("1763625600", "2025-11-20T08:00:00.000Z");
        check("1763625600.5", "2025-11-20T08:00:00.500Z");
        check("1763625600123", "2025-11-20T08:00:00.123Z");
        check("1763625600123456", "2025-11-20T08:00:00.123Z");
        check("1763625600123456789", "2025-11-20T08:00:00.123Z");
        check("1.763625600e9", "2025-11-20T08:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        let mut times = Times::new(TimeZone::UTC);
        for text in ["", "-", "yesterday", "99/Foo/2016:11:05:07 +0100", "2026-13-01T00:00:00Z"] {
            assert_eq!(times.any(text), None, "{text}");
        }
        assert_eq!(times.clf("07/Dec/2016:11:05:07 +9900"), None);
        assert_eq!(times.iso("2026-11-20T08:00:00.123 nonsense of a zone that goes on"), None);
    }
}
