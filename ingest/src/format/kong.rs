//! Kong's log plugins: http-log, file-log, tcp-log and their kin write one JSON.
//!
//! Owns: what tells such a record, and that a record without tries was answered by Kong itself.
//! Never: the names, which are in `aliases`. `started_at` is the start, in milliseconds.

use super::json::{Style, fill, need_time};
use super::{Desk, Failure};
use crate::parts::Parts;
use crate::read::number::Unit;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let known = line.contains("\"latencies\":") && line.contains("\"started_at\":");
    if !known || !line.contains("\"request\":") {
        return Err(Failure::other("no `latencies` and `started_at` as in Kong's logs"));
    }
    let style = Style { duration: Some(Unit::Millis), attrs: false, own: false };
    let extra = fill(line, desk, parts, style)?;
    need_time(parts, &extra)?;
    // Kong's workspace is a part of the gateway, and no tenant of the API.
    if line.contains("\"workspace\":") && !line.contains("\"tenant") {
        parts.caller.tenant = None;
    }
    parts.caller.all_headers = line.contains("\"headers\":{");
    let tried = line.contains("\"tries\":[{") || line.contains("\"tries\": [{");
    parts.no_upstream = !tried && parts.upstream_status.is_none();
    if tried && parts.upstream_status.is_none() {
        parts.upstream_status = parts.status;
    }
    Ok(())
}
