//! Bytes that no honest writer writes: no panic, no line lost, the client found.

use super::{
    LINE_BYTES_MAX, PLACE, Parsed, ProptestConfig, Reason, SEEN, Settings, Strategy, any, event,
    parser, prop, proptest, read,
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

/// Lines of every family, to be mutated.
const LINES: &[&str] = &[
    r#"203.0.113.9 - ann [20/Nov/2026:08:00:00 +0100] "GET /v1/a?q=1 HTTP/2.0" 200 571 "https://s.example/x?y=z" "curl/8.5""#,
    r#"h.example "203.0.113.9, 10.0.0.1" 10.0.0.2 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 61 "-" "x" 348 0.104 [w] [] 10.0.0.6:8080, 10.0.0.7:8080 61, 100 0.100, 0.004 502, 200 8351"#,
    r#"[2026-11-20T08:00:00.310Z] "POST /v1?a=b HTTP/2" 204 - 154 0 226 100 "203.0.113.9" "n" "cc21" "api.example" "tcp://10.0.2.1:80""#,
    r#"Nov 20 08:00:01 lb haproxy[3]: 203.0.113.9:38862 [20/Nov/2026:08:00:00.726] in~ docs/d 0/0/1/0/2 304 168 - - ---- 6/6/0/0/0 0/0 {a} "GET /c HTTP/1.1""#,
    r#"{"time":"2026-11-20T08:00:00Z","remote_addr":"203.0.113.9","method":"GET","uri":"/a?b=\u0041\xff","status":200,"x":{"y":[1,{}]},"authorization":"Bearer a"}"#,
    r#"{"message":"203.0.113.9 - - [20/Nov/2026:08:00:00 +0100] \"GET / HTTP/2.0\" 200 5"}"#,
    r#"{"event_time":"2026-11-20T08:00:00Z","path":"/v1","status":200,"roles":["a"],"attrs":{"k":"v"}}"#,
    r#"{"level":"info","ts":1795161600.75,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","method":"GET","uri":"/x","headers":{"Cookie":["a=b"]}},"status":200}"#,
];

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (prop::sample::select(LINES), prop::collection::vec(edit, 0..6)).prop_map(|(line, edits)| {
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
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn any_bytes_come_to_one_event_or_one_dead_letter(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        match read(Settings::default(), &bytes) {
            Parsed::Events(events) => assert_eq!(events.len(), 1),
            Parsed::DeadLetter(letter) => assert!(letter.line.len() <= 2048),
            Parsed::Directive(text) => assert!(text.starts_with('#')),
            Parsed::Bundle(all) => assert!(!all.is_empty()),
        }
    }

    #[test]
    fn mutated_lines_come_to_one_event_or_one_dead_letter(
        lines in prop::collection::vec(mutated(), 1..8),
    ) {
        let mut parser = parser(Settings::default());
        for line in lines {
            match parser.line(&line, PLACE, SEEN) {
                Parsed::Events(events) => {
                    assert_eq!(events.len(), 1);
                    assert!(events[0].event_time.is_some());
                    assert!(events[0].line.as_ref().is_none_or(|line| line.len() <= 2048));
                }
                Parsed::DeadLetter(letter) => assert!(!letter.detail.is_empty()),
                Parsed::Directive(text) => assert!(text.starts_with('#')),
                Parsed::Bundle(all) => assert!(!all.is_empty()),
            }
        }
    }
}
