//! One thing to mend.
//!
//! Owns: how it reads. Never: how it was found.

use std::fmt;

/// A rule of the house that a place does not keep.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Breach {
    /// File, or file and line.
    pub(super) place: String,
    /// What is wrong there.
    pub(super) what: String,
    /// What to do about it.
    pub(super) mend: String,
}

impl Breach {
    /// States a breach.
    pub(super) fn new(
        place: impl fmt::Display,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { place: place.to_string(), what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.what, self.mend)
    }
}
