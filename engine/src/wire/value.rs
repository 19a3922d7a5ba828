//! Plain values as bytes.
//!
//! Owns: one way to write each type. Never: columns, envelopes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::{EventTime, Exemplar, Origin};
use serde_json::{Map, Number, Value};

use super::{Reader, Wire, WireError, Writer, wire_struct};

/// JSON nests no deeper than this: columns hold lists of texts, not trees.
const DEPTH_MAX: usize = 32;

macro_rules! wire_number {
    ($($number:ty),*) => {
        $(impl Wire for $number {
            fn write(&self, out: &mut Writer) {
                out.raw(&self.to_le_bytes());
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
                from.array().map(<$number>::from_le_bytes)
            }
        })*
    };
}

wire_number!(u8, i32, u32, u64, i64, u128);

impl Wire for bool {
    fn write(&self, out: &mut Writer) {
        out.put(&u8::from(*self));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match from.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Malformed { what: "a yes or no" }),
        }
    }
}

impl Wire for String {
    fn write(&self, out: &mut Writer) {
        out.text(self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = from.len("a text")?;
        let bytes = from.take(length, "a text")?;
        let text = str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|_not_utf8| WireError::Malformed { what: "a text" })
    }
}

impl Wire for Arc<str> {
    fn write(&self, out: &mut Writer) {
        out.text(self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.get::<String>().map(Self::from)
    }
}

impl Wire for EventTime {
    fn write(&self, out: &mut Writer) {
        out.put(&self.0);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.get().map(Self)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, out: &mut Writer) {
        out.put(&self.is_some());
        if let Some(value) = self {
            out.put(value);
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        if from.get()? { from.get().map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn write(&self, out: &mut Writer) {
        out.put(&**self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.get().map(Self::new)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn write(&self, out: &mut Writer) {
        out.put(&self.0);
        out.put(&self.1);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((from.get()?, from.get()?))
    }
}

/// Items of a claimed length are not allocated ahead: memory follows the bytes.
fn items<T: Wire, C: FromIterator<T>>(from: &mut Reader<'_>) -> Result<C, WireError> {
    let count = from.count("a list")?;
    (0..count).map(|_item| from.get()).collect()
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, out: &mut Writer) {
        out.len(self.len());
        self.iter().for_each(|item| out.put(item));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        items(from)
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn write(&self, out: &mut Writer) {
        out.len(self.len());
        self.iter().for_each(|item| out.put(item));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        items(from)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn write(&self, out: &mut Writer) {
        out.len(self.len());
        for (key, value) in self {
            out.put(key);
            out.put(value);
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        items::<(K, V), Self>(from)
    }
}

wire_struct!(Origin { topic, partition, offset, index });
wire_struct!(Exemplar { event_id, event_time, line });

impl Wire for Map<String, Value> {
    fn write(&self, out: &mut Writer) {
        write_object(self, out);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        read_object(from, DEPTH_MAX)
    }
}

impl Wire for Value {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Null => out.put(&0_u8),
            Self::Bool(flag) => out.put(&(1_u8 + u8::from(*flag))),
            Self::Number(number) => write_number(number, out),
            Self::String(text) => {
                out.put(&6_u8);
                out.put(text);
            }
            Self::Array(list) => {
                out.put(&7_u8);
                out.put(list);
            }
            Self::Object(object) => {
                out.put(&8_u8);
                write_object(object, out);
            }
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        read_value(from, DEPTH_MAX)
    }
}

fn write_object(object: &Map<String, Value>, out: &mut Writer) {
    out.len(object.len());
    for (name, value) in object {
        out.put(name);
        out.put(value);
    }
}

/// Fractions go as their bits: decimal text would not always come back the same.
fn write_number(number: &Number, out: &mut Writer) {
    if let Some(whole) = number.as_i64() {
        out.put(&3_u8);
        out.put(&whole);
    } else if let Some(whole) = number.as_u64() {
        out.put(&4_u8);
        out.put(&whole);
    } else {
        out.put(&5_u8);
        out.put(&number.as_f64().unwrap_or(f64::NAN).to_bits());
    }
}

fn read_object(from: &mut Reader<'_>, depth: usize) -> Result<Map<String, Value>, WireError> {
    let count = from.count("an object")?;
    (0..count).map(|_entry| Ok((from.get()?, read_value(from, depth)?))).collect()
}

fn read_value(from: &mut Reader<'_>, depth: usize) -> Result<Value, WireError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(WireError::Malformed { what: "a value so deep" });
    };
    Ok(match from.u8()? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::from(from.get::<i64>()?),
        4 => Value::from(from.get::<u64>()?),
        5 => Value::from(f64::from_bits(from.get()?)),
        6 => Value::String(from.get()?),
        7 => {
            let count = from.count("a list")?;
            let list: Result<_, _> = (0..count).map(|_item| read_value(from, depth)).collect();
            Value::Array(list?)
        }
        8 => Value::Object(read_object(from, depth)?),
        _ => return Err(WireError::Malformed { what: "the kind of a value" }),
    })
}
