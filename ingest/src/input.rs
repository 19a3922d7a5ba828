//! Inputs: where lines come from.
//!
//! Owns: following files, standard input, HTTP and syslog, and the raw log that makes them durable before
//! they are acknowledged. Never: what a line means.
//!
//! Without Kafka all inputs of a process append to one partition of one raw log. Its order is the order in which
//! everything behind sees lines, so reading it again gives the same answers. Each record says in
//! its headers which input brought it, and a record without a line says that the input stood at
//! its end at that time ([`RawKind::Mark`]). With Kafka each input has a raw topic of its own, and
//! whoever reads it says when it stands at its end.

mod append;
mod config;
mod file;
mod http;
mod pulse;
mod raw;
mod stdin;
mod syslog;
mod tail;

pub use config::{InputConfig, InputType, SyslogProtocol};
pub use file::{FileInput, FileInputError};
pub use http::{HttpInput, LineReply, lines_router};
pub use pulse::keep_time;
pub use raw::{RawKind, RawLog, RawRecord};
pub use stdin::StdinInput;
pub use syslog::{SyslogError, SyslogInput};
pub use tail::{Chunk, Follow, Mark, Polled, Print, Tail};
