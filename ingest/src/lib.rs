//! Inputs and log formats to access events.
