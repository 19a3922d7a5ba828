//! What was wanted of the whole way, and by how much a run misses it.
//!
//! Owns: the figures that were asked for. Never: measuring, or the words about why.
//!
//! They were set in microseconds on a machine where sonic-rs takes 0.24 µs for the twelve fields of
//! a JSON line; here they are multiples of what it takes in the same run.

use std::time::Duration;

/// What the floor of a line cost on the machine where figures were set, in nanoseconds: sonic-rs
/// reading twelve fields of a JSON line of 400 B. Machines are compared by it.
pub(super) const FLOOR_WHERE_SET_NS: f64 = 240.0;

/// What a run shows of one format and rule set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) cpu: Duration,
    pub(super) peak_mb: u64,
    /// What DuckDB took, where it ran to its end.
    pub(super) beside: Option<Duration>,
}

/// One figure.
#[derive(Debug)]
struct Wanted {
    format: &'static str,
    rules: &'static str,
    at_most: Limit,
}

#[derive(Debug)]
enum Limit {
    /// Nanoseconds a line, where the floor is [`FLOOR_WHERE_SET_NS`].
    Nanos(f64),
    /// Percent of what DuckDB takes.
    OfDuckDb(f64),
    /// Resident memory.
    PeakMb(f64),
}

const WANTED: [Wanted; 8] = [
    Wanted { format: "combined", rules: "no rules", at_most: Limit::Nanos(800.0) },
    Wanted { format: "JSON", rules: "no rules", at_most: Limit::Nanos(1_000.0) },
    Wanted { format: "JSON", rules: "W1", at_most: Limit::Nanos(900.0) },
    Wanted { format: "JSON", rules: "W10", at_most: Limit::Nanos(1_300.0) },
    Wanted { format: "JSON", rules: "W10", at_most: Limit::OfDuckDb(100.0) },
    Wanted { format: "JSON", rules: "W100", at_most: Limit::Nanos(2_500.0) },
    Wanted { format: "JSON", rules: "W100", at_most: Limit::OfDuckDb(25.0) },
    Wanted { format: "JSON", rules: "W100", at_most: Limit::PeakMb(300.0) },
];

/// A table of those figures that the run can be held to; `found` gives what it shows of a format
/// and a rule set.
pub(super) fn table(
    floor: Option<Duration>,
    found: impl Fn(&str, &str) -> Option<Found>,
) -> String {
    let rows = WANTED.iter();
    let rows: String =
        rows.filter_map(|wanted| wanted.row(floor, found(wanted.format, wanted.rules)?)).collect();
    if rows.is_empty() {
        return rows;
    }
    format!("| what | at most | here | |\n| --- | --- | --- | --- |\n{rows}")
}

impl Wanted {
    fn row(&self, floor: Option<Duration>, found: Found) -> Option<String> {
        let Self { format, rules, .. } = self;
        let (what, unit, at_most, here) = match self.at_most {
            Limit::Nanos(nanos) => {
                ("", " floors", nanos / FLOOR_WHERE_SET_NS, found.cpu.div_duration_f64(floor?))
            }
            Limit::OfDuckDb(percent) => {
                let share = found.cpu.div_duration_f64(found.beside?) * 100.0;
                (", of what DuckDB takes", " %", percent, share)
            }
            Limit::PeakMb(mb) => {
                let peak = u32::try_from(found.peak_mb).unwrap_or(u32::MAX);
                (", peak memory", " MB", mb, f64::from(peak))
            }
        };
        let digits = if unit == " floors" { 1 } else { 0 };
        let missed = ((here / at_most - 1.0) * 100.0).ceil();
        let verdict =
            if missed > 0.0 { format!("missed by {missed:.0} %") } else { "reached".to_owned() };
        Some(format!(
            "| {format}, {rules}{what} | {at_most:.digits$}{unit} | {here:.digits$}{unit} | {verdict} |\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Found, table};

    const FLOOR: Option<Duration> = Some(Duration::from_millis(1_000));

    fn found(cpu_ms: u64, peak_mb: u64, beside_ms: Option<u64>) -> Found {
        let beside = beside_ms.map(Duration::from_millis);
        Found { cpu: Duration::from_millis(cpu_ms), peak_mb, beside }
    }

    #[test]
    fn a_figure_is_reached_or_missed_by_so_much() {
        let text = table(FLOOR, |format, rules| {
            (format == "JSON" && rules == "W100").then(|| found(11_400, 300, Some(50_000)))
        });
        assert_eq!(
            text,
            "| what | at most | here | |\n| --- | --- | --- | --- |\n\
             | JSON, W100 | 10.4 floors | 11.4 floors | missed by 10 % |\n\
             | JSON, W100, of what DuckDB takes | 25 % | 23 % | reached |\n\
             | JSON, W100, peak memory | 300 MB | 300 MB | reached |\n"
        );
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(table(FLOOR, |_, _| None), "");
        let alone = table(None, |_, rules| (rules == "W10").then(|| found(10, 1, None)));
        assert_eq!(alone, "");
    }
}
