//! Markers: detection's state as of a place in the raw log.
//!
//! Owns: the file. Never: the state's own bytes; they are the engine's, with a checksum.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// A marker, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The next offset of the raw log.
    pub(super) next: i64,
    /// The inputs, in the order in which the state counts them.
    pub(super) inputs: Vec<String>,
    /// The rules that ran, as their record; empty in a marker of an older build.
    pub(super) rules: Vec<u8>,
    /// The state.
    pub(super) state: Vec<u8>,
}

const HEAD: &str = "tidegate marker 2";
/// Without rules.
const OLDER: &str = "tidegate marker 1";

impl Marker {
    /// Replaces the file, so that a crash leaves the old one or the new one.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{HEAD}\n{}\n{}", self.next, serde_json::to_string(&self.inputs)?)?;
        writeln!(file, "{}", self.rules.len())?;
        file.write_all(&self.rules)?;
        file.write_all(&self.state)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
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
            (Some(OLDER), Some(next), Some(inputs), Some(state)) => {
                Ok(Some(Self { next, inputs, rules: Vec::new(), state: state.to_vec() }))
            }
            (Some(HEAD), Some(next), Some(inputs), Some(rest)) => {
                let (rules, state) = split(rest).ok_or_else(cut)?;
                Ok(Some(Self { next, inputs, rules: rules.to_vec(), state: state.to_vec() }))
            }
            _ => Err(io::Error::other("it is not a marker of this version")),
        }
    }
}

fn cut() -> io::Error {
    io::Error::other("it ends before its rules do")
}

/// The rules, whose length stands before them, and the state.
fn split(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let length = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
    rest.get(end + 1..)?.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::Marker;

    #[test]
    fn a_marker_reads_back_as_written_and_anything_else_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marker");
        assert_eq!(Marker::read(&path).unwrap(), None);
        let state = b"\n\0binary\n".to_vec();
        let (inputs, rules) = (vec!["a b".to_owned(), "c".to_owned()], b"12\n\0".to_vec());
        let marker = Marker { next: 7, inputs, rules, state };
        marker.write(&path).unwrap();
        assert_eq!(Marker::read(&path).unwrap().as_ref(), Some(&marker));
        std::fs::write(&path, "tidegate marker 1\n7\n[\"a b\",\"c\"]\n\n\0binary\n").unwrap();
        let older = Marker { rules: Vec::new(), ..marker };
        assert_eq!(Marker::read(&path).unwrap(), Some(older));
        std::fs::write(&path, "tidegate marker 2\n7\n[]\n9\nabc").unwrap();
        assert!(Marker::read(&path).is_err());
        std::fs::write(&path, "something else").unwrap();
        assert!(Marker::read(&path).is_err());
    }
}
