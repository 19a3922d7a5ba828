//! Which paths a pattern means.
//!
//! Owns: `*` and `?` in a name. Never: opening what it finds.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ends of names of compressed files. What they hold was read before it was compressed.
const COMPRESSED: [&str; 6] = ["gz", "zst", "bz2", "xz", "lz4", "zip"];

/// The paths that match, in order of name. A folder that is not there matches nothing, and neither
/// does a compressed file that only a `*` or `?` stands for.
pub(super) fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = name.filter(|name| name.contains(['*', '?'])) else {
        return Ok(vec![pattern.to_owned()]);
    };
    let folder = pattern.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let named = is_compressed(pattern);
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let matched = path
            .file_name()
            .is_some_and(|found| fits(name.as_bytes(), found.to_string_lossy().as_bytes()));
        if matched && (named || !is_compressed(&path)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|end| COMPRESSED.contains(&end))
}

/// Whether a name fits a pattern of `*` (any number of bytes) and `?` (one byte).
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, tail)| fits(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => fits(rest, tail),
        (Some((p, rest)), Some((n, tail))) => p == n && fits(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{fits, matching};

    #[test]
    fn patterns_match_names() {
        let cases = [
            ("access*.log", "access-1.log", true),
            ("a?c", "abc", true),
            ("*", "", true),
            ("a?c", "ac", false),
            ("access*.log", "access.log.gz", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_was_compressed_was_read_before() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["access.log", "access.log.1", "access.log.2.gz", "access.log.3.zst"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = matching(&folder.path().join("access.log*")).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["access.log", "access.log.1"]);
        assert_eq!(matching(&folder.path().join("access*.gz")).unwrap().len(), 1, "asked for");
    }
}
