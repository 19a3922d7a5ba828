//! The counts and sizes of this stage.
//!
//! Owns: their names and meaning. Never: decides when they change.

use runtime::metrics::{Counter, Counters, Gauge, Gauges, GaugesF64, Metrics, Unit};

use crate::missing::Lack;

/// What `attack_class` says.
const CLASSES: [&str; 10] = [
    "sql_injection",
    "xss",
    "path_traversal",
    "command_injection",
    "code_injection",
    "ssrf",
    "rfi",
    "log4shell",
    "scanner",
    "protocol",
];

/// All metrics of the stage. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct EnrichMetrics {
    events: Counter,
    missing: [Counter; 4],
    deploys: Counters<1>,
    templates: Gauge,
    unlearned: Counter,
    payloads: Counters<1>,
    rows: Gauges<1>,
    age: GaugesF64<1>,
    problems: Gauges<1>,
}

impl EnrichMetrics {
    /// Registers them under `tidegate_enrich_`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let part = metrics.component("enrich");
        let missing = part.counters(
            "context_missing",
            Unit::Events,
            "Events for which a table had no row",
            ["table"],
        );
        Self {
            events: part.counter("joined", Unit::Events, "Events that were enriched"),
            missing: Lack::ALL.map(|lack| missing.with([lack.name()])),
            deploys: part.counters(
                "posted",
                Unit::Of("deploys"),
                "Deploys that were posted, by answer: accepted, repeated, refused",
                ["answer"],
            ),
            templates: part.gauge(
                "learned",
                Unit::Of("templates"),
                "Route templates learned from traffic",
            ),
            unlearned: part.counter(
                "unlearned",
                Unit::Events,
                "Events without a template because the bound on learned ones is reached",
            ),
            payloads: part.counters(
                "payloads",
                Unit::Events,
                "Payloads found in requests, by class; an attempt alone is no verdict",
                ["class"],
            ),
            rows: part.gauges("table", Unit::Rows, "Rows of a context table", ["table"]),
            age: part.gauges_f64(
                "table_age",
                Unit::Seconds,
                "Time since a context table was last read",
                ["table"],
            ),
            problems: part.gauges(
                "table_problems",
                Unit::Of("mistakes"),
                "Mistakes found in a context table when it was last read",
                ["table"],
            ),
        }
    }

    pub(crate) fn joined(&self, events: usize, missing: [u64; 4]) {
        self.events.inc_by(wide(events));
        for (counter, count) in self.missing.iter().zip(missing) {
            counter.inc_by(count);
        }
    }

    pub(crate) fn learned(&self, templates: usize, unlearned: u64) {
        self.templates.set(i64::try_from(templates).unwrap_or(i64::MAX));
        self.unlearned.inc_by(unlearned);
    }

    /// A firewall may call its findings what it likes, so only known classes are told apart.
    pub(crate) fn payloads<'c>(&self, classes: impl Iterator<Item = &'c str>) {
        for class in classes {
            let known = CLASSES.iter().find(|known| **known == class);
            self.payloads.with([known.unwrap_or(&"other")]).inc();
        }
    }

    pub(crate) fn deploys_accepted(&self, deploys: usize) {
        self.deploys.with(["accepted"]).inc_by(wide(deploys));
    }

    pub(crate) fn deploys_repeated(&self, deploys: usize) {
        self.deploys.with(["repeated"]).inc_by(wide(deploys));
    }

    pub(crate) fn deploys_refused(&self, mistakes: usize) {
        self.deploys.with(["refused"]).inc_by(wide(mistakes));
    }

    pub(crate) fn table(&self, table: &crate::context::TableReport) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.rows.with([table.table]).set(number(table.rows));
        self.problems.with([table.table]).set(number(table.problems));
        if let Some(age_s) = table.age_s {
            self.age.with([table.table]).set(age_s);
        }
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
