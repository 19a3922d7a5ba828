use super::{Lines, is_request, lines, records};

const REQUEST: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"1795161600123456789","traceId":"0af7651916cd43dd8448eb211c80319c","attributes":[{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"http.response.status_code","value":{"intValue":"200"}},{"key":"tags","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5}]}}}],"body":{"stringValue":"said \"so\""}}]}]}]}"#;

const WRITTEN: &str = r#"{"time_unix_nano":1795161600123456789,"trace_id":"0af7651916cd43dd8448eb211c80319c","service.name":"shop","http.request.method":"GET","http.response.status_code":200,"tags":[true,1.5],"body":"said \"so\""}"#;

#[track_caller]
fn check(json: &str, expected: &[&str]) {
    let mut found = Lines::default();
    assert!(records(json, &mut found).is_some(), "{json}");
    assert_eq!(found.done().0, expected);
}

#[test]
fn a_request_and_a_part_of_it_give_the_same_records() {
    let quoted_int = WRITTEN.replace("200", "\"200\"");
    check(REQUEST, &[&quoted_int]);
    let one = REQUEST.strip_prefix("{\"resourceLogs\":[").unwrap().strip_suffix("]}").unwrap();
    check(one, &[&quoted_int]);
}

#[test]
fn a_body_that_is_a_map_counts_as_attributes_and_a_time_may_be_missing() {
    check(
        r#"{"scopeLogs":[{"logRecords":[{"timeUnixNano":"0","observedTimeUnixNano":"7","body":{"kvlistValue":{"values":[{"key":"status","value":{"intValue":"200"}}]}}},{}]}]}"#,
        &[r#"{"time_unix_nano":7,"status":"200"}"#, r#"{"time_unix_nano":null}"#],
    );
}

#[test]
fn what_is_no_otlp_is_left_alone() {
    assert!(records(r#"{"resource":"/a","status":200}"#, &mut Lines::default()).is_none());
}

/// A field of bytes.
fn bytes(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = inner.len();
    while len >= 128 {
        out.push(u8::try_from(len % 128).unwrap() | 128);
        len /= 128;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend_from_slice(inner);
    out
}

fn key_value(key: &str, any: &[u8]) -> Vec<u8> {
    [bytes(1, key.as_bytes()), bytes(2, any)].concat()
}

pub(crate) fn request() -> Vec<u8> {
    let list =
        [bytes(1, &[2 << 3, 1]), bytes(1, &[&[4 << 3 | 1][..], &1.5_f64.to_le_bytes()].concat())]
            .concat();
    let record = [
        [&[1 << 3 | 1][..], &1_795_161_600_123_456_789_u64.to_le_bytes()].concat(),
        bytes(
            9,
            &[
                0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80,
                0x31, 0x9c,
            ],
        ),
        bytes(6, &key_value("http.request.method", &bytes(1, b"GET"))),
        bytes(6, &key_value("http.response.status_code", &[3 << 3, 0xc8, 0x01])),
        bytes(6, &key_value("tags", &bytes(5, &list))),
        bytes(5, &bytes(1, b"said \"so\"")),
    ]
    .concat();
    let resource = bytes(1, &key_value("service.name", &bytes(1, b"shop")));
    bytes(1, &[bytes(1, &resource), bytes(2, &bytes(2, &record))].concat())
}

#[test]
fn protobuf_gives_what_json_gives() {
    let request = request();
    assert!(is_request(&request));
    let mut found = Lines::default();
    assert!(lines(&request, &mut found));
    assert_eq!(found.done().0, [WRITTEN]);
}

#[test]
fn a_cut_request_gives_what_came_whole_and_says_so() {
    let request = request();
    for end in 0..request.len() {
        let cut = &request[..end];
        let mut found = Lines::default();
        assert!(!lines(cut, &mut found) || end == 0, "{end}");
    }
    assert!(!is_request(b"\n203.0.113.9 - - [20/Nov/2026:08:00:00 +0000]"));
    assert!(!is_request(b"\n"));
}
