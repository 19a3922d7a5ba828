use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};
use runtime::clock::{Clock, ManualClock};
use runtime::metrics::Metrics;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use schemas::{Subject, VerdictKind};
use serde_json::{Value, json};

use super::{Parts, Responder, Took, Which};
use crate::ask::action_name;
use crate::config::{Settings, TargetConfig};
use crate::fixture::{verdict, verdict_on};
use crate::hidden::Hidden;
use crate::known_good::{KnownGood, Success};
use crate::ledger::{Asker, Ledger, Options, Record};
use crate::policy::Policy;
use crate::target::{TargetParts, Targets};

const START_MS: i64 = 1_800_000_000_000;

/// A responder with a decision service, a ticket folder and a journal, on a clock that is moved by
/// hand.
struct Stage {
    folder: tempfile::TempDir,
    hand: ManualClock,
    policy: &'static str,
    options: Options,
}

const ALL: &str = "lines: [{name: all, then: asked}]\nnever_block: {own: false}";

impl Stage {
    fn new(policy: &'static str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            hand: Clock::manual(START_MS),
            policy,
            options: Options::default(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn responder(&self) -> Responder {
        self.responder_with(&Metrics::new(), r#"{"authz": {"listen": "127.0.0.1:0"}}"#).unwrap()
    }

    fn responder_with(
        &self,
        metrics: &Metrics,
        blocker: &str,
    ) -> Result<Responder, crate::SettingsError> {
        let policy = Policy::parse(self.policy, "policy.yml")?;
        let configs: Vec<TargetConfig> = [
            blocker,
            r#"{"tickets": {"folder": "tickets"}}"#,
            r#"{"file": {"path": "journal.jsonl"}}"#,
        ]
        .map(|text| serde_json::from_str(text).unwrap())
        .to_vec();
        let targets = Targets::build(
            &configs,
            &TargetParts {
                base: self.path(),
                never_block: policy.never_block.clone(),
                fingerprint: None,
                clock: self.hand.clock(),
            },
        )?;
        let parts = Parts {
            ledger: Ledger::open(self.path(), self.options).unwrap(),
            targets,
            clock: self.hand.clock(),
            metrics: metrics.clone(),
            known_good: KnownGood::new(),
        };
        Responder::new(Settings { policy, dry_run: false }, parts)
    }

    fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path().join("journal.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ticket(&self, id: &str) -> Option<String> {
        std::fs::read_to_string(self.path().join(format!("tickets/tidegate-{id}.md"))).ok()
    }
}

fn states(responder: &Responder) -> Vec<String> {
    let mut states: Vec<String> = responder
        .orders(None, 100)
        .iter()
        .map(|shown| format!("{} {}", action_name(shown.order.action), shown.state))
        .collect();
    states.sort();
    states
}

fn ann(reason: &str) -> Asker {
    Asker { by: "ann".into(), reason: reason.into() }
}

#[tokio::test]
async fn a_verdict_is_carried_out_and_ends_on_time_with_no_traffic() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    assert!(
        matches!(responder.take(verdict("a", 1)).await, Ok(Took::New(orders)) if orders.len() == 2)
    );
    assert_eq!(states(&responder), ["block pending", "ticket pending"]);
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    assert_eq!(states(&responder), ["block standing", "ticket done"]);
    stage.hand.advance_ms(30 * 60 * 1_000 - 1);
    responder.settle().await.unwrap();
    assert_eq!(responder.blocks().len(), 1);
    stage.hand.advance_ms(1);
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block expired", "ticket done"]);
    assert_eq!(responder.blocks().len(), 0);
    let kinds: Vec<String> = stage
        .journal()
        .iter()
        .map(|line| line.as_object().unwrap().keys().next_back().unwrap().clone())
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "verdict").count(), 1);
}

#[tokio::test]
async fn a_verdict_given_again_does_nothing_also_after_a_restart() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    responder.take(verdict("a", 2)).await.unwrap();
    assert_eq!(responder.take(verdict("a", 2)).await.unwrap(), Took::Repeat);
    assert_eq!(responder.take(verdict("a", 1)).await.unwrap(), Took::Superseded);
    drop(responder);
    let responder = stage.responder();
    assert_eq!(responder.take(verdict("a", 2)).await.unwrap(), Took::Repeat);
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block standing", "ticket done"]);
}

#[tokio::test]
async fn what_was_decided_before_a_crash_is_done_after_it() {
    let stage = Stage::new(ALL);
    stage.responder().take(verdict("a", 1)).await.unwrap();
    assert_eq!(stage.ticket("a"), None);
    let responder = stage.responder();
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block standing", "ticket done"]);
    assert!(stage.ticket("a").unwrap().contains("tidegate blocks release --order"));
}

#[tokio::test]
async fn one_ticket_an_episode_with_notes_and_its_end() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    for revision in 1..=2 {
        responder.take(verdict("a", revision)).await.unwrap();
        responder.settle().await.unwrap();
    }
    let mut closed = verdict("a", 3);
    closed.kind = VerdictKind::Closed;
    responder.take(closed).await.unwrap();
    responder.settle().await.unwrap();
    let text = stage.ticket("a").unwrap();
    assert_eq!(text.matches("(tidegate-a revision").count(), 3, "{text}");
    assert!(text.contains("It goes on") && text.contains("It is over"), "{text}");
    assert_eq!(std::fs::read_dir(stage.path().join("tickets")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_release_by_subject_rule_or_all_is_confirmed() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    for (id, ip) in [("a", "203.0.113.1"), ("b", "203.0.113.2"), ("c", "203.0.113.3")] {
        responder.take(verdict_on(id, 1, ip)).await.unwrap();
    }
    responder.settle().await.unwrap();
    assert_eq!(responder.blocks().len(), 3);
    let subject = Subject { kind: "ip".into(), value: "::ffff:203.0.113.1".into() };
    let by_subject =
        responder.release(Which::Subject(subject), ann("false positive")).await.unwrap();
    assert_eq!(by_subject.len(), 1);
    responder.settle().await.unwrap();
    let shown = responder.finished(&by_subject, Duration::ZERO).await;
    assert_eq!(shown[0].state, "released");
    assert_eq!(shown[0].detail.as_deref(), Some("released by ann: false positive"));
    let nothing = responder.release(Which::Rule("other".into()), ann("")).await.unwrap();
    assert_eq!(nothing.len(), 0);
    assert_eq!(responder.release(Which::All, ann("")).await.unwrap().len(), 2);
    responder.settle().await.unwrap();
    assert_eq!(responder.blocks().len(), 0);
    responder.take(verdict_on("a", 2, "203.0.113.1")).await.unwrap();
    assert_eq!(responder.blocks().len(), 0, "released for the rest of the episode");
}

#[tokio::test]
async fn a_dry_run_is_shown_as_one_and_nothing_is_released_by_its_end() {
    let stage = Stage::new("lines: [{then: asked, dry_run: true}]\nnever_block: {own: false}");
    let responder = stage.responder();
    responder.take(verdict("a", 1)).await.unwrap();
    responder.settle().await.unwrap();
    assert_eq!(responder.blocks()[0].state, "dry_run");
    assert_eq!(responder.orders(Some("dry_run"), 9).len(), 1);
    assert_eq!(responder.orders(Some("standing"), 9).len(), 0);
    let ended = responder.release(Which::All, ann("")).await.unwrap();
    responder.settle().await.unwrap();
    let shown = responder.order(&ended[0]).unwrap();
    let detail = "released by ann; a dry run, there was nothing to undo";
    assert_eq!((shown.state, shown.detail.as_deref()), ("released", Some(detail)));
}

#[tokio::test]
async fn a_release_holds_after_a_restart_against_what_was_before_it() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    responder.take(verdict("a", 1)).await.unwrap();
    responder.settle().await.unwrap();
    responder.release(Which::All, ann("false positive")).await.unwrap();
    responder.settle().await.unwrap();
    drop(responder);
    stage.hand.advance_ms(20_000);
    let responder = stage.responder();
    let mut other = verdict("b", 1);
    other.rule = "auth/password-spray".into();
    other.last_event = schemas::EventTime(START_MS);
    responder.take(other.clone()).await.unwrap();
    responder.settle().await.unwrap();
    assert_eq!(
        states(&responder),
        ["block refused", "block released", "ticket done", "ticket done"]
    );
    let ticket = stage.ticket("b").unwrap();
    assert!(ticket.contains("was ended by ann: false positive"), "{ticket}");
    other.revision = 2;
    other.last_event = schemas::EventTime(START_MS + 1);
    responder.take(other).await.unwrap();
    responder.settle().await.unwrap();
    let block = responder.blocks().remove(0).order;
    let lasts = block.expires_at.unwrap().millis() - block.decided_at.millis();
    assert_eq!(lasts, 30 * 60_000, "a false positive makes it no longer: {:?}", block.notes);
}

#[tokio::test]
async fn a_subject_stays_blocked_while_another_order_stands_on_it() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    responder.take(verdict("a", 1)).await.unwrap();
    let mut other = verdict("b", 1);
    other.rule = "recon/scan".into();
    responder.take(other).await.unwrap();
    responder.settle().await.unwrap();
    let first = responder.release(Which::Rule("recon/scan".into()), ann("")).await.unwrap();
    responder.settle().await.unwrap();
    let shown = responder.order(&first[0]).unwrap();
    assert!(shown.detail.unwrap().contains("still held by order"), "{:?}", shown.state);
    assert_eq!(responder.blocks().len(), 1);
}

#[tokio::test]
async fn an_order_that_waits_is_approved_refused_or_forgotten() {
    let stage = Stage::new("lines: [{then: asked}]\nbudget: {total: 0}\nnever_block: {own: false}");
    let responder = stage.responder();
    for (id, ip) in [("a", "203.0.113.1"), ("b", "203.0.113.2"), ("c", "203.0.113.3")] {
        let mut block = verdict_on(id, 1, ip);
        block.respond = vec!["block 30m".into()];
        responder.take(block).await.unwrap();
    }
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block waiting"; 3]);
    let id = |subject: &str| {
        let shown = responder.orders(None, 9);
        let found =
            shown.iter().find(|shown| shown.order.subject.as_ref().unwrap().value == subject);
        found.unwrap().order.id.clone()
    };
    stage.hand.advance_ms(60_000);
    assert!(responder.approve(&id("203.0.113.1"), ann("sure")).await.unwrap());
    assert!(!responder.approve(&id("203.0.113.1"), ann("again")).await.unwrap());
    assert!(responder.refuse(&id("203.0.113.2"), ann("our scanner")).await.unwrap());
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block refused", "block standing", "block waiting"]);
    let approved = responder.order(&id("203.0.113.1")).unwrap().order;
    assert_eq!(approved.expires_at.unwrap().millis(), START_MS + 60_000 + 30 * 60_000);
    stage.hand.advance_ms(60 * 60_000);
    responder.settle().await.unwrap();
    let forgotten = responder.order(&id("203.0.113.3")).unwrap();
    assert_eq!(forgotten.detail.as_deref(), Some("nobody approved it within 1h"));
}

#[tokio::test]
async fn a_known_good_subject_waits_for_a_person() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    for _ in 0..50 {
        responder.known_good().saw(&Success {
            at: verdict("a", 1).first_event.minus(3_600_000),
            ip: Some("203.0.113.9"),
            principal: Some("ann"),
            token: None,
        });
    }
    responder.take(verdict("a", 1)).await.unwrap();
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block waiting", "ticket done"]);
    assert!(stage.ticket("a").unwrap().contains("50 successful authenticated requests"));
}

#[tokio::test]
async fn a_proxy_is_not_blocked_and_its_ticket_says_what_to_set() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    let advice = "nearly all requests come from 203.0.113.9; put it into `trusted_proxies`";
    let hidden = Hidden { networks: vec!["203.0.113.9".into()], advice: advice.into() };
    responder.hidden_callers().tell("shop", Some(hidden));
    responder.take(verdict("a", 1)).await.unwrap();
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block waiting", "ticket done"]);
    let ticket = stage.ticket("a").unwrap();
    assert!(ticket.contains("hidden_callers") && ticket.contains("trusted_proxies"), "{ticket}");
    responder.hidden_callers().tell("shop", None);
    responder.take(verdict_on("b", 1, "203.0.113.10")).await.unwrap();
    responder.settle().await.unwrap();
    assert_eq!(
        states(&responder),
        ["block standing", "block waiting", "ticket done", "ticket done"]
    );
}

#[tokio::test]
async fn a_proxy_that_is_known_too_late_is_released_unless_a_person_agreed() {
    let stage = Stage::new("lines: [{then: asked}]\nbudget: {total: 1}\nnever_block: {own: false}");
    let responder = stage.responder();
    responder.take(verdict("a", 1)).await.unwrap();
    responder.take(verdict_on("b", 1, "203.0.113.10")).await.unwrap();
    let waits = responder.orders(Some("waiting"), 9)[0].order.id.clone();
    assert!(responder.approve(&waits, ann("sure")).await.unwrap());
    responder.settle().await.unwrap();
    assert_eq!(responder.blocks().len(), 2);
    let networks = vec!["203.0.113.0/24".into()];
    let hidden = Hidden { networks, advice: "it looks like a proxy".into() };
    responder.hidden_callers().tell("shop", Some(hidden));
    let ended = responder.release_hidden().await.unwrap();
    assert_eq!(ended.len(), 1);
    responder.settle().await.unwrap();
    let shown = responder.order(&ended[0]).unwrap();
    assert_eq!(shown.state, "released");
    let why = "released by tidegate: input `shop`: it looks like a proxy";
    assert_eq!(shown.detail.as_deref(), Some(why));
    assert_eq!(responder.blocks()[0].order.id, waits);
    assert_eq!(responder.release_hidden().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_target_that_is_gone_leaves_no_order_open() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    responder.take(verdict("a", 1)).await.unwrap();
    responder.settle().await.unwrap();
    drop(responder);
    let metrics = Metrics::new();
    let responder = stage
        .responder_with(&metrics, r#"{"authz": {"name": "other", "listen": "127.0.0.1:0"}}"#)
        .unwrap();
    responder.settle().await.unwrap();
    let parked = responder.orders(Some("parked"), 9);
    assert!(parked[0].detail.as_ref().unwrap().contains("no longer configured"));
    let text = metrics.encode();
    assert!(text.contains("tidegate_respond_parked_orders_total{target=\"authz\"} 1"), "{text}");
}

#[test]
fn a_policy_that_names_an_unknown_target_is_refused() {
    let stage = Stage::new("lines: [{name: x, then: asked, targets: [autz]}]");
    let error = stage.responder_with(&Metrics::new(), r#"{"authz": {}}"#).unwrap_err().to_string();
    assert_eq!(
        error,
        "`respond.policy`: policy line `x` names the target `autz`, which is not configured \
         (did you mean `authz`?); targets are authz, tickets, file"
    );
}

#[tokio::test]
async fn the_ledger_is_written_anew_and_nothing_is_lost() {
    let mut stage = Stage::new(ALL);
    stage.options.compact_bytes_min = 20_000;
    let responder = stage.responder();
    for round in 0..60 {
        let id = format!("v{round}");
        let mut one = verdict_on(&id, 1, &format!("203.0.113.{round}"));
        one.rule = format!("rule/{}", round % 6);
        responder.take(one).await.unwrap();
        responder.settle().await.unwrap();
    }
    let before = states(&responder);
    let seen = stage.journal().iter().filter(|line| line.get("verdict").is_some()).count();
    assert_eq!(seen, 60);
    drop(responder);
    let responder = stage.responder();
    assert_eq!(states(&responder), before);
    let header = std::fs::read_to_string(stage.path().join("ledger.jsonl")).unwrap();
    assert!(!header.starts_with("{\"seq\":1,"), "it was never written anew");
    assert_eq!(responder.take(verdict_on("v0", 1, "203.0.113.0")).await.unwrap(), Took::Repeat);
}

#[tokio::test]
async fn the_decision_service_and_the_admin_routes_answer_over_http() {
    let stage = Stage::new(ALL);
    let metrics = Metrics::new();
    let responder =
        stage.responder_with(&metrics, r#"{"authz": {"listen": "127.0.0.1:0"}}"#).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let authz = responder.start(&tasks).await.unwrap()[0];
    let admin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin_url = format!("http://{}", admin.local_addr().unwrap());
    let router = responder.api_router();
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(async move { runtime::http::axum::serve(admin, router).await });
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::new();
    let ask = async |path: &str, ip: &str| {
        let request = client.get(format!("http://{authz}{path}")).header("x-real-ip", ip);
        let response = request.send().await.unwrap();
        let reason = response.headers().get("x-block-reason").cloned();
        (response.status().as_u16(), reason.map(|value| value.to_str().unwrap().to_owned()))
    };
    assert_eq!(ask("/authz", "203.0.113.9").await, (200, None));
    responder.take(verdict("a", 1)).await.unwrap();
    let order = responder.blocks()[0].order.id.clone();
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while ask("/authz", "203.0.113.9").await.0 != 403 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reason = Some(format!("tidegate:{order}"));
    assert_eq!(ask("/authz/p?x=1", "203.0.113.9").await, (403, reason));
    assert_eq!(ask("/authz", "203.0.113.10").await, (200, None));
    assert_eq!(ask("/other", "203.0.113.9").await.0, 404);

    let get = async |path: &str| -> Value {
        client.get(format!("{admin_url}{path}")).send().await.unwrap().json().await.unwrap()
    };
    let post = async |path: &str, body: Value| -> (u16, Value) {
        let request = client.post(format!("{admin_url}{path}")).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    assert_eq!(get("/v1/blocks").await["blocks"][0]["order"]["id"], order.as_str());
    assert_eq!(get("/v1/orders?limit=1").await["orders"].as_array().unwrap().len(), 1);
    let told = get("/v1/orders?state=parkd").await;
    let told = told["error"].as_str().unwrap();
    assert!(told.starts_with("`parkd` is no state of an order (did you mean `parked`?)"), "{told}");
    assert!(told.contains("dry_run"), "{told}");
    let (status, told) = post("/v1/blocks/release", json!({"by": "ann"})).await;
    assert_eq!((status, told["error"].as_str().unwrap().contains("exactly one")), (422, true));
    assert_eq!(post("/v1/orders/none/approve", json!({})).await.0, 404);
    assert_eq!(post(&format!("/v1/orders/{order}/approve"), json!({})).await.0, 409);
    let subject = json!({"subject": {"kind": "ip", "value": "203.0.113.9"}, "by": "ann"});
    let (status, told) = post("/v1/blocks/release", subject).await;
    assert_eq!((status, told["released"][0]["state"].as_str()), (200, Some("released")), "{told}");
    assert_eq!(ask("/authz", "203.0.113.9").await, (200, None));
    assert!(metrics.encode().contains("tidegate_respond_authz_requests_total{result=\"refused\"}"));
    tasks.shutdown().request("the test is over");
    tasks.join_all(Duration::from_secs(20)).await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Take { id: u8, revision: u32 },
    Settle,
    Later,
    Release,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, 1..4_u32).prop_map(|(id, revision)| Step::Take { id, revision }),
        2 => Just(Step::Settle),
        1 => Just(Step::Later),
        1 => Just(Step::Release),
        1 => Just(Step::Restart),
    ]
}

/// Every order in the ledger's file, as often as it is there.
async fn acted(responder: &Responder) -> BTreeMap<(String, u32, String, String), usize> {
    let mut acted = BTreeMap::new();
    for record in responder.records_since(0).await.unwrap().1 {
        if let Record::Taken(taken) = record {
            for order in taken.orders {
                let action = action_name(order.action).to_owned();
                let key = (order.verdict_id, order.revision, action, order.target);
                *acted.entry(key).or_insert(0) += 1;
            }
        }
    }
    acted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_deliveries_act_at_most_once_for_each_revision_and_action(
        steps in proptest::collection::vec(step(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::new(ALL);
            let mut responder = stage.responder();
            let mut given = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Take { id, revision } => {
                        given.insert(id);
                        let name = format!("v{id}");
                        let one = verdict_on(&name, revision, &format!("203.0.113.{id}"));
                        responder.take(one).await.unwrap();
                    }
                    Step::Settle => drop(responder.settle().await.unwrap()),
                    Step::Later => stage.hand.advance_ms(20 * 60_000),
                    Step::Release => drop(responder.release(Which::All, ann("")).await.unwrap()),
                    Step::Restart => {
                        drop(responder);
                        responder = stage.responder();
                    }
                }
            }
            responder.settle().await.unwrap();
            for (key, times) in acted(&responder).await {
                assert_eq!(times, 1, "{key:?}");
            }
            for id in given {
                let text = stage.ticket(&format!("v{id}")).unwrap();
                for revision in 1..4 {
                    let mark = format!("(tidegate-v{id} revision {revision})");
                    assert!(text.matches(&mark).count() <= 1, "{mark} in\n{text}");
                }
            }
            stage.hand.advance_ms(25 * 60 * 60_000);
            responder.settle().await.unwrap();
            assert_eq!(responder.blocks().len(), 0, "every block ends by itself");
        });
    }
}

#[tokio::test]
async fn what_a_killed_process_left_half_written_is_removed_at_the_start() {
    let stage = Stage::new(ALL);
    let nginx = r#"{"nginx": {"ip_map": "deny.map", "test": ["true"], "reload": ["true"]}}"#;
    let tickets = stage.path().join("tickets");
    std::fs::create_dir(&tickets).unwrap();
    let drafts =
        [tickets.join("tidegate-a.md.tidegate-new"), stage.path().join("deny.map.tidegate-new")];
    let others = [tickets.join("tidegate-a.md"), stage.path().join("other.map.tidegate-new")];
    for file in drafts.iter().chain(&others) {
        std::fs::write(file, "half").unwrap();
    }
    let responder = stage.responder_with(&Metrics::new(), nginx).unwrap();
    responder.sweep().await;
    assert!(drafts.iter().all(|file| !file.exists()));
    assert!(others.iter().all(|file| file.exists()), "only what is ours goes");
}

#[tokio::test]
async fn an_attackers_own_successes_save_it_from_no_block() {
    let stage = Stage::new(ALL);
    let responder = stage.responder();
    let succeed = |times: u32| {
        for _ in 0..times {
            responder.known_good().saw(&Success {
                at: verdict("a", 1).first_event,
                ip: Some("203.0.113.9"),
                principal: Some("ann"),
                token: None,
            });
        }
    };
    succeed(60);
    responder.take(verdict("a", 1)).await.unwrap();
    responder.settle().await.unwrap();
    assert_eq!(states(&responder), ["block standing", "ticket done"]);
    drop(responder);
    // A restart forgets nothing: the ledger knows which episodes are open.
    let responder = stage.responder();
    for _ in 0..60 {
        responder.known_good().saw(&Success {
            at: verdict("a", 1).first_event,
            ip: Some("203.0.113.9"),
            principal: None,
            token: Some("t"),
        });
    }
    let subject = Subject { kind: "ip".to_owned(), value: "203.0.113.9".to_owned() };
    assert_eq!(responder.known_good().successes(&subject), 0);
}
