//! Against a server that answers as the documentation of the API says: lists of `apps/v1` with
//! `limit` and `continue`, objects as the Deployment controller writes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use expect_test::{Expect, expect};
use runtime::clock::{Clock, ManualClock};
use runtime::http::axum::extract::{Query, State};
use runtime::http::axum::http::{HeaderMap, StatusCode, Uri};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::{Json, Router, serve};
use runtime::metrics::Metrics;
use schemas::EventTime;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{KubernetesConfig, KubernetesPull};
use crate::context::ContextCell;
use crate::deploys::DeploysEndpoint;
use crate::metrics::EnrichMetrics;

/// 2026-11-20T08:00:00Z
const NOW_MS: i64 = 1_795_161_600_000;

#[derive(Debug, Default)]
struct Cluster {
    deployments: Vec<Value>,
    replica_sets: Vec<Value>,
    asked: Vec<String>,
    trouble: Option<(u16, &'static str)>,
}

type Shared = Arc<Mutex<Cluster>>;

async fn listed(
    State(cluster): State<Shared>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut cluster = cluster.lock().unwrap();
    let who = headers["authorization"].to_str().unwrap().to_owned();
    let labels = query.get("labelSelector").map(|labels| format!(" {labels}"));
    cluster.asked.push(format!("{} as {who}{}", uri.path(), labels.unwrap_or_default()));
    if let Some((status, text)) = cluster.trouble {
        let status = StatusCode::from_u16(status).unwrap();
        let body = json!({ "kind": "Status", "status": "Failure", "message": text });
        return (status, Json(body)).into_response();
    }
    let (kind, all) = if uri.path().ends_with("/deployments") {
        ("DeploymentList", &cluster.deployments)
    } else {
        ("ReplicaSetList", &cluster.replica_sets)
    };
    // Two a page, whatever is asked for.
    let start: usize = query.get("continue").map_or(0, |rest| rest.parse().unwrap());
    let items: Vec<&Value> = all.iter().skip(start).take(2).collect();
    let mut metadata = json!({ "resourceVersion": "10245" });
    if start + items.len() < all.len() {
        metadata["continue"] = json!((start + items.len()).to_string());
        metadata["remainingItemCount"] = json!(all.len() - start - items.len());
    }
    let list =
        json!({ "kind": kind, "apiVersion": "apps/v1", "metadata": metadata, "items": items });
    Json(list).into_response()
}

fn deployment(name: &str, revision: &str, progressed: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "prod", "uid": format!("uid-{name}"), "generation": 2,
            "annotations": { "deployment.kubernetes.io/revision": revision },
        },
        "spec": { "replicas": 2 },
        "status": {
            "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
            "conditions": [
                { "type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                  "lastUpdateTime": "2026-11-20T05:00:00Z" },
                { "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                  "lastUpdateTime": progressed },
            ],
        },
    })
}

fn replica_set(of: &str, revision: &str, created: &str, image: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("{of}-{revision}"), "namespace": "prod",
            "uid": format!("uid-{of}-{revision}"), "creationTimestamp": created,
            "annotations": { "deployment.kubernetes.io/revision": revision },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": of,
                "uid": format!("uid-{of}"), "controller": true, "blockOwnerDeletion": true }],
        },
        "spec": { "replicas": 0, "template": {
            "metadata": { "labels": { "app": of } },
            "spec": { "containers": [{ "name": of, "image": image }] },
        } },
        "status": { "replicas": 0 },
    })
}

struct Bench {
    cluster: Shared,
    pull: KubernetesPull,
    hand: ManualClock,
    context: ContextCell,
    base: String,
    folder: tempfile::TempDir,
    /// The server and the storing end with the bench.
    tasks: JoinSet<()>,
}

fn config(settings: Value) -> KubernetesConfig {
    serde_json::from_value(settings).unwrap()
}

impl Bench {
    async fn new(settings: Value) -> Self {
        let cluster = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(listed).with_state(Arc::clone(&cluster));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serve(listener, router).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "first\n").unwrap();
        let mut all = json!({ "url": base, "token_file": "token" });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let hand = Clock::manual(NOW_MS);
        let context = ContextCell::default();
        let metrics = EnrichMetrics::new(&Metrics::new());
        let (endpoint, mut accepted) = DeploysEndpoint::new(context.clone(), hand.clock(), metrics);
        tasks.spawn(async move {
            while let Some(request) = accepted.recv().await {
                request.stored();
            }
        });
        let pull = KubernetesPull::new(config(all), folder.path(), endpoint, hand.clock());
        Self { cluster, pull, hand, context, base, folder, tasks }
    }

    async fn pulled(&mut self) -> String {
        let told = match self.pull.pull().await {
            Ok(deployments) => format!("{deployments} deployments"),
            Err(error) => error.to_string().replace(&self.base, "https://cluster"),
        };
        let asked = std::mem::take(&mut self.cluster.lock().unwrap().asked);
        format!("{told}; asked {}", asked.join(", "))
    }

    /// The history, one line a deploy.
    fn history(&self) -> String {
        let records = self.context.load().deploys().history(EventTime(self.hand.clock().unix_ms()));
        let mut lines = String::new();
        for record in records {
            let deploy = record.deploy;
            let more = [&deploy.environment, &deploy.version, &deploy.commit, &deploy.owner];
            let more: Vec<&str> =
                more.into_iter().map(|text| text.as_deref().unwrap_or("-")).collect();
            lines.push_str(&format!(
                "{} {} at {} {}: {}\n",
                deploy.service,
                deploy.deploy_id,
                deploy.deployed_at,
                more.join(" "),
                record.state.name()
            ));
        }
        lines
    }
}

#[tokio::test]
async fn replica_sets_are_deploys_and_one_that_is_gone_back_to_is_a_rollback() {
    let mut bench = Bench::new(json!({ "environment": "production" })).await;
    {
        let mut cluster = bench.cluster.lock().unwrap();
        cluster.deployments = vec![
            deployment("shop", "3", "2026-11-20T07:30:20Z"),
            deployment("cart", "1", "2026-11-19T12:00:30Z"),
            deployment("empty", "1", "2026-11-19T12:00:30Z"),
        ];
        let mut first =
            replica_set("shop", "3", "2026-11-18T09:00:00Z", "registry:5000/shop:1.4.1");
        first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] = json!("1");
        let mut second =
            replica_set("shop", "2", "2026-11-20T07:00:00Z", "registry:5000/shop:1.4.2");
        second["spec"]["template"]["metadata"]["annotations"] =
            json!({ "tidegate.io/commit": "bbb222", "tidegate.io/owner": "team-shop" });
        let mut cart = replica_set("cart", "1", "2026-11-19T12:00:00Z", "cart@sha256:0123");
        cart["spec"]["template"]["metadata"]["labels"] =
            json!({ "app.kubernetes.io/name": "basket", "app.kubernetes.io/version": "7" });
        let mut alone = replica_set("cart", "9", "2026-11-19T12:00:00Z", "cart:9");
        alone["metadata"]["ownerReferences"] = json!([{ "kind": "Rollout", "uid": "uid-cart" }]);
        cluster.replica_sets = vec![first, second, cart, alone];
    }
    let told = bench.pulled().await;
    expect!["3 deployments; asked /apis/apps/v1/deployments as Bearer first, /apis/apps/v1/deployments as Bearer first, /apis/apps/v1/replicasets as Bearer first, /apis/apps/v1/replicasets as Bearer first"]
        .assert_eq(&told);
    expect![[r#"
        basket prod/cart@1-uid-cart at 2026-11-19T12:00:00.000Z production 7 - -: serving
        shop prod/shop@1-uid-shop at 2026-11-20T07:30:20.000Z production 1.4.1 - -: serving
        shop prod/shop@2-uid-shop at 2026-11-20T07:00:00.000Z production 1.4.2 bbb222 team-shop: rolled back
        shop prod/shop@1-uid-shop at 2026-11-18T09:00:00.000Z production 1.4.1 - -: superseded
    "#]].assert_eq(&bench.history());
}

#[tokio::test]
async fn what_is_gone_is_removed_and_the_token_is_read_anew() {
    let settings = json!({
        "namespace": "prod", "labels": "tier=web", "services": { "prod/shop": "shop-api" },
    });
    let mut bench = Bench::new(settings).await;
    {
        let mut cluster = bench.cluster.lock().unwrap();
        cluster.deployments = vec![deployment("shop", "1", "2026-11-20T07:00:20Z")];
        cluster.replica_sets = vec![replica_set("shop", "1", "2026-11-20T07:00:00Z", "shop:1")];
    }
    let mut lines = vec![bench.pulled().await, bench.history()];
    bench.hand.advance_ms(60_000);
    std::fs::write(bench.folder.path().join("token"), "second\n").unwrap();
    bench.cluster.lock().unwrap().deployments.clear();
    lines.extend([bench.pulled().await, bench.history()]);
    // And nothing is told twice.
    bench.hand.advance_ms(60_000);
    lines.extend([bench.pulled().await, bench.history()]);
    check(
        &lines,
        &expect![[r#"
        1 deployments; asked /apis/apps/v1/namespaces/prod/deployments as Bearer first tier=web, /apis/apps/v1/namespaces/prod/replicasets as Bearer first
        shop-api prod/shop@1-uid-shop at 2026-11-20T07:00:00.000Z - 1 - -: serving

        0 deployments; asked /apis/apps/v1/namespaces/prod/deployments as Bearer second tier=web, /apis/apps/v1/namespaces/prod/replicasets as Bearer second
        shop-api prod/shop@1-uid-shop at 2026-11-20T07:00:00.000Z - 1 - -: removed

        0 deployments; asked /apis/apps/v1/namespaces/prod/deployments as Bearer second tier=web, /apis/apps/v1/namespaces/prod/replicasets as Bearer second
        shop-api prod/shop@1-uid-shop at 2026-11-20T07:00:00.000Z - 1 - -: removed
    "#]],
    );
}

#[track_caller]
fn check(lines: &[String], expected: &Expect) {
    expected.assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn a_cluster_that_is_away_or_refuses_ends_nothing_and_is_named() {
    let mut bench = Bench::new(json!({})).await;
    {
        let mut cluster = bench.cluster.lock().unwrap();
        cluster.deployments = vec![deployment("shop", "1", "2026-11-20T07:00:20Z")];
        cluster.replica_sets = vec![replica_set("shop", "1", "2026-11-20T07:00:00Z", "shop:1")];
    }
    let mut lines = vec![bench.pulled().await];
    for (status, text) in [
        (401, "Unauthorized"),
        (403, "deployments.apps is forbidden"),
        (404, "not found"),
        (410, "The provided continue parameter is too old"),
    ] {
        bench.cluster.lock().unwrap().trouble = Some((status, text));
        lines.push(bench.pulled().await);
    }
    lines.push(bench.history());
    std::fs::remove_file(bench.folder.path().join("token")).unwrap();
    let folder = bench.folder.path().display().to_string();
    lines.push(bench.pulled().await.replace(&folder, ""));
    bench.tasks.abort_all();
    check(
        &lines,
        &expect![[r#"
        1 deployments; asked /apis/apps/v1/deployments as Bearer first, /apis/apps/v1/replicasets as Bearer first
        https://cluster/apis/apps/v1/deployments: the cluster is not read: it answered 401: {"kind":"Status","message":"Unauthorized","status":"Failure"}; next: see `token_file`: the server does not know the token; asked /apis/apps/v1/deployments as Bearer first
        https://cluster/apis/apps/v1/deployments: the cluster is not read: it answered 403: {"kind":"Status","message":"deployments.apps is forbidden","status":"Failure"}; next: let the service account get and list deployments and replicasets of `apps`; asked /apis/apps/v1/deployments as Bearer first
        https://cluster/apis/apps/v1/deployments: the cluster is not read: it answered 404: {"kind":"Status","message":"not found","status":"Failure"}; next: see `url`: it is the address of the API server alone; asked /apis/apps/v1/deployments as Bearer first
        https://cluster/apis/apps/v1/deployments: the cluster is not read: it answered 410: {"kind":"Status","message":"The provided continue parameter is too old","status":"Failure"}; next: the list has changed while it was read; it is read anew; asked /apis/apps/v1/deployments as Bearer first
        shop prod/shop@1-uid-shop at 2026-11-20T07:00:00.000Z - 1 - -: serving

        https://cluster: the cluster is not read: /token: No such file or directory (os error 2); next: set `token_file` of [context.kubernetes]; in a pod it is there unless `automountServiceAccountToken` is false; asked "#]],
    );
    let report = bench.context.load().report(NOW_MS + 1_000);
    let table = report.iter().find(|table| table.table == "kubernetes").unwrap();
    assert_eq!((table.rows, table.problems, table.age_s), (1, 1, Some(1.0)));
}

#[test]
fn a_wrong_setting_is_named_with_what_is_right() {
    let check = |settings: Value| {
        let (key, why) = config(settings).check().unwrap_or(("good".into(), String::new()));
        format!("{key}: {why}")
    };
    expect![[r#"
        good: 
        url: the token would travel in clear; use https
        every: less than a second would be a flood; write `15s`
        namespace: `a/b` is no name of a namespace
        services.shop: write `"namespace/name" = "service"`"#]]
    .assert_eq(
        &[
            check(json!({})),
            check(json!({ "url": "http://10.0.0.1:8080" })),
            check(json!({ "every": "10ms" })),
            check(json!({ "namespace": "a/b" })),
            check(json!({ "services": { "shop": "shop-api" } })),
        ]
        .join("\n"),
    );
    assert_eq!(config(json!({})).token_file, Path::new(super::ACCOUNT).join("token"));
}
