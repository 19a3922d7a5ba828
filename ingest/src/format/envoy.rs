//! Envoy's default text format, and Istio's, which adds to it.
//!
//! Owns: `[start] "request" status flags … "xff" "agent" "id" "authority" "upstream"`.
//! Never: Envoy's JSON. No peer is logged, only X-Forwarded-For, unless Istio adds it.

use std::borrow::Cow;

use super::{Desk, Failure};
use crate::parts::{Parts, part};
use crate::read::number::{self, Unit};
use crate::read::words::{Words, present};

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    const SHAPE: Failure = Failure::other("not Envoy's order of fields");
    let mut words = Words::new(line);
    let start = words.bracketed().ok_or(Failure::other("no `[start]` in front"))?;
    let start = desk.times.iso(start).ok_or(Failure::other("no ISO time in front"))?;
    let request = words.quoted().ok_or(SHAPE)?;
    let status = words.word().ok_or(SHAPE)?;
    let flags = words.word().ok_or(SHAPE)?;
    let mut details = "";
    let mut received = words.word().ok_or(SHAPE)?;
    if number::count(received).is_none() {
        // Istio: details, termination details, and the upstream's failure between quotes.
        details = received;
        words.word().ok_or(SHAPE)?;
        words.quoted().ok_or(SHAPE)?;
        received = words.word().ok_or(SHAPE)?;
    }
    let sent = words.word().ok_or(SHAPE)?;
    let duration = words.word().ok_or(SHAPE)?;
    let _upstream_time = words.word().ok_or(SHAPE)?;
    let chain = words.quoted().ok_or(SHAPE)?;
    let agent = words.quoted().ok_or(SHAPE)?;
    let id = words.quoted().ok_or(SHAPE)?;
    let authority = words.quoted().ok_or(SHAPE)?;
    let upstream = words.quoted().ok_or(SHAPE)?;
    parts.started = Some(start);
    parts.duration = number::micros(duration, Unit::Millis);
    parts.status = number::status(status);
    parts.request_bytes = number::count(received);
    parts.response_bytes = number::count(sent);
    parts.chain = part(chain);
    parts.user_agent = part(agent);
    parts.request_id = part(id);
    parts.host = part(authority);
    parts.blocked_by = refusal(flags, details);
    if details == "via_upstream"
        || details.is_empty() && flags == "-" && present(upstream).is_some()
    {
        parts.upstream_status = parts.status;
    }
    request_of(request, parts);
    istio_tail(words, parts);
    Ok(())
}

/// Envoy writes `- - HTTP/1.1` for a request it could not read.
fn request_of<'a>(request: &'a str, parts: &mut Parts<'a>) {
    if !request.starts_with("- ") {
        parts.request = part(request);
    }
}

/// `outbound|80||host local local:port remote:port sni route`.
fn istio_tail<'a>(mut words: Words<'a>, parts: &mut Parts<'a>) {
    let rest = words.rest();
    let mut take = || words.word();
    let (Some(_cluster), Some(_local), Some(_down), Some(remote)) =
        (take(), take(), take(), take())
    else {
        parts.rest = rest;
        return;
    };
    parts.peer = part(remote);
    let (_sni, route) = (take(), take());
    if let Some(route) = route.and_then(present) {
        parts.attrs.push((Cow::Borrowed("route_name"), Cow::Borrowed(route)));
    }
}

/// Who refused, by Envoy's response flags and details. Failures to reach the application are no
/// refusals, nor is a wrong token: that is what the log of an application would show too.
pub(super) fn refusal(flags: &str, details: &str) -> Option<&'static str> {
    let flag = |name: &str| flags.split(',').any(|flag| flag == name);
    if flag("UAEX") || details.starts_with("ext_authz_denied") {
        Some("envoy:ext_authz")
    } else if flag("RL")
        || details.starts_with("request_rate_limited")
        || details == "local_rate_limited"
    {
        Some("envoy:rate_limit")
    } else if details.starts_with("rbac_access_denied") {
        Some("envoy:rbac")
    } else if flag("FI") || details == "fault_filter_abort" {
        Some("envoy:fault")
    } else if flag("OM") || details == "overload" {
        Some("envoy:overload")
    } else {
        None
    }
}
