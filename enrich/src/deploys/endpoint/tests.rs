use expect_test::{Expect, expect};
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::http::axum;
use runtime::metrics::Metrics;
use schemas::EventTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::DeploysEndpoint;
use crate::context::ContextCell;
use crate::deploys::Served;
use crate::metrics::EnrichMetrics;

const NOW_MS: i64 = 1_795_000_000_000;

/// What the store does with what it is given.
#[derive(Debug, Clone, Copy)]
enum Store {
    Keeps,
    Fails,
    IsGone,
}

/// Posts each body in turn; status and answer, one a line, and how many deploys were stored.
async fn post(context: &ContextCell, store: Store, bodies: &[&str]) -> (String, usize) {
    let metrics = EnrichMetrics::new(&Metrics::new());
    let clock = Clock::manual(NOW_MS).clock();
    let (endpoint, mut accepted) = DeploysEndpoint::new(context.clone(), clock, metrics);
    let router = endpoint.router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stored = async {
        let mut stored = 0;
        if matches!(store, Store::IsGone) {
            accepted.close();
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return stored,
                Some(deploys) = accepted.recv() => match store {
                    Store::Keeps => {
                        stored += deploys.deploys.len();
                        deploys.stored();
                    }
                    Store::Fails | Store::IsGone => deploys.failed("the disk is full"),
                },
            }
        }
    };
    let client = async {
        let mut answers = String::new();
        for body in bodies {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!(
                "POST /v1/deploys HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            answers.push_str(head.split(' ').nth(1).unwrap());
            answers.push(' ');
            answers.push_str(body);
            answers.push('\n');
        }
        stop.cancel();
        answers
    };
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let (served, answers, stored) = tokio::join!(serving.into_future(), client, stored);
    served.unwrap();
    (answers, stored)
}

async fn check(store: Store, bodies: &[&str], expected: &Expect) -> ContextCell {
    let context = ContextCell::default();
    let (answers, stored) = post(&context, store, bodies).await;
    expected
        .assert_eq(&format!("{answers}stored {stored}, known {}", context.load().deploys().len()));
    context
}

#[tokio::test]
async fn a_deploy_is_stored_before_it_is_acknowledged_and_then_joins() {
    let context = check(
        Store::Keeps,
        &["service=shop deploy_id=d1 commit=aaa111", "service=shop deploy_id=d1 commit=aaa111"],
        &expect![[r#"
            202 {"accepted":[{"action":"deployed","commit":"aaa111","deploy_id":"d1","deployed_at":"2026-11-18T11:06:40.000Z","service":"shop"}],"ignored":[],"repeated":[]}
            200 {"accepted":[],"ignored":[],"repeated":["d1"]}
            stored 1, known 1"#]],
    )
    .await;
    let served = Served {
        service: "shop",
        environment: None,
        version: None,
        deploy_id: None,
        event_time: EventTime(NOW_MS + 1),
    };
    assert_eq!(context.load().deploys().current(&served).unwrap().deploy_id, "d1");
}

#[tokio::test]
async fn one_mistake_refuses_the_whole_body_and_says_what_where_why_and_what_next() {
    check(
        Store::Keeps,
        &["{\"service\":\"shop\",\"deploy_id\":\"d1\"}\n{\"service\":\"shop\"}"],
        &expect![[r#"
            400 {"problems":[{"line":2,"next":"name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as 2026-11-20T08:00:00Z)","what":"the deploy is not taken","why":"missing field `deploy_id`"}]}
            stored 0, known 0"#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged() {
    for (store, expected) in [
        (
            Store::Fails,
            &expect![[r#"
                503 {"problems":[{"next":"send it again; nothing of it counts so far","what":"the deploys are not taken","why":"the disk is full"}]}
                stored 0, known 0"#]],
        ),
        (
            Store::IsGone,
            &expect![[r#"
                503 {"problems":[{"next":"send it again; nothing of it counts so far","what":"the deploys are not taken","why":"the process is ending"}]}
                stored 0, known 0"#]],
        ),
    ] {
        check(store, &["service=shop deploy_id=d1"], expected).await;
    }
}

#[tokio::test]
async fn an_event_that_is_no_deploy_is_answered_well() {
    check(
        Store::Keeps,
        &[r#"{"context":{"id":"1","type":"dev.cdevents.build.started.0.2.0"},"subject":{"id":"p"}}"#],
        &expect![[r#"
            200 {"accepted":[],"ignored":[{"what":"dev.cdevents.build.started.0.2.0","why":"only dev.cdevents.service.{deployed,upgraded,rolledback,removed} say what runs"}],"repeated":[]}
            stored 0, known 0"#]],
    )
    .await;
}
