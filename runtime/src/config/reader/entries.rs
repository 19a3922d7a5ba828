//! Walking through lists and tables.
//!
//! Owns: the steps in the path of a mistake; refusing keys that no field takes.
//! Never: values; the reader reads them.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess};

use super::Reader;
use crate::config::fault::Fault;
use crate::config::tree::{Node, Step};

pub(super) struct List<'a, I> {
    pub(super) reader: Reader<'a>,
    pub(super) items: I,
}

impl<'de, 'a, I: Iterator<Item = (Step, &'a Node)>> SeqAccess<'de> for List<'a, I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((step, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.reader.at(node)).map(Some).map_err(|fault| fault.below(step))
    }
}

pub(super) struct Entries<'a, I> {
    pub(super) reader: Reader<'a>,
    pub(super) entries: I,
    /// The fields of the struct that is read; empty for a map.
    pub(super) known: &'static [&'static str],
    pub(super) value: Option<(&'a str, &'a Node)>,
}

impl<'de, 'a, I: Iterator<Item = (&'a str, &'a Node)>> MapAccess<'de> for Entries<'a, I> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        // `deny_unknown_fields` would tell the same, but only where it was not forgotten.
        if !self.known.is_empty() && !self.known.contains(&key) {
            return Err(Fault::unknown_field(key, self.known));
        }
        let key: StrDeserializer<'_, Fault> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::custom("a value was asked for without its key"));
        };
        let read = seed.deserialize(self.reader.at(node));
        read.map_err(|fault| fault.below(Step::Key(key.to_owned())))
    }
}
