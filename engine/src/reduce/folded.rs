//! A rule whose state is in panes: firing at the event, and at the close of a window.
//!
//! Owns: how rows and closed windows become firing points. Never: the folds themselves.
//!
//! The close of a window is what counts: it gives each firing its final values and evidence. The
//! event that crosses says the same earlier, for rules whose HAVING stays true once it is; such a
//! point opens and links episodes, and adds nothing to their totals.

use std::collections::HashSet;
use std::sync::Arc;

use schemas::{EventTime, Verdict};

use super::state::{Kept, RuleState};
use super::{Failure, failed};
use crate::episode::{Opening, Point};
use crate::hits::Hits;
use crate::panes::Touched;
use crate::plan::RunError;
use crate::pressure::Pressure;
use crate::rows::firing::Firing;
use crate::rows::place;

impl RuleState {
    /// Folds hits; `places` are those of the rule's folds. What it says is in order of arrival.
    pub(super) fn fold(
        &mut self,
        (hits, places): (&Hits, &[usize]),
        pressure: &mut Pressure,
        failures: &mut Vec<Failure>,
    ) -> Vec<Verdict> {
        let rule = Arc::clone(&self.rule);
        let mut said: Vec<(u32, Verdict)> = Vec::new();
        let Kept::Panes(groups) = &mut self.kept else { return Vec::new() };
        let Some(reading) = groups.begin(hits, places) else { return Vec::new() };
        let mut next = 0;
        for run in &hits.runs {
            while next < run.end {
                let Kept::Panes(groups) = &mut self.kept else { break };
                let Some(touched) = groups.take(&rule, &reading, run, &(next..run.end)) else {
                    break;
                };
                next = touched.end;
                if !touched.ripe {
                    continue;
                }
                let last = place(next.saturating_sub(1));
                let arrival = hits.arrival.get(last).copied().unwrap_or_default();
                let at = hits.at.get(last).copied().unwrap_or_default();
                match self.cross(touched, at) {
                    Ok(verdicts) if verdicts.is_empty() => {}
                    Ok(mut verdicts) => {
                        verdicts.extend(self.keep_to_bound(at, pressure));
                        said.extend(verdicts.into_iter().map(|verdict| (arrival, verdict)));
                    }
                    Err(error) => failures.push(failed(&rule.id, None, &error)),
                }
            }
            next = run.end;
        }
        said.sort_by_key(|(arrival, _)| *arrival);
        let mut said: Vec<Verdict> = said.into_iter().map(|(_, verdict)| verdict).collect();
        if let (Kept::Panes(groups), Some(folds)) = (&mut self.kept, rule.folded()) {
            let (shed, at) = (groups.shed(folds), groups.latest());
            said.extend(self.note(shed, at, pressure));
        }
        said
    }

    /// The windows that a row made fire, in ascending order.
    fn cross(&mut self, touched: Touched, at: i64) -> Result<Vec<Verdict>, RunError> {
        let rule = Arc::clone(&self.rule);
        let mut said = Vec::new();
        let Kept::Panes(groups) = &mut self.kept else { return Ok(said) };
        while let Some(k) = groups.crossed(&rule, touched)? {
            let Some(bytes) = groups.key(touched.key) else { break };
            let open = self.episodes.within_reach_of(bytes, k);
            let (key, opening) = match open {
                // It goes on: what it comes to is said at the close.
                Some(episode) => (Arc::clone(&episode.key), Opening::default()),
                None => {
                    let answer = groups.answer(&rule, touched.key, k, self.hash_key)?;
                    let Some(Firing { key, values }) = answer else { continue };
                    let (evidence, _lossy) = groups.evidence(touched.key, k, i64::MIN);
                    (key, Opening { values, evidence, fired_at: at })
                }
            };
            let changes = self.episodes.fire(&key, Point::announced(k, opening));
            said.extend(changes.into_iter().map(|change| self.profile.verdict(change)));
        }
        Ok(said)
    }

    /// Window `k` is complete: who fires, and what that means.
    pub(super) fn judge_folded(&mut self, k: i64, failures: &mut Vec<Failure>) -> Vec<Verdict> {
        let Kept::Panes(groups) = &self.kept else { return Vec::new() };
        let announced = if self.rule.monotone { groups.announced(k) } else { None };
        let changed = match announced {
            Some(announced) => {
                let same: HashSet<u128> =
                    announced.iter().filter(|(_, new)| !new).map(|(key, _)| *key).collect();
                self.fired.retain(|firing| same.contains(&firing.key.hash));
                announced.into_iter().filter(|(_, new)| *new).map(|(key, _)| key).collect()
            }
            None => {
                let changed = groups.changed(k);
                if groups.is_fresh(k) {
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
        let start = EventTime(groups.windows().start(k));
        match groups.fire(&self.rule, &changed, k, self.hash_key) {
            Ok(fired) => self.fired.extend(fired),
            // A value that HAVING or SELECT cannot take: all but that group are judged.
            Err(_of_some_group) => {
                for key in changed {
                    match groups.fire(&self.rule, &[key], k, self.hash_key) {
                        Ok(fired) => self.fired.extend(fired),
                        Err(error) => failures.push(failed(&self.rule.id, Some(start), &error)),
                    }
                }
            }
        }
        self.fired.sort_by(|a, b| a.key.bytes.cmp(&b.key.bytes));
        let mut said = Vec::new();
        for firing in &self.fired {
            let point = self.closing(firing, k);
            let changes = self.episodes.fire(&firing.key, point);
            said.extend(changes.into_iter().map(|change| self.profile.verdict(change)));
        }
        said
    }

    /// The point of a key that fires in window `k`, which is complete.
    fn closing(&self, firing: &Firing, k: i64) -> Point {
        let Kept::Panes(groups) = &self.kept else {
            return Point::announced(k, Opening::default());
        };
        let windows = groups.windows();
        let (start, end) = (windows.start(k), windows.end(k));
        let open = self.episodes.within_reach(&firing.key, k);
        let from = open.map_or(start, |episode| episode.counted_until.max(start));
        let (evidence, degraded) = groups.evidence(firing.key.hash, k, from);
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
