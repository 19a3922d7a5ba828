//! The page of figures of `ingest` and `enrich`.
//!
//! Owns: its text, and the arithmetic between nanoseconds, rates and floors. Never: measuring.

use super::super::wanted::FLOOR_WHERE_SET_NS;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// So many a second on one core, where the floor takes [`FLOOR_WHERE_SET_NS`].
    Rate {
        /// Lines or events.
        per_second: u32,
    },
}

impl Wanted {
    /// As a multiple of the floor.
    fn floors(self) -> f64 {
        let Self::Rate { per_second } = self;
        1e9 / f64::from(per_second) / FLOOR_WHERE_SET_NS
    }

    fn text(self) -> String {
        let Self::Rate { per_second } = self;
        format!("{:.2} (there {})", self.floors(), rate(1e9 / f64::from(per_second)))
    }
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) what: String,
    /// Nanoseconds of one core.
    pub(super) ns: f64,
    pub(super) wanted: Option<Wanted>,
}

/// Figures as they come.
#[derive(Debug, Default)]
pub(super) struct Figures {
    figures: Vec<Figure>,
    floor_ns: Option<f64>,
    notes: Vec<String>,
    pub(super) profile: Vec<String>,
}

impl Figures {
    /// Adds a figure.
    pub(super) fn add(&mut self, figure: Figure) {
        println!("{}: {:.0} ns", figure.what, figure.ns);
        self.figures.push(figure);
    }

    /// The floor of this run, which is a figure too.
    pub(super) fn floor(&mut self, ns: f64) {
        self.floor_ns = Some(ns);
        let what = "floor: sonic-rs, twelve fields of the JSON line".to_owned();
        self.add(Figure { what, ns, wanted: None });
    }

    /// Adds a sentence.
    pub(super) fn note(&mut self, text: String) {
        println!("{text}");
        self.notes.push(text);
    }

    /// The whole page.
    pub(super) fn text(&self, lines: u64, machine: &str) -> String {
        let mut text = format!(
            "# Benchmarks of ingest and enrich\n\nMade by `cargo xtask bench ingest --lines \
             {lines} --write` on: {machine}.\n\nTime of one core a line or event, the middle of \
             nine rounds; in each round everything is measured once. The floor is sonic-rs \
             reading the twelve fields of the JSON line into a struct, in the same rounds; what \
             is wanted was set on a machine where that takes 240 ns, so it stands here as a \
             multiple of the floor. The cost of `_bulk` is CPU of the whole process that takes \
             the requests, from their bytes to events.\n\n\
             | what | ns | floors | a second on one core | wanted floors | |\n\
             | --- | --- | --- | --- | --- | --- |\n"
        );
        for figure in &self.figures {
            text.push_str(&format!("{}\n", self.row(figure)));
        }
        for (title, list) in [("", &self.notes), ("Where the time goes", &self.profile)] {
            if list.is_empty() {
                continue;
            }
            let title = if title.is_empty() { String::new() } else { format!("## {title}\n\n") };
            text.push_str(&format!("\n{title}"));
            list.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        }
        text
    }

    fn row(&self, figure: &Figure) -> String {
        let Figure { what, ns, wanted } = figure;
        let floors = self.floor_ns.map(|floor| ns / floor);
        let shown = floors.map_or("–".to_owned(), |floors| format!("{floors:.2}"));
        let (wanted, reached) = match (wanted, floors) {
            (Some(wanted), Some(floors)) if floors <= wanted.floors() => (wanted.text(), "reached"),
            (Some(wanted), Some(_)) => (wanted.text(), "NOT REACHED"),
            _ => ("–".to_owned(), ""),
        };
        format!("| {what} | {ns:.1} | {shown} | {} | {wanted} | {reached} |", rate(*ns))
    }
}

/// How many of so many nanoseconds fit into a second; of what takes too little to measure nobody
/// can say.
fn rate(ns: f64) -> String {
    let rate = 1e9 / ns;
    match rate {
        _ if ns <= 0.0 => "–".to_owned(),
        ..1e4 => format!("{rate:.0}"),
        ..1e6 => format!("{:.0} k", rate / 1e3),
        _ => format!("{:.2} M", rate / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Figures, Wanted, rate};

    #[test]
    fn rates_have_three_digits() {
        assert_eq!((rate(500.0).as_str(), rate(6_667.0).as_str()), ("2.00 M", "150 k"));
        assert_eq!(rate(0.0), "–");
    }

    #[test]
    fn a_figure_is_reached_by_its_multiple_of_the_floor() {
        let mut page = Figures::default();
        let wanted = Some(Wanted::Rate { per_second: 2_000_000 });
        page.add(Figure { what: "fast".to_owned(), ns: 1_100.0, wanted });
        page.add(Figure { what: "slow".to_owned(), ns: 1_200.0, wanted });
        page.floor(550.0);
        let text = page.text(10, "a machine");
        assert!(text.contains("| fast | 1100.0 | 2.00 | 909 k | 2.08 (there 2.00 M) | reached |"));
        assert!(
            text.contains("| slow | 1200.0 | 2.18 | 833 k | 2.08 (there 2.00 M) | NOT REACHED")
        );
    }
}
