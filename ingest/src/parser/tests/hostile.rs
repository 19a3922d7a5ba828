//! Bytes that no honest writer writes: no panic, no line lost, the client found.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::{
    BatchBuilder, Choice, Fed, Format, LINE_BYTES_MAX, PLACE, Parsed, ProptestConfig, Reason, SEEN,
    Settings, Strategy, any, event, parser, prop, proptest, read,
};

#[track_caller]
fn check_dead(line: &[u8], reason: Reason, detail: &str, client: Option<&str>) {
    let Parsed::DeadLetter(letter) = read(Settings::default(), line) else {
        panic!("an event of {}", String::from_utf8_lossy(line))
    };
    assert_eq!(
        (letter.reason, letter.detail.as_str(), letter.client_ip.as_deref()),
        (reason, detail, client)
    );
    assert_eq!(letter.origin.as_ref().map(|origin| origin.topic.as_str()), Some("t"));
    assert!(letter.event_time.is_some());
}

#[test]
fn dead_letters_say_what_is_wrong_and_who_sent_it() {
    check_dead(b"", Reason::Empty, "an empty line", None);
    check_dead(b" \r\n", Reason::Empty, "an empty line", None);
    check_dead(b"hello", Reason::UnknownFormat, "it fits no format that is read", None);
    check_dead(
        br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" two 5"#,
        Reason::BadValue,
        "the status is no number",
        Some("203.0.113.9"),
    );
    check_dead(
        br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1"#,
        Reason::Malformed,
        "no request between quotes",
        Some("203.0.113.9"),
    );
    check_dead(
        br#"{"remote_addr":"203.0.113.9","method":"GET","uri":"/","status":200}"#,
        Reason::BadValue,
        "no time under any known name; name it in `mapping`",
        Some("203.0.113.9"),
    );
    check_dead(
        br#"{"time":"soon","remote_addr":"203.0.113.9","method":"GET","uri":"/","status":200}"#,
        Reason::BadValue,
        "the time cannot be read",
        Some("203.0.113.9"),
    );
    check_dead(&[0, 1, 2, 3, 4, 5, 6, 7, 200], Reason::Binary, "not text; is this a log?", None);
}

#[test]
fn formats_that_are_not_read_are_called_by_their_names() {
    check_dead(
        b"2026-11-20 08:00:00 10.0.0.1 GET / q=1 80 - 203.0.113.9 Mozilla/4.0 - 200 0 0 123 4 5 6",
        Reason::UnknownFormat,
        "looks like a W3C log whose `#Fields:` line was not seen",
        Some("203.0.113.9"),
    );
    check_dead(
        b"Nov 20 08:00:01 lb haproxy[1]: 203.0.113.9:40962 [20/Nov/2026:08:00:00.285] main app/s -1/-1/1 212 SC 1/1/0/0/0 0/0",
        Reason::UnknownFormat,
        "an HAProxy TCP log, which holds no request; use option httplog",
        Some("203.0.113.9"),
    );
    check_dead(
        br#"{"message":"203.0.113.9 - - [20/Nov"#,
        Reason::BadEnvelope,
        "the envelope was cut before the line in it ended; raise the shipper's limit",
        Some("203.0.113.9"),
    );
}

#[test]
fn a_line_over_the_limit_is_not_read() {
    let mut line = br#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /"#.to_vec();
    line.resize(LINE_BYTES_MAX + 1, b'a');
    check_dead(
        &line,
        Reason::TooLong,
        &format!("{} bytes; at most {LINE_BYTES_MAX} are read", line.len()),
        Some("203.0.113.9"),
    );
}

#[test]
fn a_directive_is_no_event() {
    let parsed = read(Settings::default(), b"#Fields: date time c-ip");
    assert_eq!(parsed, Parsed::Directive("#Fields: date time c-ip".to_owned()));
}

#[test]
fn hostile_agents_are_read_as_every_gateway_writes_them() {
    let front = r#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/%ff","status":400,"http_user_agent":"#;
    let agents: [(&[u8], &str); 4] = [
        (b"\"\xff\xfe\\\"\x01\\\\\"}", "\u{fffd}\u{fffd}\"\u{1}\\"),
        (br#""\xff\xfe\"\x01\\"}"#, "\u{fffd}\u{fffd}\"\u{1}\\"),
        ("\"\u{fffd}\u{fffd}\\\"\\u0001\\\\\"}".as_bytes(), "\u{fffd}\u{fffd}\"\u{1}\\"),
        (b"\"a\x00b\r\"}\r\n", "ab"),
    ];
    for (agent, expected) in agents {
        let line = [front.as_bytes(), agent].concat();
        let Parsed::Events(events) = read(Settings::default(), &line) else {
            panic!("{}", String::from_utf8_lossy(&line))
        };
        assert_eq!(events[0].user_agent.as_deref(), Some(expected));
        assert_eq!(events[0].client_ip.as_deref(), Some("203.0.113.9"));
    }
}

#[test]
fn a_cut_object_is_read_as_far_as_it_goes() {
    let event = event(
        r#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/a","status":200,"http_user_agent":"Mozi"#,
    );
    assert_eq!(event.status, Some(200));
    assert_eq!(event.user_agent, None);
}

#[test]
fn two_objects_on_a_line_are_not_one() {
    let one = r#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/a","status":200}"#;
    check_dead(
        format!("{one}{one}").as_bytes(),
        Reason::Malformed,
        "something follows the JSON object",
        Some("203.0.113.9"),
    );
}

/// Lines of every format and envelope, to be mutated.
static LINES: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("../../../corpus/formats.txt").lines().collect());

/// Formats that an input may be said to have.
static CHOICES: LazyLock<Vec<Choice>> = LazyLock::new(|| {
    let templates = [
        "$remote_addr - $remote_user [$time_local] \"$request\" $status $upstream_addr $body_bytes_sent",
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %DURATION%",
        "%h %l %u %t \"%r\" %>s %b",
        "{\"time\":\"$time_iso8601\",\"who\":\"$remote_addr\",\"status\":$status}",
    ];
    let auto = std::iter::repeat_n(Choice::Auto, Format::ALL.len());
    let named = Format::ALL.into_iter().map(Choice::Named);
    auto.chain(named).chain(templates.map(|template| template.parse().unwrap())).collect()
});

#[test]
fn every_line_of_the_corpus_is_read() {
    for line in LINES.iter() {
        match read(Settings::default(), line.as_bytes()) {
            Parsed::Events(events) => assert_eq!(events.len(), 1, "{line}"),
            Parsed::Directive(_) => assert!(line.starts_with('#')),
            Parsed::Bundle(all) => {
                assert!(all.iter().any(|one| matches!(one, Parsed::Events(_))), "{line}");
            }
            Parsed::DeadLetter(letter) => panic!("{line}\n{letter:?}"),
        }
    }
    let read: BTreeSet<Format> = LINES
        .iter()
        .filter_map(|line| crate::guesses(&[line.as_bytes()]).first().map(|guess| guess.format))
        .collect();
    assert_eq!(read, Format::ALL.into_iter().collect(), "a line of every format");
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (prop::sample::select(LINES.as_slice()), prop::collection::vec(edit, 0..6)).prop_map(
        |(line, edits)| {
            let mut bytes = line.as_bytes().to_vec();
            for (place, byte, what) in edits {
                let at = place.index(bytes.len().max(1)).min(bytes.len());
                match what {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => bytes.truncate(at),
                    _ => {
                        let tail = bytes[at..].to_vec();
                        bytes.extend_from_slice(&tail);
                    }
                }
            }
            bytes
        },
    )
}

/// What a line came to is whole: each event with its time, each dead letter with a reason.
#[track_caller]
fn check_whole(parsed: &Parsed) {
    match parsed {
        Parsed::Events(events) => {
            assert_eq!(events.len(), 1);
            assert!(events[0].event_time.is_some());
            assert!(events[0].event_id.is_some());
            assert!(events[0].line.as_ref().is_none_or(|line| line.len() <= 2048));
        }
        Parsed::DeadLetter(letter) => {
            assert!(!letter.detail.is_empty() && letter.origin.is_some());
            assert!(letter.line.len() <= 2048);
        }
        Parsed::Directive(text) => assert!(text.starts_with('#')),
        Parsed::Bundle(all) => {
            assert!(!all.is_empty());
            assert!(all.iter().all(|one| !matches!(one, Parsed::Bundle(_))));
            all.iter().for_each(check_whole);
        }
    }
}

/// Events and dead letters of what a line came to.
fn counted(parsed: &Parsed) -> (usize, usize) {
    match parsed {
        Parsed::Events(events) => (events.len(), 0),
        Parsed::DeadLetter(_) => (0, 1),
        Parsed::Directive(_) => (0, 0),
        Parsed::Bundle(all) => all.iter().map(counted).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn any_bytes_come_to_events_or_dead_letters(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        check_whole(&read(Settings::default(), &bytes));
    }

    #[test]
    fn mutated_lines_come_to_events_or_dead_letters_in_batches_too(
        lines in prop::collection::vec(mutated(), 1..8),
        format in prop::sample::select(CHOICES.as_slice()),
    ) {
        let settings = || Settings { format: format.clone(), ..Settings::default() };
        let (mut parser, mut feeder) = (parser(settings()), parser(settings()));
        let mut batch = BatchBuilder::default();
        for line in lines {
            let parsed = parser.line(&line, PLACE, SEEN);
            check_whole(&parsed);
            let fed = match feeder.feed(&line, PLACE, SEEN, &mut batch) {
                Fed::Events(events) => (events, 0),
                Fed::DeadLetter(_) => (0, 1),
                Fed::Directive(_) => (0, 0),
                Fed::Bundle { events, letters } => (events, letters.len()),
            };
            assert_eq!(fed, counted(&parsed));
        }
    }

    #[test]
    fn any_protobuf_comes_to_events_or_dead_letters(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = crate::otlp::tests::request();
        for (place, byte) in edits {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        check_whole(&read(Settings::default(), &bytes));
    }
}
