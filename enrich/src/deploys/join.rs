//! Deploys joined to a batch.
//!
//! Owns: `deploy_id` and what follows from it. Never: which deploy it is; timelines say.

use arrow::array::Int64Builder;
use arrow::error::ArrowError;
use schemas::Field;

use super::Deploys;
use super::timeline::Asked;
use crate::columns::{Building, Columns, Seen};
use crate::facts::Picks;
use crate::missing::{Lack, Missing};
use crate::recent::Recent;

impl Deploys {
    /// Fills the columns of the deploy behind each event.
    pub(crate) fn join(
        &self,
        seen: &Seen,
        columns: &mut Columns,
        missing: &mut Missing,
    ) -> Result<(), ArrowError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut picks = Picks::with_capacity(seen.rows);
        let mut ages: Building<Int64Builder> = Building::default();
        let mut services = Recent::new();
        for row in 0..seen.rows {
            let service = seen.service.get(row);
            let of = service.and_then(|name| services.get(name, |name| self.services.get(name)));
            let timeline = of.map(|of| of.of(seen.environment.get(row)));
            let asked = Asked {
                version: seen.service_version.get(row),
                deploy_id: seen.deploy_id.get(row),
            };
            let time = seen.event_time.get(row);
            let found = time.zip(timeline).and_then(|(time, timeline)| timeline.at(time, asked));
            match (found, time) {
                (Some(span), Some(time)) => {
                    picks.push(Some(span.fact));
                    let age_ms = time.millis().saturating_sub(span.start.millis());
                    ages.put(row, age_ms.max(0) / 1000);
                }
                _ => {
                    picks.push(None);
                    missing.note(row, Lack::Deploy);
                }
            }
        }
        self.facts.fill(picks, columns)?;
        ages.fill(Field::DeployAgeS, columns)
    }

    /// The version of the instance that answered an event: what the log says, else what the deploy
    /// says that the event has.
    pub(crate) fn version_behind<'s>(&'s self, seen: &'s Seen, row: usize) -> Option<&'s str> {
        if let Some(version) = seen.service_version.get(row) {
            return Some(version);
        }
        let timelines = self.services.get(seen.service.get(row)?)?;
        let asked = Asked { version: None, deploy_id: seen.deploy_id.get(row) };
        let timeline = timelines.of(seen.environment.get(row));
        let span = timeline.at(seen.event_time.get(row)?, asked)?;
        timelines.entry(span.fact)?.version.as_deref()
    }
}
