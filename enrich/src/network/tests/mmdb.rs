//! A writer of the MaxMind DB format, version 2.0, as far as tests and benchmarks need it: 24-bit
//! records, one record of data a network.
//!
//! Owns: the bytes of such a file. Never: reads one.

use std::net::IpAddr;

/// A value of a record.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(&'static str),
    Number(u32),
    /// 16 bits.
    Short(u16),
    /// 64 bits.
    Long(u64),
    /// A list of nothing.
    Empty,
    Map(Vec<(&'static str, Value)>),
}

fn write(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            let length = u8::try_from(text.len()).unwrap();
            bytes.push(2 << 5 | length.min(29));
            // Lengths from 29 to 284 stand in a byte of their own.
            bytes.extend(length.checked_sub(29));
            bytes.extend(text.as_bytes());
        }
        Value::Number(number) => {
            bytes.push(6 << 5 | 4);
            bytes.extend(number.to_be_bytes());
        }
        Value::Short(number) => {
            bytes.push(5 << 5 | 2);
            bytes.extend(number.to_be_bytes());
        }
        Value::Long(number) => {
            // Types past 7 stand in a byte of their own.
            bytes.extend([8, 9 - 7]);
            bytes.extend(number.to_be_bytes());
        }
        Value::Empty => bytes.extend([0, 11 - 7]),
        Value::Map(entries) => {
            bytes.push(7 << 5 | u8::try_from(entries.len()).unwrap());
            for (key, value) in entries {
                write(&Value::Text(key), bytes);
                write(value, bytes);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Record {
    Empty,
    Node(usize),
    Data(usize),
}

/// The bytes of a database for IPv6 and IPv4.
pub(crate) fn database(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Empty; 2]];
    let mut section = Vec::new();
    for (network, value) in networks {
        let (address, length) = network.split_once('/').unwrap();
        let mut length: usize = length.parse().unwrap();
        let bits = match address.parse().unwrap() {
            IpAddr::V4(v4) => {
                length += 96;
                u128::from(u32::from(v4))
            }
            IpAddr::V6(v6) => u128::from(v6),
        };
        let data = Record::Data(section.len());
        write(value, &mut section);
        let mut at = 0;
        for depth in 0..length {
            let side = usize::try_from(bits >> (127 - depth) & 1).unwrap();
            if depth + 1 == length {
                nodes[at][side] = data;
            } else {
                at = match nodes[at][side] {
                    Record::Node(next) => next,
                    _ => {
                        nodes.push([Record::Empty; 2]);
                        let next = nodes.len() - 1;
                        nodes[at][side] = Record::Node(next);
                        next
                    }
                };
            }
        }
    }
    let count = nodes.len();
    let mut bytes = Vec::new();
    for record in nodes.iter().flatten() {
        let number = match record {
            Record::Empty => count,
            Record::Node(node) => *node,
            Record::Data(offset) => count + 16 + offset,
        };
        bytes.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    bytes.extend([0; 16]);
    bytes.extend(section);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = [
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text("Test")),
        ("description", Value::Map(Vec::new())),
        ("languages", Value::Empty),
        ("ip_version", Value::Short(6)),
        ("node_count", Value::Number(u32::try_from(count).unwrap())),
        ("record_size", Value::Short(24)),
    ];
    write(&Value::Map(metadata.to_vec()), &mut bytes);
    bytes
}
