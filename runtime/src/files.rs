//! Files that are there whole or not at all.
//!
//! Owns: replacing one. Never: what is in them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Replaces a file by what `write` writes, so that a crash leaves the old one or the new one. When
/// this returns, the new one is durable.
///
/// # Errors
/// When the file, or the one that is written beside it, cannot be written; the old one is left.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::replace;

    #[test]
    fn what_fails_in_the_middle_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, |file| file.write_all(b"one")).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"tw")?;
            Err(io::Error::other("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        replace(&path, |file| file.write_all(b"two")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
