//! Rules to programs: windows, watermarks, state, episodes. Pure.

pub mod plan;
pub mod rule;
