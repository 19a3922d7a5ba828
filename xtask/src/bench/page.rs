//! The page of figures.
//!
//! Owns: its text and the arithmetic from times to costs a line. Never: measuring.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duckdb::Fired;
use super::machine;
use super::measure::Measured;
use super::wanted::{self, Found};

/// What the floor is called by which machines are compared.
pub(super) const FLOOR: &str = "floor: sonic-rs, all fields";
/// What `replay` is called, and what runs beside it.
pub(super) const OURS: &str = "tidegate replay";
pub(super) const THEIRS: &str = "DuckDB, one batch";

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    what: String,
    format: String,
    rules: String,
    measured: Measured,
}

impl Row {
    /// Names a measurement.
    pub(super) fn new(what: &str, format: &str, rules: &str, measured: Measured) -> Self {
        let own = str::to_owned;
        Self { what: own(what), format: own(format), rules: own(rules), measured }
    }
}

/// Figures as they come.
#[derive(Debug)]
pub(super) struct Page {
    /// What the command says beside lines and runs.
    how: String,
    lines: u64,
    runs: usize,
    workloads: Vec<String>,
    rows: Vec<Row>,
    shares: Vec<String>,
    ours: BTreeMap<(String, String), Fired>,
    compared: Vec<String>,
}

impl Page {
    /// An empty page for runs over so many lines.
    pub(super) fn new(lines: u64, runs: usize) -> Self {
        Self {
            how: String::new(),
            lines,
            runs,
            workloads: Vec::new(),
            rows: Vec::new(),
            shares: Vec::new(),
            ours: BTreeMap::new(),
            compared: Vec::new(),
        }
    }

    /// The same over files that a generator in this folder makes.
    pub(super) fn of_model(self, folder: &str) -> Self {
        Self { how: format!(" --model {folder}"), ..self }
    }

    /// Says what a workload weighs.
    pub(super) fn workload(&mut self, format: &str, bytes: u64) {
        let each = bytes.checked_div(self.lines).unwrap_or(0);
        self.workloads.push(format!("{format}: {} lines of {each} B on average", self.lines));
    }

    /// Adds a measurement.
    pub(super) fn row(&mut self, row: Row) {
        println!("{}", self.row_text(&row));
        self.rows.push(row);
    }

    /// Notes which part of a run of ours spent how much, as `replay --timing` says.
    pub(super) fn shares(&mut self, format: &str, rules: &str, measured: &Measured) {
        let spent: Vec<(&str, f64)> = ["parse", "enrich", "detect"]
            .into_iter()
            .filter_map(|part| Some((part, seconds_of(part, &measured.err)?)))
            .collect();
        let all: f64 = spent.iter().map(|(_, seconds)| seconds).sum();
        if all > 0.0 {
            let parts: Vec<String> = spent
                .iter()
                .map(|(part, seconds)| format!("{part} {:.0} %", seconds * 100.0 / all))
                .collect();
            self.shares.push(format!("{format}, {rules}: {}", parts.join(", ")));
        }
    }

    /// Keeps who fired by us.
    pub(super) fn answers(&mut self, format: &str, rules: &str, fired: Fired) {
        self.ours.insert((format.to_owned(), rules.to_owned()), fired);
    }

    /// Compares who fired by us with who fired by DuckDB.
    pub(super) fn compare(&mut self, format: &str, rules: &str, theirs: &Fired) {
        let none = Fired::new();
        let ours = self.ours.get(&(format.to_owned(), rules.to_owned())).unwrap_or(&none);
        let verdict = if ours == theirs {
            format!("the same {} pairs of rule and key", theirs.len())
        } else {
            let only = |a: &Fired, b: &Fired| {
                let few: Vec<String> =
                    a.difference(b).take(3).map(|(rule, key)| format!("{rule} {key}")).collect();
                format!("{} ({}, …)", a.difference(b).count(), few.join(", "))
            };
            format!("ONLY OURS: {}; ONLY THEIRS: {}", only(ours, theirs), only(theirs, ours))
        };
        self.compared.push(format!("{format}, {rules}: {verdict}"));
    }

    /// The whole page.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# Benchmarks\n\nMade by `cargo xtask bench{} --lines {} --runs {} --write` on: {}.\n\n\
             The middle of {} runs. CPU is user and system time of all threads, start-up included; \
             lines/s a core is its inverse. W1, W10, W100, W1000 are sets of 2, 10, 100 and 1,000 \
             rules over windows of 60 s by 10 s and 300 s by 60 s. DuckDB gets the whole file as \
             one batch and knows its end; it is not asked for a thousand. `replay` reads it as it \
             would a live log. Callers are drawn as in the model for which figures were set: nearly \
             half of all requests are of one. Of many callers none has more than a fourteenth, and \
             sixteen times as many are seen in a minute. Floors are multiples of what sonic-rs \
             takes for the twelve fields of a JSON line in this run, by which machines are \
             compared: 1.0 µs on a machine where that takes 0.24 µs are 4.2 floors.\n\n",
            self.how,
            self.lines,
            self.runs,
            machine::describe(),
            self.runs
        );
        for workload in &self.workloads {
            text.push_str(&format!("- {workload}\n"));
        }
        text.push_str(
            "\n| what | format | rules | CPU µs/line | floors | lines/s a core | lines/s | peak MB |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            text.push_str(&format!("{}\n", self.row_text(row)));
        }
        let wanted = wanted::table(self.floor(), |format, rules| self.found(format, rules));
        if !wanted.is_empty() {
            text.push_str(&format!(
                "\n## What is wanted\n\nWhy a figure is missed, where the time goes by a profile, and \
                 what was tried: [performance.md](performance.md).\n\n{wanted}"
            ));
        }
        section(&mut text, "Where the time goes", &self.shares);
        section(&mut text, "The same answers", &self.compared);
        text
    }

    fn row_text(&self, row: &Row) -> String {
        let Row { what, format, rules, measured } = row;
        let head = format!("| {what} | {format} | {rules} |");
        if !measured.finished {
            let limit = measured.wall.as_secs();
            return format!("{head} not finished in {limit} s | – | – | – | – |");
        }
        let floors = self.floors(measured.cpu);
        let (cost, core) = (cost(measured.cpu, self.lines), rate(measured.cpu, self.lines));
        let wall = rate(measured.wall, self.lines);
        format!("{head} {cost} | {floors} | {core} | {wall} | {} |", measured.peak_kib / 1024)
    }

    /// A time as a multiple of the floor, where that has been measured.
    fn floors(&self, time: Duration) -> String {
        let floor = self.floor();
        floor.map_or("–".to_owned(), |floor| format!("{:.1}", time.div_duration_f64(floor)))
    }

    fn floor(&self) -> Option<Duration> {
        let floor = self.rows.iter().find(|row| row.what == FLOOR).map(|row| row.measured.cpu);
        floor.filter(|floor| !floor.is_zero())
    }

    /// What was measured of a format and a rule set, if it ended.
    fn found(&self, format: &str, rules: &str) -> Option<Found> {
        let run = |what: &str| {
            let mut rows = self.rows.iter().filter(|row| row.what == what && row.measured.finished);
            rows.find(|row| row.format == format && row.rules == rules).map(|row| &row.measured)
        };
        let ours = run(OURS)?;
        let beside = run(THEIRS).map(|theirs| theirs.cpu);
        Some(Found { cpu: ours.cpu, peak_mb: ours.peak_kib / 1024, beside })
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n## {title}\n\n"));
        for line in lines {
            text.push_str(&format!("- {line}\n"));
        }
    }
}

/// The number of seconds behind a word, as in `parse 1.25 s`.
fn seconds_of(part: &str, text: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| ["parse", "enrich", "detect"].iter().all(|p| line.contains(p)))?;
    let mut words = line.split_whitespace().map(|word| word.trim_end_matches([':', ',', ';']));
    words.find(|word| *word == part)?;
    words.next()?.trim_end_matches('s').parse().ok()
}

/// Microseconds a line, with two decimals.
fn cost(time: Duration, lines: u64) -> String {
    let nanos = time.as_nanos().checked_div(u128::from(lines)).unwrap_or(0);
    format!("{}.{:02}", nanos / 1000, nanos % 1000 / 10)
}

/// Lines a second, in a form that shows three digits.
fn rate(time: Duration, lines: u64) -> String {
    let rate = (u128::from(lines) * 1_000_000).checked_div(time.as_micros()).unwrap_or(0);
    match rate {
        0..10_000 => rate.to_string(),
        10_000..1_000_000 => format!("{} k", rate / 1000),
        _ => format!("{}.{:02} M", rate / 1_000_000, rate % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::measure::Measured;
    use super::{Fired, Page, Row, cost, rate, seconds_of};

    #[test]
    fn times_become_costs_and_rates() {
        assert_eq!(cost(Duration::from_millis(1_570), 1_000_000), "1.57");
        assert_eq!(rate(Duration::from_millis(1_570), 1_000_000), "636 k");
        assert_eq!(rate(Duration::from_millis(500), 1_000_000), "2.00 M");
        assert_eq!(cost(Duration::ZERO, 0), "0.00");
    }

    #[test]
    fn shares_are_read_from_what_replay_says() {
        let err = "2 dead letters: parse\n  parse 1.50 s, enrich 0.50 s, detect 2.00 s\n";
        assert_eq!(seconds_of("enrich", err), Some(0.5));
        assert_eq!(seconds_of("write", err), None);
        let mut page = Page::new(1000, 1);
        page.shares("JSON", "W1", &Measured { err: err.to_owned(), ..Measured::default() });
        assert!(page.text().contains("- JSON, W1: parse 38 %, enrich 12 %, detect 50 %"));
    }

    #[test]
    fn a_run_that_did_not_finish_says_so() {
        let measured = Measured { wall: Duration::from_secs(300), ..Measured::default() };
        let page = Page::new(1000, 1);
        let text = page.row_text(&Row::new("x", "JSON", "W100", measured));
        assert!(text.contains("not finished in 300 s"), "{text}");
    }

    #[test]
    fn costs_are_multiples_of_the_floor() {
        let of =
            |ms| Measured { cpu: Duration::from_millis(ms), finished: true, ..Measured::default() };
        let mut page = Page::new(1000, 1);
        page.row(Row::new("x", "JSON", "W1", of(42)));
        assert!(page.text().contains("| x | JSON | W1 | 42.00 | – |"), "{}", page.text());
        page.row(Row::new(super::FLOOR, "JSON", "–", of(10)));
        assert!(page.text().contains("| x | JSON | W1 | 42.00 | 4.2 |"), "{}", page.text());
    }

    #[test]
    fn different_answers_are_named() {
        let pair = |key: &str| ("scan-ip".to_owned(), key.to_owned());
        let mut page = Page::new(1000, 1);
        page.answers("JSON", "W1", Fired::from([pair("a"), pair("b")]));
        page.compare("JSON", "W1", &Fired::from([pair("b")]));
        assert!(page.text().contains("ONLY OURS: 1 (scan-ip a"), "{}", page.text());
        page.compare("JSON", "W1", &Fired::from([pair("a"), pair("b")]));
        assert!(page.text().contains("the same 2 pairs"), "{}", page.text());
    }
}
