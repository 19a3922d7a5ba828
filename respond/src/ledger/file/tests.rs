#![expect(clippy::needless_pass_by_value, reason = "values are made in place")]

use std::fs;

use expect_test::{Expect, expect};
use schemas::EventTime;

use super::{LEDGER_FILE, Ledger, Options, lines_after};
use crate::fixture::verdict;
use crate::ledger::{LedgerError, Record, Taken};

fn taken(id: &str) -> Record {
    Record::Taken(Box::new(Taken {
        at: EventTime(1_000),
        verdict: verdict(id, 1),
        orders: Vec::new(),
        outcomes: Vec::new(),
        notes: Vec::new(),
    }))
}

fn episodes(ledger: &Ledger) -> Vec<&str> {
    let known = ["a", "b", "c"];
    known.into_iter().filter(|id| ledger.state().episode(id).is_some()).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Result<Ledger, LedgerError> {
        Ledger::open(self.0.path(), Options::default())
    }

    fn text(&self) -> Vec<u8> {
        fs::read(self.0.path().join(LEDGER_FILE)).unwrap()
    }

    fn write(&self, text: &[u8]) {
        fs::write(self.0.path().join(LEDGER_FILE), text).unwrap();
    }

    #[track_caller]
    fn check_error(&self, expected: Expect) {
        let told = self.open().unwrap_err().to_string();
        expected.assert_eq(&told.replace(&self.0.path().display().to_string(), "DIR"));
    }
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let folder = Folder::new();
    let mut ledger = folder.open().unwrap();
    ledger.append(vec![taken("a")]).unwrap();
    ledger.append(vec![taken("b"), taken("c")]).unwrap();
    drop(ledger);
    assert_eq!(episodes(&folder.open().unwrap()), ["a", "b", "c"]);
}

#[test]
fn every_cut_of_the_last_line_leaves_the_lines_before_it() {
    let folder = Folder::new();
    let mut ledger = folder.open().unwrap();
    ledger.append(vec![taken("a")]).unwrap();
    let before = folder.text().len();
    ledger.append(vec![taken("b")]).unwrap();
    drop(ledger);
    let whole = folder.text();
    for cut in (before + 1..whole.len()).step_by(37).chain([whole.len() - 1]) {
        folder.write(&whole[..cut]);
        let mut ledger = folder.open().unwrap();
        assert_eq!(episodes(&ledger), ["a"], "cut at {cut}");
        ledger.append(vec![taken("c")]).unwrap();
        drop(ledger);
        assert_eq!(episodes(&folder.open().unwrap()), ["a", "c"], "cut at {cut}");
        assert_eq!(fs::read(folder.0.path().join("ledger.torn")).unwrap(), &whole[before..cut]);
    }
}

#[test]
fn a_last_line_of_zeros_is_torn_too() {
    let folder = Folder::new();
    folder.open().unwrap().append(vec![taken("a")]).unwrap();
    let mut text = folder.text();
    text.extend([0; 512]);
    folder.write(&text);
    assert_eq!(episodes(&folder.open().unwrap()), ["a"]);
}

#[test]
fn damage_before_the_last_line_stops_the_program_and_changes_nothing() {
    let folder = Folder::new();
    let mut ledger = folder.open().unwrap();
    ledger.append(vec![taken("a")]).unwrap();
    ledger.append(vec![taken("b")]).unwrap();
    drop(ledger);
    let whole = folder.text();
    let mut damaged = whole.clone();
    damaged[100] = b'\n';
    folder.write(&damaged);
    folder.check_error(expect![[r#"DIR/ledger.jsonl:2: the ledger is damaged (control character (\u0000-\u001F) found while parsing a string at line 2 column 0); nothing was changed. Restore the file from a copy, or move it away: blocks that stand are then not known any more"#]]);
    assert_eq!(folder.text(), damaged);
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    folder.write(&[lines[0], lines[2]].concat());
    folder.check_error(expect!["DIR/ledger.jsonl:2: the ledger is damaged (line 3 follows line 1); nothing was changed. Restore the file from a copy, or move it away: blocks that stand are then not known any more"]);
    folder.write(&lines[1..].concat());
    folder.check_error(expect!["DIR/ledger.jsonl:1: the ledger is damaged (it does not begin with a header); nothing was changed. Restore the file from a copy, or move it away: blocks that stand are then not known any more"]);
    folder.write(b"{\"seq\":1,\"records\":[{\"header\":{\"version\":2}}]}\n");
    folder.check_error(expect![
        "DIR/ledger.jsonl: version 2 of the ledger, this program knows up to 1; run the newer one"
    ]);
}

#[test]
fn a_second_process_is_kept_out_and_told_who_has_it() {
    let folder = Folder::new();
    let ledger = folder.open().unwrap();
    let told = folder.open().unwrap_err().to_string();
    assert!(told.contains(&format!("in use by process {}", std::process::id())), "{told}");
    drop(ledger);
    assert!(folder.open().is_ok());
}

#[test]
fn a_file_written_anew_gives_the_same_state_and_goes_on() {
    let folder = Folder::new();
    let options = Options { compact_bytes_min: 0, ..Options::default() };
    let mut ledger = Ledger::open(folder.0.path(), options).unwrap();
    for _ in 0..20 {
        ledger.append(vec![taken("a"), taken("b")]).unwrap();
    }
    assert!(ledger.journal.is_due());
    let before = ledger.journal.bytes();
    let kept = ledger.journal.kept(&mut ledger.state, EventTime(2_000));
    ledger.journal.rewrite(&kept).unwrap();
    assert!(ledger.journal.bytes() < before / 5 && !ledger.journal.is_due());
    ledger.append(vec![taken("c")]).unwrap();
    let last = ledger.journal.last_seq();
    drop(ledger);
    let ledger = folder.open().unwrap();
    assert_eq!((episodes(&ledger).len(), ledger.journal.last_seq()), (3, last));
    let after: Vec<u64> =
        lines_after(ledger.journal.path(), last - 1).unwrap().iter().map(|line| line.seq).collect();
    assert_eq!(after, [last]);
}

#[test]
fn what_is_older_than_the_history_is_forgotten() {
    let folder = Folder::new();
    let mut ledger = folder.open().unwrap();
    ledger.append(vec![taken("a")]).unwrap();
    let later = EventTime(1_000).plus(Options::default().history.as_ms_i64() + 1);
    assert_eq!(ledger.journal.kept(&mut ledger.state, later), []);
}

#[test]
fn a_write_that_fails_leaves_the_ledger_as_it_was() {
    let folder = Folder::new();
    let mut ledger = folder.open().unwrap();
    ledger.append(vec![taken("a")]).unwrap();
    // A file that was opened for reading takes no line; it stands for a disk that is full.
    let readable = fs::File::open(ledger.journal.path()).unwrap();
    let writable = ledger.journal.swap_file(readable);
    let error = ledger.append(vec![taken("b")]).unwrap_err();
    assert!(matches!(error, LedgerError::Io { .. }), "{error}");
    assert_eq!(episodes(&ledger), ["a"]);
    let error = ledger.append(vec![taken("b")]).unwrap_err();
    assert!(matches!(error, LedgerError::Broken { .. }), "{error}");
    drop(writable);
    drop(ledger);
    assert_eq!(episodes(&folder.open().unwrap()), ["a"]);
}
