//! The configuration of a process.
//!
//! Owns: the layers, their order, and the messages about mistakes in them.
//! Never: what the settings mean; components bring their types.

mod quantity;
mod secret;

pub use quantity::{ByteSize, QuantityError, Span};
pub use secret::Secret;
