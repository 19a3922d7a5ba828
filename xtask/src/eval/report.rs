//! The page of results.
//!
//! Owns: its text, and which marks were reached. Never: the numbers.

/// A page that grows section by section.
#[derive(Debug)]
pub(super) struct Report {
    text: String,
    short: Vec<String>,
}

impl Report {
    /// The head of the page.
    pub(super) fn new() -> Self {
        let text = "# Evaluation\n\nMade by `cargo xtask eval --write`. The cases are other \
                    projects' test data: a sample, so the rules are written for what is meant and \
                    not for these lines.\n";
        Self { text: text.to_owned(), short: Vec::new() }
    }

    /// Starts a section.
    pub(super) fn section(&mut self, title: &str, about: &str) {
        self.text.push_str(&format!("\n## {title}\n\n{about}\n"));
    }

    /// Adds a table.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        self.text.push('\n');
        self.text.push_str(&line(head.to_vec()));
        self.text.push_str(&line(vec!["---"; head.len()]));
        for row in rows {
            self.text.push_str(&line(row.iter().map(String::as_str).collect()));
        }
    }

    /// Adds a list under a heading, where it is not empty.
    pub(super) fn list(&mut self, about: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.text.push_str(&format!("\n{about}\n\n"));
        for line in lines {
            self.text.push_str(&format!("- {line}\n"));
        }
    }

    /// States a mark and whether it was reached.
    pub(super) fn mark(&mut self, what: &str, reached: bool) {
        let word = if reached { "reached" } else { "NOT reached" };
        self.text.push_str(&format!("\n**{what}: {word}.**\n"));
        if !reached {
            self.short.push(what.to_owned());
        }
    }

    /// The page so far.
    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    /// Marks that were not reached.
    pub(super) fn short(&self) -> Vec<String> {
        self.short.clone()
    }
}

/// Hits of a number of tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many were right.
    pub(super) hits: usize,
    /// Of how many.
    pub(super) of: usize,
}

impl Count {
    /// Counts one more.
    pub(super) fn add(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.of += 1;
    }

    /// Counts another count's too.
    pub(super) fn join(&mut self, other: Self) {
        self.hits += other.hits;
        self.of += other.of;
    }

    /// Whether at least this many of a thousand hit.
    pub(super) fn reaches_permille(self, permille: usize) -> bool {
        self.of > 0 && self.hits * 1000 >= self.of * permille
    }

    /// Whether at least so many of a hundred were right; true where there were none.
    pub(super) fn reaches(self, percent: usize) -> bool {
        self.hits * 100 >= self.of * percent
    }

    /// `12 of 13 (92.3 %)`.
    pub(super) fn text(self) -> String {
        let per_mille = (self.hits * 1000).checked_div(self.of);
        match per_mille {
            None => "–".to_owned(),
            Some(share) => {
                format!("{} of {} ({}.{} %)", self.hits, self.of, share / 10, share % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Report};

    #[test]
    fn a_mark_that_was_not_reached_is_remembered() {
        let mut report = Report::new();
        report.mark("all of them", true);
        report.mark("none wrong", false);
        assert_eq!(report.short(), ["none wrong"]);
        assert!(report.text().contains("**none wrong: NOT reached.**"));
    }

    #[test]
    fn shares_are_cut_and_not_rounded_up() {
        assert_eq!(Count { hits: 1999, of: 2000 }.text(), "1999 of 2000 (99.9 %)");
        assert_eq!(Count::default().text(), "–");
        assert!(!Count { hits: 79, of: 100 }.reaches(80));
        assert!(Count { hits: 4, of: 5 }.reaches(80));
    }
}
