//! The class of an error, and the exit code of a process.
//!
//! Owns: the three classes, what follows from each, and the exit codes.
//! Never: the errors themselves; every area has its own.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// What we were given is wrong: dead-letter it, or refuse it, and go on.
    Input,
    /// Something outside is away or refuses: wait and try again.
    Dependency,
    /// We are wrong: stop, with the state intact.
    Bug,
}

/// An error that knows its class.
pub trait Classified {
    /// What to do about it.
    fn class(&self) -> Class;

    /// How long the other side asked us to wait, for instance in `Retry-After`.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

impl Classified for Infallible {
    fn class(&self) -> Class {
        match *self {}
    }
}

/// How a process ends. The numbers are a contract with those who start us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: done, and the answer is "no" (a check failed).
    No,
    /// 2: wrong usage or configuration.
    Usage,
    /// 70: a bug.
    Bug,
    /// 75: a dependency stayed away; trying again later may help.
    Dependency,
}

impl Exit {
    /// The number that the operating system sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Bug => 70,
            Self::Dependency => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Input => Self::Usage,
            Class::Dependency => Self::Dependency,
            Class::Bug => Self::Bug,
        }
    }
}

/// The error and all its sources on one line: `read the policy: no such file`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line.push_str(": ");
        line.push_str(&source.to_string());
        next = source.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Class, Exit, chain};

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let codes = [Exit::Done, Exit::No, Exit::Usage, Exit::Bug, Exit::Dependency];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 70, 75]);
    }

    #[test]
    fn every_class_has_its_exit() {
        let exits = [Class::Input, Class::Dependency, Class::Bug].map(Exit::from);
        assert_eq!(exits, [Exit::Usage, Exit::Dependency, Exit::Bug]);
    }

    #[test]
    fn a_chain_names_every_source_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("read the policy")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk is gone"));
        assert_eq!(chain(&error), "read the policy: disk is gone");
    }
}
