//! The state of one rule.
//!
//! Owns: what it keeps, its open episodes, and how a closed window over rows becomes firing points
//! (`folded` does the same over panes). Never: other rules.

use std::sync::Arc;

use arrow::error::ArrowError;
use schemas::{EventTime, Verdict};

use super::folded::Closing;
use super::{Failure, ReduceSettings, RuleLoad, Said, past};
use crate::episode::{Episodes, Evidence, Opening, Point};
use crate::key::HashKey;
use crate::panes::{Groups, Watch};
use crate::past::baseline::Baseline;
use crate::past::gate::Gate;
use crate::plan::RunError;
use crate::pressure::{Loss, Pressure};
use crate::rows::firing::{self, Crossing, Firing, RowAt};
use crate::rows::store::{Sealed, Shed, Store};
use crate::rows::{Rows, count, place};
use crate::ruleset::Prepared;
use crate::verdict::Profile;

/// What a rule keeps between events.
#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    Rows(Store),
    /// Where it stands in the groups of its unit.
    Panes(Watch),
}

impl Kept {
    fn of(rule: &Prepared) -> Self {
        let budget = rule.rule.rule.memory_bytes_max;
        // The other half is for the past.
        let budget = if rule.rule.past.is_some() { budget / 2 } else { budget };
        match (rule.windows, rule.folded()) {
            (None, _) => Self::Nothing,
            (Some(windows), None) => Self::Rows(Store::new(windows, budget)),
            (Some(windows), Some(_)) => Self::Panes(Watch::new(windows)),
        }
    }

    /// Bytes of its own; those of groups are its unit's.
    fn bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Panes(_) => 0,
            Self::Rows(store) => store.bytes(),
        }
    }

    /// The next window to close, with its end and start.
    fn due(&self, groups: Option<&Groups>, watermark: EventTime) -> Option<(i64, i64, i64)> {
        let (k, windows) = match self {
            Self::Nothing => return None,
            Self::Rows(store) => (store.due(watermark)?, store.windows()),
            Self::Panes(watch) => (watch.due(groups?, watermark)?, watch.windows()),
        };
        Some((k, windows.end(k), windows.start(k)))
    }
}

/// One rule's state.
#[derive(Debug)]
pub(super) struct RuleState {
    pub(super) rule: Arc<Prepared>,
    pub(super) profile: Profile,
    pub(super) hash_key: HashKey,
    pub(super) kept: Kept,
    /// What it remembers of the past.
    pub(super) past: Option<Gate>,
    /// What it knows to be usual.
    pub(super) baseline: Option<Baseline>,
    pub(super) episodes: Episodes,
    /// Who fired in the window that closed last.
    pub(super) fired: Vec<Firing>,
}

impl RuleState {
    pub(super) fn new(rule: &Arc<Prepared>, settings: &ReduceSettings, hash_key: HashKey) -> Self {
        Self {
            profile: Profile::of(&rule.rule, rule.windows),
            hash_key,
            kept: Kept::of(rule),
            past: past::gate(rule, settings),
            baseline: past::baseline(rule, settings),
            episodes: Episodes::new(rule.link, settings.episodes_open_max),
            fired: Vec::new(),
            rule: Arc::clone(rule),
        }
    }

    pub(super) fn load(&self) -> RuleLoad {
        RuleLoad {
            rule: Arc::clone(&self.rule.id),
            bytes: self.kept.bytes()
                + self.past.as_ref().map_or(0, Gate::bytes)
                + self.baseline.as_ref().map_or(0, Baseline::bytes),
            bytes_max: self.rule.rule.rule.memory_bytes_max,
            episodes: self.episodes.len(),
        }
    }

    /// Takes rows: retains them, or, for a rule without state, fires at each.
    pub(super) fn absorb(
        &mut self,
        rows: Rows,
        pressure: &mut Pressure,
    ) -> Result<Vec<Verdict>, ArrowError> {
        let (shed, at) = match &mut self.kept {
            Kept::Nothing => return Ok(self.hit(&rows, pressure)),
            Kept::Panes(_) => return Ok(Vec::new()),
            Kept::Rows(store) => (store.absorb(rows)?, store.latest()),
        };
        Ok(self.note(shed, at, pressure))
    }

    /// Says what was given up, if anything was.
    pub(super) fn note(&self, shed: Shed, at: i64, pressure: &mut Pressure) -> Vec<Verdict> {
        let loss = Loss { rows: shed.rows, bytes: shed.bytes, episodes: 0 };
        if loss.is_none() { Vec::new() } else { pressure.note(&self.rule.id, at, loss) }
    }

    fn hit(&mut self, rows: &Rows, pressure: &mut Pressure) -> Vec<Verdict> {
        let mut said = Vec::new();
        for (row, at) in rows.at.iter().enumerate() {
            let answer = firing::read(&self.rule, &rows.batch, row, self.hash_key);
            let Some(Firing { key, values }) = answer else { continue };
            let mut evidence = Evidence::default();
            evidence.see(rows, count(row));
            let point = Point {
                at: *at,
                values,
                evidence,
                fired_at: *at,
                early: true,
                degraded: self.is_lossy_at(*at),
                counted_until: *at,
                opening: None,
                announced: false,
            };
            let changes = self.episodes.fire(&key, point);
            said.extend(changes.into_iter().map(|change| self.profile.verdict(change)));
            said.extend(self.keep_to_bound(*at, pressure));
        }
        said
    }

    /// Closes the oldest episodes before their time where there are too many.
    pub(super) fn keep_to_bound(&mut self, at: i64, pressure: &mut Pressure) -> Vec<Verdict> {
        let shed = self.episodes.shed();
        let episodes = u64::try_from(shed.len()).unwrap_or(u64::MAX);
        let mut said: Vec<Verdict> =
            shed.into_iter().map(|change| self.profile.verdict(change)).collect();
        if episodes > 0 {
            let loss = Loss { episodes, ..Loss::default() };
            said.extend(pressure.note(&self.rule.id, at, loss));
        }
        said
    }

    /// The watermark at which it has something to do next.
    pub(super) fn due(&self) -> i64 {
        if self.past.is_some() || self.baseline.is_some() {
            return i64::MIN;
        }
        let kept = match &self.kept {
            Kept::Nothing => None,
            Kept::Rows(store) => store.ends(),
            Kept::Panes(watch) => Some(watch.quiet_until()),
        };
        kept.into_iter().chain(self.episodes.first_over()).min().unwrap_or(i64::MAX)
    }

    /// Closes the windows and episodes that the watermark has passed. A rule over panes is given
    /// the groups of its unit.
    pub(super) fn advance(
        &mut self,
        watermark: EventTime,
        closing: Option<Closing<'_>>,
        pressure: &mut Pressure,
        failures: &mut Vec<Failure>,
    ) -> Vec<Said> {
        let mut said = Vec::new();
        let groups = closing.map(|closing| closing.groups);
        while let Some((k, end, start)) = self.kept.due(groups, watermark) {
            let judged = match closing {
                Some(closing) => Ok(self.judge_folded(closing, k, failures)),
                None => self.judge(k),
            };
            match judged {
                Ok(verdicts) => said.extend(verdicts.into_iter().map(|verdict| (end, verdict))),
                Err(error) => {
                    self.fired.clear();
                    failures.push(failed(&self.rule.id, Some(EventTime(start)), &error));
                }
            }
            let mut shed = self.keep_to_bound(end, pressure);
            if let Some(closing) = closing {
                let gone = self.learn(closing, k);
                shed.extend(self.note(gone, end, pressure));
            }
            said.extend(shed.into_iter().map(|verdict| (end, verdict)));
            match &mut self.kept {
                Kept::Rows(store) => store.close(k),
                Kept::Panes(watch) => watch.close(k),
                Kept::Nothing => break,
            }
        }
        if let Kept::Panes(watch) = &mut self.kept {
            watch.settle(watermark);
        }
        if let Some(baseline) = &mut self.baseline {
            baseline.settle(watermark);
        }
        let closed = self.episodes.close(watermark).into_iter();
        said.extend(closed.map(|(over, change)| (over, self.profile.verdict(change))));
        said
    }

    /// Window `k` is complete: who fires, and what that means.
    fn judge(&mut self, k: i64) -> Result<Vec<Verdict>, RunError> {
        let Kept::Rows(store) = &mut self.kept else { return Ok(Vec::new()) };
        let is_new = store.is_changed(k) || self.rule.reads_window;
        if !is_new && self.fired.is_empty() {
            return Ok(Vec::new());
        }
        let panes = store.window(k)?;
        if is_new {
            self.fired = firing::fire(&self.rule, &panes, k, self.hash_key)?;
        }
        let points = self.points(k, &panes)?;
        let mut said = Vec::new();
        for (firing, point) in self.fired.iter().zip(points) {
            let changes = self.episodes.fire(&firing.key, point);
            said.extend(changes.into_iter().map(|change| self.profile.verdict(change)));
        }
        Ok(said)
    }

    /// A point for each that fired in window `k`, in their order.
    fn points(&self, k: i64, panes: &[Arc<Sealed>]) -> Result<Vec<Point>, RunError> {
        let Kept::Rows(store) = &self.kept else { return Ok(Vec::new()) };
        let windows = store.windows();
        let (start, end) = (windows.start(k), windows.end(k));
        let point = |firing: &Firing, evidence| Point {
            at: k,
            values: firing.values.clone(),
            evidence,
            fired_at: end,
            early: false,
            degraded: store.is_degraded(k) || self.is_lossy_at(start),
            counted_until: end,
            opening: None,
            announced: false,
        };
        if self.rule.keys_in.is_none() {
            let evidence = of_window(panes, start);
            return Ok(self.fired.iter().map(|firing| point(firing, evidence.clone())).collect());
        }
        let open = |firing: &Firing| self.episodes.within_reach(&firing.key, k);
        let uncounted = |firing: &Firing| {
            let from = open(firing).map_or(start, |episode| episode.counted_until.max(start));
            (firing.key.hash, from)
        };
        let wanted: Vec<_> = self.fired.iter().map(uncounted).collect();
        let rows = firing::rows_of(panes, &wanted);
        let crossed = self.crossings(k, panes, &rows)?;
        let all = self.fired.iter().zip(rows).zip(crossed);
        Ok(all
            .map(|((firing, rows), crossing)| Point {
                opening: crossing.and_then(|crossing| opening(panes, &rows, crossing)),
                ..point(firing, evidence(panes, &rows))
            })
            .collect())
    }

    /// Where those that open an episode crossed, for rules of which that can be said.
    fn crossings(
        &self,
        k: i64,
        panes: &[Arc<Sealed>],
        rows: &[Vec<RowAt>],
    ) -> Result<Vec<Option<Crossing>>, RunError> {
        let opens = |firing: &Firing| self.episodes.within_reach(&firing.key, k).is_none();
        let mut found: Vec<Option<Crossing>> = self.fired.iter().map(|_firing| None).collect();
        if !self.rule.monotone {
            return Ok(found);
        }
        let (mut places, mut keys) = (Vec::new(), Vec::new());
        for (place, (firing, rows)) in self.fired.iter().zip(rows).enumerate() {
            if opens(firing) {
                places.push(place);
                keys.push((firing, rows.clone()));
            }
        }
        let crossed = firing::crossings(&self.rule, panes, k, &keys, self.hash_key)?;
        for (place, crossing) in places.into_iter().zip(crossed) {
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(crossing);
            }
        }
        Ok(found)
    }
}

pub(crate) fn failed(rule: &str, window: Option<EventTime>, error: &RunError) -> Failure {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let detail = format!("{error}{}", cause.unwrap_or_default());
    Failure { rule: rule.to_owned(), window, count: 1, detail }
}

/// Of keys whose rows cannot be told from the others'.
fn of_window(panes: &[Arc<Sealed>], start: i64) -> Evidence {
    let moments = || panes.iter().flat_map(|pane| pane.rows.at.iter().copied());
    let first = moments().min().unwrap_or(start);
    Evidence::between(first, moments().max().unwrap_or(first))
}

fn evidence(panes: &[Arc<Sealed>], rows: &[RowAt]) -> Evidence {
    let mut evidence = Evidence::default();
    for at in rows {
        if let Some(pane) = panes.get(at.pane) {
            evidence.see(&pane.rows, at.row);
        }
    }
    evidence
}

fn opening(panes: &[Arc<Sealed>], rows: &[RowAt], crossing: Crossing) -> Option<Opening> {
    let seen = rows.get(..crossing.rows)?;
    let last = seen.last()?;
    let fired_at = *panes.get(last.pane)?.rows.at.get(place(last.row))?;
    Some(Opening { values: crossing.values, evidence: evidence(panes, seen), fired_at })
}
