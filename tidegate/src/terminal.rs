//! What a person at a terminal sees beside the results: messages and progress, on standard error.
//!
//! Owns: standard error of the commands. Never: standard output, which is for results alone.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Says a message.
pub(crate) fn say(text: &str) {
    // Nobody can be told that standard error is closed.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// A progress bar over so many bytes; hidden where standard error is no terminal.
pub(crate) fn bar(total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
    }
    let template = if total.is_some() {
        "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}"
    } else {
        "{spinner} {bytes}  {bytes_per_sec}  {msg}"
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_bad| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5)).with_style(style)
}

/// Whether standard error is a terminal, so that colour is of use.
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal()
}
