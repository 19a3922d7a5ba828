//! The Elastic Common Schema, as Filebeat's modules and ECS loggers write it.
//!
//! Owns: what tells such a line. Never: the names, which are in `aliases`. A record without a
//! request is an envelope.

use super::json::{Style, fill, need_time};
use super::{Desk, Failure};
use crate::parts::Parts;
use crate::read::number::Unit;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let has = |name: &str| line.contains(name);
    if !has("\"@timestamp\"") || !has("\"http.re") && !has("\"http\":") && !has("\"url\":") {
        return Err(Failure::other("no `@timestamp` with `http` or `url` as in ECS"));
    }
    let style = Style { duration: Some(Unit::Nanos), attrs: true, own: false };
    let extra = fill(line, desk, parts, style)?;
    let asks = parts.target.is_some() || parts.path.is_some() || parts.request.is_some();
    if parts.status.is_none() && !(asks && parts.method.is_some()) {
        return Err(Failure::other("ECS without a request"));
    }
    need_time(parts, &extra)
}
