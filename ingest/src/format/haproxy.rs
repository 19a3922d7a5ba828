//! HAProxy's HTTP log, as `option httplog` writes it.
//!
//! Owns: `client [accept] frontend backend/server timers status bytes … "request"`.
//! Never: the syslog header in front, which is the envelope's; TCP logs, which hold no request.

use std::borrow::Cow;

use super::{Desk, Failure};
use crate::parts::{Parts, part};
use crate::read::number::{self, Unit};
use crate::read::words::Words;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let mut words = Words::new(line);
    let peer = words.word().filter(|word| word.contains(':') && !word.ends_with(':'));
    let peer = peer.ok_or(Failure::other("no `address:port` in front"))?;
    let accepted = words.bracketed().ok_or(Failure::other("no accept date behind the address"))?;
    let accepted = desk.times.clf(accepted).ok_or(Failure::other("no accept date"))?;
    let frontend = words.word().ok_or(Failure::malformed("no frontend"))?;
    let backend = words.word().filter(|word| word.contains('/'));
    let backend = backend.ok_or(Failure::malformed("no `backend/server`"))?;
    let timers = words.word().ok_or(Failure::malformed("no timers"))?;
    match timers.split('/').count() {
        5 => {}
        3 => {
            return Err(Failure::telling(
                "an HAProxy TCP log, which holds no request; use option httplog",
            ));
        }
        _ => return Err(Failure::malformed("not five timers")),
    }
    let status = words.word().ok_or(Failure::malformed("no status"))?;
    parts.status = number::status(status);
    parts.response_bytes =
        words.word().and_then(|bytes| number::count(bytes.trim_start_matches('+')));
    let (_request_cookie, _response_cookie) = (words.word(), words.word());
    let state = words.word().ok_or(Failure::malformed("no termination state"))?;
    let (_connections, _queues) = (words.word(), words.word());
    let request = request(words).ok_or(Failure::malformed("no request between quotes"))?;
    let total = timers.rsplit('/').next().unwrap_or("").trim_start_matches('+');
    parts.peer = part(peer);
    parts.started = Some(accepted);
    parts.duration = number::micros(total, Unit::Millis);
    if request != "<BADREQ>" {
        parts.request = part(request);
    }
    if frontend.ends_with('~') {
        parts.scheme = Some("https");
    }
    let (backend, server) = backend.split_once('/').unwrap_or((backend, ""));
    let reached = !server.starts_with('<') && state.starts_with(['-', 'C', 'c', 'D']);
    parts.upstream_status = parts.status.filter(|_| reached);
    parts.no_upstream = server.starts_with('<');
    parts.blocked_by = refusal(state, parts.status);
    parts.attrs.push((Cow::Borrowed("backend"), Cow::Borrowed(backend)));
    parts.rest = words.rest();
    Ok(())
}

/// The request stands last, between quotes, behind captured headers; a long one has no quote at
/// its end.
fn request(words: Words<'_>) -> Option<&str> {
    let rest = words.rest();
    let start = if rest.starts_with('"') { 0 } else { rest.find(" \"")? + 1 };
    let inner = rest.get(start + 1..)?;
    Some(inner.strip_suffix('"').unwrap_or(inner))
}

/// `PR`, `PT`: the proxy refused or tarpitted; a request that it could not read is no refusal.
fn refusal(state: &str, status: Option<i32>) -> Option<&'static str> {
    match (state.get(..2)?, status) {
        ("PR", Some(400)) => None,
        ("PR", _) => Some("haproxy:deny"),
        ("PT", _) => Some("haproxy:tarpit"),
        _ => None,
    }
}
