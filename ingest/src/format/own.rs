//! Our own event as JSON: names of columns, unknown names to `attrs`.
//!
//! Owns: what tells such a line. Never: the columns' kinds, which are the schema's.

use super::json::{Style, fill, need_time};
use super::{Desk, Failure};
use crate::parts::Parts;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    if !line.contains("\"event_time\"") {
        return Err(Failure::other("no `event_time`"));
    }
    let style = Style { duration: None, attrs: true, own: true };
    let extra = fill(line, desk, parts, style)?;
    need_time(parts, &extra)
}
