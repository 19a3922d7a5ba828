//! Verdicts: what leaves the engine when a rule fires, and the records behind it.
//!
//! Owns: the public shape of a verdict (see `docs/contracts`). Never: how one comes about.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::Origin;
use crate::time::EventTime;

/// What a verdict says about its episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The rule fires for this key and did not before.
    Opened,
    /// It goes on, and the count has doubled.
    Updated,
    /// It turned out to be part of the episode in `into`.
    Merged,
    /// It is over; `values` are the totals.
    Closed,
}

impl VerdictKind {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Merged => "merged",
            Self::Closed => "closed",
        }
    }
}

/// How bad a rule's finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Low,
    /// Worth a ticket.
    Medium,
    /// Worth acting on today.
    High,
    /// Worth waking somebody.
    Critical,
}

/// How far a rule's verdicts may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The rule does not run.
    Off,
    /// Verdicts, no orders.
    Shadow,
    /// Orders for a share of the keys.
    Canary,
    /// Orders for all.
    Live,
}

/// The window that fired, for rules that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSpan {
    /// First moment inside.
    pub start: EventTime,
    /// First moment after it.
    pub end: EventTime,
    /// Length of one window in milliseconds.
    pub size_ms: i64,
}

/// The deploy that the events of an episode agree on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictDeploy {
    /// Deploy id.
    pub id: String,
    /// Commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Change request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// Team that owns the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Seconds from the deploy to the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
}

/// One of at most five events that show what the rule saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemplar {
    /// Event id.
    pub event_id: String,
    /// When it happened.
    pub event_time: EventTime,
    /// The raw line after redaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

/// A verdict. `id` names the episode and is equal for all its kinds; `revision` counts up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Episode id; with `revision` the idempotency key.
    pub id: String,
    /// 1 for `opened`, then upwards.
    pub revision: u32,
    /// What it says.
    pub kind: VerdictKind,
    /// Rule id.
    pub rule: String,
    /// Hash of the whole rule text.
    pub rule_version: String,
    /// The rule's title.
    pub title: String,
    /// The rule's severity.
    pub severity: Severity,
    /// The rule's mode.
    pub mode: Mode,
    /// Key columns and their values.
    pub key: Map<String, Value>,
    /// What a response acts on: subject kind by value.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub subject: Map<String, Value>,
    /// The other columns of the query's row; at `closed`, the totals.
    pub values: Map<String, Value>,
    /// The first firing window; absent for rules without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpan>,
    /// Event time of the first event.
    pub first_event: EventTime,
    /// Event time of the last event so far.
    pub last_event: EventTime,
    /// Event time at which the rule fired.
    pub fired_at: EventTime,
    /// Whether it fired before its window closed.
    pub early: bool,
    /// Whether state was shed, so that the values are estimates.
    pub degraded: bool,
    /// The episode that this one merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// Services concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service: Vec<String>,
    /// `METHOD template` of the routes concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<String>,
    /// The deploy, where the events agree on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<VerdictDeploy>,
    /// Events by deploy, where they do not agree.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub deploys: Map<String, Value>,
    /// What could not be joined.
    #[serde(default)]
    pub context_missing: Vec<String>,
    /// Up to five events.
    #[serde(default)]
    pub events: Vec<Exemplar>,
    /// Where the frame stood that made it fire; absent in `replay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The most that the rule asks for, such as `block 30m`, `ticket`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub respond: Vec<String>,
    /// Why the rule exists: its `why` text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do now: the rule's `now_what`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_what: Option<String>,
    /// Share of keys in percent that orders are made for, where `mode` is `canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u8>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Verdict;

    #[test]
    fn the_published_example_is_a_verdict() {
        let text = json!({
            "id": "0192f0c1-0000-8000-8000-000000000000", "revision": 1, "kind": "opened",
            "rule": "auth/credential-stuffing", "rule_version": "9f31c2",
            "title": "Many accounts fail to log in from one address", "severity": "high",
            "mode": "live", "key": {"client_ip": "203.0.113.9"},
            "subject": {"ip": "203.0.113.9"}, "values": {"failures": 20, "accounts": 10},
            "window": {"start": "2026-11-20T08:00:00.000Z", "end": "2026-11-20T08:05:00.000Z",
                       "size_ms": 300_000},
            "first_event": "2026-11-20T08:00:00.000Z", "last_event": "2026-11-20T08:00:57.000Z",
            "fired_at": "2026-11-20T08:00:57.000Z", "early": true, "degraded": false,
            "service": ["shop"], "route": ["POST /login"],
            "deploy": {"id": "d2", "commit": "bbb222", "change": "481", "owner": "team-shop",
                       "age_s": 340},
            "context_missing": [],
            "events": [{"event_id": "e", "event_time": "2026-11-20T08:00:57.000Z", "line": "…"}],
            "origin": {"topic": "detect.exchange", "partition": 3, "offset": 8841, "index": 0},
            "respond": ["block 30m", "ticket"],
        });
        let verdict: Verdict = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&verdict).unwrap(), text as Value);
    }
}
