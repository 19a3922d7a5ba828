//! The life of a process: configuration, telemetry, HTTP, shutdown, tasks, clock, retry.
