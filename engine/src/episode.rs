//! Episodes: runs of firing of one rule for one key.
//!
//! Owns: which firing points belong together, and what is said about it: `opened`, `updated`,
//! `merged`, `closed`. Never: why a rule fired, the look of a verdict.
//!
//! Two firing points are linked when they are no further apart than the rule's reach
//! ([`Link::reach`]). A point with no open episode within reach opens one, whose anchor it is; one
//! or several within reach are extended, and of several the one with the smallest anchor goes on.
//! An episode is over when the watermark has passed [`Link::over_at`].
//!
//! The closed episodes (key, span, totals) do not depend on the order of the points. Anchors, ids,
//! and what was said on the way do.

mod evidence;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::{EventTime, VerdictKind};
use serde_json::{Map, Value};

pub(crate) use evidence::Evidence;

use crate::rows::firing::Key;
use crate::totals::Totals;
use crate::window::Link;
use crate::wire::{Reader, WireError, Writer, wire_struct};

/// One run of firing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Episode {
    pub(crate) key: Arc<Key>,
    /// The firing point that opened it.
    pub(crate) anchor: i64,
    /// First firing point.
    pub(crate) lo: i64,
    /// Last firing point.
    pub(crate) hi: i64,
    /// Last firing point that verdicts count: windows that are still being filled do not.
    pub(crate) told_hi: i64,
    /// How many verdicts it has given.
    pub(crate) revision: u32,
    /// Rows counted at the last verdict.
    pub(crate) told: u64,
    pub(crate) evidence: Evidence,
    pub(crate) totals: Totals,
    /// Values when it opened.
    pub(crate) opening: Map<String, Value>,
    pub(crate) fired_at: i64,
    pub(crate) early: bool,
    pub(crate) degraded: bool,
    /// Rows before this moment have been counted.
    pub(crate) counted_until: i64,
    /// Whether no window of it has closed yet: then `evidence` is as it was at the event that
    /// opened it, and there are no totals.
    pub(crate) announced: bool,
}

wire_struct!(Episode {
    key,
    anchor,
    lo,
    hi,
    told_hi,
    revision,
    told,
    evidence,
    totals,
    opening,
    fired_at,
    early,
    degraded,
    counted_until,
    announced,
});

/// A firing point with what is known about it.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// The window's number, or the event's time.
    pub(crate) at: i64,
    pub(crate) values: Map<String, Value>,
    /// The rows that the episode has not counted yet.
    pub(crate) evidence: Evidence,
    pub(crate) fired_at: i64,
    pub(crate) early: bool,
    pub(crate) degraded: bool,
    /// Up to where `evidence` counts.
    pub(crate) counted_until: i64,
    /// What to say if this point opens an episode, where that is not the above.
    pub(crate) opening: Option<Opening>,
    /// Whether its window is still being filled: it links, but the values and evidence that count
    /// come with a second point once it has closed.
    pub(crate) announced: bool,
}

impl Point {
    /// A window that fires while it is being filled.
    pub(crate) fn announced(at: i64, opening: Opening) -> Self {
        let Opening { values, evidence, fired_at } = opening;
        Self {
            at,
            values,
            evidence,
            fired_at,
            early: true,
            degraded: false,
            counted_until: i64::MIN,
            opening: None,
            announced: true,
        }
    }
}

/// A point as it was when it crossed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    pub(crate) values: Map<String, Value>,
    pub(crate) evidence: Evidence,
    pub(crate) fired_at: i64,
}

/// Something to say about an episode.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: VerdictKind,
    /// As it is now, but for what only this verdict says.
    pub(crate) episode: Episode,
    pub(crate) values: Map<String, Value>,
    pub(crate) fired_at: i64,
    /// Anchor of the episode that goes on in its place.
    pub(crate) into: Option<i64>,
}

/// The open episodes of one rule.
#[derive(Debug)]
pub(crate) struct Episodes {
    link: Link,
    open_max: usize,
    /// By canonical key; those of a key in order of their span.
    open: BTreeMap<Vec<u8>, Vec<Episode>>,
    /// When the first of a key's episodes is over.
    over: BTreeSet<(i64, Vec<u8>)>,
    count: usize,
}

impl Episodes {
    pub(crate) fn new(link: Link, open_max: usize) -> Self {
        Self { link, open_max, open: BTreeMap::new(), over: BTreeSet::new(), count: 0 }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The last episode of a key that a point could extend.
    pub(crate) fn within_reach(&self, key: &Key, at: i64) -> Option<&Episode> {
        self.within_reach_of(&key.bytes, at)
    }

    /// As [`Episodes::within_reach`], by the key's canonical bytes.
    pub(crate) fn within_reach_of(&self, key: &[u8], at: i64) -> Option<&Episode> {
        let reach = self.link.reach();
        self.open.get(key)?.iter().rev().find(|episode| is_near(episode, at, reach))
    }

    /// Takes a firing point of a key.
    pub(crate) fn fire(&mut self, key: &Arc<Key>, point: Point) -> Vec<Change> {
        let reach = self.link.reach();
        let mut of_key = self.take(&key.bytes);
        let at = point.at;
        let mut near: Vec<Episode> =
            of_key.extract_if(.., |episode| is_near(episode, at, reach)).collect();
        near.sort_by_key(|episode| std::cmp::Reverse(episode.anchor));
        let mut said = Vec::new();
        let episode = match near.pop() {
            None => open(key, point, &mut said),
            Some(first) => extend(first, near, &point, &mut said),
        };
        of_key.push(episode);
        of_key.sort_by_key(|episode| episode.lo);
        self.put(key.bytes.clone(), of_key);
        said
    }

    /// The moment at which the first of them is over.
    pub(crate) fn first_over(&self) -> Option<i64> {
        self.over.first().map(|(over, _)| *over)
    }

    /// Closes what the watermark has passed, in order of when it was over, then of key. With each
    /// goes the moment from which it was over.
    pub(crate) fn close(&mut self, watermark: EventTime) -> Vec<(i64, Change)> {
        let mut said = Vec::new();
        while let Some((over, key)) = self.over.first().cloned()
            && over <= watermark.millis()
        {
            let mut of_key = self.take(&key);
            let link = self.link;
            let is_over = |episode: &mut Episode| link.over_at(episode.hi) <= watermark.millis();
            for episode in of_key.extract_if(.., is_over) {
                said.push((link.over_at(episode.hi), closed(episode)));
            }
            self.put(key, of_key);
        }
        said.sort_by_key(|(over, _)| *over);
        said
    }

    /// Closes, before its time, the episode that would be over first, while there are too many.
    pub(crate) fn shed(&mut self) -> Vec<Change> {
        let mut said = Vec::new();
        while self.count > self.open_max
            && let Some((_, key)) = self.over.first().cloned()
        {
            let mut of_key = self.take(&key);
            if !of_key.is_empty() {
                let mut episode = of_key.remove(0);
                episode.degraded = true;
                said.push(closed(episode));
            }
            self.put(key, of_key);
        }
        said
    }

    fn take(&mut self, key: &[u8]) -> Vec<Episode> {
        let Some((key, of_key)) = self.open.remove_entry(key) else { return Vec::new() };
        self.count -= of_key.len();
        if let Some(over) = self.over_first(&of_key) {
            self.over.remove(&(over, key));
        }
        of_key
    }

    fn put(&mut self, key: Vec<u8>, of_key: Vec<Episode>) {
        self.count += of_key.len();
        if let Some(over) = self.over_first(&of_key) {
            self.over.insert((over, key.clone()));
            self.open.insert(key, of_key);
        }
    }

    fn over_first(&self, of_key: &[Episode]) -> Option<i64> {
        of_key.iter().map(|episode| self.link.over_at(episode.hi)).min()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.open);
    }

    /// Reads what [`Episodes::write`] wrote, in place of what is open.
    pub(crate) fn read(&mut self, from: &mut Reader<'_>) -> Result<(), WireError> {
        let open: BTreeMap<Vec<u8>, Vec<Episode>> = from.get()?;
        for (key, of_key) in open {
            self.put(key, of_key);
        }
        Ok(())
    }
}

impl Episode {
    /// The totals, or before there are any the values that it opened with.
    fn values(&self) -> Map<String, Value> {
        if self.announced { self.opening.clone() } else { self.totals.values() }
    }

    /// Takes over what another one has counted. What was only announced is counted later.
    fn adopt(&mut self, other: &Self) {
        match (self.announced, other.announced) {
            (false, true) => {}
            (true, false) => {
                self.evidence = other.evidence.clone();
                self.announced = false;
            }
            (true, true) | (false, false) => self.evidence.merge(&other.evidence),
        }
        self.totals.merge(&other.totals);
    }
}

/// Between two neighbouring points of an episode there is never more than the reach, so that a
/// point is near one of them exactly if it is near their span.
fn is_near(episode: &Episode, at: i64, reach: i64) -> bool {
    episode.lo.saturating_sub(reach) <= at && at <= episode.hi.saturating_add(reach)
}

fn open(key: &Arc<Key>, point: Point, said: &mut Vec<Change>) -> Episode {
    let as_it_crossed = point.opening.unwrap_or_else(|| Opening {
        values: point.values.clone(),
        evidence: point.evidence.clone(),
        fired_at: point.fired_at,
    });
    let mut totals = Totals::default();
    if !point.announced {
        totals.add(point.at, &point.values);
    }
    let mut episode = Episode {
        key: Arc::clone(key),
        anchor: point.at,
        lo: point.at,
        hi: point.at,
        told_hi: point.at,
        revision: 1,
        told: as_it_crossed.evidence.count(),
        evidence: as_it_crossed.evidence,
        totals,
        opening: as_it_crossed.values.clone(),
        fired_at: as_it_crossed.fired_at,
        early: point.early,
        degraded: point.degraded,
        counted_until: point.counted_until,
        announced: point.announced,
    };
    said.push(Change {
        kind: VerdictKind::Opened,
        values: as_it_crossed.values,
        fired_at: as_it_crossed.fired_at,
        episode: episode.clone(),
        into: None,
    });
    episode.evidence = point.evidence;
    tell_doubling(&mut episode, &point.values, point.fired_at, said);
    episode
}

/// The point joins `episode`, whose anchor is the smallest, and with it all `others`.
fn extend(
    mut episode: Episode,
    others: Vec<Episode>,
    point: &Point,
    said: &mut Vec<Change>,
) -> Episode {
    for mut other in others.into_iter().rev() {
        episode.lo = episode.lo.min(other.lo);
        episode.hi = episode.hi.max(other.hi);
        episode.told_hi = episode.told_hi.max(other.told_hi);
        episode.adopt(&other);
        episode.degraded |= other.degraded;
        episode.counted_until = episode.counted_until.max(other.counted_until);
        other.revision += 1;
        said.push(Change {
            kind: VerdictKind::Merged,
            values: other.values(),
            fired_at: other.fired_at,
            into: Some(episode.anchor),
            episode: other,
        });
    }
    episode.lo = episode.lo.min(point.at);
    episode.hi = episode.hi.max(point.at);
    episode.degraded |= point.degraded;
    if point.announced {
        return episode;
    }
    episode.told_hi = episode.told_hi.max(point.at);
    if std::mem::take(&mut episode.announced) {
        episode.evidence = Evidence::default();
    }
    episode.evidence.merge(&point.evidence);
    episode.totals.add(point.at, &point.values);
    episode.counted_until = episode.counted_until.max(point.counted_until);
    tell_doubling(&mut episode, &point.values, point.fired_at, said);
    episode
}

fn tell_doubling(
    episode: &mut Episode,
    values: &Map<String, Value>,
    fired_at: i64,
    said: &mut Vec<Change>,
) {
    let count = episode.evidence.count();
    if count < episode.told.saturating_mul(2) {
        return;
    }
    episode.told = count;
    episode.revision += 1;
    said.push(Change {
        kind: VerdictKind::Updated,
        episode: episode.clone(),
        values: values.clone(),
        fired_at,
        into: None,
    });
}

fn closed(mut episode: Episode) -> Change {
    episode.revision += 1;
    // Windows of it were announced and had lost their rows when they closed.
    episode.degraded |= episode.told_hi < episode.hi || episode.announced;
    episode.told_hi = episode.hi;
    Change {
        kind: VerdictKind::Closed,
        values: episode.values(),
        fired_at: episode.fired_at,
        episode,
        into: None,
    }
}

#[cfg(test)]
mod tests;
