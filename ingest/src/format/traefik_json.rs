//! Traefik's JSON.
//!
//! Owns: what tells such a line, nanoseconds, and that `OriginStatus` is missing where no server was
//! asked. Never: the names, which are in `aliases`.

use super::json::{Style, fill, need_time};
use super::{Desk, Failure};
use crate::parts::Parts;
use crate::read::number::Unit;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    if !line.contains("\"DownstreamStatus\"") && !line.contains("\"RequestCount\"") {
        return Err(Failure::other("no `DownstreamStatus`"));
    }
    let style = Style { duration: Some(Unit::Nanos), attrs: false, own: false };
    let extra = fill(line, desk, parts, style)?;
    need_time(parts, &extra)?;
    // `time` is when the line was written, in seconds; start and duration are finer.
    if parts.started.is_some() && parts.duration.is_some() {
        parts.time = None;
    }
    // `ClientAddr` has the port; `ClientHost` is the same or, behind trusted proxies, the client.
    parts.no_upstream = parts.upstream_status.is_none();
    Ok(())
}
