//! Verdicts for the tests of this crate, whose clocks begin at 2027-01-15T08:00:00Z.

use schemas::{Verdict, VerdictKind};
use serde_json::json;

/// The verdict of the contract page under another id; revision 1 opens, later ones update.
pub(crate) fn verdict(id: &str, revision: u32) -> Verdict {
    let kind = if revision == 1 { VerdictKind::Opened } else { VerdictKind::Updated };
    serde_json::from_value(json!({
        "id": id, "revision": revision, "kind": kind.name(),
        "rule": "auth/credential-stuffing", "rule_version": "9f31c2",
        "title": "Many accounts fail to log in from one address", "severity": "high",
        "mode": "live", "key": {"client_ip": "203.0.113.9"},
        "subject": {"ip": "203.0.113.9"}, "values": {"failures": 20, "accounts": 10},
        "window": {"start": "2027-01-15T08:00:00.000Z", "end": "2027-01-15T08:05:00.000Z",
                   "size_ms": 300_000},
        "first_event": "2027-01-15T08:00:00.000Z", "last_event": "2027-01-15T08:00:57.000Z",
        "fired_at": "2027-01-15T08:00:57.000Z", "early": true, "degraded": false,
        "service": ["shop"], "route": ["POST /login"],
        "deploy": {"id": "d2", "commit": "bbb222", "change": "481", "owner": "team-shop",
                   "age_s": 340},
        "context_missing": [],
        "events": [{"event_id": "e1", "event_time": "2027-01-15T08:00:57.000Z",
                    "line": "203.0.113.9 - - [15/Jan/2027:08:00:57 +0000] \"POST /login\" 401 12"}],
        "respond": ["block 30m", "ticket"],
        "why": "Password lists are tried by machine; people do not fail on ten accounts.",
        "now_what": "Reset the accounts that logged in during the episode.",
    }))
    .unwrap()
}

/// The same on another address.
pub(crate) fn verdict_on(id: &str, revision: u32, ip: &str) -> Verdict {
    let mut verdict = verdict(id, revision);
    verdict.key.insert("client_ip".into(), ip.into());
    verdict.subject.insert("ip".into(), ip.into());
    verdict
}
