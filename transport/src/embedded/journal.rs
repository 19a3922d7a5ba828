//! A journal whose last write was torn by a power failure.
//!
//! Owns: telling a torn last write, which nobody was told is durable, from damage, and cutting it
//! off.
//! Never: touching a journal that the store itself can read.
//!
//! The store discards a last batch that is cut short, but refuses to open when the end of a batch
//! reached the disk and a part before it did not. All batches but the last were synced before the
//! next was begun, so only the last can be torn so.
//!
//! Layout (fjall 3, format 3), little-endian: a batch is a start (tag 1, items: 4, sequence: 8),
//! items (tag 2, kind: 1, packing: 1, keyspace: 8, key length: 2, length: 4, stored length: 4, key,
//! value; or tag 4, keyspace: 8), and an end (tag 3, XXH3 of the items: 8, `FJL\x03`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// Cuts the last batch off the newest journal if that batch, and nothing else, is broken. What was
/// cut is kept beside it. Returns how many bytes were cut; none when the journal is not so.
pub(super) fn mend(folder: &Path) -> io::Result<Option<usize>> {
    let Some((number, path)) = newest(folder)? else { return Ok(None) };
    let journal = fs::read(&path)?;
    let Some(torn) = torn_batch(&journal) else { return Ok(None) };
    let bytes = journal.get(torn.clone()).unwrap_or_default();
    let kept = folder.join(format!("torn-{number}-{}.bytes", torn.start));
    fs::write(&kept, bytes)?;
    File::open(&kept)?.sync_all()?;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(u64::try_from(torn.start).unwrap_or(u64::MAX))?;
    file.sync_all()?;
    Ok(Some(bytes.len()))
}

fn newest(folder: &Path) -> io::Result<Option<(u64, PathBuf)>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest)
}

/// Where the torn batch stands: it must be the last, and whole but for its content.
fn torn_batch(journal: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut rest = journal;
    loop {
        let start = journal.len() - rest.len();
        let is_right = batch(&mut rest)?;
        if !is_right {
            let end = journal.len() - rest.len();
            return rest.iter().all(|byte| *byte == 0).then_some(start..end);
        }
    }
}

/// Steps over a batch; whether its content is right. None when there is no whole one.
fn batch(rest: &mut &[u8]) -> Option<bool> {
    let mut next = *rest;
    let (tag, items) = (take(&mut next, 1)?, take(&mut next, 4)?);
    take(&mut next, 8)?;
    if tag != [TAG_START] {
        return None;
    }
    let expected = number(items)?;
    let body = next;
    let mut items = 0;
    loop {
        let before = next;
        match take(&mut next, 1)? {
            [TAG_ITEM] => {
                let head = take(&mut next, 20)?;
                let key = usize::from(u16::from_le_bytes(head.get(10..12)?.try_into().ok()?));
                let value = number(head.get(16..20)?)?;
                take(&mut next, key)?;
                take(&mut next, value)?;
                items += 1;
            }
            [TAG_CLEAR] => {
                take(&mut next, 8)?;
                items += 1;
            }
            [TAG_END] => {
                let checksum = take(&mut next, 8)?;
                if take(&mut next, TRAILER.len())? != TRAILER {
                    return None;
                }
                let (body, _) = body.split_at_checked(body.len() - before.len())?;
                let right = xxhash_rust::xxh3::xxh3_64(body).to_le_bytes() == checksum;
                *rest = next;
                return Some(right && items == expected);
            }
            _ => return None,
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}
