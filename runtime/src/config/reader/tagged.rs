//! Enums whose variants hold values.
//!
//! Owns: the tables that stand for them, with the variant's name in `type`.
//! Never: serde's own tagging, which loses the place of a mistake.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};

use super::{Reader, unexpected};
use crate::config::fault::Fault;
use crate::config::tree::{Node, Step, Table, Value};

/// The key that holds the name of the variant.
const TAG: &str = "type";

/// A table whose `type` names the variant and whose other keys are the variant's.
pub(super) struct Tagged<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) table: &'a Table,
}

impl<'de> EnumAccess<'de> for Tagged<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let tag = self.table.get(TAG).ok_or_else(|| Fault::missing_field(TAG))?;
        let variant = match &tag.node.value {
            Value::Text(name) => {
                let name: StrDeserializer<'_, Fault> = name.as_str().into_deserializer();
                seed.deserialize(name)
            }
            other => Err(Fault::invalid_type(unexpected(other), &"a string")),
        };
        let variant = variant.map_err(|fault| fault.below(Step::Key(TAG.to_owned())))?;
        Ok((variant, self))
    }
}

impl<'a> Tagged<'a> {
    /// The node without its `type`.
    fn rest(&self) -> Node {
        let mut table = self.table.clone();
        table.remove(TAG);
        Node::new(Value::Table(table), self.reader.node.place.clone())
    }

    /// Reads the rest, and carries the marks over to the tree that is kept.
    fn read<T>(self, read: impl FnOnce(Reader<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let rest = self.rest();
        let result = read(Reader { node: &rest, outside: self.reader.outside });
        self.reader.node.mark_like(&rest);
        result
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.table.keys().find(|key| *key != TAG) {
            Some(key) => Err(Fault::unknown_field(key, &[])),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.read(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::invalid_type(Unexpected::Map, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.read(|reader| reader.deserialize_struct("", fields, visitor))
    }
}
