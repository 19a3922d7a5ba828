//! The life of a process.
//!
//! Owns: configuration, telemetry, metrics, the HTTP server and the admin endpoint, readiness,
//! shutdown, named tasks, the clock, retry, files that are replaced, and the class of an error.
//! Never: records, rules, transports, or anything else of the pipeline; it imports none of our
//! crates.
//!
//! A process is put together in this order; each step gets what it needs by value:
//!
//! 1. [`config::Layers`] reads the configuration, or says all that is wrong with it;
//! 2. [`telemetry::init`] sends structured logs to standard error;
//! 3. [`shutdown::Shutdown`], [`tasks::Tasks`], [`ready::Ready`], [`metrics::Metrics`] and
//!    [`clock::Clock`] are made and handed to the stages;
//! 4. [`admin::Admin`] tells the outside how the process is;
//! 5. [`tasks::Tasks::join_all`] waits for the end, whose [`error::Exit`] is the exit code.

pub mod admin;
pub mod clock;
pub mod config;
pub mod error;
pub mod files;
pub mod http;
pub mod metrics;
pub mod ready;
pub mod retry;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use tokio_util::sync::CancellationToken;
