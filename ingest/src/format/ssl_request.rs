//! Apache's `ssl_request_log`: `[time] address protocol cipher "request" bytes`.
//!
//! Owns: that layout. It gives no status. Never: other logs of Apache.

use super::{Desk, Failure};
use crate::address;
use crate::parts::{Parts, part};
use crate::read::number;
use crate::read::words::Words;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let mut words = Words::new(line);
    let time = words.bracketed().ok_or(Failure::other("no time in front"))?;
    parts.time = Some(desk.times.clf(time).ok_or(Failure::other("no common log time in front"))?);
    let peer = words.word().filter(|word| address::read(word).is_some());
    parts.peer = part(peer.ok_or(Failure::other("no address behind the time"))?);
    let protocol = words
        .word()
        .filter(|word| *word == "-" || word.starts_with("TLS") || word.starts_with("SSL"));
    parts.rare().tls_version = part(protocol.ok_or(Failure::other("no TLS protocol"))?);
    words.word().ok_or(Failure::malformed("no cipher"))?;
    let request = words.quoted().ok_or(Failure::malformed("no request between quotes"))?;
    parts.request = part(request);
    let bytes = words.word().ok_or(Failure::malformed("no size"))?;
    parts.response_bytes = number::count(bytes);
    parts.scheme = Some("https");
    parts.rest = words.rest();
    Ok(())
}
