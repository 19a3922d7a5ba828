use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use expect_test::{Expect, expect};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use runtime::clock::{Clock, ManualClock};
use runtime::config::Secret;
use runtime::http::axum::body::{Body, to_bytes};
use runtime::http::axum::extract::State;
use runtime::http::axum::http::{HeaderMap, HeaderName, HeaderValue};
use runtime::metrics::Metrics;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinSet;

use super::{Hook, Sender, WebhooksConfig, take};
use crate::context::ContextCell;
use crate::deploys::DeploysEndpoint;
use crate::metrics::EnrichMetrics;

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// 2019-05-15T15:21:00Z, five seconds after the deploy in GitHub's own example.
const NOW_MS: i64 = 1_557_933_660_000;

/// A sender's route with a store that keeps everything, or nothing.
struct Bench {
    hook: Hook,
    hand: ManualClock,
    context: ContextCell,
    /// The store ends with the bench.
    _store: JoinSet<()>,
}

impl Bench {
    fn new(sender: Sender, secret: Option<&str>, keeps: bool) -> Self {
        let hand = Clock::manual(NOW_MS);
        let context = ContextCell::default();
        let metrics = EnrichMetrics::new(&Metrics::new());
        let (endpoint, mut accepted) = DeploysEndpoint::new(context.clone(), hand.clock(), metrics);
        let mut store = JoinSet::new();
        store.spawn(async move {
            while let Some(deploys) = accepted.recv().await {
                if keeps { deploys.stored() } else { deploys.failed("the disk is full") }
            }
        });
        let services = BTreeMap::from([("Codertocat/Mapped".to_owned(), "shop".to_owned())]);
        let secret = secret.map(Secret::new);
        let repeats = std::sync::Arc::default();
        let hook = Hook { sender, secret, services: services.into(), endpoint, repeats };
        Self { hook, hand, context, _store: store }
    }

    /// Status and answer.
    async fn send(&self, headers: &[(&'static str, &str)], body: &[u8]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let answer = take(State(self.hook.clone()), map, Body::from(body.to_vec())).await;
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        format!("{status} {}", String::from_utf8(body.to_vec()).unwrap())
    }

    fn known(&self) -> usize {
        self.context.load().deploys().len()
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex_signature(body: &[u8]) -> String {
    let digits: String =
        mac(KEY.as_bytes(), &[body]).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// The example of GitHub's documentation, without the addresses that nothing is made of.
fn github() -> Value {
    json!({
        "action": "created",
        "deployment_status": {
            "id": 209_916_254, "state": "success", "description": "", "environment": "production",
            "target_url": "", "created_at": "2019-05-15T15:20:55Z",
            "updated_at": "2019-05-15T15:20:55Z", "creator": {"login": "Codertocat"},
        },
        "deployment": {
            "id": 145_988_746, "sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e", "ref": "master",
            "task": "deploy", "payload": {}, "original_environment": "production",
            "environment": "production", "description": null,
            "created_at": "2019-05-15T15:20:53Z", "updated_at": "2019-05-15T15:20:55Z",
        },
        "repository": {
            "id": 186_853_002, "name": "Hello-World", "full_name": "Codertocat/Hello-World",
            "private": false,
        },
        "sender": {"login": "Codertocat"},
    })
}

async fn send_github(bench: &Bench, delivery: &str, body: &Value) -> String {
    let body = body.to_string();
    let signature = hex_signature(body.as_bytes());
    let headers = [
        ("x-github-event", "deployment_status"),
        ("x-github-delivery", delivery),
        ("x-hub-signature-256", &signature),
    ];
    bench.send(&headers, body.as_bytes()).await
}

#[track_caller]
fn same(answer: &str, expected: &Expect) {
    expected.assert_eq(answer);
}

#[tokio::test]
async fn a_signed_deployment_status_of_github_is_a_deploy() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    same(
        &send_github(&bench, "72d3162e-cc78-11e3-81ab-4c9367dc0958", &github()).await,
        &expect![[
            r#"202 {"accepted":[{"action":"deployed","commit":"f95f852bd8fca8fcc58a9a2d6c842781e32a215e","deploy_id":"145988746","deployed_at":"2019-05-15T15:20:55.000Z","environment":"production","repository":"Codertocat/Hello-World","service":"Hello-World"}],"ignored":[],"repeated":[]}"#
        ]],
    );
    assert_eq!(bench.known(), 1);
}

#[tokio::test]
async fn the_payload_of_a_deployment_and_the_configuration_say_what_github_cannot() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    let mut body = github();
    body["repository"]["full_name"] = "Codertocat/Mapped".into();
    body["workflow_run"] = json!({"id": 990});
    body["deployment"]["payload"] =
        json!({"version": "1.4.2", "owner": "team-shop", "change_id": 481});
    same(
        &send_github(&bench, "1", &body).await,
        &expect![[
            r#"202 {"accepted":[{"action":"deployed","commit":"f95f852bd8fca8fcc58a9a2d6c842781e32a215e","deploy_id":"145988746","deployed_at":"2019-05-15T15:20:55.000Z","environment":"production","owner":"team-shop","pipeline_run":"990","repository":"Codertocat/Mapped","service":"shop","version":"1.4.2"}],"ignored":[],"repeated":[]}"#
        ]],
    );
}

#[tokio::test]
async fn what_is_not_signed_with_the_secret_is_not_looked_at() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    let body = github().to_string();
    let signature = hex_signature(body.as_bytes());
    let other = hex_signature(b"another body");
    let upper = signature.to_uppercase();
    let mut answers = Vec::new();
    for headers in [
        vec![],
        vec![("x-hub-signature-256", other.as_str())],
        vec![("x-hub-signature-256", upper.as_str())],
        vec![("x-hub-signature-256", "sha256=12zz")],
        vec![("x-hub-signature-256", signature.get(..69).unwrap())],
        vec![("x-hub-signature", signature.as_str())],
    ] {
        let answer = bench.send(&headers, body.as_bytes()).await;
        let answer: Value = serde_json::from_str(answer.strip_prefix("401 ").unwrap()).unwrap();
        answers.push(answer["problems"][0]["why"].as_str().unwrap().to_owned());
    }
    let not_json = bench.send(&[("x-hub-signature-256", &other)], b"{").await;
    assert!(not_json.starts_with("401 "), "{not_json}");
    assert_eq!(bench.known(), 0);
    same(
        &answers.join("\n"),
        &expect![[r#"
            GitHub did not send this: the header x-hub-signature-256 is missing
            GitHub did not send this: the header x-hub-signature-256 does not fit secret and body
            GitHub did not send this: the header x-hub-signature-256 is malformed
            GitHub did not send this: the header x-hub-signature-256 is malformed
            GitHub did not send this: the header x-hub-signature-256 does not fit secret and body
            GitHub did not send this: the header x-hub-signature-256 is missing"#]],
    );
}

#[tokio::test]
async fn a_repeat_changes_nothing_whatever_its_delivery_id() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    let first = send_github(&bench, "1", &github()).await;
    assert!(first.starts_with("202 "), "{first}");
    let taken = r#"200 {"accepted":[],"ignored":[{"what":"GitHub delivery","why":"this delivery was taken before"}],"repeated":[]}"#;
    assert_eq!(send_github(&bench, "1", &github()).await, taken);
    assert_eq!(send_github(&bench, "2", &github()).await, taken);
    // Another status of the same deployment, an hour later: the deploy is known.
    bench.hand.advance_ms(3_600_000);
    let mut later = github();
    later["deployment_status"]["created_at"] = "2019-05-15T16:20:55Z".into();
    assert_eq!(
        send_github(&bench, "3", &later).await,
        r#"200 {"accepted":[],"ignored":[],"repeated":["145988746"]}"#
    );
    assert_eq!(bench.known(), 1);
}

#[tokio::test]
async fn what_could_not_be_stored_is_no_repeat_when_it_comes_again() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), false);
    for _ in 0..2 {
        let answer = send_github(&bench, "1", &github()).await;
        assert!(answer.starts_with("503 "), "{answer}");
    }
}

#[tokio::test]
async fn old_news_and_news_from_the_future_are_refused() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    let day_ms = 24 * 3_600_000;
    bench.hand.advance_ms(4 * day_ms);
    let old = send_github(&bench, "1", &github()).await;
    bench.hand.advance_ms(-5 * day_ms);
    let early = send_github(&bench, "1", &github()).await;
    same(
        &format!("{old}\n{early}"),
        &expect![[r#"
            400 {"problems":[{"next":"where it did happen then, post it to /v1/deploys of the admin endpoint","what":"the deploy is not taken","why":"it is of 2019-05-15T15:20:55.000Z, more than three days ago: it may be a replay"}]}
            400 {"problems":[{"next":"set the clocks of both machines","what":"the deploy is not taken","why":"it is of 2019-05-15T15:20:55.000Z, which is to come; here it is 2019-05-14T15:21:00.000Z"}]}"#]],
    );
    assert_eq!(bench.known(), 0);
}

#[tokio::test]
async fn other_states_and_events_are_answered_well_with_a_reason() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    let mut answers = Vec::new();
    for state in ["pending", "in_progress", "failure", "inactive"] {
        let mut body = github();
        body["deployment_status"]["state"] = state.into();
        answers.push(send_github(&bench, state, &body).await);
    }
    let ping = br#"{"zen":"Keep it logically awesome."}"#;
    let signature = hex_signature(ping);
    let headers = [("x-github-event", "ping"), ("x-hub-signature-256", &signature)];
    answers.push(bench.send(&headers, ping).await);
    same(
        &answers.join("\n"),
        &expect![[r#"
            200 {"accepted":[],"ignored":[{"what":"deployment_status pending","why":"only the state `success` says what runs"}],"repeated":[]}
            200 {"accepted":[],"ignored":[{"what":"deployment_status in_progress","why":"only the state `success` says what runs"}],"repeated":[]}
            200 {"accepted":[],"ignored":[{"what":"deployment_status failure","why":"only the state `success` says what runs"}],"repeated":[]}
            200 {"accepted":[],"ignored":[{"what":"deployment_status inactive","why":"only the state `success` says what runs"}],"repeated":[]}
            200 {"accepted":[],"ignored":[{"what":"event ping","why":"only the event `deployment_status` says what runs"}],"repeated":[]}"#]],
    );
}

#[tokio::test]
async fn a_body_that_is_signed_but_not_understood_says_what_is_wrong() {
    let bench = Bench::new(Sender::GitHub, Some(KEY), true);
    let form = b"payload=%7B%7D";
    let signature = hex_signature(form);
    let form = bench.send(&[("x-hub-signature-256", &signature)], form).await;
    let mut body = github();
    body["deployment"].as_object_mut().unwrap().remove("id");
    let lacks = send_github(&bench, "1", &body).await;
    same(
        &format!("{form}\n{lacks}"),
        &expect![[r#"
            400 {"problems":[{"next":"let the webhook send `application/json`","what":"the deploy is not taken","why":"not JSON: expected value"}]}
            400 {"problems":[{"next":"see docs/deploys.md for what the webhook is to send","what":"the deploy is not taken","why":"the body of GitHub has no `deployment.id`"}]}"#]],
    );
}

#[tokio::test]
async fn a_sender_without_a_secret_is_told_what_to_configure() {
    for (sender, expected) in [
        (
            Sender::GitHub,
            expect![[
                r#"404 {"problems":[{"next":"set `context.webhooks.github_secret` to the secret of the webhook","what":"the deploys are not taken","why":"no deploys are taken from GitHub here: it has no secret"}]}"#
            ]],
        ),
        (
            Sender::GitLab,
            expect![[
                r#"404 {"problems":[{"next":"set `context.webhooks.gitlab_secret` to the token of the webhook","what":"the deploys are not taken","why":"no deploys are taken from GitLab here: it has no secret"}]}"#
            ]],
        ),
        (
            Sender::Flux,
            expect![[
                r#"404 {"problems":[{"next":"set `context.webhooks.flux_secret` to the `token` of the provider","what":"the deploys are not taken","why":"no deploys are taken from Flux here: it has no secret"}]}"#
            ]],
        ),
    ] {
        same(&Bench::new(sender, None, true).send(&[], b"{}").await, &expected);
    }
}

/// The example of GitLab's documentation, without the addresses that nothing is made of.
fn gitlab() -> Value {
    json!({
        "object_kind": "deployment", "status": "success",
        "status_changed_at": "2019-05-15 17:20:55 +0200", "deployment_id": 15,
        "deployable_id": 796,
        "deployable_url": "http://10.126.0.2:3000/root/test-deployment-webhooks/-/jobs/796",
        "environment": "staging", "environment_tier": "staging", "environment_slug": "staging",
        "environment_external_url": "https://staging.example.com",
        "project": {
            "id": 30, "name": "test-deployment-webhooks", "namespace": "Administrator",
            "path_with_namespace": "root/test-deployment-webhooks", "default_branch": "master",
        },
        "short_sha": "279484c0",
        "user": {"id": 1, "name": "Administrator", "username": "root"},
        "commit_url": "http://10.126.0.2:3000/root/test-deployment-webhooks/-/commit/279484c09fbe69ededfced8c1bb6e6d24616b468",
        "commit_title": "Add new file",
    })
}

#[tokio::test]
async fn a_deployment_hook_of_gitlab_shows_the_token() {
    let bench = Bench::new(Sender::GitLab, Some(KEY), true);
    let body = gitlab().to_string();
    let token = |token| [("x-gitlab-event", "Deployment Hook"), ("x-gitlab-token", token)];
    let wrong = bench.send(&token("0123456789abcdef0123456789abcdeF"), body.as_bytes()).await;
    let missing = bench.send(&[("x-gitlab-event", "Deployment Hook")], body.as_bytes()).await;
    let right = bench.send(&token(KEY), body.as_bytes()).await;
    let mut running = gitlab();
    running["status"] = "running".into();
    let running = bench.send(&token(KEY), running.to_string().as_bytes()).await;
    same(
        &[wrong, missing, right, running].join("\n"),
        &expect![[r#"
            401 {"problems":[{"next":"give the webhook at GitLab the secret token, or the signing token, of `context.webhooks.gitlab_secret`","what":"the deploys are not taken","why":"GitLab did not send this: the header x-gitlab-token does not fit secret and body"}]}
            401 {"problems":[{"next":"give the webhook at GitLab the secret token, or the signing token, of `context.webhooks.gitlab_secret`","what":"the deploys are not taken","why":"GitLab did not send this: the header x-gitlab-token is missing"}]}
            202 {"accepted":[{"action":"deployed","commit":"279484c09fbe69ededfced8c1bb6e6d24616b468","deploy_id":"15","deployed_at":"2019-05-15T15:20:55.000Z","environment":"staging","pipeline_run":"796","repository":"root/test-deployment-webhooks","service":"test-deployment-webhooks"}],"ignored":[],"repeated":[]}
            200 {"accepted":[],"ignored":[{"what":"deployment running","why":"only the status `success` says what runs"}],"repeated":[]}"#]],
    );
}

#[tokio::test]
async fn a_signing_token_of_gitlab_signs_id_time_and_body() {
    let key = [7_u8; 32];
    let secret = format!("whsec_{}", STANDARD.encode(key));
    let bench = Bench::new(Sender::GitLab, Some(&secret), true);
    let body = gitlab().to_string();
    let sign = |id: &str, time: &str| {
        let tag = mac(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", body.as_bytes()]);
        format!("v1,AAAA v1,{}", STANDARD.encode(tag))
    };
    let now = (NOW_MS / 1000).to_string();
    let stale = (NOW_MS / 1000 - 301).to_string();
    let (good, old) = (sign("m1", &now), sign("m1", &stale));
    let send = |id, time, signature| {
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", time),
            ("webhook-signature", signature),
            ("x-gitlab-token", secret.as_str()),
        ];
        let (bench, body) = (&bench, body.as_bytes());
        async move { bench.send(&headers, body).await }
    };
    for (answer, why) in [
        (send("m2", &now, &good).await, "webhook-signature does not fit"),
        (send("m1", &stale, &good).await, "webhook-signature does not fit"),
        (send("m1", &stale, &old).await, "time in webhook-timestamp is more than 5 minutes"),
        (send("m1", &now, "v1,").await, "webhook-signature does not fit"),
    ] {
        assert!(answer.starts_with("401 ") && answer.contains(why), "{answer}");
    }
    let answer = send("m1", &now, &good).await;
    assert!(answer.starts_with("202 "), "{answer}");
    assert_eq!(bench.known(), 1);
}

/// An event as Flux's documentation shows it.
fn flux(kind: &str, reason: &str, revision: &str) -> Value {
    let group = if kind == "HelmRelease" { "helm" } else { "kustomize" };
    json!({
        "involvedObject": {
            "apiVersion": format!("{group}.toolkit.fluxcd.io/v1"), "kind": kind, "name": "webapp",
            "namespace": "apps", "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632",
        },
        "metadata": {
            format!("{group}.toolkit.fluxcd.io/revision"): revision,
            "env": "production", "owner": "team-shop",
        },
        "severity": "info", "reason": reason, "message": "Reconciliation finished in 2s",
        "reportingController": format!("{group}-controller"),
        "timestamp": "2019-05-15T15:20:55Z",
    })
}

#[tokio::test]
async fn signed_events_of_flux_are_deploys_where_something_runs_now() {
    let bench = Bench::new(Sender::Flux, Some(KEY), true);
    let commit = "731f7eaddfb6af01cb2173e18f0f75b0ba780ef1";
    let mut answers = Vec::new();
    for body in [
        flux("Kustomization", "ReconciliationSucceeded", &format!("main@sha1:{commit}")),
        flux("Kustomization", "ValidationFailed", &format!("main/{commit}")),
        flux("HelmRelease", "UpgradeSucceeded", "6.5.4"),
        flux("HelmRelease", "RollbackSucceeded", "6.5.3"),
    ] {
        let body = body.to_string();
        let signature = hex_signature(body.as_bytes());
        answers.push(bench.send(&[("x-signature", &signature)], body.as_bytes()).await);
    }
    let unsigned = bench.send(&[], b"{}").await;
    assert!(unsigned.starts_with("401 "), "{unsigned}");
    same(
        &answers.join("\n"),
        &expect![[r#"
            202 {"accepted":[{"action":"deployed","commit":"731f7eaddfb6af01cb2173e18f0f75b0ba780ef1","deploy_id":"apps/webapp@main@sha1:731f7eaddfb6af01cb2173e18f0f75b0ba780ef1","deployed_at":"2019-05-15T15:20:55.000Z","environment":"production","owner":"team-shop","service":"webapp"}],"ignored":[],"repeated":[]}
            200 {"accepted":[],"ignored":[{"what":"Kustomization ValidationFailed","why":"only a reconciliation, installation, upgrade, rollback or removal that succeeded says what runs"}],"repeated":[]}
            202 {"accepted":[{"action":"upgraded","deploy_id":"apps/webapp@6.5.4/2019-05-15T15:20:55.000Z","deployed_at":"2019-05-15T15:20:55.000Z","environment":"production","owner":"team-shop","service":"webapp"}],"ignored":[],"repeated":[]}
            202 {"accepted":[{"action":"rolledback","deploy_id":"apps/webapp@6.5.3/2019-05-15T15:20:55.000Z","deployed_at":"2019-05-15T15:20:55.000Z","environment":"production","owner":"team-shop","service":"webapp"}],"ignored":[],"repeated":[]}"#]],
    );
}

#[test]
fn secrets_that_can_be_guessed_or_do_nothing_are_refused_at_the_start() {
    let check = |json: Value| -> String {
        let config: WebhooksConfig = serde_json::from_value(json).unwrap();
        config.check().map_or("good".to_owned(), |(key, why)| format!("{key}: {why}"))
    };
    same(
        &[
            check(json!({})),
            check(json!({"listen": "0.0.0.0:7072", "github_secret": KEY})),
            check(json!({"github_secret": "short"})),
            check(json!({"gitlab_secret": "whsec_not base64 at all"})),
            check(json!({"listen": "0.0.0.0:7072"})),
            check(json!({"flux_secret": KEY, "services": {"apps/webapp": " "}})),
        ]
        .join("\n"),
        &expect![[r#"
            good
            good
            github_secret: a secret of less than 16 bytes can be guessed; `openssl rand -hex 32` makes a good one
            gitlab_secret: `whsec_` is followed by base64 in a signing token of GitLab; copy it again, with all of its characters
            listen: nothing could be taken there; set `github_secret`, `gitlab_secret` or `flux_secret`, best as `{ file = "…" }`
            services.apps/webapp: the name of a service is not empty"#]],
    );
}

proptest! {
    #[test]
    fn no_flipped_bit_passes(place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let body = github().to_string();
        let signature = hex_signature(body.as_bytes());
        let mut changed = body.clone().into_bytes();
        changed[place.index(body.len())] ^= 1 << bit;
        let mut headers = HeaderMap::new();
        headers.insert("x-hub-signature-256", HeaderValue::from_str(&signature).unwrap());
        let secret = Secret::new(KEY);
        prop_assert_eq!(super::github::prove(&secret, &headers, body.as_bytes()), Ok(()));
        prop_assert_eq!(super::github::prove(&secret, &headers, &changed).is_err(), true);
    }
}
