//! How long events wait for news of a deploy.
//!
//! Owns: which versions are waited for, and until when. Never: waits itself, or reads a clock.
//!
//! A new version mostly answers its first request before anybody tells of its deploy. So an event
//! that names a version of which no deploy is known waits, if deploys of its service are told at
//! all: from when it was first seen until the grace is over, and a version is waited for once. What
//! stands behind it in its partition waits with it, since order is kept; nothing else does.

use std::collections::HashMap;

use schemas::Field;

use super::Deploys;
use super::timeline::Asked;
use crate::columns::{Columns, JoinError, Seen};

/// Versions that were waited for. With their names 200 KiB; when it is full nothing waits.
const VERSIONS_MAX: usize = 1_024;

/// Service, environment, version.
type Instance = (Box<str>, Option<Box<str>>, Box<str>);

/// Versions without a deploy, and when their grace ends.
#[derive(Debug, Default)]
pub(crate) struct Grace {
    ms: i64,
    ends: HashMap<Instance, i64>,
}

impl Grace {
    pub(crate) fn new(ms: i64) -> Self {
        Self { ms, ends: HashMap::new() }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.ms <= 0
    }

    /// For how many milliseconds more the batch may wait; none where it need not.
    pub(crate) fn left_ms(
        &mut self,
        deploys: &Deploys,
        columns: &Columns,
        now_ms: i64,
    ) -> Result<Option<i64>, JoinError> {
        let seen = Seen::of(columns)?;
        if self.is_off() || deploys.is_empty() || seen.service_version.is_absent() {
            return Ok(None);
        }
        let observed = columns.times(Field::ObservedTime)?;
        let mut left: Option<i64> = None;
        let mut before = None;
        for row in 0..seen.rows {
            let Some(version) = seen.service_version.get(row) else { continue };
            let (service, environment) = (seen.service.get(row), seen.environment.get(row));
            let instance = Some((service, environment, version));
            let first_seen = observed.get(row).map_or(now_ms, |time| time.0);
            // Mostly the next event is of the same instance. What was taken long ago has waited.
            if instance == before || now_ms - first_seen >= self.ms {
                continue;
            }
            before = instance;
            if let (Some(service), true) = (service, deploys.lacks(&seen, row)) {
                let end = self.end((service, environment, version), now_ms);
                left = left.max(end.map(|end| end - now_ms).filter(|left| *left > 0));
            }
        }
        Ok(left)
    }

    /// When the grace of an instance ends; none where too many are known.
    fn end(&mut self, instance: (&str, Option<&str>, &str), now_ms: i64) -> Option<i64> {
        let (service, environment, version) = instance;
        let key: Instance = (service.into(), environment.map(Into::into), version.into());
        if let Some(end) = self.ends.get(&key) {
            return Some(*end);
        }
        if self.ends.len() >= VERSIONS_MAX {
            return None;
        }
        let end = now_ms.saturating_add(self.ms);
        self.ends.insert(key, end);
        Some(end)
    }
}

impl Deploys {
    /// Whether the event names a version of which no deploy is known, though deploys of its service
    /// are told.
    fn lacks(&self, seen: &Seen, row: usize) -> bool {
        let timelines = seen.service.get(row).and_then(|service| self.services.get(service));
        let (Some(timelines), Some(time)) = (timelines, seen.event_time.get(row)) else {
            return false;
        };
        let deploy_id = seen.deploy_id.get(row);
        let asked = Asked { version: seen.service_version.get(row), deploy_id };
        deploy_id.is_none() && timelines.of(seen.environment.get(row)).at(time, asked).is_none()
    }
}

#[cfg(test)]
mod tests {
    use runtime::metrics::Metrics;
    use schemas::{BatchBuilder, Event, EventTime};

    use super::super::tests::deploy;
    use super::VERSIONS_MAX;
    use crate::context::{Context, ContextCell};
    use crate::deploys::Deploys;
    use crate::joiner::{JoinOptions, Joiner};
    use crate::metrics::EnrichMetrics;

    fn joiner(deploys: &[&str]) -> (Joiner, ContextCell) {
        let deploys = Deploys::new(deploys.iter().map(|text| deploy(text)).collect());
        let cell = ContextCell::new(Context::default().with_deploys(deploys));
        let options = JoinOptions { object_key: [0; 16], learn_routes: false };
        let joiner = Joiner::new(cell.clone(), options, EnrichMetrics::new(&Metrics::new()));
        (joiner.with_grace(std::time::Duration::from_secs(2)), cell)
    }

    /// Events such as `v=2 at=100 seen=100`, all of one batch, asked at `now`.
    fn patience(joiner: &Joiner, events: &[&str], now: i64) -> Option<u64> {
        let mut builder = BatchBuilder::default();
        for text in events {
            let mut event = Event { service: Some("shop".into()), ..Event::default() };
            for word in text.split(' ') {
                let (name, value) = word.split_once('=').unwrap();
                let moment = || Some(EventTime(value.parse().unwrap()));
                match name {
                    "v" => event.service_version = Some(value.to_owned().into()),
                    "service" => event.service = Some(value.to_owned().into()),
                    "id" => event.deploy_id = Some(value.to_owned().into()),
                    "at" => event.event_time = moment(),
                    "seen" => event.observed_time = moment(),
                    _ => panic!("{word}"),
                }
            }
            builder.push(&event);
        }
        let batch = builder.finish().unwrap();
        joiner.patience(&batch, now).unwrap().map(|left| u64::try_from(left.as_millis()).unwrap())
    }

    #[test]
    fn only_an_event_of_a_version_without_a_deploy_waits_and_only_for_the_grace() {
        let (joiner, cell) = joiner(&["d1@10 v=1"]);
        let unknown = ["v=1 at=100 seen=100", "v=2 at=100 seen=100"];
        for quiet in ["v=1 at=100 seen=100", "at=100 seen=100", "v=2 id=d1 at=100 seen=100"] {
            assert_eq!(patience(&joiner, &[quiet], 100), None, "{quiet}");
        }
        assert_eq!(patience(&joiner, &["service=cart v=2 at=100 seen=100"], 100), None);
        assert_eq!(patience(&joiner, &unknown, 150), Some(2_000));
        assert_eq!(patience(&joiner, &unknown, 1_150), Some(1_000));
        cell.add_deploys(vec![deploy("d2@90 v=2")], None);
        assert_eq!(patience(&joiner, &unknown, 1_200), None);
    }

    #[test]
    fn a_version_is_waited_for_once() {
        let (joiner, _) = joiner(&["d1@10 v=1"]);
        assert_eq!(patience(&joiner, &["v=2 at=100 seen=100"], 100), Some(2_000));
        assert_eq!(patience(&joiner, &["v=2 at=100 seen=100"], 2_099), Some(1));
        assert_eq!(patience(&joiner, &["v=2 at=100 seen=100"], 2_100), None);
        assert_eq!(patience(&joiner, &["v=2 at=2200 seen=2200"], 2_200), None);
        assert_eq!(patience(&joiner, &["v=3 at=2200 seen=2200"], 2_200), Some(2_000));
    }

    #[test]
    fn what_was_taken_long_ago_does_not_wait() {
        let (joiner, _) = joiner(&["d1@10 v=1"]);
        assert_eq!(patience(&joiner, &["v=2 at=100 seen=100"], 2_100), None);
        // And has not used up the grace of what comes now.
        assert_eq!(patience(&joiner, &["v=2 at=2200 seen=2200"], 2_200), Some(2_000));
    }

    #[test]
    fn made_up_versions_cost_a_bound_of_memory_and_then_nothing_waits() {
        let (joiner, _) = joiner(&["d1@10 v=1"]);
        for number in 0..VERSIONS_MAX {
            let event = format!("v=x{number} at=100 seen=100");
            assert_eq!(patience(&joiner, &[&event], 100), Some(2_000));
        }
        assert_eq!(patience(&joiner, &["v=y at=100 seen=100"], 100), None);
    }

    #[test]
    fn without_a_grace_nothing_waits() {
        let (joiner, _) = joiner(&["d1@10 v=1"]);
        let joiner = joiner.with_grace(std::time::Duration::ZERO);
        assert_eq!(patience(&joiner, &["v=2 at=100 seen=100"], 100), None);
    }
}
