//! File: every verdict, order and outcome as JSON lines.
//!
//! Owns: the file, and that each line of the ledger is in it once, whatever happens between.
//! Never: holds anything that the ledger does not; it can be deleted at any time.
//!
//! Each line carries `seq`, the number of the ledger's line, and `index` within it. The last line of
//! the file tells how far it has come, as with every output of the pipeline.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Trouble, on_disk};
use crate::ledger::{Line, Record};

/// Bytes at the end of the file in which the last line is looked for. A verdict with five log lines
/// has at most 20 KiB.
const TAIL_BYTES: u64 = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    seq: u64,
    index: usize,
    /// Whether it is the last of its ledger line.
    last: bool,
}

impl Journal {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The number of the last line of the ledger that is in the file whole.
    pub(super) async fn recorded(&self) -> Result<u64, Trouble> {
        let path = self.path.clone();
        let read = move || {
            let place = match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(mut file) => last_place(&mut file)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            Ok(place.map_or(0, |place| if place.last { place.seq } else { place.seq - 1 }))
        };
        on_disk(read, &format!("read {}", self.path.display())).await
    }

    pub(super) async fn record(&self, lines: Vec<Line>) -> Result<(), Trouble> {
        let path = self.path.clone();
        let write = move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut options = OpenOptions::new();
            let mut file = options.read(true).append(true).create(true).open(&path)?;
            let place = last_place(&mut file)?;
            let mut text = Vec::new();
            for line in &lines {
                write_line(line, place.as_ref(), &mut text)?;
            }
            file.write_all(&text)?;
            file.sync_data()
        };
        on_disk(write, &format!("append to {}", self.path.display())).await
    }
}

/// The place of the last whole line. A torn one behind it is cut off.
fn last_place(file: &mut File) -> std::io::Result<Option<Place>> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let from = bytes.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < tail.len() && (whole > 0 || from == 0) {
        let keep = from + u64::try_from(whole).unwrap_or(0);
        file.set_len(keep)?;
        tail.truncate(whole);
    }
    let last = tail.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let Some(last) = last else { return Ok(None) };
    serde_json::from_slice(last).map(Some).map_err(|error| {
        std::io::Error::other(format!(
            "its last line is not ours ({error}); move the file away or set another path"
        ))
    })
}

fn write_line(line: &Line, from: Option<&Place>, text: &mut Vec<u8>) -> std::io::Result<()> {
    let items: Vec<Value> = line.records.iter().flat_map(shown).collect();
    let count = items.len();
    for (index, item) in items.into_iter().enumerate() {
        let known = from.is_some_and(|place| (line.seq, index) <= (place.seq, place.index));
        if known {
            continue;
        }
        let place = Place { seq: line.seq, index, last: index + 1 == count };
        let mut object = serde_json::to_value(place)?;
        if let (Some(object), Value::Object(item)) = (object.as_object_mut(), item) {
            object.extend(item);
        }
        serde_json::to_writer(&mut *text, &object)?;
        text.push(b'\n');
    }
    Ok(())
}

/// What a record says to those who read along.
fn shown(record: &Record) -> Vec<Value> {
    match record {
        Record::Taken(taken) => {
            let mut items = vec![json!({"verdict": taken.verdict})];
            items.extend(taken.orders.iter().map(|order| json!({"order": order})));
            items.extend(taken.outcomes.iter().map(|outcome| json!({"outcome": outcome})));
            items
        }
        Record::Outcome(outcome) => vec![json!({"outcome": outcome})],
        Record::ReleaseAsked { orders, at, by } => {
            vec![json!({"release_asked": {"orders": orders, "at": at, "by": by}})]
        }
        Record::Approved { order_id, at, by, .. } => {
            vec![json!({"approved": {"order_id": order_id, "at": at, "by": by}})]
        }
        Record::RetryAsked { order_id, at, by } => {
            vec![json!({"retry_asked": {"order_id": order_id, "at": at, "by": by}})]
        }
        Record::Header { .. } | Record::KeptEpisode { .. } | Record::KeptOrder(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use schemas::EventTime;

    use super::Journal;
    use crate::fixture::verdict;
    use crate::ledger::{Asker, Line, Record, Taken};

    fn line(seq: u64, ids: &[&str]) -> Line {
        let by = Asker { by: "ann".into(), reason: String::new() };
        let mut records: Vec<Record> = ids
            .iter()
            .map(|id| {
                Record::Taken(Box::new(Taken {
                    at: EventTime(0),
                    verdict: verdict(id, 1),
                    orders: Vec::new(),
                    outcomes: Vec::new(),
                    notes: Vec::new(),
                }))
            })
            .collect();
        records.push(Record::ReleaseAsked { orders: Vec::new(), at: EventTime(0), by });
        Line { seq, records }
    }

    #[tokio::test]
    async fn every_line_is_in_the_file_once_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/journal.jsonl");
        let journal = Journal::new(&path);
        assert_eq!(journal.recorded().await, Ok(0));
        let lines = vec![line(2, &["a", "b"]), line(3, &["c"])];
        journal.record(lines.clone()).await.unwrap();
        assert_eq!(journal.recorded().await, Ok(3));
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.split(|byte| *byte == b'\n').count(), 6);
        for cut in (0..whole.len()).step_by(91) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let recorded = journal.recorded().await.unwrap();
            let missing: Vec<Line> =
                lines.iter().filter(|line| line.seq > recorded).cloned().collect();
            journal.record(missing).await.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
        journal.record(lines).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "a repeat adds nothing");
    }

    #[tokio::test]
    async fn a_file_that_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "groceries\n").unwrap();
        let error = Journal::new(&path).record(vec![line(2, &["a"])]).await.unwrap_err();
        assert!(error.detail().contains("not ours"), "{}", error.detail());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "groceries\n");
    }
}
