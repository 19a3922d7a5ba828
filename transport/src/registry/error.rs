//! What can go wrong with a schema registry.
//!
//! Owns: the error and its class. Never: what to do about it; that follows from the class.

use std::error::Error;

use reqwest::Url;
use runtime::error::{Class, Classified};
use serde::Deserialize;

/// Characters of an answer that a person is shown.
const SHOWN_MAX: usize = 400;

/// A registry that does not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The address is none.
    #[error("schema registry `{url}`: {reason}; write for instance http://registry:8081")]
    Config {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers, or says that it cannot for now.
    #[error(
        "{doing}: the schema registry at {url} is away: {reason}; it is tried again; \
         check its address and that it runs"
    )]
    Away {
        /// What was tried.
        doing: String,
        /// Where.
        url: String,
        /// Why it did not work.
        reason: String,
    },
    /// The subject's rules forbid the schema.
    #[error(
        "the schema registry refuses the schema for subject `{subject}` as incompatible: {}; \
         another version of Tidegate or another program registered the subject: upgrade in the \
         order of the release notes, use another topic, or relax the subject's compatibility",
        reasons.join("; ")
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What does not fit.
        reasons: Vec<String>,
    },
    /// The subject, version or id is not there.
    #[error("{doing}: the schema registry has none: {message}")]
    NotFound {
        /// What was tried.
        doing: String,
        /// What the registry said.
        message: String,
    },
    /// The registry refuses for another reason.
    #[error("{doing}: the schema registry answers {status}: {message}{}", next(*status))]
    Refused {
        /// What was tried.
        doing: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        message: String,
    },
    /// The answer is not that of a schema registry.
    #[error("{doing}: the answer is not what a schema registry gives: {reason}; check its address")]
    Answer {
        /// What was tried.
        doing: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn next(status: u16) -> &'static str {
    match status {
        401 | 403 => "; check user and password of the registry",
        422 => "; the registry does not take Avro schemas like ours",
        _ => "",
    }
}

impl RegistryError {
    pub(super) fn away(doing: &str, base: &Url, error: &reqwest::Error) -> Self {
        let bare =
            if error.is_timeout() { "no answer in time" } else { "no connection or a broken one" };
        let mut last: &dyn Error = error;
        while let Some(next) = last.source() {
            last = next;
        }
        let reason = format!("{bare}: {last}");
        Self::Away { doing: doing.to_owned(), url: base.to_string(), reason }
    }

    pub(super) fn refused(doing: &str, status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Told {
            message: String,
        }
        let message = serde_json::from_slice::<Told>(body).map_or_else(
            |_not_json| String::from_utf8_lossy(body).into_owned(),
            |told| told.message,
        );
        let (doing, message) = (doing.to_owned(), shown(&message));
        match status {
            404 => Self::NotFound { doing, message },
            _ => Self::Refused { doing, status, message },
        }
    }
}

/// A text from outside, cut to what a person reads, on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Classified for RegistryError {
    fn class(&self) -> Class {
        match self {
            Self::Away { .. } | Self::Refused { status: 408 | 429 | 500.., .. } => {
                Class::Dependency
            }
            Self::Config { .. }
            | Self::Incompatible { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::Answer { .. } => Class::Input,
        }
    }
}
