//! Events to show.
//!
//! Owns: each once, however many cells of however many units show it, until none does. Never: which
//! are shown.

use schemas::{EventTime, Exemplar};

use super::ALLOCATION_BYTES;
use super::chunks::Chunks;
use crate::rows::{count, place};

/// Digits of the ids that are kept as numbers.
const DIGITS: usize = 32;

/// Events by place.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    entries: Chunks<Entry>,
    /// By place, beside the entries, since they change with every hit.
    shown: Chunks<Shown>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    stamp: i64,
    id: Id,
    line: Option<Box<str>>,
}

/// How often an event is shown, and how often with its line.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    times: u32,
    with_line: u32,
}

/// The id of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    /// As ours are: 32 digits.
    Digits([u8; DIGITS / 2]),
    Text(Box<str>),
}

/// Room for the digits of an id.
pub(super) type Digits = [u8; DIGITS];

impl Shelf {
    /// Puts an event there, which [`Shelf::release`] takes away if nobody else holds it.
    pub(crate) fn put(&mut self, stamp: i64, id: &str, line: Option<&str>) -> u32 {
        let entry = Entry { stamp, id: Id::of(id), line: line.map(Box::from) };
        let shown = Shown { times: 1, with_line: 1 };
        let free = self.free.pop();
        if let Some(at) = free
            && let Some(slot) = self.entries.get_mut(place(at))
        {
            *slot = entry;
            if let Some(slot) = self.shown.get_mut(place(at)) {
                *slot = shown;
            }
            return at;
        }
        self.entries.push(entry);
        self.shown.push(shown);
        count(self.entries.len() - 1)
    }

    /// One more shows it.
    pub(super) fn hold(&mut self, at: u32, with_line: bool) {
        if let Some(shown) = self.shown.get_mut(place(at)) {
            shown.times += 1;
            shown.with_line += u32::from(with_line);
        }
    }

    /// One of those that show it with its line does so without.
    pub(super) fn release_line(&mut self, at: u32) {
        let Some(shown) = self.shown.get_mut(place(at)) else { return };
        shown.with_line = shown.with_line.saturating_sub(1);
        if shown.with_line == 0
            && let Some(entry) = self.entries.get_mut(place(at))
        {
            entry.line = None;
        }
    }

    /// One of those that show it does so no more.
    pub(crate) fn release(&mut self, at: u32, with_line: bool) {
        if with_line {
            self.release_line(at);
        }
        let Some(shown) = self.shown.get_mut(place(at)) else { return };
        shown.times = shown.times.saturating_sub(1);
        if shown.times == 0
            && let Some(entry) = self.entries.get_mut(place(at))
        {
            (entry.id, entry.line) = (Id::Digits([0; DIGITS / 2]), None);
            self.free.push(at);
        }
        if self.free.len() == self.entries.len() {
            *self = Self::default();
        }
    }

    /// Its id, which may be written into `digits`.
    pub(super) fn id<'d>(&'d self, at: u32, digits: &'d mut Digits) -> &'d str {
        self.entries.get(place(at)).map_or("", |entry| entry.id.text(digits))
    }

    /// As it is shown.
    pub(super) fn exemplar(&self, at: u32, with_line: bool) -> Option<Exemplar> {
        let entry = self.entries.get(place(at))?;
        Some(Exemplar {
            event_id: entry.id.text(&mut Digits::default()).to_owned(),
            event_time: EventTime(entry.stamp),
            line: entry.line.as_deref().filter(|_line| with_line).map(str::to_owned),
        })
    }

    /// Bytes that it takes beside its line.
    pub(super) fn bytes_of(&self, at: u32) -> usize {
        let text = match self.entries.get(place(at)).map(|entry| &entry.id) {
            Some(Id::Text(text)) => text.len() + ALLOCATION_BYTES,
            _ => 0,
        };
        size_of::<Entry>() + size_of::<Shown>() + text
    }

    /// Bytes of its line.
    pub(super) fn line_bytes(&self, at: u32) -> usize {
        let line = self.entries.get(place(at)).and_then(|entry| entry.line.as_deref());
        line.map_or(0, |line| line.len() + ALLOCATION_BYTES)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

impl Id {
    fn of(text: &str) -> Self {
        let mut bytes = [0; DIGITS / 2];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        // All digits whatever they are: without a branch each.
        let mut all = 0;
        for ([high, low], byte) in pairs.iter().zip(&mut bytes) {
            let (high, low) = (value(*high), value(*low));
            all |= high | low;
            *byte = high << 4 | low & 15;
        }
        let is_number = rest.is_empty() && pairs.len() == bytes.len() && all < 16;
        if is_number { Self::Digits(bytes) } else { Self::Text(Box::from(text)) }
    }

    fn text<'d>(&'d self, digits: &'d mut Digits) -> &'d str {
        match self {
            Self::Text(text) => text,
            Self::Digits(bytes) => {
                let (pairs, _) = digits.as_chunks_mut::<2>();
                for ([high, low], byte) in pairs.iter_mut().zip(bytes) {
                    (*high, *low) = (digit(byte >> 4), digit(byte & 15));
                }
                std::str::from_utf8(digits).unwrap_or_default()
            }
        }
    }
}

/// The value of a digit as it is written here; of what is none, one that is too great.
fn value(digit: u8) -> u8 {
    let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    let of_letter = if letter < 6 { letter + 10 } else { 0xf0 };
    if decimal < 10 { decimal } else { of_letter }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::{Digits, Id, Shelf};

    #[test]
    fn ids_come_back_as_they_were() {
        for id in [
            "00112233445566778899aabbccddeeff",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeefg",
            "evt-1",
            "",
        ] {
            assert_eq!(Id::of(id).text(&mut Digits::default()), id);
        }
        assert!(matches!(Id::of("00112233445566778899aabbccddeeff"), Id::Digits(_)));
    }

    #[test]
    fn an_event_is_there_as_long_as_one_shows_it_and_its_line_as_long_as_one_shows_that() {
        let mut shelf = Shelf::default();
        let at = shelf.put(7, "evt-1", Some("GET /"));
        shelf.hold(at, true);
        shelf.hold(at, false);
        shelf.release(at, true);
        let line = |shelf: &Shelf| shelf.exemplar(at, true).unwrap().line;
        assert_eq!(line(&shelf).as_deref(), Some("GET /"));
        assert_eq!(shelf.exemplar(at, false).unwrap().line, None);
        assert_eq!(shelf.line_bytes(at), 5 + 16);
        shelf.release_line(at);
        assert_eq!((line(&shelf), shelf.line_bytes(at)), (None, 0));
        shelf.release(at, false);
        assert_eq!(shelf.len(), 1);
        shelf.release(at, false);
        assert_eq!(shelf.len(), 0);
        assert_eq!(shelf.put(8, "evt-2", None), at, "its place is used again");
        let other = shelf.put(9, "evt-3", None);
        shelf.release(at, true);
        assert_eq!((shelf.len(), shelf.entries.len()), (1, 2));
        shelf.release(other, true);
        assert_eq!(shelf.entries.len(), 0, "an empty one keeps no room");
    }
}
