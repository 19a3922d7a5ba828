//! Rules whose state is in panes: firing at the event, and at the close of a window.
//!
//! Owns: how hits and closed windows become firing points. Never: the folds themselves.
//!
//! The close of a window is what counts: it gives each firing its final values and evidence. The
//! event that crosses says the same earlier, for rules whose HAVING stays true once it is; such a
//! point opens and links episodes, and adds nothing to their totals.

use std::collections::HashSet;
use std::sync::Arc;

use schemas::{EventTime, Verdict};

use super::state::{Kept, RuleState};
use super::step::Step;
use super::{Failure, failed};
use crate::episode::{Opening, Point};
use crate::hits::Hits;
use crate::panes::{Answered, Crossing, Groups, Link, Reading, Register, Touched, View};
use crate::plan::{Kind, RunError};
use crate::pressure::Pressure;
use crate::rows::firing::Firing;
use crate::rows::place;
use crate::rows::store::Shed;
use crate::ruleset::Unit;

/// What a unit's rules say of hits: which of its rules, at which row.
type Told = (usize, u32, Verdict);

/// A unit while it takes hits.
pub(super) struct Folding<'a> {
    pub(super) unit: &'a Unit,
    pub(super) groups: &'a mut Groups,
    pub(super) rules: &'a mut [RuleState],
    pub(super) register: &'a mut Register,
    pub(super) pressure: &'a mut Pressure,
    pub(super) failures: &'a mut Vec<Failure>,
}

impl Folding<'_> {
    /// Folds hits. What is said is in order of the unit's rules, and for each in order of arrival.
    pub(super) fn fold(
        &mut self,
        hits: &Hits,
        names: &Arc<[Arc<str>]>,
        step: &mut Step,
    ) -> Vec<Verdict> {
        let same = Arc::ptr_eq(names, &self.unit.names);
        let taken = self.unit.folds.iter().enumerate().map(|(at, fold)| {
            let named = || names.iter().position(|name| *name == fold.name);
            let at = if same { at } else { named()? };
            hits.folds.get(at).map(AsRef::as_ref)
        });
        let mut reading = Reading {
            events: &hits.events,
            rows: &hits.rows,
            folds: &self.unit.folds,
            taken: taken.collect(),
            entries: &step.entries,
            shelved: &mut step.shelved,
        };
        self.groups.expect(&reading);
        let (least, mut patience) = (self.unit.rows_min, None);
        let mut told: Vec<Told> = Vec::new();
        let mut links = Vec::new();
        // All keys first: looking one up does not wait for another.
        step.entered.clear();
        for (key, ..) in hits.each_run() {
            let known = self.groups.find(key.hash);
            step.entered.push(known.unwrap_or_else(|| {
                let patience = *patience.get_or_insert_with(|| self.patience());
                self.groups.enter(key, patience)
            }));
        }
        for ((_, from, to), group) in hits.each_run().zip(&step.entered) {
            let mut next = from;
            while next < to {
                let shelf = &mut self.register.shelf;
                let touched = self.groups.take(*group, &mut reading, (next..to, least), shelf);
                let Some(touched) = touched else { break };
                next = touched.end;
                if touched.ripe {
                    let last = hits.rows.get(place(next.saturating_sub(1))).copied();
                    let row = last.unwrap_or_default();
                    self.ask((touched, row, hits.events.at(row)), &mut links, &mut told);
                }
            }
        }
        told.sort_by_key(|(rule, row, _)| (*rule, *row));
        let (shed, gone) = self.groups.shed(&mut self.register.shelf);
        if told.is_empty() && gone.is_empty() {
            return Vec::new();
        }
        let mut said = Vec::new();
        for (at, rule) in self.unit.rules.iter().enumerate() {
            said.extend(told.extract_if(.., |(of, ..)| *of == at).map(|(.., verdict)| verdict));
            if let Some(state) = self.rules.get_mut(*rule) {
                if let Kept::Panes(watch) = &mut state.kept {
                    gone.iter().for_each(|key| watch.forget(*key));
                }
                said.extend(state.note(shed, self.groups.latest(), self.pressure));
            }
        }
        said
    }

    /// Rows of a key nobody knows that come before any rule can fire at one of them.
    fn patience(&self) -> u64 {
        let least = self.unit.rows_min.unwrap_or(0);
        if self.unit.folds.iter().all(|fold| fold.kind != Kind::Sum) {
            return least;
        }
        let rules = self.unit.rules.iter().zip(&self.unit.folds_of);
        let early = rules.filter_map(|(rule, places)| {
            let state = self.rules.get(*rule)?;
            let view = View::of(&state.rule, places, None)?;
            state.rule.monotone.then(|| view.rows_to_come(self.groups))
        });
        early.min().unwrap_or(0)
    }

    /// Asks each rule that fires at events about a row just taken.
    fn ask(
        &mut self,
        (touched, row, at): (Touched, u32, i64),
        links: &mut Vec<Link>,
        told: &mut Vec<Told>,
    ) {
        let longest = self.unit.panes_max;
        let span = (touched.pane.saturating_sub(longest - 1), touched.pane.saturating_add(longest));
        self.groups.links(touched.group, span, links);
        let mut patience = u64::MAX;
        for (place, rule) in self.unit.rules.iter().enumerate() {
            let (Some(state), Some(places)) =
                (self.rules.get_mut(*rule), self.unit.folds_of.get(place))
            else {
                continue;
            };
            let mut crossing = Crossed {
                state,
                groups: self.groups,
                register: self.register,
                places,
                said: Vec::new(),
            };
            let found = crossing.cross(&touched, links, at);
            let mut said = crossing.said;
            match found {
                Ok(Crossing::After(rows)) => patience = patience.min(rows),
                Ok(Crossing::Fires(_) | Crossing::None) => {}
                Err(error) => {
                    patience = 1;
                    self.failures.push(failed(&state.rule.id, None, &error));
                }
            }
            if !said.is_empty() {
                said.extend(state.keep_to_bound(at, self.pressure));
            }
            told.extend(said.into_iter().map(|verdict| (place, row, verdict)));
        }
        if touched.nested {
            self.groups.wait(touched.group, patience);
        }
    }
}

/// One rule that is asked about a row.
struct Crossed<'a> {
    state: &'a mut RuleState,
    groups: &'a Groups,
    register: &'a Register,
    places: &'a [usize],
    said: Vec<Verdict>,
}

impl Crossed<'_> {
    /// The windows that a row made fire, in ascending order; then why there are no more.
    fn cross(&mut self, touched: &Touched, links: &[Link], at: i64) -> Result<Crossing, RunError> {
        let rule = Arc::clone(&self.state.rule);
        let view = View::of(&rule, self.places, self.state.baseline.as_ref());
        let Some(view) = view.filter(|_view| rule.monotone) else { return Ok(Crossing::None) };
        loop {
            let Kept::Panes(watch) = &mut self.state.kept else { return Ok(Crossing::None) };
            let found = watch.crossed(view, self.groups, touched, links)?;
            let Crossing::Fires(k) = found else { return Ok(found) };
            let open = self.state.episodes.within_reach_of(self.groups.key_bytes(touched.group), k);
            let (key, opening, degraded) = match open {
                // It goes on: what it comes to is said at the close.
                Some(episode) => (Arc::clone(&episode.key), Opening::default(), false),
                None => {
                    let hash_key = self.state.hash_key;
                    let answer = self.groups.fire(view, &[touched.key], k, hash_key)?.pop();
                    let Some(Firing { key, values }) = answer else { continue };
                    let of = (touched.key, k, i64::MIN);
                    let (evidence, degraded) = self.groups.evidence(view, of, self.register);
                    (key, Opening { values, evidence, fired_at: at }, degraded)
                }
            };
            let point = Point { degraded, ..Point::announced(k, opening) };
            let changes = self.state.episodes.fire(&key, point);
            let profile = &self.state.profile;
            self.said.extend(changes.into_iter().map(|change| profile.verdict(change)));
        }
    }
}

/// What a rule's windows are judged by when they close.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing<'a> {
    pub(super) groups: &'a Groups,
    pub(super) register: &'a Register,
    /// By fold of the rule: its place in the unit.
    pub(super) places: &'a [usize],
    /// What rules of the unit have asked, where it has several.
    pub(super) answered: Option<&'a Answered>,
}

impl RuleState {
    /// Window `k` is complete: who fires, and what that means.
    pub(super) fn judge_folded(
        &mut self,
        closing: Closing<'_>,
        k: i64,
        failures: &mut Vec<Failure>,
    ) -> Vec<Verdict> {
        let rule = Arc::clone(&self.rule);
        let baseline = self.baseline.as_ref();
        let view = View::of(&rule, closing.places, baseline);
        let view = view.map(|view| view.sharing(closing.answered));
        let (Kept::Panes(watch), Some(view)) = (&self.kept, view) else { return Vec::new() };
        let (groups, windows) = (closing.groups, watch.windows());
        let fresh = watch.is_fresh(k) || baseline.is_some_and(|baseline| baseline.turns(k));
        // Not every window that is compared with what is usual was asked at an event.
        let all_told = rule.monotone && baseline.is_none();
        let announced = if all_told { watch.announced(groups, k) } else { None };
        let changed = match announced {
            Some(announced) => {
                let same: HashSet<u128> =
                    announced.iter().filter(|(_, new)| !new).map(|(key, _)| *key).collect();
                self.fired.retain(|firing| same.contains(&firing.key.hash));
                announced.into_iter().filter(|(_, new)| *new).map(|(key, _)| key).collect()
            }
            None => {
                let changed = watch.changed(groups, k, fresh);
                if fresh {
                    self.fired.clear();
                } else if !changed.is_empty() && !self.fired.is_empty() {
                    let gone: HashSet<u128> = changed.iter().copied().collect();
                    self.fired.retain(|firing| !gone.contains(&firing.key.hash));
                }
                changed
            }
        };
        if changed.is_empty() && self.fired.is_empty() {
            return Vec::new();
        }
        let start = EventTime(windows.start(k));
        match groups.fire(view, &changed, k, self.hash_key) {
            Ok(fired) => self.fired.extend(fired),
            // A value that HAVING or SELECT cannot take: all but that group are judged.
            Err(_of_some_group) => {
                for key in changed {
                    match groups.fire(view, &[key], k, self.hash_key) {
                        Ok(fired) => self.fired.extend(fired),
                        Err(error) => failures.push(failed(&self.rule.id, Some(start), &error)),
                    }
                }
            }
        }
        self.fired.sort_by(|a, b| a.key.bytes.cmp(&b.key.bytes));
        let mut said = Vec::new();
        for firing in &self.fired {
            let point = self.closing(view, closing, (firing, k));
            let changes = self.episodes.fire(&firing.key, point);
            said.extend(changes.into_iter().map(|change| self.profile.verdict(change)));
        }
        said
    }

    /// Window `k` is judged: what it says of what is usual.
    pub(super) fn learn(&mut self, closing: Closing<'_>, k: i64) -> Shed {
        let rule = Arc::clone(&self.rule);
        let view = View::of(&rule, closing.places, None);
        let (Some(baseline), Some(view)) = (&mut self.baseline, view) else {
            return Shed::default();
        };
        let came_to = match view.panes.baselines.fold().filter(|_fold| baseline.observes(k)) {
            Some(fold) => closing.groups.came_to(view, k, fold),
            None => Vec::new(),
        };
        let fired = self.fired.iter().map(|firing| firing.key.hash);
        baseline.see(k, came_to.into_iter(), fired)
    }

    /// The point of a key that fires in window `k`, which is complete.
    fn closing(&self, view: View<'_>, closing: Closing<'_>, (firing, k): (&Firing, i64)) -> Point {
        let bounds = self.rule.windows.map(|windows| (windows.start(k), windows.end(k)));
        let (start, end) = bounds.unwrap_or_default();
        let open = self.episodes.within_reach(&firing.key, k);
        let from = open.map_or(start, |open| open.counted_until.max(start));
        let (evidence, degraded) =
            closing.groups.evidence(view, (firing.key.hash, k, from), closing.register);
        Point {
            at: k,
            values: firing.values.clone(),
            evidence,
            fired_at: end,
            early: false,
            degraded,
            counted_until: end,
            opening: None,
            announced: false,
        }
    }
}
