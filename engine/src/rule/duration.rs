//! Lengths of time as people write them, and the slides that fit a window.
//!
//! Owns: `5m`, `90s`, `-1h30m` ⇄ milliseconds; the default slide. Never: clocks.

use std::fmt::Write as _;

/// Units with their milliseconds, longest first.
const UNITS: [(&str, i64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Panes of a window at most.
pub(crate) const PANES_MAX: i64 = 32;

/// Slides that are chosen without being asked for, in seconds.
const USUAL_SLIDES: [i64; 17] =
    [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800];
/// The two longest of them.
const LONG_SLIDES: [i64; 2] = [21_600, 43_200];

/// Reads a length such as `5m`, `1h30m`, `250ms` or `-1d`.
///
/// # Errors
/// The text says what is wrong with it, and what to write.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let (sign, rest) = match text.trim().strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim()),
    };
    if rest.is_empty() {
        return Err("a length of time is missing; write such as `30s`, `5m`, `1h`".to_owned());
    }
    let mut total: i64 = 0;
    let mut rest = rest;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let millis = part(text, number, unit)?;
        total = total.checked_add(millis).ok_or_else(|| format!("`{text}` is too long"))?;
        rest = after.trim_start();
    }
    Ok(sign * total)
}

fn part(text: &str, number: &str, unit: &str) -> Result<i64, String> {
    if number.is_empty() {
        return Err(format!("`{text}` is not a length of time; write such as `30s`, `5m`, `1h`"));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit; write `{number}s`, `{number}m` or `{number}h`"));
    }
    if matches!(unit, "mo" | "mon" | "month" | "months" | "M" | "y" | "year" | "years") {
        return Err("months and years differ in length; write days, such as `30d`".to_owned());
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{unit}` is not a unit of time; write ms, s, m, h, d or w"));
    };
    number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(*millis))
        .ok_or_else(|| format!("`{text}` is too long"))
}

/// Writes a length in as few units as it takes: `90s` is `1m30s`, zero is `0s`.
pub(crate) fn format(millis: i64) -> String {
    let mut text = String::new();
    if millis < 0 {
        text.push('-');
    }
    let mut rest = millis.unsigned_abs();
    for (unit, length) in UNITS {
        let length = length.unsigned_abs();
        // A week is written as days: people count days up to a month.
        if unit == "w" || rest < length {
            continue;
        }
        let written = write!(text, "{}{unit}", rest / length);
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        rest %= length;
    }
    if millis == 0 { "0s".to_owned() } else { text }
}

/// The slide that a window gets unless its rule names one: the shortest usual slide that divides
/// it into at most [`PANES_MAX`] panes.
pub(crate) fn default_slide(window_ms: i64) -> Option<i64> {
    USUAL_SLIDES
        .iter()
        .chain(&LONG_SLIDES)
        .map(|seconds| seconds * 1000)
        .find(|slide| window_ms % slide == 0 && window_ms / slide <= PANES_MAX)
}

/// The slides nearest to `wanted` that divide the window, shorter first; one or two.
pub(crate) fn nearest_slides(window_ms: i64, wanted_ms: i64) -> Vec<i64> {
    // People think in whole seconds; only a window that is none has other slides.
    let unit = if window_ms % 1000 == 0 { 1000 } else { 1 };
    let fits = |panes: &i64| window_ms % (panes * unit) == 0;
    let fitting: Vec<i64> =
        (1..=PANES_MAX).rev().filter(fits).map(|panes| window_ms / panes).collect();
    let below = fitting.iter().rev().find(|slide| **slide <= wanted_ms);
    let above = fitting.iter().find(|slide| **slide > wanted_ms);
    below.into_iter().chain(above).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{default_slide, format, nearest_slides, parse};

    #[test]
    fn lengths_read_as_written() {
        assert_eq!(parse("5m"), Ok(300_000));
        assert_eq!(parse("1h30m"), Ok(5_400_000));
        assert_eq!(parse("250ms"), Ok(250));
        assert_eq!(parse("-30d"), Ok(-2_592_000_000));
        assert_eq!(parse("2w"), Ok(1_209_600_000));
    }

    #[test]
    fn what_is_not_a_length_says_what_to_write() {
        let error = |text| parse(text).unwrap_err();
        assert_eq!(error("300"), "`300` has no unit; write `300s`, `300m` or `300h`");
        assert_eq!(error("5 aeons"), "`aeons` is not a unit of time; write ms, s, m, h, d or w");
        assert_eq!(error("5min"), "`min` is not a unit of time; write ms, s, m, h, d or w");
        assert_eq!(error("1mo"), "months and years differ in length; write days, such as `30d`");
        assert_eq!(error("99999999999999999w"), "`99999999999999999w` is too long");
        assert_eq!(
            error("soon"),
            "`soon` is not a length of time; write such as `30s`, `5m`, `1h`"
        );
    }

    #[test]
    fn the_default_slide_is_the_shortest_usual_one() {
        let slide = |text| default_slide(parse(text).unwrap()).map(format);
        assert_eq!(slide("5m").as_deref(), Some("10s"));
        assert_eq!(slide("10m").as_deref(), Some("20s"));
        assert_eq!(slide("1m").as_deref(), Some("2s"));
        assert_eq!(slide("1h").as_deref(), Some("2m"));
        assert_eq!(slide("24h").as_deref(), Some("1h"));
        assert_eq!(slide("1s").as_deref(), Some("1s"));
        assert_eq!(slide("7m13s"), None);
    }

    #[test]
    fn the_nearest_slides_divide_the_window() {
        let slides = |window, wanted| {
            let slides = nearest_slides(parse(window).unwrap(), parse(wanted).unwrap());
            slides.into_iter().map(format).collect::<Vec<_>>()
        };
        assert_eq!(slides("5m", "7s"), ["10s"]);
        assert_eq!(slides("5m", "11s"), ["10s", "12s"]);
        assert_eq!(slides("5m", "10m"), ["5m"]);
    }

    proptest! {
        #[test]
        fn a_length_reads_back_as_written(millis in -10_000_000_000_i64..10_000_000_000) {
            prop_assert_eq!(parse(&format(millis)), Ok(millis));
        }

        #[test]
        fn a_default_slide_fits(seconds in 1_i64..90_000) {
            if let Some(slide) = default_slide(seconds * 1000) {
                prop_assert_eq!(seconds * 1000 % slide, 0);
                prop_assert!(seconds * 1000 / slide <= 32);
            }
        }
    }
}
