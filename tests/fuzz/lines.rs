//! Lines to events: any bytes give events or dead letters, in order, none lost.

use ingest::{Choice, Fed, Keys, Parsed, Parser, Place, Settings};
use schemas::{BatchBuilder, DeadLetter, EventTime, Origin, event_at};

const SEEN: EventTime = EventTime(1_795_161_600_000);
/// Bytes of a line that are kept at most, in an event and in a dead letter.
const KEPT_MAX: usize = 2048;

/// What a line came to, in order.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Ids of events.
    events: Vec<String>,
    /// Origins of dead letters.
    letters: Vec<Option<Origin>>,
}

/// The bytes are lines of one input, which a parser reads from the first on.
pub(crate) fn check(choice: &Choice, bytes: &[u8]) {
    let parser = || {
        let settings = Settings { format: choice.clone(), ..Settings::default() };
        Parser::new(settings, Keys::new([7; 16]))
    };
    both_ways(&mut parser(), &mut parser(), bytes.split(|byte| *byte == b'\n'));
}

/// The bytes are one record.
pub(crate) fn check_record(bytes: &[u8]) {
    let parser = || Parser::new(Settings::default(), Keys::new([7; 16]));
    both_ways(&mut parser(), &mut parser(), [bytes].into_iter());
}

/// One parser gives events, the other appends them to a batch; both must say the same.
fn both_ways<'b>(one: &mut Parser, other: &mut Parser, lines: impl Iterator<Item = &'b [u8]>) {
    let (mut batch, mut given, mut fed) = (BatchBuilder::default(), Outcome::default(), Vec::new());
    for (offset, line) in (0..).zip(lines) {
        let place = Place { topic: "t", partition: 0, offset };
        let (events, letters) = (given.events.len(), given.letters.len());
        let parsed = one.line(line, place, SEEN);
        take(&parsed, offset, &mut given);
        let is_directive = matches!(parsed, Parsed::Directive(_));
        let came = given.events.len() - events + given.letters.len() - letters;
        let is_bundle = matches!(&parsed, Parsed::Bundle(all) if !all.is_empty());
        assert!(came > 0 || is_directive || is_bundle, "a line came to nothing");
        let (more, dead) = match other.feed(line, place, SEEN, &mut batch) {
            Fed::Events(more) => (more, Vec::new()),
            Fed::DeadLetter(letter) => (0, vec![*letter]),
            Fed::Directive(_) => (0, Vec::new()),
            Fed::Bundle { events, letters } => (events, letters),
        };
        assert_eq!(more, given.events.len() - events, "events of a line");
        fed.extend(dead.into_iter().map(|letter| letter.origin));
    }
    assert_eq!(fed, given.letters, "dead letters in order");
    let batch = batch.finish().expect("a batch of these events");
    let id = |row| event_at(&batch, row).event_id.expect("an id").into_owned();
    let ids: Vec<String> = (0..batch.num_rows()).map(id).collect();
    assert_eq!(ids, given.events, "events in order");
}

fn take(parsed: &Parsed, offset: i64, outcome: &mut Outcome) {
    match parsed {
        Parsed::Events(events) => {
            for event in events {
                assert!(event.event_time.is_some(), "an event without a time");
                assert!(event.line.as_ref().is_none_or(|line| line.len() <= KEPT_MAX));
                outcome.events.push(event.event_id.as_ref().expect("an id").to_string());
            }
        }
        Parsed::DeadLetter(letter) => {
            whole(letter, offset);
            outcome.letters.push(letter.origin.clone());
        }
        Parsed::Directive(text) => assert!(text.starts_with('#'), "a directive"),
        Parsed::Bundle(all) => {
            assert!(!all.is_empty(), "a record came to nothing");
            for one in all {
                assert!(!matches!(one, Parsed::Bundle(_)), "a record in a record");
                take(one, offset, outcome);
            }
        }
    }
}

fn whole(letter: &DeadLetter, offset: i64) {
    assert!(!letter.detail.is_empty(), "a reason");
    assert!(letter.line.len() <= KEPT_MAX);
    assert_eq!(letter.origin.as_ref().map(|origin| origin.offset), Some(offset));
}
