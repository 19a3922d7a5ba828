//! Why a command ended without doing what was asked.
//!
//! Owns: the message and the exit code. Never: printing it; `main` does.

use std::error::Error;

use runtime::error::{Classified, Exit, chain};

/// Why a command ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The answer is no; everything about it has been said.
    #[error("")]
    No,
    /// The command line, the configuration, or a file given there is wrong.
    #[error("{0}")]
    Usage(String),
    /// Something outside stayed away.
    #[error("{0}")]
    Dependency(String),
    /// We are wrong.
    #[error(
        "{0}\nThis is a bug of Tidegate. Please report it with this message and `tidegate --version`."
    )]
    Bug(String),
}

impl Fault {
    /// An error that cannot happen unless we are wrong.
    pub(crate) fn bug(error: &dyn Error) -> Self {
        Self::Bug(chain(error))
    }

    /// An error by its class.
    pub(crate) fn of(error: &(impl Error + Classified)) -> Self {
        let text = chain(error);
        match Exit::from(error.class()) {
            Exit::Dependency => Self::Dependency(text),
            Exit::Bug => Self::Bug(text),
            Exit::Done | Exit::No | Exit::Usage => Self::Usage(text),
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::No => Exit::No,
            Self::Usage(_) => Exit::Usage,
            Self::Dependency(_) => Exit::Dependency,
            Self::Bug(_) => Exit::Bug,
        }
    }
}
