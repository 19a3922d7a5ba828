//! What an episode saw.
//!
//! Owns: counting rows, when they happened, their circumstances, and up to five of them to show.
//! Never: which rows belong to the episode.
//!
//! Everything here is the same in whatever order rows come: sums, extremes, and the first few by a
//! fixed order.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{EventTime, Exemplar};

use crate::rows::circumstances::{Circumstances, Deploy};
use crate::rows::{EXEMPLARS_MAX, Rows, place};
use crate::wire::wire_struct;

/// Services, routes, deploys and missing parts that a verdict names at most: the first by name.
const NAMES_MAX: usize = 16;
/// What stands in `context_missing` where an event's own stamp could not be believed.
const FUTURE: &str = "future";

/// Evidence of an episode.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence {
    count: u64,
    first: i64,
    last: i64,
    services: BTreeSet<String>,
    routes: BTreeSet<String>,
    /// By deploy id: events, and the deploy.
    deploys: BTreeMap<String, (u64, Deploy)>,
    /// Events that name no deploy.
    undeployed: u64,
    missing: BTreeSet<String>,
    /// By event time, then id.
    exemplars: BTreeMap<(i64, String), Exemplar>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            count: 0,
            first: i64::MAX,
            last: i64::MIN,
            services: BTreeSet::new(),
            routes: BTreeSet::new(),
            deploys: BTreeMap::new(),
            undeployed: 0,
            missing: BTreeSet::new(),
            exemplars: BTreeMap::new(),
        }
    }
}

wire_struct!(Evidence {
    count,
    first,
    last,
    services,
    routes,
    deploys,
    undeployed,
    missing,
    exemplars,
});

impl Evidence {
    /// Something that happened between two moments, of which nothing else is known.
    pub(crate) fn between(first: i64, last: i64) -> Self {
        Self { count: 1, first, last, ..Self::default() }
    }

    /// Adds a row.
    pub(crate) fn see(&mut self, rows: &Rows, row: u32) {
        let Some(at) = rows.at.get(place(row)).copied() else { return };
        self.count += 1;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        let entry = rows.circumstances.get(place(row)).map(|entry| place(*entry));
        if let Some(seen) = entry.and_then(|entry| rows.table.get(entry)) {
            self.add_circumstances(1, seen);
        }
        if rows.is_future(row) {
            add_name(&mut self.missing, Some(FUTURE));
        }
        self.add_exemplar(rows, row, at);
    }

    /// Adds rows of which other calls tell the rest.
    pub(crate) fn see_rows(&mut self, rows: u64, first: i64, last: i64) {
        self.count += rows;
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }

    /// A row carried a stamp from the future.
    pub(crate) fn see_future(&mut self) {
        add_name(&mut self.missing, Some(FUTURE));
    }

    /// Shows an event, which is made if it is among the first few.
    pub(crate) fn show(&mut self, at: i64, id: &str, make: impl FnOnce() -> Option<Exemplar>) {
        let full = self.exemplars.len() >= EXEMPLARS_MAX;
        let after_last = |((last_at, last_id), _): (&(i64, String), &Exemplar)| {
            (*last_at, last_id.as_str()) <= (at, id)
        };
        if full && self.exemplars.last_key_value().is_some_and(after_last) {
            return;
        }
        if let Some(exemplar) = make() {
            self.exemplars.insert((at, id.to_owned()), exemplar);
            self.keep_first_exemplars();
        }
    }

    /// Adds the circumstances of so many events.
    pub(crate) fn add_circumstances(&mut self, events: u64, seen: &Circumstances) {
        add_name(&mut self.services, seen.service.as_deref());
        add_name(&mut self.routes, seen.route.as_deref());
        seen.missing.iter().for_each(|part| add_name(&mut self.missing, Some(part)));
        match &seen.deploy {
            Some(deploy) => self.add_deploy(events, deploy),
            None => self.undeployed += events,
        }
    }

    fn add_exemplar(&mut self, rows: &Rows, row: u32, at: i64) {
        let Some(id) = crate::rows::circumstances::text_at(&rows.ids, place(row)) else { return };
        self.show(at, id, || {
            Some(Exemplar {
                event_id: id.to_owned(),
                event_time: EventTime(rows.stamp(row).unwrap_or(at)),
                line: rows.lines.get(row).map(str::to_owned),
            })
        });
    }

    fn keep_first_exemplars(&mut self) {
        while self.exemplars.len() > EXEMPLARS_MAX {
            self.exemplars.pop_last();
        }
    }

    fn add_deploy(&mut self, events: u64, deploy: &Deploy) {
        if let Some((count, known)) = self.deploys.get_mut(&deploy.id) {
            *count += events;
            // Enrichment may have learned more between two events: one of them, always the same.
            if deploy > known {
                known.clone_from(deploy);
            }
            return;
        }
        self.deploys.insert(deploy.id.clone(), (events, deploy.clone()));
        // What goes here has sixteen before it for ever, so no count of those that stay is lost.
        if self.deploys.len() > NAMES_MAX {
            self.deploys.pop_last();
        }
    }

    /// Adds rows that this one has not seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.undeployed += other.undeployed;
        other.services.iter().for_each(|name| add_name(&mut self.services, Some(name)));
        other.routes.iter().for_each(|name| add_name(&mut self.routes, Some(name)));
        other.missing.iter().for_each(|name| add_name(&mut self.missing, Some(name)));
        other.deploys.values().for_each(|(events, deploy)| self.add_deploy(*events, deploy));
        for (place, exemplar) in &other.exemplars {
            self.exemplars.insert(place.clone(), exemplar.clone());
        }
        self.keep_first_exemplars();
    }

    /// Rows counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The first row's moment.
    pub(crate) fn first(&self) -> EventTime {
        EventTime(self.first)
    }

    /// The last row's moment.
    pub(crate) fn last(&self) -> EventTime {
        EventTime(self.last)
    }

    pub(crate) fn services(&self) -> Vec<String> {
        self.services.iter().cloned().collect()
    }

    pub(crate) fn routes(&self) -> Vec<String> {
        self.routes.iter().cloned().collect()
    }

    pub(crate) fn missing(&self) -> Vec<String> {
        self.missing.iter().cloned().collect()
    }

    pub(crate) fn exemplars(&self) -> Vec<Exemplar> {
        self.exemplars.values().cloned().collect()
    }

    /// The deploy that all rows agree on.
    pub(crate) fn deploy(&self) -> Option<&Deploy> {
        let mut deploys = self.deploys.values();
        match (deploys.next(), deploys.next(), self.undeployed) {
            (Some((_, deploy)), None, 0) => Some(deploy),
            _ => None,
        }
    }

    /// Rows by deploy id.
    pub(crate) fn deploys(&self) -> impl Iterator<Item = (&str, u64)> {
        self.deploys.iter().map(|(id, (events, _))| (id.as_str(), *events))
    }
}

fn add_name(names: &mut BTreeSet<String>, name: Option<&str>) {
    let Some(name) = name else { return };
    if names.contains(name) {
        return;
    }
    names.insert(name.to_owned());
    if names.len() > NAMES_MAX {
        names.pop_last();
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, NAMES_MAX};
    use crate::rows::circumstances::Deploy;

    #[test]
    fn bounded_lists_keep_the_same_names_in_any_order() {
        let ids: Vec<String> = (0..40).map(|n| format!("d{:02}", n * 7 % 40)).collect();
        let evidence = |ids: &mut dyn Iterator<Item = &String>| {
            let mut evidence = Evidence::default();
            for id in ids {
                evidence.add_deploy(1, &Deploy { id: id.clone(), ..Deploy::default() });
            }
            evidence
        };
        let forwards = evidence(&mut ids.iter().chain(&ids));
        let mut merged = evidence(&mut ids.iter().rev());
        merged.merge(&evidence(&mut ids.iter()));
        assert_eq!(forwards, merged);
        assert_eq!(merged.deploys().count(), NAMES_MAX);
        assert!(merged.deploys().all(|(_, events)| events == 2));
    }
}
