use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::{Expect, expect};
use runtime::CancellationToken;
use runtime::error::{Class, Classified};
use runtime::retry::{Backoff, Ended, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{
    Compatibility, Known, Login, Registry, RegistryConfig, RegistryError, UNKNOWN_FOR,
    value_subject,
};

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[]}"#;

/// A registry that gives prepared answers, in order, and keeps what it was asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn answering(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<(u16, String)> =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let log = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "the server ends with its test")]
        tokio::spawn(async move {
            while let Some((status, body)) = answers.pop_front() {
                let (stream, _) = listener.accept().await.unwrap();
                let request = one(stream, status, &body).await;
                log.lock().unwrap().push(request);
            }
        });
        Self { address, asked }
    }

    fn registry(&self) -> Registry {
        registry(&format!("http://{}", self.address), None)
    }

    /// Method, path and body of every request.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn registry(url: &str, login: Option<Login>) -> Registry {
    let timeout = Duration::from_secs(20);
    Registry::new(RegistryConfig { url: url.to_owned(), login, timeout }).unwrap()
}

/// Reads one request and answers it; gives its first line, login and body.
async fn one(mut stream: TcpStream, status: u16, body: &str) -> String {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |value| value.parse().unwrap());
            break (head.to_owned(), length);
        }
    };
    while bytes.len() < head.len() + 4 + length {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
    }
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let sent = String::from_utf8_lossy(&bytes[head.len() + 4..]).into_owned();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let login = header(&head, "authorization").unwrap_or_default();
    [line, login, sent].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[tokio::test]
async fn a_registered_schema_has_an_id_and_is_not_asked_for_again() {
    let fake = Fake::answering(&[(200, r#"{"id":7}"#)]).await;
    let registry = fake.registry();
    assert_eq!(registry.register(&value_subject("verdicts"), SCHEMA).await, Ok(7));
    assert_eq!(&*registry.schema(7).await.unwrap(), SCHEMA);
    expect![[r#"
        [
            "POST /subjects/verdicts-value/versions {\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"R\\\",\\\"fields\\\":[]}\"}",
        ]
    "#]]
    .assert_debug_eq(&fake.asked());
}

#[tokio::test]
async fn a_schema_is_asked_for_once_by_its_id() {
    let fake = Fake::answering(&[(200, r#"{"schema":"\"string\""}"#)]).await;
    let registry = fake.registry();
    for _ in 0..3 {
        assert_eq!(&*registry.schema(42).await.unwrap(), "\"string\"");
    }
    assert_eq!(fake.asked(), ["GET /schemas/ids/42"]);
}

#[tokio::test]
async fn the_path_of_the_address_stays_and_names_are_escaped_and_the_login_is_sent() {
    let fake = Fake::answering(&[(200, r#"{"id":1}"#)]).await;
    let url = format!("http://{}/apis/ccompat/v7/", fake.address);
    let login = Login { user: "ada".to_owned(), password: "x:y".to_owned() };
    assert!(!format!("{login:?}").contains("x:y"));
    registry(&url, Some(login)).register("a/b c", "\"string\"").await.unwrap();
    assert_eq!(
        fake.asked(),
        [
            r#"POST /apis/ccompat/v7/subjects/a%2Fb%20c/versions Basic YWRhOng6eQ== {"schema":"\"string\""}"#
        ]
    );
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_with_what_does_not_fit() {
    let refusal = r#"{"error_code":409,"message":"Schema being registered is incompatible"}"#;
    let reasons = r#"{"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE: a"]}"#;
    let fake = Fake::answering(&[(409, refusal), (200, reasons), (409, refusal), (500, "")]).await;
    let registry = fake.registry();
    let error = registry.register("s", SCHEMA).await.unwrap_err();
    assert_eq!(error.class(), Class::Input);
    expect!["the schema registry refuses the schema for subject `s` as incompatible: READER_FIELD_MISSING_DEFAULT_VALUE: a; another version of Tidegate or another program registered the subject: upgrade in the order of the release notes, use another topic, or relax the subject's compatibility"]
        .assert_eq(&error.to_string());
    let asked = fake.asked();
    let check = "POST /compatibility/subjects/s/versions/latest?verbose=true";
    assert!(asked[1].starts_with(check), "{asked:?}");
    // the check itself may fail: the refusal's own words are left
    let error = registry.register("s", SCHEMA).await.unwrap_err();
    assert!(error.to_string().contains("Schema being registered is incompatible"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_says_so_and_an_unknown_id_is_not_asked_for_at_once_again() {
    let none = r#"{"error_code":40403,"message":"Schema not found"}"#;
    let subject = r#"{"error_code":40401,"message":"Subject not found."}"#;
    let found = r#"{"schema":"\"long\"","schemaType":"AVRO"}"#;
    let fake = Fake::answering(&[(404, none), (200, found), (404, subject), (404, subject)]).await;
    let registry = fake.registry();
    let error = registry.schema(9).await.unwrap_err();
    assert_eq!(error.class(), Class::Input);
    expect!["get schema 9: the schema registry has none: Schema not found"]
        .assert_eq(&error.to_string());
    assert!(matches!(registry.schema(9).await, Err(RegistryError::NotFound { .. })));
    assert_eq!(fake.asked().len(), 1);
    let asked = Instant::now().checked_sub(UNKNOWN_FOR).unwrap();
    registry.0.known.lock().unwrap().insert(9, Known::Nothing { asked });
    assert_eq!(&*registry.schema(9).await.unwrap(), "\"long\"");

    let error = registry.latest("s").await.unwrap_err();
    expect![
        "get the latest schema of subject `s`: the schema registry has none: Subject not found."
    ]
    .assert_eq(&error.to_string());
    assert_eq!(registry.check("s", SCHEMA).await, Ok(Compatibility::Compatible));
}

#[tokio::test]
async fn the_latest_schema_of_a_subject_comes_with_id_and_version() {
    let latest = r#"{"subject":"s","version":3,"id":12,"schema":"\"long\""}"#;
    let compatible = r#"{"is_compatible":true}"#;
    let fake = Fake::answering(&[(200, latest), (200, compatible)]).await;
    let found = fake.registry().latest("s").await.unwrap();
    assert_eq!((found.id, found.version, found.schema.as_str()), (12, 3, "\"long\""));
    assert_eq!(fake.registry().check("s", SCHEMA).await, Ok(Compatibility::Compatible));
}

#[tokio::test]
async fn a_registry_that_is_away_is_tried_again_until_it_is_there() {
    let busy = r#"{"error_code":50003,"message":"Error while forwarding the request"}"#;
    let fake = Fake::answering(&[(500, busy), (503, "<html>"), (200, r#"{"id":3}"#)]).await;
    let short = Duration::from_millis(1);
    let policy = Policy { backoff: Backoff::seeded(short, short, 1), ..Policy::network("test") };
    let shutdown = CancellationToken::new();
    let id = fake.registry().register_by(policy, "s", SCHEMA, &shutdown).await.unwrap();
    assert_eq!((id, fake.asked().len()), (3, 3));
}

#[tokio::test]
async fn waiting_for_a_registry_ends_with_the_process() {
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let registry = registry("http://127.0.0.1:9", None);
    let ended = registry.register_when_there("s", SCHEMA, &shutdown).await;
    assert!(matches!(ended, Err(Ended::Shutdown)));
}

#[tokio::test]
async fn nobody_at_the_address_says_where_and_what_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = registry(&url, None).register("s", SCHEMA).await.unwrap_err();
    assert_eq!(error.class(), Class::Dependency);
    let said = error.to_string().replace(&url, "URL");
    expect!["register subject `s`: the schema registry at URL/ is away: no connection or a broken one: Connection refused (os error 111); it is tried again; check its address and that it runs"]
        .assert_eq(&said);
}

#[tokio::test]
async fn refusals_and_answers_of_something_else_say_what_to_look_at() {
    async fn check(status: u16, body: &str, class: Class, expected: &Expect) {
        let fake = Fake::answering(&[(status, body)]).await;
        let error = fake.registry().register("s", SCHEMA).await.unwrap_err();
        assert_eq!(error.class(), class);
        expected.assert_eq(&error.to_string());
    }
    check(
        401,
        r#"{"error_code":401,"message":"Unauthorized"}"#,
        Class::Input,
        &expect!["register subject `s`: the schema registry answers 401: Unauthorized; check user and password of the registry"],
    )
    .await;
    check(
        422,
        r#"{"error_code":42201,"message":"Invalid schema"}"#,
        Class::Input,
        &expect!["register subject `s`: the schema registry answers 422: Invalid schema; the registry does not take Avro schemas like ours"],
    )
    .await;
    check(
        200,
        "<html>hello</html>",
        Class::Input,
        &expect!["register subject `s`: the answer is not what a schema registry gives: expected value at line 1 column 1: <html>hello</html>; check its address"],
    )
    .await;
    check(
        500,
        "",
        Class::Dependency,
        &expect!["register subject `s`: the schema registry answers 500: "],
    )
    .await;
}

#[test]
fn an_address_that_is_none_is_refused() {
    let said = |url: &str| {
        let timeout = Duration::from_secs(1);
        let config = RegistryConfig { url: url.to_owned(), login: None, timeout };
        Registry::new(config).unwrap_err().to_string()
    };
    expect!["schema registry `registry:8081`: it is no web address; write for instance http://registry:8081"]
        .assert_eq(&said("registry:8081"));
    expect!["schema registry `http://`: empty host; write for instance http://registry:8081"]
        .assert_eq(&said("http://"));
    // and the secret is not repeated
    assert!(!said("http://ada:secret@registry:8081").contains("secret@"));
}
