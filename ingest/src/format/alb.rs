//! AWS load balancers: the Application one's access log, and the classic one's.
//!
//! Owns: `type time elb client:port target:port times… statuses bytes "request" "agent" …`.
//! Never: network load balancers, whose logs hold no request. The time is the end.

use std::borrow::Cow;

use super::{Desk, Failure};
use crate::address;
use crate::parts::{Parts, part};
use crate::read::number::{self, Unit};
use crate::read::words::{Words, present};

const SHAPE: Failure = Failure::other("not the fields of an AWS load balancer");

pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let mut words = Words::new(line);
    let first = words.word().ok_or(SHAPE)?;
    let scheme = match first {
        "https" | "h2" | "grpcs" | "wss" => Some("https"),
        "http" | "ws" => Some("http"),
        _ => None,
    };
    let stamp = if scheme.is_some() { words.word().ok_or(SHAPE)? } else { first };
    if stamp.as_bytes().get(10) != Some(&b'T') {
        return Err(SHAPE);
    }
    parts.time = Some(desk.times.iso(stamp).ok_or(SHAPE)?);
    let balancer = words.word().ok_or(SHAPE)?;
    let client = words.word().filter(|word| is_socket(word)).ok_or(SHAPE)?;
    let target = words.word().filter(|word| *word == "-" || is_socket(word)).ok_or(SHAPE)?;
    parts.peer = part(client);
    parts.duration = total(&mut words)?;
    let (status, upstream) = (words.word().ok_or(SHAPE)?, words.word().ok_or(SHAPE)?);
    parts.status = number::status(status);
    parts.upstream_status = number::status(upstream);
    let (received, sent) = (words.word().ok_or(SHAPE)?, words.word().ok_or(SHAPE)?);
    parts.request_bytes = number::count(received);
    parts.response_bytes = number::count(sent);
    let request = words.quoted().ok_or(Failure::malformed("no request between quotes"))?;
    if !request.starts_with("- ") {
        parts.request = part(request);
    }
    // The classic one of old wrote neither agent nor TLS.
    let agent = words.quoted().unwrap_or("");
    parts.user_agent = part(agent);
    let (_cipher, protocol) = (words.word(), words.word());
    parts.rare().tls_version = protocol.and_then(part);
    parts.no_upstream = target == "-" && upstream == "-";
    parts.rare().service_instance = part(target);
    parts.attrs.push((Cow::Borrowed("load_balancer"), Cow::Borrowed(balancer)));
    match scheme {
        Some(scheme) => {
            parts.scheme = Some(scheme);
            application(words, desk, parts);
        }
        None => parts.rest = words.rest(),
    }
    Ok(())
}

/// `group "trace" "domain" "certificate" priority created "actions" "redirect" "error" …`.
fn application<'a>(mut words: Words<'a>, desk: &mut Desk, parts: &mut Parts<'a>) {
    let _group = words.word();
    let trace = words.quoted().map(|trace| trace.rsplit("Root=").next().unwrap_or(trace));
    parts.rare().trace_id =
        trace.map(|trace| trace.split(';').next().unwrap_or(trace)).and_then(part);
    parts.host = words.quoted().and_then(part);
    let _certificate = words.quoted();
    if let Some(priority) = words.word().and_then(present) {
        parts.attrs.push((Cow::Borrowed("rule_priority"), Cow::Borrowed(priority)));
    }
    parts.started = words.word().and_then(|created| desk.times.iso(created));
    if let (None, Some(start), Some(end)) = (parts.duration, parts.started, parts.time) {
        parts.duration = Some((end.millis() - start.millis()).max(0) * 1000);
    }
    let actions = words.quoted().unwrap_or("");
    parts.blocked_by = refusal(actions, parts);
    parts.rest = words.rest();
}

/// Who refused, by the actions that were taken: a WAF that lets pass is followed by another action.
fn refusal(actions: &str, parts: &Parts<'_>) -> Option<&'static str> {
    if !parts.no_upstream {
        return None;
    }
    let last = actions.rsplit(',').next().unwrap_or("");
    match (last, parts.status?) {
        ("waf", 403) => Some("aws:waf"),
        ("authenticate", 401) => Some("alb:authenticate"),
        ("fixed-response", 403 | 429) => Some("alb:fixed-response"),
        (_, 403 | 429) => Some("alb"),
        _ => None,
    }
}

/// The sum of the three spans; absent where one of them is -1.
fn total(words: &mut Words<'_>) -> Result<Option<i64>, Failure> {
    let mut sum = Some(0);
    for _ in 0..3 {
        let word = words.word().ok_or(SHAPE)?;
        let span = number::micros(word, Unit::Seconds);
        if span.is_none() && word != "-1" && word != "-" {
            return Err(SHAPE);
        }
        sum = sum.zip(span).map(|(sum, span)| sum + span);
    }
    Ok(sum)
}

fn is_socket(word: &str) -> bool {
    word.contains(':') && address::read(word).is_some_and(|address| address.ip.is_some())
}
