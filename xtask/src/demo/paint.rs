//! Colours, where a person looks on.
//!
//! Owns: when there are any. Never: what is worth one.

use std::io::IsTerminal;

use crate::place;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(bool);

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// None.
    Plain,
    /// Worth acting on.
    Red,
    /// Worth a look.
    Yellow,
    /// Done.
    Green,
    /// Beside the point.
    Dim,
}

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self(false);

    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub(super) fn for_output() -> Self {
        Self(std::io::stdout().is_terminal() && place::variable("NO_COLOR").is_none())
    }

    /// The text in a colour.
    pub(super) fn on(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Red => "1;31",
            Ink::Yellow => "33",
            Ink::Green => "32",
            Ink::Dim => "2",
            Ink::Plain => return text.to_owned(),
        };
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
