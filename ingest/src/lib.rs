//! Inputs and log formats to access events.
//!
//! Owns: inputs, and the way from the bytes of a line to events or a dead letter.
//! Never: what an event means beside others; context, which is `enrich`'s.
//!
//! A [`Parser`] reads the lines of one input. A line is cleaned of hostile bytes, taken out of its
//! envelope, given to a [`Format`] that finds its parts, and assembled into an event, in which no
//! secret and no value of a query is left.

mod address;
mod assemble;
mod bundle;
mod caller;
mod cdn;
mod clean;
mod dead;
mod detect;
mod envelope;
mod explain;
mod format;
mod hop;
pub mod input;
mod keys;
mod mask;
mod memo;
mod otlp;
mod parser;
mod parts;
mod payload;
mod read;
mod secret;
mod settings;
mod target;
mod watch;

pub use detect::{Guess, LINES_LOOKED_AT};
pub use explain::{guesses, mapping};
pub use format::{Format, FormatError, Mapping, MappingError, Template, TemplateError};
pub use hop::LinesToEvents;
pub use keys::Keys;
pub use parser::{Fed, LINE_BYTES_MAX, Parsed, Parser, Place, detect};
pub use settings::{Choice, Settings, Zone, ZoneError};
pub use watch::{Advice, Watch};
