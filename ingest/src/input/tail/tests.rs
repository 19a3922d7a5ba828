use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{Begins, Follow, LINE_BYTES_MAX, Mark, Polled, Tail, oldest_first, pattern};
use crate::Settings;

fn tail(pattern: &Path, places: BTreeMap<String, Mark>) -> Tail {
    Tail::new(Follow { pattern: pattern.to_owned(), places, from_end: false, begins: None })
}

fn write(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Writes when the clock of the file system has ticked since what other files hold was written.
fn write_later(path: &Path, text: &str) {
    write(path, text);
    let file = File::options().append(true).open(path).unwrap();
    let now = file.metadata().unwrap().modified().unwrap();
    file.set_modified(now + Duration::from_millis(20)).unwrap();
}

/// The lines of one poll, and the places after each file.
fn poll(tail: &mut Tail) -> (Vec<String>, BTreeMap<String, Mark>) {
    let chunks = tail.poll().chunks;
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    let lines = chunks.iter().flat_map(|c| c.lines.iter().map(|(l, _)| text(l))).collect();
    (lines, tail.places())
}

#[test]
fn a_line_is_given_once_its_end_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut tail = tail(&path, BTreeMap::new());
    assert!(poll(&mut tail).0.is_empty(), "no file yet");
    write(&path, "one\ntw");
    assert_eq!(poll(&mut tail).0, ["one"]);
    write(&path, "o\n\nfour\n");
    assert_eq!(poll(&mut tail).0, ["two", "", "four"]);
    assert!(poll(&mut tail).0.is_empty());
}

#[test]
fn reading_goes_on_at_the_exact_line_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, "one\ntwo\nthr");
    let (lines, places) = poll(&mut tail(&path, BTreeMap::new()));
    assert_eq!(lines, ["one", "two"]);
    write(&path, "ee\nfour\n");
    assert_eq!(poll(&mut tail(&path, places)).0, ["three", "four"]);
}

#[test]
fn rotation_by_rename_loses_neither_the_old_tail_nor_the_new_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, "one\n");
    let mut tail = tail(&path, BTreeMap::new());
    assert_eq!(poll(&mut tail).0, ["one"]);
    let rotated = folder.path().join("access.log.1");
    fs::rename(&path, &rotated).unwrap();
    write(&rotated, "late\n");
    write(&path, "new\n");
    let mut lines = poll(&mut tail).0;
    lines.sort();
    assert_eq!(lines, ["late", "new"]);
}

#[test]
fn a_backlog_in_a_rotated_file_comes_before_what_was_written_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("access.log.1"), folder.path().join("access.log"));
    write(&new, "new\n");
    let long = "x".repeat(LINE_BYTES_MAX / 2 - 1) + "\n";
    write(&old, &(long.repeat(3) + "last\n"));
    let long_ago = fs::metadata(&new).unwrap().modified().unwrap() - Duration::from_secs(1);
    File::options().append(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let mut tail = tail(&folder.path().join("access.log*"), BTreeMap::new());
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.extend(poll(&mut tail).0);
    }
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[3..], ["last", "new"]);
}

#[test]
fn files_of_the_start_are_read_in_the_order_of_their_events_where_these_can_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let line = |hour: u32, name: &str| {
        format!(
            "192.0.2.1 - - [03/Mar/2026:{hour}:00:00 +0000] \"GET /{name} HTTP/1.1\" 200 1 \"-\" \"-\"\n"
        )
    };
    let at = |name: &str| folder.path().join(name);
    // Copied without their times: the oldest last.
    write(&at("access.log"), &line(12, "third"));
    write_later(&at("access.log.1"), &line(11, "second"));
    fs::write(at("access.log.2"), line(10, "first")).unwrap();
    let later = fs::metadata(at("access.log.1")).unwrap().modified().unwrap();
    let file = File::options().append(true).open(at("access.log.2")).unwrap();
    file.set_modified(later + Duration::from_millis(20)).unwrap();
    let pattern = at("access.log*");
    let names = |lines: Vec<String>| -> Vec<String> {
        let name = |line: &String| line.split('/').nth(3).unwrap_or("?").trim_end().to_owned();
        lines.iter().map(name).collect()
    };
    let begins = Some(Begins::new(Settings::default()));
    let (places, from_end) = (BTreeMap::new(), false);
    let mut by_event = Tail::new(Follow { pattern: pattern.clone(), places, from_end, begins });
    assert_eq!(names(poll(&mut by_event).0), ["first HTTP", "second HTTP", "third HTTP"]);
    let mut by_writing = tail(&pattern, BTreeMap::new());
    assert_eq!(names(poll(&mut by_writing).0), ["third HTTP", "second HTTP", "first HTTP"]);
    // One that tells no time stands where it was last written.
    let mut begun = Tail::new(Follow {
        pattern: at("*"),
        places: BTreeMap::new(),
        from_end: false,
        begins: Some(Begins::new(Settings::default())),
    });
    write(&at("notes"), "no event\n");
    assert_eq!(poll(&mut begun).0.last().map(String::as_str), Some("no event"));
}

#[test]
fn a_truncated_file_is_read_anew_even_when_it_is_longer_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, "one\n");
    let mut tail = tail(&path, BTreeMap::new());
    assert_eq!(poll(&mut tail).0, ["one"]);
    fs::write(&path, "x\n").unwrap();
    assert_eq!(poll(&mut tail).0, ["x"]);
    fs::write(&path, "another\nand more\n").unwrap();
    assert_eq!(poll(&mut tail).0, ["another", "and more"]);
}

#[test]
fn a_line_without_end_is_cut_at_the_limit_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, &"x".repeat(3 * LINE_BYTES_MAX));
    write(&path, "\nnext\n");
    let mut tail = tail(&path, BTreeMap::new());
    let mut lines = Vec::new();
    for _ in 0..6 {
        lines.extend(poll(&mut tail).0);
    }
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].len(), lines[1].as_str()), (LINE_BYTES_MAX, "next"));
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, good) = (folder.path().join("a.log"), folder.path().join("b.log"));
    // A link to itself: even root cannot read it.
    std::os::unix::fs::symlink(&bad, &bad).unwrap();
    write(&good, "one\n");
    let mut tail = tail(&folder.path().join("*.log"), BTreeMap::new());
    assert_eq!(poll(&mut tail).0, ["one"]);
    assert_eq!(tail.troubles().keys().collect::<Vec<_>>(), [&bad]);
    fs::remove_file(&bad).unwrap();
    write(&bad, "two\n");
    assert_eq!(poll(&mut tail).0, ["two"]);
    assert!(tail.troubles().is_empty());
}

/// Files that were written in the same tick of the clock have no order.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// What logrotate's `copytruncate` does.
fn copy_and_truncate(path: &Path, to: &Path) {
    fs::copy(path, to).unwrap();
    OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
}

#[test]
fn a_copy_is_read_from_where_the_truncated_file_was_read_to() {
    let folder = tempfile::tempdir().unwrap();
    let (log, copy) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    write(&log, "one\ntwo\n");
    let mut tail = tail(&folder.path().join("access.log*"), BTreeMap::new());
    assert_eq!(poll(&mut tail).0, ["one", "two"]);
    // Found before the other one is truncated.
    write(&log, "three\n");
    fs::copy(&log, &copy).unwrap();
    assert_eq!(poll(&mut tail).0, ["three"]);
    write(&log, "four\n");
    fs::copy(&log, &copy).unwrap();
    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    write(&log, "five\n");
    assert_eq!(sorted(poll(&mut tail).0), ["five", "four"]);
    // Found after it.
    write(&log, "six\n");
    copy_and_truncate(&log, &folder.path().join("access.log.2"));
    write(&log, "seven\n");
    assert_eq!(sorted(poll(&mut tail).0), ["seven", "six"]);
    assert!(poll(&mut tail).0.is_empty());
}

#[test]
fn a_copy_that_was_made_while_nobody_looked_goes_on_at_the_exact_line() {
    let folder = tempfile::tempdir().unwrap();
    let (log, pattern) = (folder.path().join("access.log"), folder.path().join("access*"));
    write(&log, "one\ntwo\npart");
    let (lines, places) = poll(&mut tail(&pattern, BTreeMap::new()));
    assert_eq!(lines, ["one", "two"]);
    write(&log, "ly\n");
    // A name that comes before the log's.
    copy_and_truncate(&log, &folder.path().join("access-old.log"));
    write(&log, "a longer one than all that was there before\n");
    let mut tail = tail(&pattern, places);
    let mut lines = poll(&mut tail).0;
    lines.sort();
    assert_eq!(lines, ["a longer one than all that was there before", "partly"]);
    let adopted = tail.places();
    assert_eq!(adopted.len(), 2, "both are remembered");
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, "one\ntwo\n");
    let places = poll(&mut tail(&path, BTreeMap::new())).1;
    // As a file system does that gives a freed inode to the next file.
    fs::write(&path, "another file, which is longer\nthan the first one was\n").unwrap();
    let lines = poll(&mut tail(&path, places)).0;
    assert_eq!(lines, ["another file, which is longer", "than the first one was"]);
}

#[test]
fn files_that_only_begin_alike_are_both_read() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("a.log"), folder.path().join("b.log"));
    let probe = "127.0.0.1 - - \"GET /health\"\n";
    write(&one, &probe.repeat(3));
    let mut tail = tail(&folder.path().join("*.log"), BTreeMap::new());
    assert_eq!(poll(&mut tail).0.len(), 3);
    write(&other, &probe.repeat(2));
    assert!(poll(&mut tail).0.is_empty(), "it may be a copy");
    write(&other, "and a line of its own\n");
    let lines = poll(&mut tail).0;
    assert_eq!(lines.len(), 3, "{lines:?}");
    write(&one, probe);
    assert_eq!(poll(&mut tail).0.len(), 1);
}

#[test]
fn what_a_writer_leaves_empty_that_does_not_append_costs_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, &"a line of a writer that knows where it is\n".repeat(40_000));
    let mut tail = tail(&path, BTreeMap::new());
    let mut count = 0;
    for _ in 0..3 {
        count += poll(&mut tail).0.len();
    }
    assert_eq!(count, 40_000);
    let end = fs::metadata(&path).unwrap().len();
    fs::write(&path, "").unwrap();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(end)).unwrap();
    file.write_all(b"next\n").unwrap();
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.extend(poll(&mut tail).0);
    }
    assert_eq!(lines, ["next"]);
}

#[test]
fn after_a_restart_within_a_line_that_is_too_long_its_rest_is_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    write(&path, &"x".repeat(2 * LINE_BYTES_MAX));
    let mut first = tail(&path, BTreeMap::new());
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.extend(poll(&mut first).0);
    }
    assert_eq!(lines.len(), 1);
    write(&path, "rest\nnext\n");
    let mut lines = Vec::new();
    let mut second = tail(&path, first.places());
    for _ in 0..3 {
        lines.extend(poll(&mut second).0);
    }
    assert_eq!(lines, ["next"]);
}

#[test]
fn a_file_that_is_truncated_while_the_tail_looks_is_not_read_again_from_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (log, copy) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    // The first: before its copy is found. The second: before its copy is compared with it.
    for found_before in [false, true] {
        write(&log, "one\ntwo\n");
        let mut tail = tail(&folder.path().join("access.log*"), BTreeMap::new());
        assert_eq!(poll(&mut tail).0, ["one", "two"]);
        if found_before {
            fs::copy(&log, &copy).unwrap();
            assert!(poll(&mut tail).0.is_empty());
        }
        // A poll, in whose middle it happens.
        let (mut adopted, mut at_end) = (Vec::new(), true);
        tail.leave_replaced(&mut adopted);
        copy_and_truncate(&log, &copy);
        tail.discover();
        tail.place_fresh(&mut adopted);
        tail.compare_copies(&mut at_end);
        assert!(!at_end, "the copy is undecided");
        write(&log, "three\n");
        assert_eq!(poll(&mut tail).0, ["three"]);
        assert!(poll(&mut tail).0.is_empty());
        assert_eq!(tail.places().len(), 2);
        fs::remove_file(&copy).unwrap();
        fs::remove_file(&log).unwrap();
    }
}

/// A poll in whose middle something happens.
fn poll_around(tail: &mut Tail, meanwhile: impl FnOnce()) -> Vec<String> {
    let mut polled = Polled { at_end: true, ..Polled::default() };
    tail.leave_replaced(&mut polled.adopted);
    let (turns, seen) = tail.discover();
    tail.place_fresh(&mut polled.adopted);
    tail.compare_copies(&mut polled.at_end);
    meanwhile();
    tail.read(oldest_first(turns.unwrap(), &seen), &seen, &mut polled);
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    polled.chunks.iter().flat_map(|c| c.lines.iter().map(|(l, _)| text(l))).collect()
}

#[test]
fn a_copy_of_what_was_truncated_before_any_of_it_was_read_comes_before_what_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, copy) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let truncate = || OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    write(&log, "zero\n");
    let mut tail = tail(&folder.path().join("access.log*"), BTreeMap::new());
    assert_eq!(poll(&mut tail).0, ["zero"]);
    truncate();
    assert!(poll(&mut tail).0.is_empty());
    write(&log, "one\n");
    fs::copy(&log, &copy).unwrap();
    let rotated = || {
        truncate();
        write_later(&log, "two\n");
    };
    let mut lines = poll_around(&mut tail, rotated);
    assert!(lines.is_empty(), "undecided: {lines:?}");
    lines.extend(poll(&mut tail).0);
    assert_eq!(lines, ["one", "two"]);
    assert!(poll(&mut tail).0.is_empty());
}

#[test]
fn what_is_written_after_the_order_is_told_waits_for_the_next_look() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    write(&log, "one\n");
    let mut tail = tail(&log, BTreeMap::new());
    assert_eq!(poll_around(&mut tail, || write(&log, "two\n")), ["one"]);
    assert_eq!(poll(&mut tail).0, ["two"]);
}

#[test]
fn a_file_that_was_renamed_while_the_folder_was_listed_comes_before_the_one_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (log, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    write(&log, "one\n");
    let mut tail = tail(&folder.path().join("access.log*"), BTreeMap::new());
    let listed = pattern::matching(&folder.path().join("access.log*")).unwrap();
    assert_eq!(listed, [log.as_path()]);
    fs::rename(&log, &old).unwrap();
    write_later(&log, "two\n");
    let mut seen = BTreeSet::new();
    assert!(tail.open_all(listed, &mut seen), "one is new, so it looks again");
    assert_eq!(poll(&mut tail).0, ["one", "two"]);
}

/// Writes to a log and rotates it, by a clock that ticks with each deed.
struct Rotating {
    folder: PathBuf,
    dice: u64,
    ticks: u64,
    rotations: u64,
    written: Vec<String>,
    /// Copied, and not truncated yet: nobody writes in between.
    copied: bool,
}

impl Rotating {
    fn new(folder: &Path, seed: u64) -> Self {
        let (folder, dice) = (folder.to_owned(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { folder, dice, ticks: 0, rotations: 0, written: Vec::new(), copied: false }
    }

    fn roll(&mut self, below: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }

    /// Some deeds, mostly none.
    fn act(&mut self) {
        for _ in 0..[0, 0, 0, 1, 2, 5][usize::try_from(self.roll(6)).unwrap()] {
            let log = self.folder.join("access.log");
            let old = self.folder.join(format!("access.log.{}", self.rotations));
            let touched = match self.roll(6) {
                _ if self.copied => {
                    self.copied = false;
                    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
                    log
                }
                0 if log.exists() => {
                    self.rotations += 1;
                    fs::rename(&log, &old).unwrap();
                    continue;
                }
                1 if log.exists() => {
                    self.rotations += 1;
                    self.copied = true;
                    fs::copy(&log, &old).unwrap();
                    old
                }
                _ => {
                    for _ in 0..1 + self.roll(4) {
                        let line = format!("line {}", self.written.len());
                        write(&log, &format!("{line}\n"));
                        self.written.push(line);
                    }
                    log
                }
            };
            self.ticks += 1;
            let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + self.ticks);
            File::options().append(true).open(touched).unwrap().set_modified(now).unwrap();
        }
    }
}

#[test]
fn whatever_happens_during_a_look_lines_are_read_once_and_in_order() {
    for seed in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join("access.log*");
        let mut rotating = Rotating::new(folder.path(), seed);
        let mut tail = tail(&pattern, BTreeMap::new());
        let mut found: Vec<String> = Vec::new();
        for look in 0..40 {
            let quiet = look >= 36;
            let mut meanwhile = || (!quiet).then(|| rotating.act());
            let mut polled = Polled { at_end: true, ..Polled::default() };
            meanwhile();
            tail.leave_replaced(&mut polled.adopted);
            meanwhile();
            let mut seen = BTreeSet::new();
            let turns = loop {
                let turns = tail.note();
                meanwhile();
                let listed = pattern::matching(&pattern).unwrap();
                meanwhile();
                if !tail.open_all(listed, &mut seen) {
                    break turns;
                }
                meanwhile();
            };
            meanwhile();
            tail.place_fresh(&mut polled.adopted);
            meanwhile();
            tail.compare_copies(&mut polled.at_end);
            meanwhile();
            tail.read(oldest_first(turns, &seen), &seen, &mut polled);
            let lines = polled.chunks.iter().flat_map(|chunk| &chunk.lines);
            found.extend(lines.map(|(line, _)| String::from_utf8_lossy(line).into_owned()));
            if rotating.roll(8) == 0 {
                tail = self::tail(&pattern, tail.places());
            }
        }
        assert_eq!(found, rotating.written, "seed {seed}");
    }
}
