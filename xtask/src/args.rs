//! The command line: words, `--flag`, `--name value` and `--name=value`.
//!
//! Owns: taking arguments one by one. Never: what they mean.

use std::collections::VecDeque;
use std::str::FromStr;

use crate::trouble::Trouble;

/// Arguments not taken yet.
#[derive(Debug)]
pub(crate) struct Args {
    rest: VecDeque<String>,
}

impl Args {
    /// Those of this process, without its name.
    pub(crate) fn from_command_line() -> Self {
        Self::new(std::env::args().skip(1))
    }

    fn new(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut rest = VecDeque::new();
        for argument in arguments {
            match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => {
                    rest.push_back(name.to_owned());
                    rest.push_back(value.to_owned());
                }
                _ => rest.push_back(argument),
            }
        }
        Self { rest }
    }

    /// Takes the first argument.
    pub(crate) fn word(&mut self, what: &str) -> Result<String, Trouble> {
        self.rest.pop_front().ok_or_else(|| Trouble::usage(format!("{what} is missing")))
    }

    /// Takes `--name`, if it is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let found = self.rest.iter().position(|argument| argument == name);
        found.and_then(|at| self.rest.remove(at)).is_some()
    }

    /// Takes `--name value`, if it is there.
    pub(crate) fn option(&mut self, name: &str) -> Result<Option<String>, Trouble> {
        let Some(at) = self.rest.iter().position(|argument| argument == name) else {
            return Ok(None);
        };
        self.rest.remove(at);
        match self.rest.remove(at) {
            Some(value) if !value.starts_with("--") => Ok(Some(value)),
            _ => Err(Trouble::usage(format!("`{name}` wants a value after it"))),
        }
    }

    /// Takes `--name value` and reads the value, if it is there.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Trouble> {
        let Some(text) = self.option(name)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Trouble::usage(format!("`{name} {text}`: not a value for `{name}`"))),
        }
    }

    /// Takes every word up to the next `--`, as in `--only fmt clippy`.
    pub(crate) fn words_after(&mut self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        let Some(at) = self.rest.iter().position(|argument| argument == name) else {
            return words;
        };
        self.rest.remove(at);
        while self.rest.get(at).is_some_and(|word| !word.starts_with("--")) {
            words.extend(self.rest.remove(at));
        }
        words
    }

    /// Fails when something is left.
    pub(crate) fn finish(&self) -> Result<(), Trouble> {
        match self.rest.front() {
            None => Ok(()),
            Some(extra) => Err(Trouble::usage(format!(
                "`{extra}` is not known here; `cargo xtask help` lists what is"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_taken_in_any_order_and_both_spellings() {
        let mut args = args("start --port=9092 --wipe --nodes 3");
        assert_eq!(args.word("verb").unwrap(), "start");
        assert_eq!(args.parsed::<u8>("--nodes").unwrap(), Some(3));
        assert_eq!(args.parsed::<u16>("--port").unwrap(), Some(9092));
        assert!(args.flag("--wipe"));
        assert!(args.finish().is_ok());
    }

    #[test]
    fn a_list_of_words_ends_at_the_next_option() {
        let mut args = args("--only fmt clippy --list");
        assert_eq!(args.words_after("--only"), ["fmt", "clippy"]);
        assert!(args.flag("--list"));
    }

    #[test]
    fn what_nobody_took_is_an_error_that_names_it() {
        let args = args("--verbsoe");
        assert!(args.finish().unwrap_err().to_string().contains("--verbsoe"));
    }

    #[test]
    fn an_option_without_its_value_is_an_error() {
        assert!(args("--port").option("--port").is_err());
        assert!(args("--port --wipe").option("--port").is_err());
        assert!(args("--port x").parsed::<u16>("--port").is_err());
    }
}
