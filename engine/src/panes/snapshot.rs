//! Groups as bytes.
//!
//! Owns: writing and reading them. Never: trusts what it reads.

use std::collections::HashMap;
use std::sync::Arc;

use super::group::Group;
use super::{CIRCUMSTANCES_MIN, Groups};
use crate::plan::Panes;
use crate::rows::circumstances::Circumstances;
use crate::rows::count;
use crate::window::is_moment;
use crate::wire::{Reader, WireError, Writer};

impl Groups {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.put(&self.next);
        out.put(&self.all);
        out.put(&self.unsure_until);
        out.put(&self.shed_until);
        out.put(&self.latest);
        let mut left = self.left.clone();
        left.sort_unstable();
        out.put(&left);
        out.put(&self.table);
        let mut keys: Vec<u128> = self.groups.keys().copied().collect();
        keys.sort_unstable();
        out.len(keys.len());
        for key in keys {
            if let Some(group) = self.groups.get(&key) {
                out.put(&key);
                group.write(out);
            }
        }
    }

    /// Reads what [`Groups::write`] wrote into groups that are still empty.
    pub(crate) fn read(&mut self, from: &mut Reader<'_>, panes: &Panes) -> Result<(), WireError> {
        self.next = from.get()?;
        self.all = from.get()?;
        self.unsure_until = from.get()?;
        self.shed_until = from.get()?;
        self.latest = from.get()?;
        self.left = from.get()?;
        self.table = from.get()?;
        let named =
            |(place, entry): (usize, &Arc<Circumstances>)| (Arc::clone(entry), count(place));
        self.known = self.table.iter().enumerate().map(named).collect::<HashMap<_, _>>();
        self.table_max = (self.table.len() * 2).max(CIRCUMSTANCES_MIN);
        let groups = from.count("groups")?;
        for _group in 0..groups {
            let key: u128 = from.get()?;
            let group = Group::read(from, &panes.folds, self.table.len())?;
            let malformed = || WireError::Malformed { what: "a group" };
            for pane in &group.panes {
                let start = self.windows.start(pane.at);
                if !is_moment(start) && !is_moment(start.saturating_add(self.windows.slide_ms())) {
                    return Err(malformed());
                }
                self.panes.entry(pane.at).or_default().push(key);
            }
            if !group.fired.is_empty() {
                self.hot.insert(key);
            }
            self.bytes += group.bytes(&panes.folds);
            if self.groups.insert(key, group).is_some() {
                return Err(malformed());
            }
        }
        Ok(())
    }
}
