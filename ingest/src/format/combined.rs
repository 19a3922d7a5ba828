//! nginx combined and main, Apache combined, common and their kin with the host in front.
//!
//! Owns: what follows the bytes: `"referer" "user agent" "x-forwarded-for"`.
//! Never: the front, which is `clf`'s.

use super::clf::{front, has_vhost};
use super::{Desk, Failure};
use crate::address;
use crate::mask::{self, Clear};
use crate::parts::{Parts, part};
use crate::read::words::Words;

/// Combined: a Referer and a User-Agent, then anything.
pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let (words, clear) = front(line, desk, parts)?;
    if has_vhost(parts) {
        return Err(Failure::other("a host stands before the address"));
    }
    tail(words, clear, parts)
}

/// Combined or common with the host in front.
pub(super) fn read_vhost<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let (words, clear) = front(line, desk, parts)?;
    if !has_vhost(parts) {
        return Err(Failure::other("no host stands before the address"));
    }
    if words.rest().is_empty() { Ok(()) } else { tail(words, clear, parts) }
}

/// Common: nothing behind the bytes but what no other format claims.
pub(super) fn read_common<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let (words, clear) = front(line, desk, parts)?;
    if has_vhost(parts) {
        return Err(Failure::other("a host stands before the address"));
    }
    if words.rest().starts_with('"') {
        return Err(Failure::other("more than a common log line"));
    }
    parts.clear = if words.rest().is_empty() { clear } else { Clear::default() };
    parts.rest = words.rest();
    Ok(())
}

fn tail<'a>(mut words: Words<'a>, clear: Clear, parts: &mut Parts<'a>) -> Result<(), Failure> {
    words.space();
    let referrer = words.quoted_or_word().ok_or(Failure::other("no referer"))?;
    let agent = words.quoted().ok_or(Failure::other("no user agent"))?;
    parts.referrer = part(referrer);
    parts.user_agent = part(agent);
    parts.clear =
        clear.and(mask::clear(b'"', referrer, b'"')).and(mask::clear(b'"', words.rest(), b' '));
    // nginx's `main` adds X-Forwarded-For; any other text may stand there too.
    let mut ahead = words;
    if let Some(extra) = ahead.quoted()
        && parts.chain.is_none()
        && is_chain(extra)
    {
        parts.chain = part(extra);
        words = ahead;
    }
    parts.rest = words.rest();
    Ok(())
}

/// Whether a text is a list of addresses, or says that there are none.
fn is_chain(text: &str) -> bool {
    text == "-" || text.split(',').all(|item| address::read(item).is_some_and(|a| a.ip.is_some()))
}
