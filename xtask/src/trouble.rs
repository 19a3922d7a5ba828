//! Errors for the person at the terminal.
//!
//! Owns: the message and the exit code. Never: recovery.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, in words: what, where, why, and what to do next.
#[derive(Debug)]
pub(crate) struct Trouble {
    text: String,
    code: u8,
}

impl Trouble {
    /// The answer is "no": a check found something.
    pub(crate) fn no(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// The command line is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }

    /// Something that this needs is missing or did not answer.
    pub(crate) fn dependency(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 75 }
    }

    /// An operation of the system failed at a place.
    pub(crate) fn io(doing: &str, place: &Path, source: &io::Error) -> Self {
        Self { text: format!("{doing} {}: {source}", place.display()), code: 75 }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
