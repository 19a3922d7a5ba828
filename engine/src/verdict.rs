//! Episodes as verdicts.
//!
//! Owns: filling in the public record. Never: deciding that there is something to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{
    EpisodeName, EventTime, Mode, Severity, Verdict, VerdictDeploy, VerdictKind, WindowSpan,
    verdict_id,
};
use serde_json::{Map, Value};

use crate::episode::{Change, Episode};
use crate::plan::CompiledRule;
use crate::rows::circumstances::Deploy;
use crate::window::Windows;

/// What all verdicts of a rule have in common.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) rule: Arc<str>,
    pub(crate) rule_version: String,
    pub(crate) episode_version: Arc<str>,
    pub(crate) title: String,
    pub(crate) severity: Severity,
    pub(crate) mode: Mode,
    pub(crate) canary_percent: Option<u8>,
    /// Kind of subject by column.
    pub(crate) subject: BTreeMap<String, String>,
    pub(crate) respond: Vec<String>,
    pub(crate) why: Option<String>,
    pub(crate) now_what: Option<String>,
    pub(crate) windows: Option<Windows>,
}

impl Profile {
    pub(crate) fn of(compiled: &CompiledRule, windows: Option<Windows>) -> Self {
        let rule = &compiled.rule;
        Self {
            rule: Arc::from(compiled.id()),
            rule_version: compiled.rule_version().to_owned(),
            episode_version: Arc::from(compiled.episode_version.as_str()),
            title: rule.title.clone(),
            severity: rule.severity,
            mode: rule.mode,
            canary_percent: rule.canary_percent.filter(|_| rule.mode == Mode::Canary),
            subject: rule.subject.clone(),
            respond: rule.respond.clone(),
            why: rule.why.clone(),
            now_what: rule.now_what.clone(),
            windows,
        }
    }

    /// Puts a change into words.
    pub(crate) fn verdict(&self, change: Change) -> Verdict {
        let Change { kind, episode, values, fired_at, into } = change;
        let evidence = &episode.evidence;
        let deploy = self.deploy(&episode);
        let deploys = match deploy {
            Some(_) => Map::new(),
            None => evidence.deploys().map(|(id, n)| (id.to_owned(), Value::from(n))).collect(),
        };
        Verdict {
            id: self.id(&episode.key.bytes, episode.anchor),
            revision: episode.revision,
            kind,
            rule: self.rule.to_string(),
            rule_version: self.rule_version.clone(),
            title: self.title.clone(),
            severity: self.severity,
            mode: self.mode,
            key: episode.key.columns.clone(),
            subject: self.subject(&episode),
            values,
            window: self.window(&episode),
            first_event: evidence.first(),
            last_event: evidence.last(),
            fired_at: EventTime(fired_at),
            early: episode.early,
            degraded: episode.degraded,
            into: into.map(|anchor| self.id(&episode.key.bytes, anchor)),
            service: evidence.services(),
            route: evidence.routes(),
            deploy,
            deploys,
            context_missing: evidence.missing(),
            events: evidence.exemplars(),
            origin: None,
            respond: self.respond.clone(),
            why: self.why.clone().filter(|_| kind == VerdictKind::Opened),
            now_what: self.now_what.clone().filter(|_| kind == VerdictKind::Opened),
            canary_percent: self.canary_percent,
        }
    }

    fn id(&self, key: &[u8], anchor: i64) -> String {
        verdict_id(EpisodeName { rule: &self.rule, version: &self.episode_version, key, anchor })
    }

    /// The first start to the last end of the firing windows so far.
    fn window(&self, episode: &Episode) -> Option<WindowSpan> {
        self.windows.map(|windows| WindowSpan {
            start: EventTime(windows.start(episode.lo)),
            end: EventTime(windows.end(episode.told_hi)),
            size_ms: windows.size_ms(),
        })
    }

    /// From the key, else from the values when the episode opened.
    fn subject(&self, episode: &Episode) -> Map<String, Value> {
        let value = |column: &String| {
            episode.key.columns.get(column).or_else(|| episode.opening.get(column)).cloned()
        };
        let subjects = self.subject.iter();
        subjects.filter_map(|(kind, column)| Some((kind.clone(), value(column)?))).collect()
    }

    /// The one that all events agree on, else the one that the rule groups by, with what its query
    /// says of it.
    fn deploy(&self, episode: &Episode) -> Option<VerdictDeploy> {
        if let Some(deploy) = episode.evidence.deploy() {
            return Some(rendered(deploy, episode.evidence.first()));
        }
        let id = episode.key.columns.get("deploy_id")?.as_str()?;
        let said = |column| episode.opening.get(column).and_then(Value::as_str).map(str::to_owned);
        Some(VerdictDeploy {
            id: id.to_owned(),
            commit: said("commit"),
            change: said("change_id"),
            owner: said("owner"),
            age_s: None,
        })
    }
}

fn rendered(deploy: &Deploy, first: EventTime) -> VerdictDeploy {
    let age_ms = deploy.since.map(|since| first.minus(since).millis());
    VerdictDeploy {
        id: deploy.id.clone(),
        commit: deploy.commit.clone(),
        change: deploy.change.clone(),
        owner: deploy.owner.clone(),
        age_s: age_ms.filter(|age| *age >= 0).map(|age| age / 1_000),
    }
}
