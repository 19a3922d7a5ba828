//! The map and reduce loops around the engine.
