//! What rules hold, for Prometheus.
//!
//! Owns: sizes by rule and exchange partition beside what they may come to. Never: giving anything
//! up; the engine does, and says so in a verdict.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::reduce::RuleLoad;
use runtime::metrics::{Gauges, Metrics, Unit};

/// The sizes of all rules.
#[derive(Debug, Clone)]
pub struct StateMetrics {
    held: Gauges<2>,
    most: Gauges<2>,
    episodes: Gauges<2>,
}

/// The sizes of the rules of one exchange partition; nothing once it is dropped.
#[derive(Debug)]
pub struct Held {
    metrics: StateMetrics,
    partition: String,
    rules: BTreeSet<Arc<str>>,
}

impl StateMetrics {
    /// Declares them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let part = metrics.component("state");
        let labels = ["partition", "rule"];
        let held = "State that a rule holds; of what several share, each an equal part";
        let most = "State that it may hold before some is given up (`memory`)";
        let (open, episodes) = ("Episodes that are open", Unit::Of("episodes"));
        Self {
            held: part.gauges("held", Unit::Bytes, held, labels),
            most: part.gauges("max", Unit::Bytes, most, labels),
            episodes: part.gauges("open", episodes, open, labels),
        }
    }

    /// Those of an exchange partition.
    #[must_use]
    pub fn of(&self, partition: u32) -> Held {
        let partition = partition.to_string();
        Held { metrics: self.clone(), partition, rules: BTreeSet::new() }
    }
}

impl Held {
    /// Shows what rules hold now; those that are not among them hold nothing.
    pub fn show(&mut self, loads: impl Iterator<Item = RuleLoad>) {
        let mut gone = std::mem::take(&mut self.rules);
        for load in loads {
            self.set(&load.rule, [load.bytes, load.bytes_max, load.episodes]);
            gone.remove(&load.rule);
            self.rules.insert(load.rule);
        }
        for rule in gone {
            self.set(&rule, [0; 3]);
        }
    }

    fn set(&self, rule: &str, [held, most, episodes]: [usize; 3]) {
        let labels = [self.partition.as_str(), rule];
        let shown = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        self.metrics.held.with(labels).set(shown(held));
        self.metrics.most.with(labels).set(shown(most));
        self.metrics.episodes.with(labels).set(shown(episodes));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.show(std::iter::empty());
    }
}

#[cfg(test)]
mod tests {
    use engine::reduce::RuleLoad;
    use runtime::metrics::Metrics;

    use super::StateMetrics;

    #[test]
    fn what_a_rule_holds_stands_beside_what_it_may_until_it_is_gone() {
        let metrics = Metrics::new();
        let mut held = StateMetrics::new(&metrics).of(3);
        let load = |rule: &str, bytes| RuleLoad {
            rule: rule.into(),
            bytes,
            bytes_max: 1_000,
            episodes: 2,
        };
        let shows = |name: &str, rule: &str, value: usize| {
            let line =
                format!("tidegate_state_{name}{{partition=\"3\",rule=\"{rule}\"}} {value}\n");
            let text = metrics.encode();
            assert!(text.contains(&line), "{line}{text}");
        };
        held.show([load("a", 7), load("b", 8)].into_iter());
        shows("held_bytes", "a", 7);
        shows("max_bytes", "a", 1_000);
        shows("open_episodes", "a", 2);
        held.show([load("b", 9)].into_iter());
        shows("held_bytes", "a", 0);
        shows("max_bytes", "a", 0);
        shows("held_bytes", "b", 9);
        drop(held);
        shows("held_bytes", "b", 0);
        shows("open_episodes", "b", 0);
    }
}
