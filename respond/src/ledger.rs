//! The ledger: what was decided and what came of it.
//!
//! Owns: the records, their file, and the state that they add up to. An order is in the file before
//! it is acted on; an outcome is in the file before anything builds on it.
//! Never: decides, and never acts.
//!
//! The file is our own, rather than the embedded log of `transport`: orders are few (hundreds a
//! day, not thousands a second), a person must be able to read what was done with nothing but a
//! pager, and `blocks release` must work on it when nothing runs. It is a list of JSON lines, each
//! appended by one write and fsynced before it counts; the module `file` has the crash rules.

mod file;
mod record;
mod state;
mod work;

use runtime::error::{Class, Classified};

pub use file::{LEDGER_FILE, Ledger, Options};
pub(crate) use file::{LedgerFile, Line, lines_after, sync_folder};
pub use record::{Asker, Record, Taken};
pub use state::{Entry, Episode, Phase, State};
pub(crate) use work::{Ending, Enforcement, Message, MessageKind};

/// Why the ledger does not work.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has it.
    #[error(
        "the ledger {path} is in use{}; ask that process (its admin endpoint serves /v1/blocks) \
         or stop it first",
        pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The file.
        path: String,
        /// Who has it, where that can be told.
        pid: Option<u32>,
    },
    /// The system refuses to read or write.
    #[error("cannot {what} the ledger {path}; {next}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: String,
        /// What to do.
        next: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line that was once written in full does not read back.
    #[error(
        "{path}:{line}: the ledger is damaged ({reason}); nothing was changed. \
         Restore the file from a copy, or move it away: blocks that stand are then not known any more"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The file is of a later program.
    #[error(
        "{path}: version {found} of the ledger, this program knows up to {known}; run the newer one"
    )]
    Version {
        /// The file.
        path: String,
        /// The version in the file.
        found: u32,
        /// The newest we know.
        known: u32,
    },
    /// An earlier write failed and could not be taken back.
    #[error(
        "the ledger {path} could not be restored after a failed write; restart to read it again"
    )]
    Broken {
        /// The file.
        path: String,
    },
    /// A background write was lost with its thread.
    #[error("a write to the ledger did not come back")]
    Lost,
}

impl Classified for LedgerError {
    fn class(&self) -> Class {
        match self {
            Self::Locked { .. } | Self::Io { .. } => Class::Dependency,
            Self::Damaged { .. } | Self::Version { .. } => Class::Input,
            Self::Broken { .. } | Self::Lost => Class::Bug,
        }
    }
}
