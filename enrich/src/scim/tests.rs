use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use expect_test::{Expect, expect};
use runtime::clock::{Clock, ManualClock};
use runtime::config::Secret;
use runtime::http::axum::extract::{Path, Query, State};
use runtime::http::axum::http::{HeaderMap, StatusCode};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::{Json, Router, routing, serve};
use runtime::metrics::Metrics;
use schemas::{Event, EventTime};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{ScimConfig, ScimPull};
use crate::context::ContextCell;
use crate::joiner::{JoinOptions, Joiner};
use crate::metrics::EnrichMetrics;

/// 2026-11-20T08:00:00Z
const NOW_MS: i64 = 1_795_161_600_000;

/// A directory that gives two resources a page, whatever it is asked for.
#[derive(Debug, Default)]
struct Fake {
    users: Vec<Value>,
    groups: Vec<Value>,
    /// What it answers instead.
    trouble: Option<(u16, &'static str)>,
    filters: bool,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Fake>>;

async fn listed(
    State(fake): State<Shared>,
    Path(kind): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut fake = fake.lock().unwrap();
    let filter = query.get("filter").cloned();
    fake.asked.push(format!(
        "{kind} {}{}",
        query["startIndex"],
        filter.as_ref().map(|filter| format!(" {filter}")).unwrap_or_default()
    ));
    if let Some((status, text)) = fake.trouble {
        return (StatusCode::from_u16(status).unwrap(), text).into_response();
    }
    if headers["authorization"] != "Bearer 0123456789abcdef" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if filter.is_some() && !fake.filters {
        return (StatusCode::BAD_REQUEST, "{\"scimType\":\"invalidFilter\"}").into_response();
    }
    let after = filter.map(|filter| {
        filter.strip_prefix("meta.lastModified gt \"").unwrap().trim_end_matches('"').to_owned()
    });
    let all = if kind == "Users" { &fake.users } else { &fake.groups };
    let changed = |resource: &&Value| {
        let modified = || resource["meta"]["lastModified"].as_str().unwrap().parse::<EventTime>();
        after.as_ref().is_none_or(|after| modified().unwrap() > after.parse().unwrap())
    };
    let found: Vec<&Value> = all.iter().filter(changed).collect();
    let start: usize = query["startIndex"].parse().unwrap();
    let page: Vec<&&Value> = found.iter().skip(start - 1).take(2).collect();
    let mut answer = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": found.len(), "startIndex": start, "itemsPerPage": page.len(),
    });
    if !page.is_empty() {
        answer["Resources"] = json!(page);
    }
    Json(answer).into_response()
}

/// A pull with the directory behind it.
struct Bench {
    fake: Shared,
    pull: ScimPull,
    hand: ManualClock,
    context: ContextCell,
    metrics: Metrics,
    /// The server ends with the bench.
    server: JoinSet<()>,
}

fn config(url: &str, token: &str) -> ScimConfig {
    serde_json::from_value(json!({ "url": url, "tenant": "acme" }))
        .map(|config| ScimConfig { token: Some(Secret::new(token)), ..config })
        .unwrap()
}

impl Bench {
    async fn new(token: &str) -> Self {
        let fake = Shared::default();
        fake.lock().unwrap().filters = true;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/scim/v2", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/scim/v2/{kind}", routing::get(listed))
            .with_state(Arc::clone(&fake));
        let mut server = JoinSet::new();
        server.spawn(async move { serve(listener, router).await.unwrap() });
        let hand = Clock::manual(NOW_MS);
        let (context, metrics) = (ContextCell::default(), Metrics::new());
        let enrich = EnrichMetrics::new(&metrics);
        let pull =
            ScimPull::new(config(&url, token), context.clone(), hand.clock(), enrich).unwrap();
        Self { fake, pull, hand, context, metrics, server }
    }

    async fn pulled(&mut self) -> String {
        let told = match self.pull.pull().await {
            Ok(rows) => format!("{rows} identities"),
            Err(error) => error.to_string(),
        };
        format!("{told}; asked {}", std::mem::take(&mut self.fake.lock().unwrap().asked).join(", "))
    }

    fn caller(&self, principal: &'static str, ms: i64) -> String {
        caller(&self.context, principal, NOW_MS + ms)
    }
}

/// What the join says of a caller at a moment.
fn caller(context: &ContextCell, principal: &str, ms: i64) -> String {
    let options = JoinOptions { object_key: [0; 16], learn_routes: false };
    let joiner = Joiner::new(context.clone(), options, EnrichMetrics::new(&Metrics::new()));
    let event = Event {
        principal: Some(principal.to_owned().into()),
        event_time: Some(EventTime(ms)),
        ..Event::default()
    };
    let event = joiner.enrich_event(&event).unwrap();
    let roles: Vec<&str> = event.roles.iter().flatten().map(AsRef::as_ref).collect();
    format!(
        "{} {} {} [{}]",
        event.principal_kind.as_deref().unwrap_or("-"),
        match event.principal_active {
            Some(true) => "active",
            Some(false) => "inactive",
            None => "unknown",
        },
        event.tenant.as_deref().unwrap_or("-"),
        roles.join(",")
    )
}

fn user(id: u32, name: &str, modified: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": format!("u{id}"), "userName": name, "active": true,
        "meta": {"resourceType": "User", "lastModified": modified},
    })
}

fn group(name: &str, members: &[&str], modified: &str) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    json!({
        "id": format!("g-{name}"), "displayName": name, "members": members,
        "meta": {"resourceType": "Group", "lastModified": modified},
    })
}

const OLD: &str = "2026-11-01T00:00:00Z";

async fn filled() -> Bench {
    let bench = Bench::new("0123456789abcdef").await;
    {
        let mut fake = bench.fake.lock().unwrap();
        fake.users = (0..5)
            .map(|n| user(n, ["ann", "bob", "cid", "sync", "eve"][n as usize], OLD))
            .collect();
        fake.users[3]["userType"] = "Service".into();
        fake.users[4]["active"] = false.into();
        fake.groups = vec![group("admins", &["u0", "u1"], OLD), group("clerks", &["u1"], OLD)];
    }
    bench
}

#[track_caller]
fn same(text: &str, expected: &Expect) {
    expected.assert_eq(text);
}

#[tokio::test]
async fn all_pages_are_read_and_groups_become_roles() {
    let mut bench = filled().await;
    let mut told = vec![bench.pulled().await];
    for name in ["ann", "bob", "cid", "sync", "eve", "who"] {
        told.push(format!("{name}: {}", bench.caller(name, 0)));
    }
    same(
        &told.join("\n"),
        &expect![[r#"
            5 identities; asked Users 1, Users 3, Users 5, Groups 1
            ann: human active acme [admins]
            bob: human active acme [admins,clerks]
            cid: human active acme []
            sync: service active acme []
            eve: human inactive acme []
            who: unknown unknown - []"#]],
    );
}

#[tokio::test]
async fn between_full_pulls_only_what_changed_is_asked_for_and_holds_from_its_time() {
    let mut bench = filled().await;
    bench.pulled().await;
    bench.hand.advance_ms(300_000);
    {
        let mut fake = bench.fake.lock().unwrap();
        // Four minutes after the first pull.
        fake.users[0] = user(0, "ann", "2026-11-20T08:04:00Z");
        fake.users[0]["active"] = false.into();
        // Deleted; only a full pull can tell.
        fake.users.remove(2);
    }
    let mut told = vec![bench.pulled().await];
    told.push(format!("ann before: {}", bench.caller("ann", 239_999)));
    told.push(format!("ann after: {}", bench.caller("ann", 240_000)));
    told.push(format!("cid: {}", bench.caller("cid", 300_000)));
    bench.hand.advance_ms(3_600_000);
    told.push(bench.pulled().await);
    told.push(format!("cid before: {}", bench.caller("cid", 3_899_999)));
    told.push(format!("cid after: {}", bench.caller("cid", 3_900_000)));
    same(
        &told.join("\n"),
        &expect![[r#"
            6 identities; asked Users 1 meta.lastModified gt "2026-11-01T00:00:00.000Z", Groups 1 meta.lastModified gt "2026-11-01T00:00:00.000Z"
            ann before: human active acme [admins]
            ann after: human inactive acme [admins]
            cid: human active acme []
            6 identities; asked Users 1, Users 3, Groups 1
            cid before: human active acme []
            cid after: human inactive - []"#]],
    );
}

#[tokio::test]
async fn a_directory_without_the_filter_is_pulled_whole() {
    let mut bench = filled().await;
    bench.fake.lock().unwrap().filters = false;
    bench.pulled().await;
    bench.hand.advance_ms(300_000);
    let refused = bench.pulled().await;
    bench.hand.advance_ms(300_000);
    same(
        &format!("{refused}\n{}", bench.pulled().await),
        &expect![[r#"
            5 identities; asked Users 1 meta.lastModified gt "2026-11-01T00:00:00.000Z", Users 1, Users 3, Users 5, Groups 1
            5 identities; asked Users 1, Users 3, Users 5, Groups 1"#]],
    );
}

#[tokio::test]
async fn while_the_directory_is_away_or_talks_nonsense_what_it_said_holds_and_grows_old() {
    let mut bench = filled().await;
    bench.pulled().await;
    let mut told = Vec::new();
    for trouble in [
        (500, "out of\u{7} order"),
        (401, "no"),
        (404, ""),
        (302, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, r#"{"totalResults":7,"Resources":"x"}"#),
        (200, r#"{"totalResults":7,"Resources":[]}"#),
    ] {
        bench.fake.lock().unwrap().trouble = Some(trouble);
        bench.hand.advance_ms(60_000);
        let answer = bench.pulled().await;
        told.push(answer.split("; asked").next().unwrap().to_owned());
        assert_eq!(bench.caller("ann", 0), "human active acme [admins]");
    }
    bench.server.shutdown().await;
    assert!(bench.pull.pull().await.is_err());
    let text = bench.metrics.encode();
    told.extend(text.lines().filter(|line| line.contains("{table=\"scim\"}")).map(str::to_owned));
    same(
        &told.join("\n"),
        &expect![[r#"
            Users answered 500: out of  order
            Users answered 401: no; set `context.scim.token` to a token that may read users and groups
            Users answered 404: ; set `context.scim.url` to the base, to which /Users is added
            Users answered 302: ; set `context.scim.url` to where it redirects, which is not followed
            Users: not JSON: expected value at line 1 column 1
            Users: no ListResponse: `totalResults` is missing
            Users: `Resources` is no list
            Users: the pages end after 0 of 7 resources
            tidegate_enrich_table_rows{table="scim"} 5
            tidegate_enrich_table_age_seconds{table="scim"} 480.0
            tidegate_enrich_table_problems_mistakes{table="scim"} 1"#]],
    );
}

#[tokio::test]
async fn lines_of_the_context_folder_count_above_the_directory_and_outlive_its_pulls() {
    let mut bench = filled().await;
    let filed = vec![crate::identities::identity_line(r#"{"principal":"ann","kind":"service"}"#)];
    let filed: Vec<_> = filed.into_iter().map(Result::unwrap).collect();
    bench.context.update(|context| (context.clone().with_filed_callers(filed, Vec::new()), ()));
    bench.pulled().await;
    assert_eq!(bench.caller("ann", 0), "service active - []");
    assert_eq!(bench.caller("bob", 0), "human active acme [admins,clerks]");
    let none =
        |context: &crate::Context| (context.clone().with_filed_callers(Vec::new(), Vec::new()), ());
    bench.context.update(none);
    assert_eq!(bench.caller("ann", 0), "human active acme [admins]");
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let check = |url: &str, token: &str| {
        let told = config(url, token).check();
        told.map_or("good".to_owned(), |(key, why)| format!("{key}: {why}"))
    };
    same(
        &[
            check("https://idp.example.com/scim/v2", "t"),
            check("http://127.0.0.1:8080/v2", "t"),
            check("http://idp.example.com/scim/v2", "t"),
            check("idp.example.com", "t"),
            check("ftp://idp.example.com", "t"),
        ]
        .join("\n"),
        &expect![[r#"
            good
            good
            url: the token would travel in clear; use https
            url: it is no address: relative URL without a base; write for instance https://idp.example.com/scim/v2
            url: it is no web address; write for instance https://idp.example.com/scim/v2"#]],
    );
}

mod real;
