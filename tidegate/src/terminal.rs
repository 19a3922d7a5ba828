//! What a person at a terminal sees beside the results: messages and progress, on standard error.
//!
//! Owns: standard error of the commands, and how wide tables are. Never: writes to standard output,
//! which is for results alone.

use std::io::{IsTerminal, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Columns of a terminal below which whole ids would leave the text beside them a letter a line.
const WIDE: u16 = 120;

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

/// An empty table in one of comfy-table's presets. Where standard output is a terminal, cells wrap so
/// that it fits; elsewhere each row is one line, for programs to cut.
pub(crate) fn table(preset: &str) -> Table {
    let mut table = Table::new();
    table.load_preset(preset);
    if let Some(width) = width() {
        fit(&mut table, width);
    }
    table
}

/// Keeps columns from wrapping that people copy from, such as ids, where the terminal is wide enough.
/// The header must be there.
pub(crate) fn keep_whole(table: &mut Table, columns: &[usize]) {
    if table.width().is_some_and(|width| width < WIDE) {
        return;
    }
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

fn fit(table: &mut Table, width: u16) {
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
}

/// Columns of the terminal that standard output is, or what `COLUMNS` says of it.
fn width() -> Option<u16> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let variables = runtime::config::environment();
    let said = variables.iter().find(|(name, _)| name == "COLUMNS");
    let said = said.and_then(|(_, columns)| columns.trim().parse().ok());
    said.filter(|columns| *columns > 0)
        .or_else(|| console::Term::stdout().size_checked().map(|(_rows, columns)| columns))
}

#[cfg(test)]
mod tests {
    use comfy_table::Table;
    use comfy_table::presets::UTF8_BORDERS_ONLY;

    use super::{fit, keep_whole, table};

    #[test]
    fn a_table_wraps_at_a_terminal_and_nowhere_else() {
        let title = "Many accounts fail to log in from one address, and nobody has seen it before";
        // Standard output of a test may be a terminal, which is narrower than nothing here.
        let mut wide = table(UTF8_BORDERS_ONLY);
        fit(&mut wide, 200);
        wide.set_header(["rule", "title"]).add_row(["auth/credential-stuffing", title]);
        assert!(wide.lines().any(|line| line.contains(title)), "{wide}");
        fit(&mut wide, 60);
        let longest = wide.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(60) && wide.lines().count() > 5, "{wide}");
        let id = "bfla/new-role-on-privileged-route-of-a-service-with-a-long-name";
        wide.add_row([id, &title.repeat(3)]);
        let is_whole = |table: &Table| table.lines().any(|line| line.contains(id));
        fit(&mut wide, super::WIDE);
        assert!(!is_whole(&wide), "{wide}");
        keep_whole(&mut wide, &[0]);
        assert!(is_whole(&wide), "{wide}");
    }
}
