//! What is told of rules that have forgotten the past.
//!
//! Owns: one remark for all exchange partitions of this process. Never: what was forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use runtime::ready::Condition;
use transport::Partition;

/// By exchange partition: what is to be told. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Told {
    condition: Option<Condition>,
    all: Arc<Mutex<BTreeMap<Partition, String>>>,
}

/// What one exchange partition has to tell, for as long as it is here.
#[derive(Debug)]
pub(super) struct Telling {
    told: Told,
    partition: Partition,
}

impl Told {
    pub(super) fn new(condition: Option<Condition>) -> Self {
        let told = Self { condition, all: Arc::default() };
        told.show(&BTreeMap::new());
        told
    }

    pub(super) fn of(&self, partition: Partition) -> Telling {
        Telling { told: self.clone(), partition }
    }

    fn tell(&self, partition: Partition, word: Option<String>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        match word {
            Some(word) => all.insert(partition, word),
            None => all.remove(&partition),
        };
        self.show(&all);
    }

    fn show(&self, all: &BTreeMap<Partition, String>) {
        let Some(condition) = &self.condition else { return };
        let words: Vec<String> = all
            .iter()
            .map(|(partition, word)| format!("exchange partition {partition}: {word}"))
            .collect();
        match words.is_empty() {
            true => condition.ready(),
            false => condition.remark(&words.join("; ")),
        }
    }
}

impl Telling {
    /// The log says it too, by the condition.
    pub(super) fn tell(&self, word: Option<String>) {
        self.told.tell(self.partition, word);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.told.tell(self.partition, None);
    }
}
