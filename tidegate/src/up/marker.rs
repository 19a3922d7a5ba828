//! Markers: detection's state as of a place in the raw log.
//!
//! Owns: the file. Never: the state's own bytes; they are the engine's, with a checksum.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use detect::Learning;
use runtime::files::replace;

/// A marker, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The next offset of the raw log.
    pub(super) next: i64,
    /// The inputs, in the order in which the state counts them.
    pub(super) inputs: Vec<String>,
    /// The rules that have forgotten the past.
    pub(super) learning: Learning,
    /// The check of the key under which the state was made; empty in a marker of an older build,
    /// which had none of its own.
    pub(super) key: String,
    /// The rules that ran, as their record; empty in a marker of an older build.
    pub(super) rules: Vec<u8>,
    /// The state.
    pub(super) state: Vec<u8>,
}

const HEAD: &str = "tidegate marker 3";
/// Without what was forgotten, and without a key.
const OLDER: &str = "tidegate marker 2";
/// Without rules, either.
const OLDEST: &str = "tidegate marker 1";

impl Marker {
    /// Replaces the file, so that a crash leaves the old one or the new one.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, |file| {
            writeln!(file, "{HEAD}\n{}\n{}", self.next, serde_json::to_string(&self.inputs)?)?;
            writeln!(file, "{}\n{}\n{}", self.learning.to_line(), self.key, self.rules.len())?;
            file.write_all(&self.rules)?;
            file.write_all(&self.state)
        })
    }

    /// The marker at this path; `None` where there is none.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
        let mut line = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
        let (head, next, inputs) = (line(), line(), line());
        let next = next.and_then(|next| next.parse().ok());
        let inputs = inputs.and_then(|inputs| serde_json::from_str(inputs).ok());
        match (head, next, inputs, parts.next()) {
            (Some(OLDEST), Some(next), Some(inputs), Some(state)) => {
                let (learning, key, rules) = Default::default();
                Ok(Some(Self { next, inputs, learning, key, rules, state: state.to_vec() }))
            }
            (Some(head @ (HEAD | OLDER)), Some(next), Some(inputs), Some(rest)) => {
                let (learning, key, rest) = match head {
                    HEAD => lines(rest).ok_or_else(cut)?,
                    _ => (Learning::default(), String::new(), rest),
                };
                let (rules, state) = split(rest).ok_or_else(cut)?;
                let (rules, state) = (rules.to_vec(), state.to_vec());
                Ok(Some(Self { next, inputs, learning, key, rules, state }))
            }
            _ => Err(io::Error::other("it is not a marker of this version")),
        }
    }
}

fn cut() -> io::Error {
    io::Error::other("it ends before its rules do")
}

/// What was forgotten and the check of the key, a line each, and the rest.
fn lines(rest: &[u8]) -> Option<(Learning, String, &[u8])> {
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(parts.next()?).ok();
    let (learning, key) = (Learning::of_line(line()?)?, line()?.to_owned());
    Some((learning, key, parts.next()?))
}

/// The rules, whose length stands before them, and the state.
fn split(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let length = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
    rest.get(end + 1..)?.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use detect::Learning;

    use super::Marker;

    #[test]
    fn a_marker_reads_back_as_written_and_anything_else_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marker");
        assert_eq!(Marker::read(&path).unwrap(), None);
        let state = b"\n\0binary\n".to_vec();
        let (inputs, rules) = (vec!["a b".to_owned(), "c".to_owned()], b"12\n\0".to_vec());
        let learning = Learning::of_line("[[\"a/b\",5,true,null]]").unwrap();
        let marker = Marker { next: 7, inputs, learning, key: "0f".to_owned(), rules, state };
        marker.write(&path).unwrap();
        assert_eq!(Marker::read(&path).unwrap().as_ref(), Some(&marker));
        std::fs::write(&path, "tidegate marker 1\n7\n[\"a b\",\"c\"]\n\n\0binary\n").unwrap();
        let (learning, key, rules) = Default::default();
        let older = Marker { learning, key, rules, ..marker };
        assert_eq!(Marker::read(&path).unwrap(), Some(older));
        std::fs::write(&path, "tidegate marker 2\n7\n[]\n3\nabcde").unwrap();
        assert_eq!(Marker::read(&path).unwrap().map(|marker| marker.rules), Some(b"abc".to_vec()));
        for cut in ["2\n7\n[]\n9\nabc", "3\n7\n[]\n[]\nk\n9\nabc", "3\n7\n[]\n[]\n3\nabc"] {
            std::fs::write(&path, format!("tidegate marker {cut}")).unwrap();
            assert!(Marker::read(&path).is_err());
        }
        std::fs::write(&path, "something else").unwrap();
        assert!(Marker::read(&path).is_err());
    }
}
