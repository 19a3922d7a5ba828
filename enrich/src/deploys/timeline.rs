//! The deploys of one service in order of time, as each environment sees them.
//!
//! Owns: validity, versions, what came before. Never: other services, columns.

use std::collections::{BTreeMap, HashMap};

use schemas::{Deploy, DeployAction, EventTime};

use crate::track::{Span, Track};

/// What an event says about the deploy behind it, beside service, environment and time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) deploy_id: Option<&'a str>,
}

/// A service's deploys, once for each way in which an event can name the environment.
#[derive(Debug)]
pub(super) struct Timelines {
    /// For events of an environment that some deploy names.
    named: BTreeMap<Box<str>, Timeline>,
    /// For events of another environment: deploys that name none.
    other: Timeline,
    /// For events that name none: all deploys.
    any: Timeline,
    /// The number of the service's first fact.
    first: u32,
    entries: Vec<Entry>,
}

/// What a fact says, for people who ask.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) deploy_id: Box<str>,
    pub(super) version: Option<Box<str>>,
    pub(super) previous: Option<Box<str>>,
}

/// The deploys that an event of one environment can have.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    all: Track,
    versions: HashMap<Box<str>, Track>,
    unversioned: Track,
    ids: HashMap<Box<str>, Track>,
}

/// A row of facts: the deploy and the id of the one before it.
pub(super) type Row<'d> = (&'d Deploy, Option<&'d str>);

/// Which environments a timeline is for.
#[derive(Debug, Clone, Copy)]
enum View<'d> {
    Named(&'d str),
    Other,
    Any,
}

impl View<'_> {
    fn shows(self, deploy: &Deploy) -> bool {
        match (self, deploy.environment.as_deref()) {
            (Self::Any, _) | (_, None) => true,
            (Self::Named(asked), Some(named)) => asked == named,
            (Self::Other, Some(_)) => false,
        }
    }
}

impl Timelines {
    /// `deploys` are all of one service; their facts are appended to `rows`.
    pub(super) fn new<'d>(mut deploys: Vec<&'d Deploy>, rows: &mut Vec<Row<'d>>) -> Self {
        deploys.sort_by(|one, other| order(one).cmp(&order(other)));
        let start = rows.len();
        let mut view = |view| Timeline::new(view, &deploys, rows);
        let named = deploys.iter().filter_map(|deploy| deploy.environment.as_deref());
        let named: BTreeMap<Box<str>, Timeline> = named
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|environment| (environment.into(), view(View::Named(environment))))
            .collect();
        let (other, any) = (view(View::Other), view(View::Any));
        let entry = |(deploy, previous): &Row<'_>| Entry {
            deploy_id: deploy.deploy_id.as_str().into(),
            version: deploy.version.as_deref().map(Into::into),
            previous: previous.map(Into::into),
        };
        let entries = rows.iter().skip(start).map(entry).collect();
        Self { named, other, any, first: number(start), entries }
    }

    /// The deploys that an event of this environment can have.
    pub(super) fn of(&self, environment: Option<&str>) -> &Timeline {
        match environment {
            None => &self.any,
            Some(name) => self.named.get(name).unwrap_or(&self.other),
        }
    }

    pub(super) fn entry(&self, fact: u32) -> Option<&Entry> {
        let place = fact.checked_sub(self.first)?;
        self.entries.get(usize::try_from(place).ok()?)
    }
}

impl Timeline {
    fn new<'d>(view: View<'d>, deploys: &[&'d Deploy], rows: &mut Vec<Row<'d>>) -> Self {
        let shown = deploys.iter().copied().filter(|deploy| view.shows(deploy));
        let (gone, live): (Vec<&Deploy>, Vec<&Deploy>) =
            shown.partition(|deploy| deploy.action == DeployAction::Removed);
        let mut timeline = Self::default();
        let mut all = Vec::with_capacity(live.len());
        let mut tracks: Tracks<'d> = Tracks::default();
        for (place, deploy) in live.iter().copied().enumerate() {
            let before = live.iter().take(place).rev();
            let previous = before.map(|d| d.deploy_id.as_str()).find(|id| *id != deploy.deploy_id);
            let span = Span {
                start: deploy.deployed_at,
                end: end_of(deploy, &gone, &live),
                fact: number(rows.len()),
            };
            rows.push((deploy, previous));
            all.push(span);
            tracks.ids.entry(&deploy.deploy_id).or_default().push(span);
            match deploy.version.as_deref() {
                Some(version) => tracks.versions.entry(version).or_default().push(span),
                None => tracks.unversioned.push(span),
            }
        }
        let finish = |tracks: BTreeMap<&str, Vec<Span>>| {
            tracks.into_iter().map(|(name, spans)| (name.into(), Track::new(spans))).collect()
        };
        timeline.all = Track::new(all);
        timeline.versions = finish(tracks.versions);
        timeline.ids = finish(tracks.ids);
        timeline.unversioned = Track::new(tracks.unversioned);
        timeline
    }

    /// The deploy of an event at this time.
    pub(super) fn at(&self, moment: EventTime, asked: Asked<'_>) -> Option<&Span> {
        if let Some(id) = asked.deploy_id {
            return self.ids.get(id).and_then(|track| track.near(moment));
        }
        let Some(version) = asked.version else { return self.all.at(moment) };
        let of_version = self.versions.get(version).and_then(|track| track.at(moment));
        of_version.or_else(|| self.unversioned.at(moment))
    }
}

#[derive(Debug, Default)]
struct Tracks<'d> {
    versions: BTreeMap<&'d str, Vec<Span>>,
    ids: BTreeMap<&'d str, Vec<Span>>,
    unversioned: Vec<Span>,
}

/// Order of time; the rest only makes it the same whatever the order of arrival.
pub(super) fn order(deploy: &Deploy) -> (EventTime, &str, bool) {
    (deploy.deployed_at, &deploy.deploy_id, deploy.action == DeployAction::Rolledback)
}

/// When a deploy was removed, by its own id or with everything else.
pub(super) fn end_of(deploy: &Deploy, gone: &[&Deploy], live: &[&Deploy]) -> EventTime {
    let ends = gone.iter().filter(|removal| {
        let named =
            live.iter().any(|known| meets(removal, known) && known.deploy_id == removal.deploy_id);
        removal.deployed_at > deploy.deployed_at
            && meets(removal, deploy)
            && (!named || removal.deploy_id == deploy.deploy_id)
    });
    ends.map(|removal| removal.deployed_at).min().unwrap_or(EventTime::MAX)
}

/// Whether the environments of two records agree.
pub(super) fn meets(one: &Deploy, other: &Deploy) -> bool {
    match (&one.environment, &other.environment) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Facts are numbered in 32 bits; there are at most a few for each of `DEPLOYS_MAX` deploys.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
