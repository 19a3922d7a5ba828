//! What becomes of a line that nothing could be made of.
//!
//! Owns: reason, detail, the client's address where it can be found. Never: drops a line.

use schemas::{DeadLetter, EventTime, Origin, Reason};

use crate::address::{self, Said};
use crate::clean;
use crate::envelope;
use crate::format::{self, Failure};
use crate::mask;
use crate::parser::Place;
use crate::parts::Parts;
use crate::settings::{Choice, Settings};

/// The failure that says most of a line that every format refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    client: Option<String>,
    time: Option<EventTime>,
}

impl Refusal {
    /// What a format had found when it failed.
    pub(crate) fn of(failure: Failure, parts: &Parts<'_>, settings: &Settings) -> Self {
        let said = Said {
            peer: parts.peer,
            client: parts.client,
            chain: parts.chain,
            told: parts.rare.told,
            chain_in_front: parts.chain_in_front,
        };
        let client = address::caller(said, &settings.trusted_proxies).client;
        let client = client.filter(|client| client.ip.is_some());
        Self {
            failure,
            client: client.map(|client| client.text.into_owned()),
            time: parts.time.or(parts.started),
        }
    }

    /// Of two the one that says more: a line that begins like a format is a malformed one of it.
    pub(crate) fn or(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.rank() >= self.rank() => other,
            _ => self,
        }
    }

    fn rank(&self) -> (bool, bool, bool) {
        let named = self.failure.reason != Reason::UnknownFormat;
        (named, self.client.is_some(), self.failure.tells)
    }
}

/// Where and when a line came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) place: Place<'a>,
    /// Its number in a record that holds several lines.
    pub(crate) index: u32,
    pub(crate) observed: EventTime,
}

/// A line that every format refused.
pub(crate) fn refused(text: &str, refusal: Option<Refusal>, arrival: Arrival<'_>) -> DeadLetter {
    let inner = innermost(text);
    let (reason, mut detail) = said(text, &inner, refusal.as_ref());
    if let (Choice::Named(format), Reason::UnknownFormat) = (&arrival.settings.format, reason) {
        let what = refusal.as_ref().map_or("", |refusal| &*refusal.failure.what);
        detail = format!("not {}, which the input is said to be: {what}; {detail}", format.name());
    }
    let refusal = refusal.filter(|refusal| {
        refusal.failure.reason != Reason::UnknownFormat || refusal.client.is_some()
    });
    let (client, time) = refusal.map(|r| (r.client, r.time)).unwrap_or_default();
    let client = client
        .or_else(|| format::client(&inner))
        .or_else(|| address::find(&inner))
        .or_else(|| address::find(text));
    letter(text, (reason, detail), arrival).with(client, time)
}

fn said(text: &str, inner: &str, refusal: Option<&Refusal>) -> (Reason, String) {
    if envelope::is_cut(text) {
        return (
            Reason::BadEnvelope,
            "the envelope was cut before the line in it ended; raise the shipper's limit"
                .to_owned(),
        );
    }
    if clean::is_binary(text.as_bytes()) {
        return (Reason::Binary, "not text; is this a log?".to_owned());
    }
    let failure = refusal.map(|refusal| &refusal.failure);
    match failure {
        Some(failure) if failure.reason != Reason::UnknownFormat => {
            (failure.reason, failure.what.clone().into_owned())
        }
        _ => match format::guess(inner) {
            Some(guess) => (Reason::UnknownFormat, format!("looks like {guess}")),
            None => {
                let nearest = failure.filter(|failure| failure.tells).map(|f| f.what.clone());
                let nearest = nearest.unwrap_or("it fits no format that is read".into());
                (Reason::UnknownFormat, nearest.into_owned())
            }
        },
    }
}

/// A line that was not looked into.
pub(crate) fn unread(bytes: &[u8], reason: (Reason, String), arrival: Arrival<'_>) -> DeadLetter {
    /// Enough to find an address in.
    const START_BYTES: usize = 16 * 1024;
    let start = bytes.get(..START_BYTES).unwrap_or(bytes);
    let text = clean::text(start);
    letter(&text, reason, arrival).with(address::find(&text), None)
}

struct Unsigned(DeadLetter);

impl Unsigned {
    fn with(self, client_ip: Option<String>, time: Option<EventTime>) -> DeadLetter {
        let event_time = time.or(self.0.event_time);
        DeadLetter { client_ip, event_time, ..self.0 }
    }
}

fn letter(text: &str, (reason, detail): (Reason, String), arrival: Arrival<'_>) -> Unsigned {
    let how = mask::How { thorough: true, ..mask::How::default() };
    let Place { topic, partition, offset } = arrival.place;
    Unsigned(DeadLetter {
        reason,
        detail,
        origin: Some(Origin { topic: topic.to_owned(), partition, offset, index: arrival.index }),
        sensor: Some(arrival.settings.sensor.clone()),
        client_ip: None,
        event_time: Some(arrival.observed),
        line: mask::line(text, how).into_owned(),
    })
}

/// The line without any envelope.
fn innermost(text: &str) -> String {
    (1..=envelope::DEPTH_MAX)
        .rev()
        .find_map(|depth| envelope::open_all(text, depth))
        .map_or_else(|| text.to_owned(), std::borrow::Cow::into_owned)
}
