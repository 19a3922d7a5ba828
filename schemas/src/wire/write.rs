//! JSON values as Avro bytes.
//!
//! Owns: Avro's binary encoding, writing. Never: frames.
//!
//! Source: Avro 1.12, "Binary Encoding". Maps and lists are one block each, in the order of the
//! value, so equal values give equal bytes.

use serde_json::{Map, Value};

use super::shape::{Node, Record};
use crate::time::EventTime;

/// A value that is not what the schema says.
#[derive(Debug)]
pub(super) struct Unfit {
    /// Where, from the inside out.
    pub(super) path: Vec<String>,
    /// What the schema takes there.
    pub(super) wanted: &'static str,
}

impl Unfit {
    fn new(wanted: &'static str) -> Self {
        Self { path: Vec::new(), wanted }
    }

    fn at(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}

/// Appends `value` as `node`.
pub(super) fn write(node: &Node, value: &Value, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let unfit = || Unfit::new(node.wanted());
    match node {
        Node::Null => value.as_null().ok_or_else(unfit)?,
        Node::Flag => out.push(u8::from(value.as_bool().ok_or_else(unfit)?)),
        Node::Whole => write_long(value.as_i64().ok_or_else(unfit)?, out),
        Node::Double => {
            out.extend_from_slice(&value.as_f64().ok_or_else(unfit)?.to_le_bytes());
        }
        Node::Text => write_text(value.as_str().ok_or_else(unfit)?, out),
        Node::Time => {
            let time = value.as_str().and_then(|text| text.parse::<EventTime>().ok());
            write_long(time.ok_or_else(unfit)?.millis(), out);
        }
        Node::List(item) => write_list(item, value.as_array().ok_or_else(unfit)?, out)?,
        Node::Map(values) => write_map(values, value.as_object().ok_or_else(unfit)?, out)?,
        Node::Record(record) => write_record(record, value.as_object().ok_or_else(unfit)?, out)?,
        Node::Json => write_text(&value.to_string(), out),
        Node::Union(branches) => {
            let found = branches.iter().enumerate().find(|(_, branch)| branch.fits(value));
            let (index, branch) = found.ok_or_else(unfit)?;
            write_count(index, out);
            write(branch, value, out)?;
        }
    }
    Ok(())
}

fn write_record(
    record: &Record,
    value: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    let known = |name: &String| record.fields.iter().any(|field| field.name == *name);
    if let Some(unknown) = value.keys().find(|name| !known(name)) {
        return Err(Unfit::new("no such field").at(unknown));
    }
    for field in &record.fields {
        let value = value.get(&field.name).or(field.default.as_ref());
        let value = value.ok_or_else(|| Unfit::new(field.node.wanted()).at(&field.name))?;
        write(&field.node, value, out).map_err(|unfit| unfit.at(&field.name))?;
    }
    Ok(())
}

fn write_list(item: &Node, values: &[Value], out: &mut Vec<u8>) -> Result<(), Unfit> {
    if !values.is_empty() {
        write_count(values.len(), out);
    }
    for value in values {
        write(item, value, out).map_err(|unfit| unfit.at("[]"))?;
    }
    out.push(0);
    Ok(())
}

fn write_map(node: &Node, values: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), Unfit> {
    if !values.is_empty() {
        write_count(values.len(), out);
    }
    for (name, value) in values {
        write_text(name, out);
        write(node, value, out).map_err(|unfit| unfit.at(name))?;
    }
    out.push(0);
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_count(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn write_count(count: usize, out: &mut Vec<u8>) {
    write_long(i64::try_from(count).unwrap_or(i64::MAX), out);
}

/// Zigzag, then seven bits a byte, lowest first.
fn write_long(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}
