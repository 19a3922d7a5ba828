//! Suites that cross crates; each runs the built binary as a user would.
//!
//! Owns: nothing at run time. Never: imported by another crate.
