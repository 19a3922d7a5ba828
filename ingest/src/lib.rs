//! Inputs and log formats to access events.

pub mod input;
