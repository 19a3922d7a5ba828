//! Avro bytes as JSON values.
//!
//! Owns: Avro's binary encoding, reading, of bytes that nobody has vouched for. Never: frames.
//!
//! Source: Avro 1.12, "Binary Encoding". No count is believed beyond the bytes that are there, so
//! a hostile record costs no more memory than a few times its own size.

use serde_json::{Map, Number, Value};

use super::shape::Node;
use crate::time::EventTime;

/// Bytes that are not what the schema says.
type Torn = String;

/// The value that `bytes` hold as `node`, to their last byte.
pub(super) fn read(node: &Node, bytes: &[u8]) -> Result<Value, Torn> {
    let mut reader = Reader { bytes };
    let value = reader.value(node)?;
    if reader.bytes.is_empty() {
        Ok(value)
    } else {
        Err(format!("{} bytes follow the record", reader.bytes.len()))
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
}

impl Reader<'_> {
    fn value(&mut self, node: &Node) -> Result<Value, Torn> {
        Ok(match node {
            Node::Null => Value::Null,
            Node::Flag => Value::Bool(self.byte()? != 0),
            Node::Whole => Value::from(self.long()?),
            Node::Double => self.double()?,
            Node::Text => Value::String(self.text()?),
            Node::Time => Value::String(EventTime(self.long()?).to_string()),
            Node::List(item) => self.list(item)?,
            Node::Map(values) => self.map(values)?,
            Node::Record(record) => {
                let mut object = Map::new();
                for field in &record.fields {
                    let value = self.value(&field.node)?;
                    // absent, not null: the types behind leave out what is not there
                    if !value.is_null() {
                        object.insert(field.name.clone(), value);
                    }
                }
                Value::Object(object)
            }
            Node::Json => {
                let text = self.text()?;
                serde_json::from_str(&text).map_err(|error| format!("JSON inside: {error}"))?
            }
            Node::Union(branches) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|at| branches.get(at));
                let branch = branch.ok_or_else(|| format!("a union has no branch {index}"))?;
                self.value(branch)?
            }
        })
    }

    fn list(&mut self, item: &Node) -> Result<Value, Torn> {
        let mut items = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(Value::Array(items));
            }
            for _ in 0..count {
                items.push(self.value(item)?);
            }
        }
    }

    fn map(&mut self, values: &Node) -> Result<Value, Torn> {
        let mut object = Map::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(Value::Object(object));
            }
            for _ in 0..count {
                let name = self.text()?;
                object.insert(name, self.value(values)?);
            }
        }
    }

    /// Items of the next block; a negative count is followed by the block's size in bytes.
    fn block(&mut self) -> Result<u64, Torn> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let count = count.unsigned_abs();
        let left = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        if count > left {
            return Err(format!("a block of {count} items in {left} bytes"));
        }
        Ok(count)
    }

    fn double(&mut self) -> Result<Value, Torn> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or_else(ends)?;
        self.bytes = rest;
        Ok(Number::from_f64(f64::from_le_bytes(*head)).map_or(Value::Null, Value::Number))
    }

    fn text(&mut self) -> Result<String, Torn> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_below| format!("a text of {length}"))?;
        let (head, rest) = self.bytes.split_at_checked(length).ok_or_else(ends)?;
        self.bytes = rest;
        let text = std::str::from_utf8(head).map_err(|error| error.to_string())?;
        Ok(text.to_owned())
    }

    fn long(&mut self) -> Result<i64, Torn> {
        let mut bits: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                let sign = if bits & 1 == 1 { u64::MAX } else { 0 };
                return Ok(((bits >> 1) ^ sign).cast_signed());
            }
        }
        Err("a number longer than ten bytes".to_owned())
    }

    fn byte(&mut self) -> Result<u8, Torn> {
        let (head, rest) = self.bytes.split_first().ok_or_else(ends)?;
        self.bytes = rest;
        Ok(*head)
    }
}

fn ends() -> Torn {
    "it ends in the middle".to_owned()
}
