//! Arguments of folds, of every row that has them.
//!
//! Owns: sorting out rows on which an expression fails. Never: state.

use crate::plan::{Argument, Panes, RunError};
use crate::rows::{Rows, count};

/// Rows that a fold cannot take.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) rows: u64,
    /// What went wrong, the last time.
    pub(crate) error: RunError,
}

/// The arguments of all folds, and the rows they are of: those given, without those on which an
/// expression fails.
pub(crate) fn read(
    panes: &Panes,
    rows: Rows,
) -> Result<(Rows, Vec<Argument>, Option<Unread>), RunError> {
    match panes.read(&rows.batch) {
        Ok(arguments) => Ok((rows, arguments, None)),
        // A value that an expression cannot take: all but that row count.
        Err(error) => {
            let mut unread = Unread { rows: 0, error };
            let mut good = Vec::new();
            for row in 0..count(rows.len()) {
                match panes.read(&rows.select(&[row])?.batch) {
                    Ok(_arguments) => good.push(row),
                    Err(error) => unread = Unread { rows: unread.rows + 1, error },
                }
            }
            let rows = rows.select(&good)?;
            let arguments = panes.read(&rows.batch)?;
            Ok((rows, arguments, Some(unread)))
        }
    }
}
