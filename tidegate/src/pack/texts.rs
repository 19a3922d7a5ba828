//! The texts of a pack: what is read from a folder, and what stands in a log.
//!
//! Owns: their hash and their bytes. Never: what is in them.

use std::path::Path;
use std::sync::Arc;

use engine::key::HashKey;
use engine::rule::{self, Problem, SourceFile};
use engine::ruleset::Ruleset;

use super::{EMBEDDED, Pack, file, read_folder};
use crate::fault::Fault;

/// Names the bytes.
const HEAD: &[u8] = b"tidegate rules 1\n";
/// The bytes of all texts at most: a hundred times those of the pack.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Rule files and lists, in order of their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    files: Vec<SourceFile>,
}

impl Texts {
    /// Those of a folder, or of the pack that comes with the binary.
    pub(crate) fn read(folder: Option<&Path>) -> Result<Self, Fault> {
        let files = match folder {
            Some(folder) => read_folder(folder)?,
            None => EMBEDDED.iter().map(|(path, text)| file(path, text)).collect(),
        };
        Ok(Self { files })
    }

    /// Names them: equal for equal texts.
    pub(crate) fn hash(&self) -> String {
        rule::version_of(&self.files)
    }

    /// What they say.
    pub(crate) fn pack(&self) -> Pack {
        Pack::of(self.files.clone())
    }

    /// The ruleset to run, or what keeps it from running. Keys of rules are hashed under the
    /// installation's own key.
    pub(crate) fn ruleset(&self, hash_key: HashKey) -> Result<Arc<Ruleset>, Vec<Problem>> {
        let pack = self.pack();
        let errors = |problem: &Problem| problem.level == rule::Level::Error;
        if pack.problems.iter().any(errors) {
            return Err(pack.problems.into_iter().filter(errors).collect());
        }
        Ruleset::with_hash_key(pack.compiled, hash_key).map(Arc::new).map_err(|error| {
            let nowhere = file("", "");
            let text = runtime::error::chain(&error);
            vec![Problem::new(rule::Level::Error, &nowhere, &(0..0), text)]
        })
    }

    /// As bytes of a record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let pairs: Vec<(&str, &str)> =
            self.files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
        // Neither texts nor memory can make these fail.
        let json = serde_json::to_vec(&pairs).unwrap_or_default();
        let packed = zstd::bulk::compress(&json, 3).unwrap_or_default();
        [HEAD, &packed].concat()
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let packed = bytes.strip_prefix(HEAD).ok_or("they are not rules of this version")?;
        let json = zstd::bulk::decompress(packed, TEXT_BYTES_MAX)
            .map_err(|error| format!("they cannot be unpacked: {error}"))?;
        let pairs: Vec<(String, String)> =
            serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let files = pairs.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
        Ok(Self { files })
    }
}

#[cfg(test)]
mod tests {
    use engine::key::HashKey;

    use super::Texts;

    #[test]
    fn texts_read_back_as_written_and_their_hash_tells_them_apart() {
        let texts = Texts::read(None).unwrap();
        let bytes = texts.encode();
        assert!(bytes.len() < 64 << 10, "{} bytes a switch", bytes.len());
        let read = Texts::decode(&bytes).unwrap();
        assert_eq!(read, texts);
        assert_eq!(read.hash(), texts.hash());
        let mut other = texts.clone();
        other.files[0].text.push('\n');
        assert_ne!(other.hash(), texts.hash());
        let key = HashKey::derived([7; 16]);
        assert!(texts.ruleset(key).unwrap().hash_key() == key);
        assert!(Texts::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Texts::decode(b"something else").is_err());
    }

    #[test]
    fn the_pack_that_is_written_out_is_the_pack_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("rules");
        let files = super::super::write_pack(&to).unwrap();
        let written = Texts::read(Some(&to)).unwrap();
        assert_eq!(written.hash(), Texts::read(None).unwrap().hash());
        assert_eq!(files, written.files.len());
        let refused = super::super::write_pack(&to).unwrap_err();
        assert!(refused.to_string().contains("left as they are"), "{refused}");
    }

    #[test]
    fn what_cannot_run_says_where() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yml"), "title: t\nseverity: loud\n").unwrap();
        let problems = Texts::read(Some(folder.path())).unwrap();
        let problems = problems.ruleset(HashKey::PUBLISHED).unwrap_err();
        assert!(problems.iter().any(|problem| problem.line == 2), "{problems:?}");
    }
}
