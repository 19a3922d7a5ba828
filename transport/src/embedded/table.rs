//! Small state that survives a crash.
//!
//! Owns: keys and values in a store, written atomically and durably.
//! Never: caching, or anything about what they mean.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::store::Store;
use super::writer::{Command, Keyspaces};
use crate::error::LogError;

/// A table in a store, ordered by key. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Table {
    store: Store,
    keyspace: Keyspaces,
}

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Set the value of a key.
    Put(Vec<u8>, Vec<u8>),
    /// Remove a key, whether it is there or not.
    Remove(Vec<u8>),
}

impl Table {
    pub(super) fn new(store: Store, keyspace: Keyspaces) -> Self {
        Self { store, keyspace }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, LogError> {
        let key = key.to_vec();
        self.blocking(move |table| {
            let value = table.keyspace.0.get(key);
            let value = value.map_err(|error| table.store.0.storage("read a table", error))?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        })
        .await
    }

    /// At most `max` pairs whose keys begin with `prefix`, from `after` (exclusive) on, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, LogError> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        self.blocking(move |table| {
            let from = after.as_ref().map_or(prefix.as_slice(), Vec::as_slice).to_vec();
            let mut pairs = Vec::new();
            for guard in table.keyspace.0.range(from..) {
                let pair = guard.into_inner();
                let (key, value) =
                    pair.map_err(|error| table.store.0.storage("read a table", error))?;
                if !key.starts_with(&prefix) || pairs.len() >= max {
                    break;
                }
                if after.as_deref() != Some(key.as_ref()) {
                    pairs.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
                }
            }
            Ok(pairs)
        })
        .await
    }

    /// Makes all changes, or none; waits until they are durable.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<(), LogError> {
        let pair = |change| match change {
            Change::Put(key, value) => (key, Some(value)),
            Change::Remove(key) => (key, None),
        };
        let pairs = changes.into_iter().map(pair).collect();
        let (done, waiting) = oneshot::channel();
        let keyspace = self.keyspace.clone();
        self.store.0.command(Command::Put { keyspace, pairs, done }).await?;
        self.store.0.answer(waiting).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let table = self.clone();
        match tokio::task::spawn_blocking(move || read(&table)).await {
            Ok(result) => result,
            Err(_panic_or_shutdown) => Err(self.store.0.stopped()),
        }
    }
}
