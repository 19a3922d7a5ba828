use expect_test::{Expect, expect};
use schemas::EventTime;

use super::parse_deploys;

const RECEIVED: EventTime = EventTime(1_795_000_000_000);

#[track_caller]
fn check(body: &str, expected: &Expect) {
    let text = match parse_deploys(body, RECEIVED) {
        Ok(understood) => {
            let deploys = understood.deploys.iter().map(|d| serde_json::to_string(d).unwrap());
            let ignored = understood.ignored.iter().map(|i| format!("ignored {}", i.what));
            deploys.chain(ignored).collect::<Vec<_>>().join("\n")
        }
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn canonical_json_one_or_many() {
    check(
        r#"{"service":"shop","deploy_id":"d1","deployed_at":"2026-11-20T08:00:00Z","version":"1.4.2"}"#,
        &expect![[
            r#"{"service":"shop","deploy_id":"d1","deployed_at":"2026-11-20T08:00:00.000Z","version":"1.4.2","action":"deployed"}"#
        ]],
    );
    check(
        "{\"service\":\"shop\",\"deploy_id\":\"d1\"}\n{\"service\":\"shop\",\"deploy_id\":\"d2\",\"action\":\"rolledback\"}\n",
        &expect![[r#"
            {"service":"shop","deploy_id":"d1","deployed_at":"2026-11-18T11:06:40.000Z","action":"deployed"}
            {"service":"shop","deploy_id":"d2","deployed_at":"2026-11-18T11:06:40.000Z","action":"rolledback"}"#]],
    );
    check(
        r#"[{"service":"shop","deploy_id":"d1"}, {"service":"cart","deploy_id":"d1"}]"#,
        &expect![[r#"
            {"service":"shop","deploy_id":"d1","deployed_at":"2026-11-18T11:06:40.000Z","action":"deployed"}
            {"service":"cart","deploy_id":"d1","deployed_at":"2026-11-18T11:06:40.000Z","action":"deployed"}"#]],
    );
}

#[test]
fn the_short_form_of_a_shell() {
    check(
        "service=shop deploy_id=d2 version=1.4.2 commit=bbb222 environment=production",
        &expect![[
            r#"{"service":"shop","environment":"production","deploy_id":"d2","deployed_at":"2026-11-18T11:06:40.000Z","version":"1.4.2","commit":"bbb222","action":"deployed"}"#
        ]],
    );
    check(
        "service=shop&deploy_id=d2&repository=https%3A%2F%2Fgit.example%2Fshop&owner=team+shop",
        &expect![[
            r#"{"service":"shop","deploy_id":"d2","deployed_at":"2026-11-18T11:06:40.000Z","repository":"https://git.example/shop","owner":"team shop","action":"deployed"}"#
        ]],
    );
}

const BARE: &str = r#"{
  "context": {"specversion": "0.5.1", "id": "271069a8-fc18-44f1-b38f-9d70a1695819", "chainId": "c-7",
    "source": "/ci/prod", "type": "dev.cdevents.service.upgraded.0.3.0", "timestamp": "2026-11-20T09:30:00+01:00"},
  "subject": {"id": "shop", "source": "/k8s", "type": "service", "content": {
    "environment": {"id": "production"},
    "artifactId": "pkg:oci/shop@sha256%3A0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427?repository_url=registry.example%2Fshop&tag=1.4.2"}},
  "customData": {"commit": "bbb222", "owner": "team-shop", "else": 1}
}"#;

#[test]
fn a_cdevent_bare_and_in_a_cloudevent() {
    check(
        BARE,
        &expect![[
            r#"{"service":"shop","environment":"production","deploy_id":"271069a8-fc18-44f1-b38f-9d70a1695819","deployed_at":"2026-11-20T08:30:00.000Z","version":"1.4.2","commit":"bbb222","repository":"registry.example/shop","pipeline_run":"c-7","owner":"team-shop","action":"upgraded"}"#
        ]],
    );
    let cloud = format!(
        r#"{{"specversion":"1.0","id":"x","source":"/ci","type":"dev.cdevents.service.upgraded.0.3.0","data":{BARE}}}"#
    );
    assert_eq!(parse_deploys(&cloud, RECEIVED), parse_deploys(BARE, RECEIVED));
}

#[test]
fn an_event_that_is_no_deploy_is_ignored_and_said_so() {
    check(
        r#"{"context":{"id":"1","type":"dev.cdevents.pipelinerun.finished.0.2.0","timestamp":"2026-11-20T08:00:00Z"},"subject":{"id":"p"}}"#,
        &expect!["ignored dev.cdevents.pipelinerun.finished.0.2.0"],
    );
}

#[test]
fn mistakes_say_where_why_and_what_next() {
    check(
        "{\"service\":\"shop\",\"deploy_id\":\"d1\",\"deployed_at\":\"2026-11-20T08:00:00Z\"}\n{\"service\":\"shop\",\n \"deploy_id\":\"d2\",\"deployed_at\":\"yesterday\"}",
        &expect![
            "line 3, column 44: the deploy is not taken: `yesterday` is not a time; write RFC 3339, such as 2026-11-20T08:00:00.000Z; next: correct the time, or leave it out where the deploy is posted as it happens"
        ],
    );
    check(
        r#"[{"service":"shop","deploy_id":"d1","deployed_at":"2026-11-20T08:00:00Z","comit":"a"}]"#,
        &expect![
            "line 1, column 80: the deploy is not taken: unknown field `comit`, expected one of `service`, `environment`, `deploy_id`, `deployed_at`, `version`, `commit`, `change_id`, `repository`, `pipeline_run`, `owner`, `action`; next: correct the name of the field, or leave it out"
        ],
    );
    check(
        r#"{"service":"shop"}"#,
        &expect![
            "line 1: the deploy is not taken: missing field `deploy_id`; next: name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as 2026-11-20T08:00:00Z)"
        ],
    );
    check(
        "hello there",
        &expect![
            "line 1: the deploy is not taken: `hello` is neither JSON nor `name=value`; next: name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as 2026-11-20T08:00:00Z)"
        ],
    );
    check(
        "  \n",
        &expect![
            "the deploy is not taken: the body is empty; next: name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as 2026-11-20T08:00:00Z)"
        ],
    );
    check(
        r#"{"service":"","deploy_id":"d"}"#,
        &expect![
            "line 1: the deploy is not taken: `service` is empty; next: name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as 2026-11-20T08:00:00Z)"
        ],
    );
    check(
        r#"{"service":"shop",}"#,
        &expect![
            "line 1, column 19: the deploy is not taken: not JSON: key must be a string; next: send one JSON object a line, a JSON array, or `service=… deploy_id=…`"
        ],
    );
}

#[test]
fn the_template_for_argo_cd_in_the_documentation_makes_a_deploy() {
    let page = include_str!("../../../../docs/deploys.md");
    let body = page.split_once("      body: |\n").unwrap().1.split_once("```").unwrap().0;
    let filled = [
        (".app.metadata.name", "shop"),
        (".app.metadata.namespace", "argocd"),
        (".app.spec.destination.namespace", "production"),
        (".app.spec.source.repoURL", "https://git.example.com/acme/shop.git"),
        (".app.status.operationState.syncResult.revision", "bbb222"),
        (".app.status.operationState.finishedAt", "2026-11-20T08:00:00Z"),
    ]
    .into_iter()
    .fold(body.to_owned(), |body, (name, value)| body.replace(&format!("{{{{{name}}}}}"), value));
    let understood = parse_deploys(&filled, EventTime(0)).unwrap();
    expect![[r#"{"service":"shop","environment":"production","deploy_id":"shop@bbb222/2026-11-20T08:00:00Z","deployed_at":"2026-11-20T08:00:00.000Z","commit":"bbb222","repository":"https://git.example.com/acme/shop.git","action":"deployed"}"#]]
        .assert_eq(&serde_json::to_string(&understood.deploys[0]).unwrap());
}
