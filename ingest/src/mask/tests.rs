use std::borrow::Cow;

use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, proptest};

use super::{How, LINE_BYTES_MAX, line};

#[track_caller]
fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&line(text, How::default()));
}

#[test]
fn values_of_queries_go_and_names_stay() {
    check(
        r#"1.2.3.4 - - [t] "GET /a?x=1&y=two words&z HTTP/1.1" 200 5 "http://r/b?c=d" "UA""#,
        &expect![[r#"1.2.3.4 - - [t] "GET /a?x=*&y=*&z HTTP/1.1" 200 5 "http://r/b?c=*" "UA""#]],
    );
    check(
        r#"{"uri":"/a?x=\"1\"\u0026y=2","status":200}"#,
        &expect![[r#"{"uri":"/a?x=*\u0026y=*","status":200}"#]],
    );
    check("GET /a?x=1 HTTP/1.1 200", &expect!["GET /a?x=* HTTP/1.1 200"]);
    check("\"GET /a?q=s HTTP/ more HTTP/1.1\"", &expect!["\"GET /a?q=* HTTP/1.1\""]);
    check("\"GET /a%3Fq%3Dhidden HTTP/1.1\"", &expect!["\"GET /a%3F* HTTP/1.1\""]);
}

#[test]
fn a_parameter_without_a_name_is_a_value() {
    check(r#""GET /a?4711 HTTP/1.1""#, &expect![[r#""GET /a?* HTTP/1.1""#]]);
    check(r#""GET /a?wsdl HTTP/1.1""#, &expect![[r#""GET /a?wsdl HTTP/1.1""#]]);
}

#[test]
fn assignments_go_wherever_they_stand() {
    check(
        r#"1.2.3.4 "GET /a;jsessionid=AB12 HTTP/1.1" 200 "sid=x1; theme=dark" rt=0.1"#,
        &expect![[r#"1.2.3.4 "GET /a;jsessionid=* HTTP/1.1" 200 "sid=*; theme=*" rt=*"#]],
    );
}

#[test]
fn secrets_go_by_their_names() {
    check(
        r#"{"Authorization":["Bearer abc.def"],"x-api-key":"k1","otp":123456,"path":"/","password":"p\"w","jwt_sub":"ann"}"#,
        &expect![[
            r#"{"Authorization":[*],"x-api-key":"*","otp":*,"path":"/","password":"*","jwt_sub":"ann"}"#
        ]],
    );
    check(r#"x "Authorization: Basic dTpw" y"#, &expect![[r#"x "Authorization: *" y"#]]);
    check("got Bearer abc, and more", &expect!["got Bearer *, and more"]);
}

#[test]
fn secrets_go_by_their_looks() {
    check(
        "GET /v/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln/x sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        &expect!["GET /v/*/x *"],
    );
    check("https://user:pass@host/path", &expect!["https://*@host/path"]);
}

#[test]
fn what_is_known_goes_and_the_rest_stays() {
    let known = [Cow::Borrowed("s3cr3t")];
    let how = How { known: &known, ..How::default() };
    assert_eq!(line("a s3cr3t b /s3cr3t/", how), "a * b /*/");
    check("an ordinary line, 200 12", &expect!["an ordinary line, 200 12"]);
}

#[test]
fn evidence_stays_where_asked_and_nothing_beside_it() {
    let text = r#""GET /a?id=1' or '1'='1&password=hunter2 HTTP/1.1""#;
    let how = How { evidence: true, ..How::default() };
    assert_eq!(line(text, how), r#""GET /a?id=1' or '1'='1&password=* HTTP/1.1""#);
    check(text, &expect![[r#""GET /a?id=*&password=* HTTP/1.1""#]]);
}

#[test]
fn a_thorough_look_finds_random_words() {
    let how = How { thorough: true, ..How::default() };
    assert_eq!(line("x f3K9xQ2mZ8vL1pT7wR4yB6nD0sHa y", how), "x * y");
    assert_eq!(line("/reset/9f86d081884c7d659a2f x", how), "/reset/* x");
}

#[test]
fn long_lines_are_cut_and_no_word_is_cut_through() {
    let text = format!("{}secret-tail", "a ".repeat(20_000));
    assert_eq!(line(&text, How::default()).len(), LINE_BYTES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_text_can_be_masked(text in "\\PC{0,80}", marks in "[?=&\"\\\\ :/eyJtoken%3F]{0,80}") {
        let how = How { evidence: true, thorough: true, ..How::default() };
        let masked = line(&text, how).len();
        assert!(masked <= text.len() + marks.len() + LINE_BYTES_MAX);
        line(&marks, How::default());
    }

    #[test]
    fn no_value_of_a_query_survives(
        name in "[a-z]{1,8}",
        value in "[A-Za-z0-9+/%.'; -]{6,20}",
        before in "[a-z ]{0,8}",
    ) {
        let text = format!("{before} \"GET /p?{name}={value}&{name}={value} HTTP/1.1\" 200 \"-\"");
        let masked = line(&text, How::default());
        assert!(!masked.contains(&value) , "{masked}");
        let json = format!("{{\"a\":\"{before}\",\"uri\":\"/p?{name}={value}\",\"s\":200}}");
        assert!(!line(&json, How::default()).contains(&value), "{json}");
    }
}
