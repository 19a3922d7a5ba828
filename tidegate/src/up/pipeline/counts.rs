//! What the pipeline counts.
//!
//! Owns: its metrics and their meaning. Never: what is done with a record.

use runtime::metrics::{Counters, Gauge, Gauges, Metrics, Unit};

use super::super::silence;

/// The metrics of the stages behind the raw log.
pub(in crate::up) struct Counts {
    pub(super) lines: Counters<1>,
    pub(super) waiting: Gauge,
    pub(super) events: Counters<1>,
    pub(super) dropped: Counters<2>,
    pub(super) verdicts: Counters<2>,
    pub(super) silent: Gauges<1>,
    pub(super) hidden: Gauges<1>,
    pub(super) failures: Counters<1>,
}

impl Counts {
    pub(in crate::up) fn new(metrics: &Metrics) -> Self {
        let part = metrics.component("pipeline");
        let lines = Unit::Of("lines");
        Self {
            lines: part.counters("read", lines, "Lines read from the raw log", ["input"]),
            waiting: part.gauge(
                "waiting",
                Unit::Records,
                "Records of the raw log that were not judged at the last look",
            ),
            events: part.counters(
                "judged",
                Unit::Events,
                "Events that rules saw; late ones are dropped",
                ["input"],
            ),
            dropped: part.counters(
                "dropped",
                Unit::Of("dead_letters"),
                "What could not be used, by reason",
                ["input", "reason"],
            ),
            verdicts: part.counters(
                "said",
                Unit::Of("verdicts"),
                "Verdicts by rule and kind",
                ["rule", "kind"],
            ),
            silent: silence::declare(metrics),
            hidden: part.gauges(
                "clients_hidden",
                Unit::Of("inputs"),
                "1 while nearly all events of an input come from one proxy, or from a CDN",
                ["input"],
            ),
            failures: part.counters(
                "failed",
                Unit::Of("judgements"),
                "Events or windows that a rule could not judge",
                ["rule"],
            ),
        }
    }
}
