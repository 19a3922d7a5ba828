//! Rule sets of two, ten, a hundred and a thousand rules, as files of ours and as SQL of DuckDB.
//!
//! Owns: one model for both, so that both run the same. Never: which rules are useful.

use std::path::Path;

use crate::place;
use crate::trouble::Trouble;

/// A column, by its name here and in the JSON log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Address,
    User,
    Target,
    Status,
    Method,
    Agent,
    Bytes,
}

impl Column {
    fn ours(self) -> &'static str {
        match self {
            Self::Address => "client_ip",
            Self::User => "principal",
            Self::Target => "path",
            Self::Status => "status",
            Self::Method => "method",
            Self::Agent => "user_agent",
            Self::Bytes => "response_bytes",
        }
    }

    /// The name in DuckDB's table, where `path` is cut off at the query as we cut it.
    fn theirs(self) -> &'static str {
        match self {
            Self::Address => "remote_addr",
            Self::User => "remote_user",
            Self::Target => "path",
            Self::Status => "status",
            Self::Method => "request_method",
            Self::Agent => "http_user_agent",
            Self::Bytes => "body_bytes_sent",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Aggregate {
    Rows,
    Distinct(Column),
    Sum(Column),
}

/// A condition: a column and what it must be, in SQL that both understand.
type Condition = (Column, String);

/// One rule: HAVING aggregate ≥ threshold over a window that slides.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Its name, which is its file's too.
    pub(super) name: String,
    key: Column,
    aggregate: Aggregate,
    conditions: Vec<Condition>,
    window_s: u32,
    slide_s: u32,
    threshold: u64,
}

/// W1, W10, W100 or W1000; or none.
#[derive(Debug)]
pub(super) struct RuleSet {
    number: usize,
    /// The rules.
    pub(super) rules: Vec<Rule>,
}

impl RuleSet {
    /// The set of this number: 0 has none, 1 has two, others as many as they say.
    pub(super) fn make(number: usize) -> Self {
        let count = if number == 1 { 2 } else { number };
        let base = base();
        let rules = (0..count).filter_map(|at| {
            let rule = base.get(at % base.len())?;
            Some(rule.variant(at / base.len()))
        });
        Self { number, rules: rules.collect() }
    }

    /// `no rules`, `W10`.
    pub(super) fn name(&self) -> String {
        if self.number == 0 { "no rules".to_owned() } else { format!("W{}", self.number) }
    }

    /// Writes one rule file each into a folder.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Trouble> {
        // A folder without a rule is refused.
        for rule in base().iter().filter(|_rule| self.rules.is_empty()).take(1) {
            place::write(&folder.join("off.yml"), &format!("mode: off\n{}", rule.file()))?;
        }
        for rule in &self.rules {
            place::write(&folder.join(format!("{}.yml", rule.name)), &rule.file())?;
        }
        Ok(())
    }
}

impl Rule {
    /// A rule like this with a higher threshold, and every so often a further condition.
    fn variant(&self, number: usize) -> Self {
        let mut rule = self.clone();
        if number == 0 {
            return rule;
        }
        rule.name = format!("{}-{number}", self.name);
        let step = u64::try_from(number).unwrap_or(0);
        rule.threshold = self.threshold * (100 + 15 * step) / 100 + step;
        match number % 4 {
            1 => rule.conditions.push((Column::Method, "IN ('GET', 'POST')".to_owned())),
            3 => rule.conditions.push((Column::Method, "IN ('GET', 'POST', 'PUT')".to_owned())),
            _ => {}
        }
        if number.is_multiple_of(3) {
            rule.conditions.push((Column::Agent, format!("NOT LIKE 'okhttp/{number}%'")));
        }
        rule
    }

    /// The rule as a file of ours.
    fn file(&self) -> String {
        let Self { name, window_s, slide_s, threshold, .. } = self;
        let (key, count) = (self.key.ours(), self.count(Column::ours));
        let conditions = self.conditions(Column::ours);
        format!(
            "title: {name}
severity: medium
window: {window_s}s
slide: {slide_s}s
sql: |
  SELECT {key}, {count} AS n
  FROM events
  WHERE {conditions}
  GROUP BY {key}
  HAVING {count} >= {threshold}
"
        )
    }

    /// The rule as a query for DuckDB over table `ev` with `ts` in seconds: each event goes into
    /// every window that holds it. It gives the rule's name and the keys that fired.
    pub(super) fn query(&self) -> String {
        let Self { name, window_s, slide_s, threshold, .. } = self;
        let (key, count) = (self.key.theirs(), self.count(Column::theirs));
        let conditions = self.conditions(Column::theirs);
        let windows = window_s / slide_s;
        format!(
            "SELECT DISTINCT '{name}' AS rule, {key} AS key FROM (\
             SELECT *, (ts // {slide_s} - unnest(range({windows}))) * {slide_s} AS w \
             FROM ev WHERE {conditions}) GROUP BY {key}, w HAVING {count} >= {threshold}"
        )
    }

    fn count(&self, name: fn(Column) -> &'static str) -> String {
        match self.aggregate {
            Aggregate::Rows => "count(*)".to_owned(),
            Aggregate::Distinct(column) => format!("count(DISTINCT {})", name(column)),
            Aggregate::Sum(column) => format!("sum({})", name(column)),
        }
    }

    fn conditions(&self, name: fn(Column) -> &'static str) -> String {
        let present = format!("{} IS NOT NULL", name(self.key));
        let others =
            self.conditions.iter().map(|(column, text)| format!("{} {text}", name(*column)));
        [present].into_iter().chain(others).collect::<Vec<_>>().join(" AND ")
    }
}

/// The ten rules that all sets are made of.
fn base() -> Vec<Rule> {
    use Column::{Address, Bytes, Status, Target, User};
    let refused =
        || vec![(Status, "IN (401, 403)".to_owned()), (Target, "= '/v1/login'".to_owned())];
    let missing = || vec![(Status, "= 404".to_owned())];
    let rule = |name: &str, key, aggregate, conditions, threshold| Rule {
        name: name.to_owned(),
        key,
        aggregate,
        conditions,
        window_s: 60,
        slide_s: 10,
        threshold,
    };
    let mut scan = rule("scan-ip", Address, Aggregate::Distinct(Target), missing(), 50);
    (scan.window_s, scan.slide_s) = (300, 60);
    let busy = || vec![(Target, "<> '/healthz'".to_owned())];
    let reads = vec![(Status, "= 200".to_owned()), (Target, "LIKE '/v1/users/%'".to_owned())];
    vec![
        rule("failed-logins-ip", Address, Aggregate::Rows, refused(), 10),
        scan,
        rule("failed-logins-user", User, Aggregate::Rows, refused(), 10),
        rule("stuffing-ip", Address, Aggregate::Distinct(User), refused(), 8),
        rule("not-found-ip", Address, Aggregate::Rows, missing(), 30),
        rule("errors-path", Target, Aggregate::Rows, vec![(Status, ">= 500".to_owned())], 5),
        rule("rate-ip", Address, Aggregate::Rows, busy(), 5_000),
        rule("rate-user", User, Aggregate::Rows, Vec::new(), 5_000),
        rule(
            "bytes-user",
            User,
            Aggregate::Sum(Bytes),
            vec![(Status, "< 400".to_owned())],
            20_000_000,
        ),
        rule("walk-user", User, Aggregate::Distinct(Target), reads, 60),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::RuleSet;

    #[test]
    fn the_sets_have_two_ten_a_hundred_and_a_thousand_rules_of_different_names() {
        for (number, count) in [(0, 0), (1, 2), (10, 10), (100, 100), (1000, 1000)] {
            let set = RuleSet::make(number);
            let names: BTreeSet<&str> = set.rules.iter().map(|rule| rule.name.as_str()).collect();
            assert_eq!(names.len(), count);
        }
    }

    #[test]
    fn a_rule_reads_the_same_in_both_languages() {
        let set = RuleSet::make(1);
        let scan = &set.rules[1];
        assert_eq!(
            scan.file(),
            "title: scan-ip\nseverity: medium\nwindow: 300s\nslide: 60s\nsql: |\n  \
             SELECT client_ip, count(DISTINCT path) AS n\n  FROM events\n  \
             WHERE client_ip IS NOT NULL AND status = 404\n  GROUP BY client_ip\n  \
             HAVING count(DISTINCT path) >= 50\n"
        );
        assert_eq!(
            scan.query(),
            "SELECT DISTINCT 'scan-ip' AS rule, remote_addr AS key FROM (SELECT *, \
             (ts // 60 - unnest(range(5))) * 60 AS w FROM ev WHERE remote_addr IS NOT NULL AND \
             status = 404) GROUP BY remote_addr, w HAVING count(DISTINCT path) >= 50"
        );
    }

    #[test]
    fn variants_have_higher_thresholds() {
        let set = RuleSet::make(100);
        let first = &set.rules[0];
        let last = &set.rules[90];
        assert_eq!((first.threshold, last.threshold), (10, 32));
        assert!(last.file().contains("NOT LIKE 'okhttp/9%'"), "{}", last.file());
    }
}
