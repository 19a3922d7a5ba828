//! Caddy's access log.
//!
//! Owns: what tells such a line; that it shows every header of the request.
//! Never: the names, which are in `aliases`.

use super::json::{Style, fill, need_time};
use super::{Desk, Failure};
use crate::parts::Parts;
use crate::read::number::Unit;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let known = line.contains("\"http.log.access") || line.contains("\"handled request\"");
    if !known || !line.contains("\"request\":") {
        return Err(Failure::other("no `http.log.access`"));
    }
    let style = Style { duration: Some(Unit::Seconds), attrs: false, own: false };
    let extra = fill(line, desk, parts, style)?;
    need_time(parts, &extra)?;
    parts.caller.all_headers = line.contains("\"headers\":{");
    parts.caller.certificate =
        line.contains("\"client_serial\":") || line.contains("\"client_common_name\":\"");
    parts.scheme = parts.scheme.or_else(|| {
        let tls = line.contains("\"tls\":{");
        Some(if tls { "https" } else { "http" })
    });
    Ok(())
}
