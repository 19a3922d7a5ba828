//! Envoy's JSON with the names of its default format: Envoy, Envoy Gateway, Istio.
//!
//! Owns: what tells such a line, milliseconds, and who refused by flags and details.
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
    if !line.contains("\"response_flags\"") || !line.contains("\"response_code\"") {
        return Err(Failure::other("no `response_code` and `response_flags`"));
    }
    let style = Style { duration: Some(Unit::Millis), attrs: false, own: false };
    let extra = fill(line, desk, parts, style)?;
    need_time(parts, &extra)?;
    let flags = extra.flags.as_deref().unwrap_or("-");
    let details = extra.details.as_deref().unwrap_or("");
    parts.blocked_by = super::envoy::refusal(flags, details);
    if details == "via_upstream" {
        parts.upstream_status = parts.status;
    }
    Ok(())
}
