//! What the process waits for before it is of use.
//!
//! Owns: the named conditions and their state, and what else components tell beside them.
//! Never: checking anything itself; components tell.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::{Gauges, Metrics, Unit};

/// All conditions of a process. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Ready {
    conditions: watch::Sender<Conditions>,
    details: Arc<Mutex<Details>>,
}

/// What components tell when they are asked, by name.
#[derive(Default)]
struct Details(BTreeMap<String, Arc<dyn Fn() -> Value + Send + Sync>>);

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// By name.
type Conditions = BTreeMap<String, State>;

/// The state of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Met,
    /// Met, and something about it is to be told.
    Remark(String),
    /// Why it is not met.
    Waiting(String),
}

/// One condition, in the hands of the component that it tells about. Clones are one.
#[derive(Debug, Clone)]
pub struct Condition {
    all: watch::Sender<Conditions>,
    name: String,
}

/// How the conditions stand, for Prometheus; the reasons are on `/ready` alone.
#[derive(Debug, Clone)]
pub struct ReadyMetrics {
    unmet: Gauges<1>,
    remarked: Gauges<1>,
}

/// What `/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// True when nothing is waited for.
    pub ready: bool,
    /// The conditions that are not met, by name.
    pub waiting_for: Vec<Waiting>,
    /// The names of the conditions that are met.
    pub met: Vec<String>,
    /// What components tell beside that, by name; it does not make the process less ready.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
    /// What is wrong although the process is of use, by name of the condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Waiting>,
}

/// A condition that is not met, or about which something is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The name of the condition.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Default for Ready {
    fn default() -> Self {
        Self { conditions: watch::Sender::new(Conditions::new()), details: Arc::default() }
    }
}

impl Ready {
    /// Without conditions, which is ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, not met yet for this reason. A name that is there already is the same
    /// condition.
    #[must_use]
    pub fn condition(&self, name: &str, reason: &str) -> Condition {
        let condition = Condition { all: self.conditions.clone(), name: name.to_owned() };
        // That a start takes its time is no news; what it waits for stands in the report.
        condition.set(State::Waiting(reason.to_owned()));
        condition
    }

    /// Adds what is told beside the conditions whenever somebody asks. `tell` only looks up; a name
    /// that is there already is told anew.
    pub fn detail(&self, name: &str, tell: impl Fn() -> Value + Send + Sync + 'static) {
        let mut details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        details.0.insert(name.to_owned(), Arc::new(tell));
    }

    /// The state of all conditions now, by name.
    #[must_use]
    pub fn report(&self) -> Report {
        let details = self.details.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        let details = details.into_iter().map(|(name, tell)| (name, tell())).collect();
        let conditions = self.conditions.borrow();
        let (waiting_for, met, remarks) = (Vec::new(), Vec::new(), Vec::new());
        let mut report = Report { ready: true, waiting_for, met, details, remarks };
        for (name, state) in conditions.iter() {
            let told = |reason: &String| Waiting { name: name.clone(), reason: reason.clone() };
            match state {
                State::Waiting(reason) => report.waiting_for.push(told(reason)),
                State::Remark(remark) => {
                    report.met.push(name.clone());
                    report.remarks.push(told(remark));
                }
                State::Met => report.met.push(name.clone()),
            }
        }
        report.ready = report.waiting_for.is_empty();
        report
    }

    /// Waits until all conditions are met.
    pub async fn wait(&self) {
        let mut conditions = self.conditions.subscribe();
        // The sender lives in `self`, so this cannot fail.
        drop(
            conditions
                .wait_for(|all| {
                    let waits = |state: &State| matches!(state, State::Waiting(_));
                    !all.values().any(waits)
                })
                .await,
        );
    }
}

impl ReadyMetrics {
    /// Declares them.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let part = metrics.component("ready");
        let unmet = "1 while the process waits for a condition; `/ready` says why";
        let remarked =
            "1 while something is wrong about a condition that is met; `/ready` says what";
        let conditions = Unit::Of("conditions");
        Self {
            unmet: part.gauges("unmet", conditions, unmet, ["condition"]),
            remarked: part.gauges("remarked", conditions, remarked, ["condition"]),
        }
    }

    /// Sets them to how the conditions stand now.
    pub(crate) fn look(&self, ready: &Ready) {
        for (name, state) in ready.conditions.borrow().iter() {
            self.unmet.with([name]).set(i64::from(matches!(state, State::Waiting(_))));
            self.remarked.with([name]).set(i64::from(matches!(state, State::Remark(_))));
        }
    }
}

impl Condition {
    /// The condition is met.
    pub fn ready(&self) {
        if self.set(State::Met) {
            info!(condition = self.name, "ready");
        }
    }

    /// The condition is not met, or no longer.
    pub fn waiting(&self, reason: &str) {
        if self.set(State::Waiting(reason.to_owned())) {
            warn!(condition = self.name, reason, "not ready");
        }
    }

    /// The condition is met, and something about it is to be told until it is met without a word.
    pub fn remark(&self, remark: &str) {
        if self.set(State::Remark(remark.to_owned())) {
            warn!(condition = self.name, remark, "ready, but");
        }
    }

    /// Sets the state; whether that changed it.
    fn set(&self, state: State) -> bool {
        self.all.send_if_modified(|all| match all.get_mut(&self.name) {
            Some(old) if *old == state => false,
            Some(old) => {
                *old = state;
                true
            }
            None => {
                all.insert(self.name.clone(), state);
                true
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::Ready;

    #[track_caller]
    fn check(ready: &Ready, expected: &Expect) {
        expected.assert_eq(&serde_json::to_string_pretty(&ready.report()).unwrap());
    }

    #[test]
    fn a_remark_is_told_and_holds_nothing_up() {
        let ready = Ready::new();
        let rules = ready.condition("rules", "are being looked at");
        rules.remark("the new ones are refused");
        let report = ready.report();
        assert!(report.ready);
        assert_eq!(report.met, ["rules"]);
        assert_eq!(report.remarks[0].reason, "the new ones are refused");
        rules.ready();
        assert_eq!(ready.report().remarks, []);
    }

    #[test]
    fn nothing_to_wait_for_is_ready() {
        check(
            &Ready::new(),
            &expect![[r#"
                {
                  "ready": true,
                  "waiting_for": [],
                  "met": []
                }"#]],
        );
    }

    #[test]
    fn the_report_says_what_is_waited_for_and_why() {
        let ready = Ready::new();
        let rules = ready.condition("rules", "not loaded yet");
        let broker = ready.condition("kafka", "connecting to 127.0.0.1:9092");
        rules.ready();
        broker.clone().waiting("broker 127.0.0.1:9092 does not answer");
        check(
            &ready,
            &expect![[r#"
                {
                  "ready": false,
                  "waiting_for": [
                    {
                      "name": "kafka",
                      "reason": "broker 127.0.0.1:9092 does not answer"
                    }
                  ],
                  "met": [
                    "rules"
                  ]
                }"#]],
        );
    }

    #[test]
    fn details_are_told_as_they_are_when_asked_for_and_hold_up_nobody() {
        let ready = Ready::new();
        let asked = std::sync::atomic::AtomicU32::new(0);
        ready.detail("context", move || {
            let times = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            serde_json::json!({ "asked_before": times })
        });
        assert!(ready.report().ready);
        assert_eq!(ready.report().details["context"]["asked_before"], 1);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_condition() {
        let ready = Ready::new();
        let (one, other) = (ready.condition("one", "soon"), ready.condition("other", "soon"));
        one.ready();
        let (seen, ()) = tokio::join!(
            async {
                ready.wait().await;
                ready.report().ready
            },
            async {
                tokio::task::yield_now().await;
                other.ready();
            }
        );
        assert!(seen);
    }
}
