//! The Common Log Format, which many formats begin with:
//! `host ident user [time] "request" status bytes`.
//!
//! Owns: the shared front of those lines. Never: what follows the bytes.
//!
//! Servers are told to put more in front: the virtual host, or X-Forwarded-For as a list, quoted or
//! not, with or without the peer behind it.

use memchr::{memchr, memchr_iter, memchr3, memmem};

use super::{Desk, Failure};
use crate::mask::{self, Clear};
use crate::parts::{Parts, part};
use crate::read::number;
use crate::read::words::Words;

/// What stands before the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Head<'a> {
    vhost: Option<&'a str>,
    chain: Option<&'a str>,
    peer: Option<&'a str>,
    user: &'a str,
}

/// Reads the front into `parts` and gives back what follows the bytes, and what all before that is
/// clear of.
pub(super) fn front<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(Words<'a>, Clear), Failure> {
    let at = time_at(line).ok_or(Failure::other("no `[time]` as in a common log"))?;
    let lead = line.get(..at).unwrap_or("");
    let head = head(lead).ok_or(Failure::other("no address in front"))?;
    let mut words = Words::new(line.get(at + 2..).unwrap_or(""));
    let time = words.until(b']').ok_or(Failure::malformed("the time does not end"))?;
    parts.time = Some(desk.times.clf(time).ok_or(Failure::value("the time cannot be read"))?);
    words.space();
    let request = words.quoted().ok_or(Failure::malformed("no request between quotes"))?;
    let status = words.word().ok_or(Failure::malformed("no status"))?;
    parts.status = number::status(status);
    let is_status = parts.status.is_some() || matches!(status, "-" | "0" | "000");
    if !is_status {
        return Err(Failure::value("the status is no number"));
    }
    let bytes = words.word().ok_or(Failure::malformed("no size"))?;
    parts.response_bytes = number::count(bytes);
    if parts.response_bytes.is_none() && bytes != "-" {
        return Err(Failure::value("the size is no number"));
    }
    let clear = clear(lead, time, request, desk);
    parts.request = part(request);
    parts.host = head.vhost.and_then(part);
    parts.chain = head.chain.and_then(part);
    parts.chain_in_front = parts.chain.is_some();
    parts.peer = head.peer.and_then(part);
    parts.caller.user = part(head.user.trim_matches('"'));
    Ok((words, clear))
}

/// What everything before the bytes is clear of.
fn clear(lead: &str, time: &str, request: &str, desk: &mut Desk) -> Clear {
    // Most leads are an address and a name; most lines have the second of the line before.
    let space = lead.bytes().rposition(|byte| byte == b' ').unwrap_or(0);
    let (address, user) = lead.split_at_checked(space).unwrap_or(("", lead));
    if desk.clear_time != time {
        if mask::clear(b'[', time, b']') != Clear::OF_ALL {
            return Clear::default();
        }
        time.clone_into(&mut desk.clear_time);
    }
    mask::clear(b' ', address, b' ')
        .and(mask::clear(b' ', user, b' '))
        .and(mask::clear(b'"', request, b'"'))
}

/// Whether a host stands before the address.
pub(super) fn has_vhost(parts: &Parts<'_>) -> bool {
    parts.host.is_some()
}

/// Where ` [dd/Mon/yyyy:` begins. A user's name may hold a bracket too.
fn time_at(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    memchr_iter(b'[', bytes).map(|bracket| bracket.wrapping_sub(1)).find(|at| {
        matches!(
            bytes.get(*at..at.saturating_add(6)),
            Some([b' ', b'[', b'0'..=b'9', b'0'..=b'9', b'/', letter])
                if letter.is_ascii_alphabetic()
        )
    })
}

fn head(text: &str) -> Option<Head<'_>> {
    if let Some(space) = memchr(b' ', text.as_bytes())
        && let Some(user) = text.get(space..).and_then(|rest| rest.strip_prefix(" - "))
    {
        let lead = text.get(..space)?;
        // Host and address are both unknown where a server could not read the request.
        let user = if lead == "-" { user.strip_prefix("- ").unwrap_or(user) } else { user };
        return lead_of(lead).map(|lead| Head { user, ..lead });
    }
    // Nobody logs an ident but `-`; what is before it are hosts and addresses.
    if let Some(at) = memmem::find(text.as_bytes(), b" - ") {
        let lead = text.get(..at)?;
        let user = text.get(at + 3..)?;
        return lead_of(lead).map(|lead| Head { user, ..lead });
    }
    if let Some(lead) = text.strip_suffix(" -") {
        return lead_of(lead).map(|lead| Head { user: "-", ..lead });
    }
    let mut words = text.split(' ');
    let (peer, _ident, user) = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none() && !peer.is_empty()).then_some(Head {
        peer: Some(peer),
        user,
        ..Head::default()
    })
}

/// `addr`, `vhost addr`, `list`, `vhost list peer`, with the list between quotes or not.
fn lead_of(lead: &str) -> Option<Head<'_>> {
    if lead.is_empty() {
        return None;
    }
    if memchr3(b' ', b'"', b',', lead.as_bytes()).is_none() {
        return Some(Head { peer: Some(lead), ..Head::default() });
    }
    let head = match lead.split_once('"') {
        Some((before, rest)) => {
            let (list, after) = rest.split_once('"')?;
            let (before, after) = (before.trim(), after.trim());
            if before.contains(' ') || after.contains(' ') {
                return None;
            }
            Head { vhost: some(before), chain: some(list), peer: some(after), user: "" }
        }
        None if lead.contains(',') => unquoted_list(lead)?,
        None => {
            let (vhost, peer) = lead.split_once(' ')?;
            if peer.contains(' ') {
                return None;
            }
            Head { vhost: some(vhost), peer: some(peer), ..Head::default() }
        }
    };
    // A single address between quotes or commas is a chain of one.
    Some(head)
}

/// `[vhost ]a, b, c[ peer]`.
fn unquoted_list(lead: &str) -> Option<Head<'_>> {
    let first_comma = lead.find(',')?;
    let (vhost, list_at) = match lead.get(..first_comma)?.rsplit_once(' ') {
        Some((vhost, _)) if !vhost.contains(' ') => (some(vhost), vhost.len() + 1),
        Some(_) => return None,
        None => (None, 0),
    };
    let rest = lead.get(list_at..)?;
    let last_comma = rest.rfind(',')?;
    let tail = rest.get(last_comma + 1..)?.trim_start();
    let (last, peer) = match tail.split_once(' ') {
        Some((last, peer)) if !peer.contains(' ') => (last, some(peer)),
        Some(_) => return None,
        None => (tail, None),
    };
    let end = rest.len() - tail.len() + last.len();
    Some(Head { vhost, chain: rest.get(..end), peer, user: "" })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::head;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let shown = head(text).map(|head| {
            let or = |text: Option<&str>| text.unwrap_or("∅").to_owned();
            format!("{} {} {} {}", or(head.vhost), or(head.chain), or(head.peer), head.user)
        });
        assert_eq!(shown.as_deref(), expected, "{text}");
    }

    #[test]
    fn hosts_lists_and_peers_come_in_many_orders() {
        check("1.2.3.4 - ann", Some("∅ ∅ 1.2.3.4 ann"));
        check("1.2.3.4 - a b", Some("∅ ∅ 1.2.3.4 a b"));
        check("1.2.3.4 ident ann", Some("∅ ∅ 1.2.3.4 ann"));
        check("h.example 1.2.3.4 - -", Some("h.example ∅ 1.2.3.4 -"));
        check("- 1.2.3.4 - -", Some("- ∅ 1.2.3.4 -"));
        check("1.1.1.1, 2.2.2.2 - -", Some("∅ 1.1.1.1, 2.2.2.2 ∅ -"));
        check("h 1.1.1.1, 2.2.2.2 3.3.3.3 - -", Some("h 1.1.1.1, 2.2.2.2 3.3.3.3 -"));
        check("\"1.1.1.1, 2.2.2.2\" 3.3.3.3 - -", Some("∅ 1.1.1.1, 2.2.2.2 3.3.3.3 -"));
        check("h:80 \"1.1.1.1\" 3.3.3.3 - -", Some("h:80 1.1.1.1 3.3.3.3 -"));
        check("unix: - -", Some("∅ ∅ unix: -"));
        check("- - - -", Some("∅ ∅ - -"));
    }

    #[test]
    fn other_fronts_are_no_heads() {
        check("a b c d e", None);
        check("", None);
        check("a b c - -", None);
    }
}
