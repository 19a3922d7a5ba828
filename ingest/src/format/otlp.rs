//! A log record of OpenTelemetry with the HTTP semantic conventions, old and new names.
//!
//! Owns: what tells such a record, as `otlp` outside this folder writes it out.
//! Never: the names, which are in `aliases`. A record without a request is an envelope.

use super::{Desk, Failure, json};
use crate::otlp::MARK;
use crate::parts::Parts;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    if !line.starts_with(MARK) {
        return Err(Failure::other("no OTLP record"));
    }
    json::read(line, desk, parts)
}
