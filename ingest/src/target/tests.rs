use expect_test::{Expect, expect};

use super::{
    is_made_up_version, path, query_keys, referrer, request_line, target, url_param_kind, version,
};
use crate::keys::{Keys, is_hash};

fn keys() -> Keys {
    Keys::new([3; 16])
}

#[track_caller]
fn check(line: &str, expected: &Expect) {
    let parsed = request_line(line);
    let parts = parsed.target.map(|text| target(text, parsed.method)).unwrap_or_default();
    expected.assert_eq(&format!(
        "{} {} {} {} {}{}",
        parsed.method.unwrap_or("-"),
        parts.host.unwrap_or("-"),
        parts.path,
        parts.query.unwrap_or("-"),
        parsed.version.unwrap_or("-"),
        if parsed.foreign { " foreign" } else { "" }
    ));
}

#[test]
fn request_lines_come_apart() {
    check("GET /a/b?c=d HTTP/1.1", &expect!["GET - /a/b c=d 1.1"]);
    check("GET /a b c HTTP/1.1", &expect!["GET - /a b c - 1.1"]);
    check("GET http://h:80/a?b HTTP/1.0", &expect!["GET h:80 /a b 1.0"]);
    check("CONNECT h:443 HTTP/1.1", &expect!["CONNECT h:443  - 1.1"]);
    check("OPTIONS * HTTP/1.1", &expect!["OPTIONS - * - 1.1"]);
    check("GET /old", &expect!["GET - /old - -"]);
    check("GET /a#b=c HTTP/2.0", &expect!["GET - /a b=c 2.0"]);
    check("GET %2Fa%3Fb%3Dc HTTP/1.1", &expect!["GET - %2Fa b%3Dc 1.1"]);
}

#[test]
fn what_is_no_request_is_foreign() {
    check("-", &expect!["- -  - -"]);
    check("", &expect!["- -  - -"]);
    check("hello", &expect!["- -  - - foreign"]);
    check(r"\x16\x03\x01", &expect!["- -  - - foreign"]);
    check("a|b c d", &expect!["- -  - - foreign"]);
}

#[test]
fn versions_that_nobody_speaks_are_told_from_unreadable_ones() {
    for text in ["1.2", "HTTP/2.1", "9"] {
        assert!(is_made_up_version(text), "{text}");
    }
    for text in ["1.1", "HTTP/2", "0.9", "HTTP/0.9", "h2c", "-", "", "TLSv1.2"] {
        assert!(!is_made_up_version(text), "{text}");
    }
}

#[test]
fn versions_have_one_form() {
    let check = |text, expected| assert_eq!(version(text).as_deref(), expected, "{text}");
    check("HTTP/1.1", Some("1.1"));
    check("HTTP/2", Some("2.0"));
    check("h2", Some("2.0"));
    check("HTTP/3.0", Some("3.0"));
    check("", None);
}

#[test]
fn secrets_in_a_path_become_hashes() {
    let hashed = |text: &str| {
        let mut found = Vec::new();
        let column = path(text, &keys(), &mut found).into_owned();
        let shown: Vec<&str> =
            column.split('/').map(|part| if is_hash(part) { "#" } else { part }).collect();
        (shown.join("/"), found.len())
    };
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    assert_eq!(hashed(&format!("/a/{jwt}/b")), ("/a/#/b".to_owned(), 1));
    assert_eq!(hashed("/reset/9f86d081884c7d659a2f"), ("/reset/#".to_owned(), 1));
    assert_eq!(hashed("/v1/users/3bbc0252-2d5c-49fe-bd89-104e9b61770b").1, 0);
    assert_eq!(hashed("/a;v=1/b;jsessionid=AB12").1, 1);
}

#[test]
fn names_of_parameters_stay_in_order() {
    let shown = |query: &str| query_keys(query, &keys()).join(" ");
    assert_eq!(shown("b=1&a=2&b=3&flag"), "b a b flag");
    assert_eq!(shown("vars%5B1%5D%5B%5D=1&amp;x=2"), "vars[1][] x");
    assert_eq!(shown("4711&&%3D"), "* *");
    assert!(is_hash(&shown("sk_live_4eC39HqLyjWDarjtT1zdp7dc=1")));
}

#[test]
fn urls_in_queries_tell_where_they_point() {
    let kind = |query| url_param_kind(Some(query)).name();
    assert_eq!(kind("q=item7"), "none");
    assert_eq!(kind("next=https://example.com/a"), "public");
    assert_eq!(kind("u=http%3A%2F%2F10.0.0.5%2F"), "private");
    assert_eq!(kind("a=https://x.org&u=//127.0.0.1:80/"), "loopback");
    assert_eq!(kind("u=http%253A%252F%252F169.254.169.254/latest"), "metadata");
    assert_eq!(kind("u=http://[fe80::1]/"), "link_local");
    assert_eq!(kind("path=a//b"), "none");
}

#[test]
fn a_referer_is_host_and_path() {
    let shown = |text| referrer(text, &keys(), &mut Vec::new()).map(|text| text.into_owned());
    let check =
        |text, expected: Option<&str>| assert_eq!(shown(text).as_deref(), expected, "{text}");
    check("https://Example.com/a/b?c=d", Some("example.com/a/b"));
    check("http://u:p@h.example:8080/x", Some("h.example/x"));
    check("https://example.com", Some("example.com"));
    check("/relative", Some("/relative"));
    check("${jndi:ldap://x/a}", None);
    check("android-app://com.example.app", Some("com.example.app"));
}
