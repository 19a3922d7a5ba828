//! Secrets planted everywhere are found nowhere.

use proptest::prelude::Just;

use super::{PLACE, Parsed, ProptestConfig, SEEN, Settings, Strategy, parser, prop, proptest};
use crate::keys::Keys;

/// Secrets that look like ones wherever they stand.
fn secret() -> impl Strategy<Value = String> {
    let part = "[A-Za-z0-9_-]{12,30}";
    proptest::prop_oneof![
        (part, part, part).prop_map(|(a, b, c)| format!("eyJ{a}.eyJ{b}.{c}")),
        "[A-Za-z0-9]{24}".prop_map(|tail| format!("sk_live_{tail}")),
        "[A-Z0-9]{16}".prop_map(|tail| format!("AKIA{tail}")),
        "[A-Za-z0-9]{36}".prop_map(|tail| format!("ghp_{tail}")),
        "[A-Za-z0-9]{30}".prop_map(|tail| format!("ya29.{tail}")),
    ]
}

/// Values that look like nothing, but stand where only secrets and values of queries stand.
fn quiet() -> impl Strategy<Value = String> {
    "[a-z]{4}-[a-z]{5}[0-9]{3}"
}

/// Places for a secret that looks like one.
const LOUD_PLACES: &[&str] = &[
    r#"203.0.113.9 - ann [20/Nov/2026:08:00:00 +0000] "GET /v1/§/a HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - ann [20/Nov/2026:08:00:00 +0000] "GET /a;v=§ HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - § [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "https://r.example/§/x" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "agent § x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "§""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x" "-" "§" more"#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "§" 400 5"#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "§ / HTTP/1.1" 400 5"#,
    r#"§ - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 400 5"#,
    r#"§ 203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 400 5"#,
    r#"[2026-11-20T08:00:00.310Z] "POST /v1 HTTP/2" 204 - 154 0 226 100 "203.0.113.9" "n" "§" "h" "u""#,
    r#"[2026-11-20T08:00:00.310Z] "POST /v1 HTTP/2" 204 - 154 0 226 100 "§" "n" "i" "§" "u""#,
    r#"203.0.113.9:3 [20/Nov/2026:08:00:00.7] in be/s 0/0/1/0/2 304 168 § § ---- 6/6/0/0/0 0/0 {§|} "GET /c HTTP/1.1""#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a/§","status":200}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"anything":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"§":"x"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"n":{"a":{"b":"§"}}}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"n":["x","§"]}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"request_id":"§","trace_id":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"service":"§","env":"§","tenant":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"jti":"§","scope":"a §","roles":["§"]}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"host":"§","scheme":"§","ssl":"§","ja4":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"§","uri":"§","status":200,"protocol":"§","remote_addr":"§"}"#,
    r#"{"event_time":"2026-11-20T08:00:00Z","path":"/§","owner":"§","attrs":{"a":"§"},"query_keys":["§"]}"#,
    r#"{"event_time":"2026-11-20T08:00:00Z","path":"/","line":"GET /§","token_id":"§","event_id":"§","sensor":"§"}"#,
    "nothing that is known § at all",
    r#"203.0.113.9 - - [yesterday] "GET /§ HTTP/1.1" 200 5"#,
    r#"{"broken":"§","x" 1}"#,
    r#"{"message":"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET /§ HTTP/1.1\" 200 5"}"#,
    "2026-11-20 08:00:00 10.0.0.1 GET /§ - 80 - 203.0.113.9 § - 200 0 0 123",
];

/// Places where whatever stands is secret or the value of a query.
const QUIET_PLACES: &[&str] = &[
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a?q=§ HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a?q=x%20§&r=y+§ HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a?q=x § y HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a%3Fq%3D§ HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a;jsessionid=§ HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a?id=1%27+or+1=1--&password=§ HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET http://u:§@h/a HTTP/1.1" 200 5 "-" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "https://r.example/x?y=§" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "https://u:§@r.example/x" "x""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x Bearer § y""#,
    r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x" "sid=§; a=§""#,
    r#"[2026-11-20T08:00:00.310Z] "POST /v1?a=§ HTTP/2" 204 - 154 0 226 100 "203.0.113.9" "n" "i" "h" "u""#,
    r#"203.0.113.9:3 [20/Nov/2026:08:00:00.7] in be/s 0/0/1/0/2 304 168 - - ---- 6/6/0/0/0 0/0 "GET /c?x=§ HTTP/1.1""#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a?b=§","status":200}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a?b=\"§\"\u0026c=§","status":200}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","path":"/a","args":"b=§","status":200}"#,
    r#"{"time":"2026-11-20T08:00:00Z","request":"GET /a?b=§ HTTP/1.1","status":200}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"http_referer":"https://r/?x=§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"authorization":"Bearer §"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"Authorization":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"x-api-key":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"http_cookie":"a=§; sessionid=§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"session_id":"§"}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"password":"§","n":{"client_secret":"§"}}"#,
    r#"{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a","status":200,"url_seen":"https://x/?k=§"}"#,
    r#"{"level":"info","ts":1795161600.75,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","method":"GET","uri":"/x?y=§","headers":{"Cookie":["a=§"],"Authorization":["Basic §"],"X-Token":["§"]}},"status":200,"resp_headers":{"Set-Cookie":["s=§"]}}"#,
    r#"{"ClientHost":"203.0.113.9","DownstreamStatus":200,"RequestMethod":"GET","RequestPath":"/a?b=§\u0026c=§","StartUTC":"2026-11-20T08:00:00Z","request_Authorization":"§"}"#,
    r#"{"message":"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET /a?b=§ HTTP/1.1\" 200 5 \"http://r/?c=§\" \"x\""}"#,
    r#"{"event_time":"2026-11-20T08:00:00Z","path":"/a?b=§","session_id":"§","referrer":"r/x?y=§","query_keys":["a=§"],"line":"GET /?x=§"}"#,
    r#"{"message":"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET /a?b=§ HTTP/1.1\" two"}"#,
    r#"203.0.113.9 - - [yesterday] "GET /a?b=§ HTTP/1.1" 200 5"#,
    r#"{"broken":"/a?b=§","password":"§","x" 1}"#,
    r#"{"uri":"/a?b=§","authorization":"Bearer §","cookie":"a=§"}"#,
    "junk Authorization: Bearer § and password=§",
];

/// All that a line comes to, as text.
fn everything(settings: Settings, line: &str) -> String {
    match parser(settings).line(line.as_bytes(), PLACE, SEEN) {
        Parsed::Events(events) => serde_json::to_string(&events[0]).unwrap(),
        Parsed::DeadLetter(letter) => serde_json::to_string(&letter).unwrap(),
        Parsed::Directive(text) => text,
        Parsed::Bundle(all) => panic!("{all:?}"),
    }
}

#[track_caller]
fn check(template: &str, secret: &str) {
    let line = template.replace('§', secret);
    let all = everything(Settings::default(), &line);
    let small = all.to_ascii_lowercase();
    assert!(!small.contains(&secret.to_ascii_lowercase()), "{secret} of\n{line}\nis in\n{all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn what_looks_like_a_secret_travels_nowhere(
        template in prop::sample::select(LOUD_PLACES),
        secret in secret(),
    ) {
        check(template, &secret);
    }

    #[test]
    fn what_stands_where_secrets_stand_travels_nowhere(
        template in prop::sample::select(QUIET_PLACES),
        secret in proptest::prop_oneof![quiet(), secret(), Just("hunter2-hunter2".to_owned())],
    ) {
        check(template, &secret);
    }
}

#[test]
fn every_place_is_tried_with_each_kind() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    for template in LOUD_PLACES {
        check(template, jwt);
        check(template, "sk_live_4eC39HqLyjWDarjtT1zdp7dc");
    }
    for template in QUIET_PLACES {
        check(template, "abcd-efghi123");
        check(template, jwt);
    }
}

#[test]
fn a_secret_has_the_same_hash_wherever_it_was() {
    let token = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    let line = format!(
        r#"{{"time":"2026-11-20T08:00:00Z","method":"GET","uri":"/a?access_token={token}","status":200,"x-api-key":"{token}"}}"#
    );
    let all = everything(Settings::default(), &line);
    assert!(all.contains(&format!("\"token_id\":\"{}\"", Keys::new([9; 16]).hash(token))), "{all}");
}

#[test]
fn evidence_stays_in_the_line_and_only_there() {
    let line = r#"203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] "GET /a?id=1%27+or+1=1--&note=private HTTP/1.1" 200 5 "-" "x""#;
    let all = everything(Settings::default(), line);
    assert!(all.contains("?id=1%27+or+1=1--&note=* HTTP/1.1"), "{all}");
    assert!(all.contains("\"attack_class\":[\"sql_injection\"]"), "{all}");
}
