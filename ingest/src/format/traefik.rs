//! Traefik's text format: common, and behind it referer, agent, a counter, router, server, time.
//!
//! Owns: `"referer" "agent" count "router" "server" 12ms`. The time is the start.
//! Never: Traefik's JSON.

use std::borrow::Cow;

use super::clf::front;
use super::{Desk, Failure};
use crate::parts::{Parts, part};
use crate::read::number;
use crate::read::words::present;

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    const SHAPE: Failure = Failure::other("no router and server behind the user agent");
    let (mut words, _clear) = front(line, desk, parts)?;
    words.space();
    let referrer = words.quoted_or_word().ok_or(SHAPE)?;
    let agent = words.quoted_or_word().ok_or(SHAPE)?;
    number::count(words.word().ok_or(SHAPE)?).ok_or(SHAPE)?;
    let router = words.quoted_or_word().ok_or(SHAPE)?;
    let server = words.quoted_or_word().ok_or(SHAPE)?;
    let duration = words.word().and_then(number::span_with_unit).ok_or(SHAPE)?;
    parts.referrer = part(referrer);
    parts.user_agent = part(agent);
    parts.duration = Some(duration);
    parts.started = parts.time.take();
    if let Some(router) = present(router) {
        parts.attrs.push((Cow::Borrowed("router"), Cow::Borrowed(router)));
    }
    let reached = present(server).is_some_and(|server| server.contains("://"));
    parts.no_upstream = !reached;
    parts.rest = words.rest();
    Ok(())
}
