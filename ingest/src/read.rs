//! Reading of the smallest pieces: JSON objects, moments, numbers, words of a line.
//!
//! Owns: the shapes of bytes. Never: what a field means.

pub(crate) mod grams;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod times;
pub(crate) mod words;
