//! Records as bytes: many of them in one block.
//!
//! Owns: the layout of a block, version 1.
//! Never: where blocks are stored.
//!
//! Head, little-endian: version (1 byte), records (4), length of the body when unpacked (4), CRC-32
//! of all that plus the packed body (4). Body, LZ4: for each record flags (1: bit 0 timestamp, bit 1 key), with
//! bit 0 the timestamp (8), with bit 1 the key (4 + n), value (4 + n), headers (2), for each header
//! name (2 + n) and value (4 + n).

use bytes::Bytes;

use crate::record::{NewRecord, Offset, Partition, Record};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 13;
const FLAG_TIMESTAMP: u8 = 1;
const FLAG_KEY: u8 = 2;
/// No block is larger when unpacked: a block ends with the record that passes
/// [`BLOCK_BYTES_MAX`], and a record has at most 64 MiB.
const BODY_BYTES_MAX: usize = 128 << 20;

/// A block is closed once it has this many records: what fjall was measured with.
pub(crate) const BLOCK_RECORDS_MAX: u32 = 8192;
/// A block is closed once it has this many bytes, unpacked: a reader that wants one record unpacks
/// no more.
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Collects records until a block is full.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    body: Vec<u8>,
    records: u32,
}

impl BlockBuilder {
    pub(crate) fn push(&mut self, record: &NewRecord) {
        let timestamp = if record.timestamp_ms.is_some() { FLAG_TIMESTAMP } else { 0 };
        let key = if record.key.is_some() { FLAG_KEY } else { 0 };
        self.body.push(timestamp | key);
        if let Some(timestamp_ms) = record.timestamp_ms {
            self.body.extend_from_slice(&timestamp_ms.to_le_bytes());
        }
        if let Some(key) = &record.key {
            self.put_long(key);
        }
        self.put_long(&record.value);
        self.put_u16(record.headers.len());
        for (name, value) in &record.headers {
            self.put_u16(name.len());
            self.body.extend_from_slice(name.as_bytes());
            self.put_long(value);
        }
        self.records += 1;
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records >= BLOCK_RECORDS_MAX || self.body.len() >= BLOCK_BYTES_MAX
    }

    /// The block; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let packed = lz4_flex::block::compress(&self.body);
        let mut block = Vec::with_capacity(HEAD_BYTES + packed.len());
        block.push(VERSION);
        block.extend_from_slice(&self.records.to_le_bytes());
        block.extend_from_slice(&length(self.body.len()).to_le_bytes());
        let checksum = checksum(&block, &packed);
        block.extend_from_slice(&checksum.to_le_bytes());
        block.extend_from_slice(&packed);
        self.body.clear();
        self.records = 0;
        block
    }

    fn put_long(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(&length(bytes.len()).to_le_bytes());
        self.body.extend_from_slice(bytes);
    }

    fn put_u16(&mut self, number: usize) {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        self.body.extend_from_slice(&number.to_le_bytes());
    }
}

/// Sizes are checked before a record gets here, against a limit far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Why a record does not fit the layout; none when it does.
pub(crate) fn misfit(record: &NewRecord) -> Option<&'static str> {
    let long_name = record.headers.iter().any(|(name, _)| u16::try_from(name.len()).is_err());
    if long_name {
        return Some("a header name is longer than 65,535 bytes");
    }
    u16::try_from(record.headers.len()).is_err().then_some("it has more than 65,535 headers")
}

/// How many records a block has.
pub(crate) fn count(block: &[u8]) -> Result<u32, &'static str> {
    head(&mut &*block).map(|head| head.records)
}

/// The records of the block that starts at `base`.
pub(crate) fn decode(
    partition: Partition,
    base: Offset,
    block: &[u8],
) -> Result<Vec<Record>, &'static str> {
    let mut packed = block;
    let head = head(&mut packed)?;
    let body = lz4_flex::block::decompress(packed, head.unpacked)
        .map_err(|_inner| "it cannot be unpacked")?;
    let mut body = Body(Bytes::from(body));
    let mut records = Vec::with_capacity(usize::try_from(head.records).unwrap_or(0).min(8192));
    for at in 0..head.records {
        let offset = Offset(base.0 + i64::from(at));
        records.push(body.record(partition, offset).ok_or("it ends early")?);
    }
    if body.0.is_empty() { Ok(records) } else { Err("it has bytes left over") }
}

struct Head {
    records: u32,
    unpacked: usize,
}

fn head(input: &mut &[u8]) -> Result<Head, &'static str> {
    const SHORT: &str = "it has no whole head";
    let (head, rest) = input.split_first_chunk::<HEAD_BYTES>().ok_or(SHORT)?;
    *input = rest;
    let [version, numbers @ ..] = head;
    if *version != VERSION {
        return Err("its version is not known; was it written by a newer Tidegate?");
    }
    let mut numbers = numbers.chunks_exact(4).map(|number| {
        let number = <[u8; 4]>::try_from(number).unwrap_or_default();
        u32::from_le_bytes(number)
    });
    let mut next = || numbers.next().ok_or(SHORT);
    let (records, unpacked, stored) = (next()?, next()?, next()?);
    let (summed, _) = head.split_at(HEAD_BYTES - 4);
    if checksum(summed, rest) != stored {
        return Err("its checksum is wrong");
    }
    let unpacked = usize::try_from(unpacked).unwrap_or(usize::MAX);
    if unpacked > BODY_BYTES_MAX {
        return Err("it claims to be larger than any block is");
    }
    Ok(Head { records, unpacked })
}

fn checksum(head: &[u8], packed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(packed);
    hasher.finalize()
}

struct Body(Bytes);

impl Body {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes(N)?;
        <[u8; N]>::try_from(bytes.as_ref()).ok()
    }

    fn bytes(&mut self, count: usize) -> Option<Bytes> {
        (self.0.len() >= count).then(|| self.0.split_to(count))
    }

    fn long(&mut self) -> Option<Bytes> {
        let count = u32::from_le_bytes(self.take()?);
        self.bytes(usize::try_from(count).ok()?)
    }

    fn record(&mut self, partition: Partition, offset: Offset) -> Option<Record> {
        let [flags] = self.take()?;
        let timestamp_ms = match flags & FLAG_TIMESTAMP {
            0 => None,
            _ => Some(i64::from_le_bytes(self.take()?)),
        };
        let key = match flags & FLAG_KEY {
            0 => None,
            _ => Some(self.long()?),
        };
        let value = self.long()?;
        let count = u16::from_le_bytes(self.take()?);
        let mut headers = Vec::with_capacity(usize::from(count).min(64));
        for _ in 0..count {
            let length = u16::from_le_bytes(self.take()?);
            let name = self.bytes(usize::from(length))?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            headers.push((name, self.long()?));
        }
        Some(Record { partition, offset, timestamp_ms, key, value, headers })
    }
}

#[cfg(test)]
mod tests;
