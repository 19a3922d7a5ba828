//! When a rule's state is too much for its budget.
//!
//! Owns: the verdict that says so. Never: what is given up.
//!
//! Giving up state is never silent: besides the verdicts that say `degraded`, it is an episode of
//! the built-in rule `tidegate/state-pressure`, keyed by the rule concerned.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{EventTime, Mode, Severity, Verdict};
use serde_json::{Map, Value};

use crate::episode::{Episodes, Evidence, Point};
use crate::key::HashKey;
use crate::rows::firing::Key;
use crate::verdict::Profile;
use crate::window::Link;
use crate::wire::{Reader, WireError, Writer};

/// Id of the built-in rule.
pub const STATE_PRESSURE: &str = "tidegate/state-pressure";
/// Pressure again within this time is the same episode.
const REARM_MS: i64 = 3_600_000;

/// What was given up, and of how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) episodes: u64,
}

impl Loss {
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The episodes of pressure.
#[derive(Debug)]
pub(crate) struct Pressure {
    episodes: Episodes,
    profile: Profile,
}

impl Pressure {
    /// `rules_max` is the number of rules, and with it of keys.
    pub(crate) fn new(rules_max: usize) -> Self {
        let profile = Profile {
            rule: Arc::from(STATE_PRESSURE),
            rule_version: "1".to_owned(),
            episode_version: Arc::from("1"),
            title: "A rule gave up state: its verdicts may be incomplete".to_owned(),
            severity: Severity::High,
            mode: Mode::Live,
            canary_percent: None,
            subject: BTreeMap::new(),
            respond: vec!["ticket".to_owned()],
            why: Some(
                "More rows or episodes came for the rule than its budget holds: by chance, or \
                 because somebody hides behind them."
                    .to_owned(),
            ),
            now_what: Some(
                "Narrow the rule's WHERE, shorten its window, or give it a larger budget."
                    .to_owned(),
            ),
            windows: None,
        };
        let link = Link::Events { rearm_ms: REARM_MS };
        Self { episodes: Episodes::new(link, rules_max.max(1)), profile }
    }

    /// A rule gave up state at a moment.
    pub(crate) fn note(&mut self, rule: &str, at: i64, loss: Loss) -> Vec<Verdict> {
        let columns = Map::from_iter([("rule".to_owned(), Value::from(rule))]);
        let bytes = rule.as_bytes().to_vec();
        let hash = HashKey::PUBLISHED.hash(&bytes);
        let values = Map::from_iter([
            ("bytes".to_owned(), Value::from(loss.bytes)),
            ("episodes".to_owned(), Value::from(loss.episodes)),
            ("rows".to_owned(), Value::from(loss.rows)),
        ]);
        let point = Point {
            at,
            values,
            evidence: Evidence::between(at, at),
            fired_at: at,
            early: true,
            degraded: false,
            counted_until: at,
            opening: None,
            announced: false,
        };
        let said = self.episodes.fire(&Arc::new(Key { bytes, hash, columns }), point);
        said.into_iter().map(|change| self.profile.verdict(change)).collect()
    }

    pub(crate) fn close(&mut self, watermark: EventTime) -> Vec<(i64, Verdict)> {
        let closed = self.episodes.close(watermark);
        closed.into_iter().map(|(over, change)| (over, self.profile.verdict(change))).collect()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        self.episodes.write(out);
    }

    pub(crate) fn read(&mut self, from: &mut Reader<'_>) -> Result<(), WireError> {
        self.episodes.read(from)
    }
}
