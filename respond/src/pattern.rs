//! Patterns with `*`, for rule ids, services and user agents.
//!
//! Owns: the one kind of pattern that a policy may use.
//! Never: regular expressions, whose cost on a hostile value nobody can see.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text in which `*` stands for any characters, also none: `auth/*`, `kube-probe/*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

/// A pattern that would match nothing or everything by accident.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an empty pattern matches nothing; write a name, or `*` for all")]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() { Err(PatternError) } else { Ok(Self(text.to_owned())) }
    }
}

impl Pattern {
    /// Whether the whole of `text` fits. Time is linear in `text` for each part of the pattern.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let pattern: Pattern = pattern.parse().unwrap();
        assert_eq!(pattern.matches(text), expected, "{pattern} on {text}");
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        check("auth/*", "auth/password-spray", true);
        check("auth/*", "bola/auth/x", false);
        check("*", "", true);
        check("*spray*", "auth/password-spray", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c-b", false);
        check("a*a", "a", false);
        check("**", "x", true);
    }

    #[test]
    fn a_pattern_without_a_star_is_the_text_itself() {
        check("auth/x", "auth/x", true);
        check("auth/x", "auth/xy", false);
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        assert!("".parse::<Pattern>().is_err());
    }
}
