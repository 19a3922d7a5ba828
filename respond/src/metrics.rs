//! What this crate counts.
//!
//! Owns: the names, units and meanings of its metrics, and the log lines that go with them.
//! Never: a global; a field named `target`, which is what `tracing` calls the module: in JSON the
//! key would be there twice.

use std::time::Duration;

use runtime::metrics::{Counter, Counters, Gauge, Gauges, Histogram, Metrics, Unit};
use schemas::{GuardNote, Order, OutcomeState};
use tracing::{info, warn};

use crate::ask::action_name;

/// All metrics of respond. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RespondMetrics {
    verdicts: Counters<2>,
    orders: Counters<2>,
    notes: Counters<1>,
    outcomes: Counters<2>,
    troubles: Counters<1>,
    checks: Counters<1>,
    standing: Gauges<1>,
    waiting: Gauge,
    parked: Counters<1>,
    append: Histogram,
    ledger: Gauge,
    target_seconds: runtime::metrics::Histograms<1>,
}

impl RespondMetrics {
    /// Declares them.
    #[must_use]
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let of = metrics.component("respond");
        let counters = |name, unit, help, label| of.counters(name, Unit::Of(unit), help, [label]);
        let taken = "Verdicts by rule and by whether they were new, a repeat or superseded";
        let guarded = "Reasons that guardrails and policy gave, by guardrail";
        let failed = "Tries at a target that failed for now";
        let parked = "Orders that a target refused for good: a person must look";
        let authz = "Requests that the decision service passed or refused";
        let standing = "Orders in force by target, without dry runs";
        let append = "Time until a record is on the disk";
        let took = "Time that a target took for one order, or for all that it holds";
        let by_action = ["action", "target"];
        let by_state = ["target", "state"];
        let buckets = runtime::metrics::latency_buckets_seconds();
        Self {
            verdicts: of.counters("taken", Unit::Of("verdicts"), taken, ["rule", "result"]),
            orders: of.counters("decided", Unit::Of("orders"), "Orders decided", by_action),
            notes: counters("guarded", "notes", guarded, "guard"),
            outcomes: of.counters("came", Unit::Of("outcomes"), "Outcomes of orders", by_state),
            troubles: counters("failed", "tries", failed, "target"),
            checks: of.counters("authz", Unit::Requests, authz, ["result"]),
            standing: of.gauges("standing", Unit::Of("orders"), standing, ["target"]),
            waiting: of.gauge("waiting", Unit::Of("orders"), "Orders that wait for a person"),
            parked: counters("parked", "orders", parked, "target"),
            append: of.histogram("ledger_append", Unit::Seconds, append, &buckets),
            ledger: of.gauge("ledger", Unit::Bytes, "Size of the ledger's file"),
            target_seconds: of.latencies("target", took, ["target"]),
        }
    }

    pub(crate) fn took(&self, rule: &str, result: &str) {
        self.verdicts.with([rule, result]).inc();
    }

    pub(crate) fn decided(&self, order: &Order) {
        let action = action_name(order.action);
        self.orders.with([action, &order.target]).inc();
        let subject = order.subject.as_ref().map(|subject| subject.value.as_str());
        let Order { id, rule, target, dry_run, needs_approval, .. } = order;
        info!(order = id, action, at = target, rule, subject, dry_run, needs_approval, "order");
        for note in &order.notes {
            self.guarded(note, Some(id), rule);
        }
    }

    /// Why something that a rule asked for did not become an order.
    pub(crate) fn noted(&self, note: &GuardNote, rule: &str) {
        self.guarded(note, None, rule);
    }

    fn guarded(&self, note: &GuardNote, order: Option<&str>, rule: &str) {
        self.notes.with([&note.guard]).inc();
        info!(guard = note.guard, reason = note.reason, order, rule, "guardrail");
    }

    pub(crate) fn came(&self, order_id: &str, target: &str, state: OutcomeState) {
        let name = crate::ledger::Phase::Finished(state).name();
        self.outcomes.with([target, name]).inc();
        info!(order = order_id, at = target, state = name, "outcome");
    }

    pub(crate) fn failed(&self, target: &str, detail: &str, wait: Duration) {
        self.troubles.with([target]).inc();
        warn!(
            at = target,
            detail,
            wait_ms = wait.as_millis(),
            "a target failed, it is tried again"
        );
    }

    pub(crate) fn parked(&self, target: &str, order_id: &str, detail: &str) {
        self.parked.with([target]).inc();
        tracing::error!(
            at = target,
            order = order_id,
            detail,
            "a target refuses an order; see `GET /v1/orders?state=parked`"
        );
    }

    pub(crate) fn checks(&self, result: &str) -> Counter {
        self.checks.with([result])
    }

    pub(crate) fn standing(&self, target: &str, orders: usize) {
        self.standing.with([target]).set(i64::try_from(orders).unwrap_or(i64::MAX));
    }

    pub(crate) fn waiting(&self, orders: usize) {
        self.waiting.set(i64::try_from(orders).unwrap_or(i64::MAX));
    }

    pub(crate) fn appended(&self, took: Duration, bytes: u64) {
        self.append.observe(took.as_secs_f64());
        self.ledger.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn target_took(&self, target: &str, took: Duration) {
        self.target_seconds.with([target]).observe(took.as_secs_f64());
    }
}
