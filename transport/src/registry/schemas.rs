//! Schemas at hand when records are read.
//!
//! Owns: asking for the schemas that records name, before they reach a reader that cannot wait.
//! Never: what a schema says, or how a record names it; the caller knows.

use std::fmt;
use std::sync::Arc;

use runtime::error::{Class, Classified};
use runtime::ready::Condition;
use runtime::retry::Backoff;
use tracing::warn;

use super::{Registry, RegistryError};

/// The schemas that the records of a topic name. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Schemas {
    registry: Registry,
    id_of: fn(&[u8]) -> Option<u32>,
    condition: Condition,
}

impl Schemas {
    /// Asks this registry for the ids that `id_of` finds in records. `condition` says so while the
    /// registry is away.
    #[must_use]
    pub fn new(registry: Registry, id_of: fn(&[u8]) -> Option<u32>, condition: Condition) -> Self {
        Self { registry, id_of, condition }
    }

    /// The schema of this id, where it has been asked for; does not wait.
    #[must_use]
    pub fn known(&self, id: u32) -> Option<Arc<str>> {
        self.registry.known(id)
    }

    /// Asks for what these records name and is not known yet. Waits for as long as the registry is
    /// away: what it cannot be asked about is not unknown. An id that it does not know stays
    /// unknown, and so does what is no schema of Avro.
    pub async fn fetch<'r>(&self, values: impl Iterator<Item = &'r [u8]>) {
        let mut last = None;
        for id in values.filter_map(self.id_of) {
            if last != Some(id) {
                self.ask(id).await;
                last = Some(id);
            }
        }
    }

    async fn ask(&self, id: u32) {
        if self.registry.remembered(id).is_some() {
            return;
        }
        let mut backoff = Backoff::network();
        loop {
            let Err(error) = self.registry.schema(id).await else { break };
            if !is_to_be_waited_for(&error) {
                warn!(id, %error, "records that name this schema cannot be read");
                break;
            }
            self.condition.waiting(&error.to_string());
            tokio::time::sleep(backoff.next_wait(None)).await;
        }
        self.condition.ready();
    }
}

/// Whether the question is still open: nobody answered, or we were not let in.
fn is_to_be_waited_for(error: &RegistryError) -> bool {
    error.class() == Class::Dependency || matches!(error, RegistryError::Refused { .. })
}

impl fmt::Debug for Schemas {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Schemas").field(&self.registry).finish()
    }
}
