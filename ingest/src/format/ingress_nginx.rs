//! ingress-nginx: combined, and behind it length, time, upstreams and the request's id.
//!
//! Owns: `$request_length $request_time [upstream] [alternative] $upstream_addr
//! $upstream_response_length $upstream_response_time $upstream_status $req_id`.
//! Never: combined itself. Tries in a row are `a, b`; an internal redirect is `a : b`.

use std::borrow::Cow;

use super::clf::front;
use super::{Desk, Failure};
use crate::parts::{Parts, part};
use crate::read::number::{self, Unit};
use crate::read::words::{Words, present};

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    const SHAPE: Failure = Failure::other("no upstreams behind the user agent");
    let (mut words, _clear) = front(line, desk, parts)?;
    words.space();
    let referrer = words.quoted().ok_or(SHAPE)?;
    let agent = words.quoted().ok_or(SHAPE)?;
    let length = number::count(words.word().ok_or(SHAPE)?).ok_or(SHAPE)?;
    let duration = number::micros(words.word().ok_or(SHAPE)?, Unit::Seconds).ok_or(SHAPE)?;
    let upstream = words.bracketed().ok_or(SHAPE)?;
    let _alternative = words.bracketed().ok_or(SHAPE)?;
    let address = group(&mut words).ok_or(SHAPE)?;
    let _lengths = group(&mut words).ok_or(SHAPE)?;
    let _times = group(&mut words).ok_or(SHAPE)?;
    let status = group(&mut words).ok_or(SHAPE)?;
    let id = words.word().ok_or(SHAPE)?;
    parts.referrer = part(referrer);
    parts.user_agent = part(agent);
    parts.request_bytes = Some(length);
    parts.duration = Some(duration);
    parts.upstream_status = number::last_status(status);
    parts.no_upstream = address == "-" && status == "-";
    parts.request_id = part(id);
    if let Some(upstream) = present(upstream) {
        parts.attrs.push((Cow::Borrowed("upstream"), Cow::Borrowed(upstream)));
    }
    parts.rest = words.rest();
    Ok(())
}

/// Takes a list of tries: words joined by `, ` or ` : `.
fn group<'a>(words: &mut Words<'a>) -> Option<&'a str> {
    let start = words.rest();
    let mut word = words.word()?;
    loop {
        if word.ends_with(',') {
            word = words.word()?;
        } else if words.rest().starts_with(": ") {
            words.word()?;
            word = words.word()?;
        } else {
            let used = start.len() - words.rest().len();
            return start.get(..used).map(str::trim_end);
        }
    }
}
