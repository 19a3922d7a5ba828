//! Empty: the suite is in `tests/kafka.rs`.
