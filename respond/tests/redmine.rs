//! Tickets in Redmine: one issue an episode, also when answers get lost.
//!
//! With `TIDEGATE_REDMINE_URL` and `TIDEGATE_REDMINE_KEY` set, the suite also runs against that
//! Redmine (project `TIDEGATE_REDMINE_PROJECT`, default `apisec`; tracker 1; the key's custom field
//! `TIDEGATE_REDMINE_FIELD`, default 1; status of closed issues `TIDEGATE_REDMINE_CLOSED`, default
//! 5); `cargo xtask nightly redmine` installs one and does that. The server in this file answers what
//! Redmine 5.0 does: 201 with Location, 422 with `errors`, 204 for a change, and to a wrong key 200
//! with an empty list.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use respond::{
    KnownGood, Ledger, Options, Parts, Policy, Responder, Settings, TargetParts, Targets,
};
use runtime::clock::{Clock, ManualClock};
use runtime::http::axum::Json;
use runtime::http::axum::extract::{Path, Query, State};
use runtime::http::axum::http::{HeaderMap, StatusCode};
use runtime::http::axum::response::{IntoResponse, Response};
use runtime::http::axum::{Router, routing::get};
use runtime::metrics::Metrics;
use schemas::Verdict;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const KEY: &str = "the-right-key";

#[derive(Debug, Default)]
struct Desk {
    issues: Vec<Value>,
    /// So many changes are made, but the answer does not arrive.
    lose_answers: usize,
    /// The custom field cannot be searched: filters are ignored.
    unfiltered: bool,
    created: usize,
    changed: usize,
}

type Shared = Arc<Mutex<Desk>>;

struct Server {
    address: SocketAddr,
    desk: Shared,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let desk = Shared::default();
        let router = Router::new()
            .route("/users/current.json", get(current))
            .route("/issues.json", get(list).post(create))
            .route("/issues/{file}", get(show).put(change))
            .with_state(Arc::clone(&desk));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { runtime::http::axum::serve(listener, router).await.unwrap() });
        Self { address, desk, _serving: serving }
    }

    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// Issues created, and changes made.
    fn counts(&self) -> (usize, usize) {
        let desk = self.desk();
        (desk.created, desk.changed)
    }
}

fn is_known(headers: &HeaderMap) -> bool {
    headers.get("x-redmine-api-key").is_some_and(|key| key == KEY)
}

async fn current(headers: HeaderMap) -> Response {
    if is_known(&headers) {
        Json(json!({"user": {"id": 5, "login": "apisec", "api_key": KEY}})).into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn list(
    State(desk): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(query["status_id"], "*", "closed issues would be hidden");
    let desk = desk.lock().unwrap();
    let wanted = query.get("cf_1").cloned();
    let fits = |issue: &&Value| {
        desk.unfiltered || issue["custom_fields"][0]["value"].as_str() == wanted.as_deref()
    };
    let found: Vec<&Value> =
        if is_known(&headers) { desk.issues.iter().filter(fits).collect() } else { Vec::new() };
    Json(json!({"issues": found, "total_count": found.len(), "offset": 0, "limit": 1}))
        .into_response()
}

async fn create(
    State(desk): State<Shared>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if !is_known(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let issue = &body["issue"];
    if issue["project_id"] != "apisec" {
        let errors = json!({"errors": ["Project cannot be blank"]});
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(errors)).into_response();
    }
    let (id, made) = {
        let mut desk = desk.lock().unwrap();
        let id = desk.issues.len() + 1;
        let made = json!({
            "id": id, "project": {"id": 1}, "subject": issue["subject"],
            "description": issue["description"], "status": {"id": 1},
            "custom_fields": [{"id": 1, "name": "incident_key", "value": issue["custom_fields"][0]["value"]}],
            "journals": [],
        });
        desk.issues.push(made.clone());
        desk.created += 1;
        (id, made)
    };
    lost(&desk).await;
    let location = format!("http://redmine/issues/{id}");
    (StatusCode::CREATED, [("location", location)], Json(json!({"issue": made}))).into_response()
}

/// Keeps an answer back for longer than anybody waits.
async fn lost(desk: &Shared) {
    let loses = {
        let mut desk = desk.lock().unwrap();
        let loses = desk.lose_answers > 0;
        desk.lose_answers = desk.lose_answers.saturating_sub(1);
        loses
    };
    if loses {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
}

fn index(file: &str) -> usize {
    file.trim_end_matches(".json").parse::<usize>().unwrap() - 1
}

async fn show(
    State(desk): State<Shared>,
    headers: HeaderMap,
    Path(file): Path<String>,
) -> Response {
    if !is_known(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match desk.lock().unwrap().issues.get(index(&file)) {
        Some(issue) => Json(json!({"issue": issue})).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn change(
    State(desk): State<Shared>,
    headers: HeaderMap,
    Path(file): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    if !is_known(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    {
        let mut desk = desk.lock().unwrap();
        desk.changed += 1;
        let Some(issue) = desk.issues.get_mut(index(&file)) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let notes = json!({"notes": body["issue"]["notes"]});
        issue["journals"].as_array_mut().unwrap().push(notes);
        if let Some(status) = body["issue"].get("status_id") {
            issue["status"] = json!({"id": status});
        }
    }
    lost(&desk).await;
    StatusCode::NO_CONTENT.into_response()
}

fn verdict(id: &str, revision: u32, kind: &str) -> Verdict {
    serde_json::from_value(json!({
        "id": id, "revision": revision, "kind": kind, "rule": "auth/x", "rule_version": "1",
        "title": "Many accounts fail", "severity": "high", "mode": "live",
        "key": {"client_ip": "203.0.113.9"}, "subject": {"ip": "203.0.113.9"},
        "values": {"failures": 20 * revision}, "first_event": "2027-01-15T08:00:00.000Z",
        "last_event": "2027-01-15T08:00:57.000Z", "fired_at": "2027-01-15T08:00:57.000Z",
        "early": true, "degraded": false, "respond": ["ticket"],
        "events": [{"event_id": "e", "event_time": "2027-01-15T08:00:57.000Z",
                    "line": "203.0.113.9 \"POST /login\" </pre> 401"}],
    }))
    .unwrap()
}

/// Where Redmine is, and how to write there.
#[derive(Debug, Clone)]
struct Place {
    url: String,
    key: String,
    project: String,
    field: u64,
    closed: u64,
    timeout: &'static str,
}

struct Stage {
    folder: tempfile::TempDir,
    hand: ManualClock,
    place: Place,
}

impl Stage {
    fn new(place: Place) -> Self {
        let hand = Clock::manual(1_800_000_000_000);
        Self { folder: tempfile::tempdir().unwrap(), hand, place }
    }

    fn at(server: &Server) -> Self {
        Self::new(Place {
            url: format!("http://{}", server.address),
            key: KEY.into(),
            project: "apisec".into(),
            field: 1,
            closed: 5,
            timeout: "400ms",
        })
    }

    fn responder(&self) -> Responder {
        let policy = Policy::parse("lines: [{name: all, then: asked}]", "policy.yml").unwrap();
        let Place { url, key, project, field, closed, timeout } = &self.place;
        let config = json!({"redmine": {
            "url": url, "key": key, "project": project, "tracker_id": 1, "key_field_id": field,
            "closed_status_id": closed, "timeout": timeout,
        }});
        let parts = TargetParts {
            base: self.folder.path(),
            never_block: policy.never_block.clone(),
            fingerprint: None,
            clock: self.hand.clock(),
        };
        let targets = Targets::build(&[serde_json::from_value(config).unwrap()], &parts).unwrap();
        let parts = Parts {
            ledger: Ledger::open(self.folder.path(), Options::default()).unwrap(),
            targets,
            clock: self.hand.clock(),
            metrics: Metrics::new(),
            known_good: KnownGood::new(),
        };
        Responder::new(Settings { policy, dry_run: true }, parts).unwrap()
    }
}

/// An episode from its beginning to its end; gives the issue's number.
async fn an_episode(stage: &Stage, id: &str) -> String {
    let responder = stage.responder();
    for (revision, kind) in [(1, "opened"), (2, "updated"), (3, "closed")] {
        responder.take(verdict(id, revision, kind)).await.unwrap();
        assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    }
    let orders = responder.orders(None, 9);
    assert!(orders.iter().all(|shown| shown.state == "done"), "{orders:?}");
    let numbers: Vec<&String> =
        orders.iter().filter_map(|shown| shown.remote_id.as_ref()).collect();
    assert_eq!(numbers.len(), 3);
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    numbers[0].clone()
}

#[tokio::test]
async fn an_episode_is_one_issue_with_notes() {
    let server = Server::start().await;
    assert_eq!(an_episode(&Stage::at(&server), "a").await, "1");
    let desk = server.desk();
    assert_eq!((desk.created, desk.changed), (1, 2));
    let issue = &desk.issues[0];
    assert_eq!(issue["subject"], "[high] Many accounts fail: 203.0.113.9");
    assert_eq!(issue["custom_fields"][0]["value"], "tidegate-a");
    assert_eq!(issue["status"]["id"], 5);
    let description = issue["description"].as_str().unwrap();
    assert!(description.contains("‹/pre› 401\n</pre>"), "{description}");
    assert!(issue["journals"][1]["notes"].as_str().unwrap().contains("It is over"));
}

#[tokio::test]
async fn an_issue_whose_answer_got_lost_is_found_and_not_created_twice() {
    let server = Server::start().await;
    server.desk().lose_answers = 1;
    let stage = Stage::at(&server);
    let responder = stage.responder();
    responder.take(verdict("a", 1, "opened")).await.unwrap();
    let wrong = responder.settle().await.unwrap().join("; ");
    assert!(wrong.contains("no answer in time"), "{wrong}");
    drop(responder);
    let responder = stage.responder();
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    let shown = responder.orders(None, 1).remove(0);
    assert_eq!((shown.state, shown.remote_id.as_deref()), ("done", Some("1")));
    assert_eq!(server.counts(), (1, 0));
}

#[tokio::test]
async fn a_note_whose_answer_got_lost_is_not_added_twice() {
    let server = Server::start().await;
    let stage = Stage::at(&server);
    let responder = stage.responder();
    responder.take(verdict("a", 1, "opened")).await.unwrap();
    responder.settle().await.unwrap();
    server.desk().lose_answers = 1;
    responder.take(verdict("a", 2, "updated")).await.unwrap();
    assert_eq!(responder.settle().await.unwrap().len(), 1);
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    assert_eq!(server.counts(), (1, 1));
}

#[tokio::test]
async fn a_wrong_key_is_noticed_before_anything_is_looked_up() {
    let server = Server::start().await;
    let mut stage = Stage::at(&server);
    stage.place.key = "wrong".into();
    let responder = stage.responder();
    responder.take(verdict("a", 1, "opened")).await.unwrap();
    let wrong = responder.settle().await.unwrap().join("; ");
    assert!(wrong.contains("Redmine does not know the key (401)"), "{wrong}");
    assert_eq!(responder.orders(None, 1)[0].state, "pending");
    drop(responder);
    stage.place.key = KEY.into();
    assert_eq!(stage.responder().settle().await.unwrap(), [""; 0]);
    assert_eq!(server.desk().created, 1);
}

#[tokio::test]
async fn what_redmine_refuses_is_parked_with_its_words() {
    let server = Server::start().await;
    let mut stage = Stage::at(&server);
    stage.place.project = "nowhere".into();
    let responder = stage.responder();
    responder.take(verdict("a", 1, "opened")).await.unwrap();
    responder.settle().await.unwrap();
    let shown = responder.orders(None, 1).remove(0);
    assert_eq!(shown.state, "parked");
    assert!(shown.detail.unwrap().contains("Project cannot be blank"));
}

#[tokio::test]
async fn a_field_that_cannot_be_searched_never_leads_to_somebody_elses_issue() {
    let server = Server::start().await;
    let stage = Stage::at(&server);
    an_episode(&stage, "a").await;
    server.desk().unfiltered = true;
    let responder = stage.responder();
    responder.take(verdict("b", 1, "opened")).await.unwrap();
    responder.settle().await.unwrap();
    let shown = responder.orders(Some("parked"), 1).remove(0);
    assert!(shown.detail.unwrap().contains("custom field 1 cannot be searched"));
    assert_eq!(server.desk().changed, 2);
}

/// The real Redmine, where the environment names one.
#[expect(clippy::disallowed_methods, reason = "only the environment can name a real tracker")]
fn real() -> Option<Place> {
    let get = |name: &str| std::env::var(format!("TIDEGATE_REDMINE_{name}")).ok();
    Some(Place {
        url: get("URL")?,
        key: get("KEY")?,
        project: get("PROJECT").unwrap_or_else(|| "apisec".to_owned()),
        field: get("FIELD").map_or(1, |field| field.parse().unwrap()),
        closed: get("CLOSED").map_or(5, |status| status.parse().unwrap()),
        timeout: "30s",
    })
}

#[tokio::test]
async fn a_real_redmine_where_there_is_one() {
    let Some(place) = real() else {
        #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
        {
            eprintln!(
                "skipped: set TIDEGATE_REDMINE_URL and TIDEGATE_REDMINE_KEY to a real Redmine"
            );
        }
        return;
    };
    let id = format!("test-{}", Clock::system().unix_ms());
    let stage = Stage::new(place.clone());
    let number = an_episode(&stage, &id).await;
    let issue = format!("{}/issues/{number}.json?include=journals", place.url);
    let asked = reqwest::Client::new().get(issue).header("x-redmine-api-key", &place.key);
    let issue: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(issue["issue"]["status"]["id"], place.closed, "closed with the episode: {issue}");
    let notes = issue["issue"]["journals"].as_array().unwrap().iter();
    assert_eq!(notes.filter(|note| note["notes"] != "").count(), 2, "{issue}");
    // A second ledger knows nothing of the first: the issue is found by its key.
    let other = Stage::new(place.clone());
    let responder = other.responder();
    responder.take(verdict(&id, 1, "opened")).await.unwrap();
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    assert_eq!(responder.orders(None, 1)[0].remote_id.as_ref(), Some(&number));
    let mut wrong = Stage::new(place);
    wrong.place.key = "0000000000000000000000000000000000000000".into();
    let responder = wrong.responder();
    responder.take(verdict("other", 1, "opened")).await.unwrap();
    let told = responder.settle().await.unwrap().join("; ");
    assert!(told.contains("does not know the key"), "{told}");
}
