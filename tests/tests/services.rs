//! Four services over a real Kafka: lines from a shipper in, an attacker who gets 403 from a real
//! nginx and a ticket out, whatever process is killed on the way.
//!
//! Needs a broker, named by `TIDEGATE_KAFKA_BROKERS`, a schema registry, named by
//! `TIDEGATE_SCHEMA_REGISTRY`, `kcat`, `nginx` and `rsyslogd`. Where one is absent, that is said
//! and the suite passes; with `CI` set it fails instead.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "services/cluster.rs"]
mod cluster;
#[path = "shippers/parts.rs"]
mod parts;
#[path = "services/registered.rs"]
mod registered;
#[path = "up/running.rs"]
#[expect(dead_code, reason = "the other suite starts `tidegate up` with it")]
mod running;
#[path = "services/shippers.rs"]
mod shippers;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use cluster::{Cluster, brokers};
use running::{binary, stamp, until};

const ATTACKER: &str = "203.0.113.9";
const OTHER: &str = "198.51.100.7";

/// One failed login a second, each at a path of its own, somebody who behaves beside it, and now
/// and then a line that is none.
fn traffic(seconds: std::ops::Range<u32>) -> Vec<String> {
    let line = |address: &str, second: u32, path: &str, status: u32| {
        let at = stamp(second.into());
        format!(
            "{address} - - [{at}] \
             \"POST {path} HTTP/1.1\" {status} 120 \"-\" \"curl/8\""
        )
    };
    let both = |second: u32| {
        let mut lines = vec![line(ATTACKER, second, &format!("/login/{second}"), 401)];
        lines.push(line(OTHER, second, "/v1/orders", 201));
        if second.is_multiple_of(7) {
            lines.push("neither this nor that".to_owned());
        }
        lines
    };
    seconds.flat_map(both).collect()
}

/// Much later, in every partition: all windows and episodes before are over.
fn later() -> String {
    format!("{OTHER} - - [{}] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl/8\"", stamp(90 * 60))
}

fn names(cluster: &Cluster, kind: &str, name: impl Fn(&Value) -> String) -> Vec<String> {
    cluster.said(kind).iter().map(name).collect()
}

#[track_caller]
fn all_different(names: &[String]) {
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn killed_one_by_one_four_services_lose_nothing_and_act_nothing_twice() {
    let Some(brokers) = brokers("four services") else { return };
    let mut cluster = Cluster::prepare(&brokers, 3, 2);
    cluster.start(&["ingest", "enrich", "detect", "respond"]);
    cluster.ship(&traffic(0..90));
    until("403 for the attacker", || (cluster.nginx(ATTACKER) == 403).then_some(()));
    assert_eq!(cluster.nginx(OTHER), 200);
    let mut second = 90;
    for stage in ["ingest", "enrich", "detect", "respond"] {
        cluster.ship(&traffic(second..second + 20));
        cluster.kill(stage);
        cluster.ship(&traffic(second + 20..second + 40));
        cluster.start(&[stage]);
        second += 40;
    }
    cluster.ship_everywhere(&later());
    let closed = cluster.verdict("closed");
    assert_eq!(closed["values"]["failures"], 250, "{closed}");
    assert_eq!(closed["values"]["paths"], 250, "each line counts once: {closed}");
    let opened = cluster.said("verdict").into_iter().filter(|v| v["kind"] == "opened").count();
    assert_eq!(opened, 1, "one episode, whatever was killed");
    all_different(&names(&cluster, "verdict", |v| format!("{} {}", v["id"], v["revision"])));
    all_different(&names(&cluster, "order", |order| order["id"].to_string()));
    assert_eq!(cluster.nginx(ATTACKER), 403);
    assert_eq!(cluster.nginx(OTHER), 200);
    let tickets = std::fs::read_dir(cluster.path("tickets")).unwrap().count();
    assert!(tickets >= 1, "a ticket says what to do");
    cluster.stop();
}

#[test]
fn a_respond_that_starts_late_knows_who_was_good_before_it_decides() {
    let Some(brokers) = brokers("who is known good") else { return };
    let mut cluster = Cluster::prepare(&brokers, 3, 1);
    cluster.start(&["ingest", "enrich", "detect"]);
    let served = |second: u32| {
        format!(
            "{OTHER} - alice [{}] \"GET /v1/orders HTTP/1.1\" 200 120 \"-\" \"curl/8\"",
            stamp(i64::from(second) - 3_600)
        )
    };
    cluster.ship(&(0..60).map(served).collect::<Vec<_>>());
    let failed = traffic(0..30).into_iter().filter(|line| line.contains(ATTACKER));
    let failed: Vec<String> =
        failed.flat_map(|line| [line.replace(ATTACKER, OTHER), line]).collect();
    cluster.ship(&failed);
    let opened = || {
        let verdicts = cluster.values("verdicts").into_iter();
        let kinds = verdicts.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        kinds.filter(|verdict| verdict["kind"] == "opened").count()
    };
    until("both verdicts", || (opened() == 2).then_some(()));
    cluster.start(&["respond"]);
    until("403 for the attacker", || (cluster.nginx(ATTACKER) == 403).then_some(()));
    let block = until("an order about the other", || {
        let orders = cluster.said("order");
        orders
            .into_iter()
            .find(|order| order["action"] == "block" && order["subject"]["value"] == OTHER)
    });
    assert_eq!(block["needs_approval"], true, "{block}");
    assert!(block["notes"].to_string().contains("known_good"), "{block}");
    assert_eq!(cluster.nginx(OTHER), 200);
    cluster.stop();
}

/// Rule, key, first and last event, values.
fn closed(verdicts: &[Value]) -> BTreeMap<String, String> {
    let closed = verdicts.iter().filter(|verdict| verdict["kind"] == "closed");
    closed
        .map(|v| {
            let span = format!("{} {}", v["first_event"], v["last_event"]);
            (format!("{} {} {span}", v["rule"], v["key"]), v["values"].to_string())
        })
        .collect()
}

#[test]
fn episodes_over_kafka_are_those_of_a_replay_for_any_number_of_partitions() {
    let Some(brokers) = brokers("episodes over Kafka") else { return };
    for (partitions, exchange) in [(1, 1), (4, 3)] {
        let mut cluster = Cluster::prepare(&brokers, partitions, exchange);
        let mut lines = traffic(0..200);
        lines.push(later());
        std::fs::write(cluster.path("all.log"), lines.join("\n") + "\n").unwrap();
        let mut replay = Command::new(binary());
        replay.args(["replay", "--rules", "rules", "-o", "json", "all.log"]);
        let replayed = replay.current_dir(cluster.path("")).output().unwrap();
        let replayed = String::from_utf8(replayed.stdout).unwrap();
        let replayed: Vec<Value> =
            replayed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // All stages in one process.
        cluster.start(&["up"]);
        cluster.ship(&traffic(0..200));
        cluster.ship_everywhere(&later());
        cluster.verdict("closed");
        let over_kafka = cluster.said("verdict");
        assert_eq!(closed(&over_kafka), closed(&replayed), "{partitions} partitions");
        cluster.stop();
    }
}

#[test]
fn rules_saved_in_the_folder_keep_what_was_counted_in_every_exchange_partition() {
    let Some(brokers) = brokers("rules over Kafka") else { return };
    let mut cluster = Cluster::prepare(&brokers, 3, 2);
    cluster.start(&["ingest", "enrich", "detect", "respond"]);
    cluster.ship(&traffic(0..12));
    let frames = || cluster.values("access.enriched").len();
    until("the first lines", || (frames() >= 24).then_some(()));
    let rule = std::fs::read_to_string(cluster.path("rules/rule.yml")).unwrap();
    assert!(rule.contains(">= 20"));
    std::fs::write(cluster.path("rules/rule.yml"), rule.replace(">= 20", ">= 15")).unwrap();
    until("other rules", || (cluster.values("detect.rules").len() == 2).then_some(()));
    cluster.kill("detect"); // while they switch, or right after
    cluster.start(&["detect"]);
    cluster.ship(&traffic(12..18));
    let opened = cluster.verdict("opened");
    let failures = opened["values"]["failures"].as_i64().unwrap();
    assert!((15..=18).contains(&failures), "twelve were counted before: {opened}");
    cluster.ship_everywhere(&later());
    assert_eq!(cluster.verdict("closed")["values"]["failures"], 18);
    assert_eq!(cluster.values("detect.rules").len(), 2, "nobody asked for the old ones again");
    cluster.stop();
}

#[test]
fn a_detect_on_another_machine_goes_on_with_what_the_exchange_does_not_hold_any_more() {
    let Some(brokers) = brokers("state that moves") else { return };
    let mut cluster = Cluster::prepare(&brokers, 2, 2);
    cluster.start(&["ingest", "enrich", "respond"]);
    cluster.ship(&traffic(0..15));
    until("the first lines", || (cluster.values("access.enriched").len() >= 30).then_some(()));
    cluster.start(&["detect"]);
    let places = until("a checkpoint of each exchange partition", || {
        let values = cluster.values("detect.state");
        let ends = values.iter().filter_map(|value| std::str::from_utf8(value).ok());
        let ends = ends.filter_map(|end| end.strip_prefix("tidegate state 1\n")?.lines().next());
        let places: Vec<i64> = ends.map(|place| place.parse().unwrap()).collect();
        (places.len() == 2).then_some(places)
    });
    cluster.kill("detect");
    std::fs::remove_dir_all(cluster.path("data/detect")).unwrap();
    cluster.forget("detect.exchange", &places);
    cluster.start(&["detect"]);
    cluster.ship(&traffic(15..25));
    assert_eq!(cluster.verdict("opened")["values"]["failures"], 20);
    cluster.ship_everywhere(&later());
    assert_eq!(cluster.verdict("closed")["values"]["failures"], 25);
    cluster.stop();
    // A machine to which nobody copied the key would count under other hashes.
    std::fs::write(cluster.path("data/key"), format!("{:032x}\n", 7)).unwrap();
    let (code, said) = cluster.refused("detect");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("copy the file from one of them"), "{said}");
}

#[test]
fn what_rsyslog_ships_from_a_file_becomes_a_verdict() {
    let Some(brokers) = brokers("rsyslog") else { return };
    let mut cluster = Cluster::prepare(&brokers, 1, 1);
    cluster.start(&["up"]);
    cluster.start_rsyslog();
    cluster.log(&traffic(0..200));
    cluster.log(&[later()]);
    assert_eq!(cluster.verdict("closed")["values"]["failures"], 200);
    cluster.stop();
}

#[test]
fn inputs_that_are_no_topics_go_on_at_the_exact_line_after_a_kill() {
    let Some(brokers) = brokers("inputs that are no topics") else { return };
    let mut cluster = Cluster::prepare(&brokers, 1, 1);
    let port = running::free_port();
    cluster.configure(&format!(
        "[[input]]\ntype = \"file\"\npath = \"access*.log\"\nlive = false\n\n\
         [[input]]\ntype = \"http\"\nlisten = \"127.0.0.1:{port}\"\nlive = false\n"
    ));
    cluster.start(&["up"]);
    cluster.log(&traffic(0..60));
    let taken = || cluster.values("raw.access-.log").len();
    until("the first lines", || (taken() >= 60).then_some(()));
    cluster.log(&traffic(60..90));
    cluster.kill("up");
    cluster.log(&traffic(90..150));
    cluster.start(&["up"]);
    cluster.log(&traffic(150..180));
    cluster.kill("up"); // in the middle of reading, more often than not
    cluster.start(&["up"]);
    let body = traffic(180..200).join("\n");
    let (status, said) = running::ask(port, "POST", "/v1/lines", "", &body).unwrap();
    assert_eq!((status, said.contains("\"accepted\":43")), (200, true), "{said}");
    // A line of a mebibyte is more than a topic takes, and no reason to stop.
    cluster.log(&["x".repeat(1 << 20), later()]);
    cluster.ship_everywhere(&later());
    running::ask(port, "POST", "/v1/lines", "", &later()).unwrap();
    let closed = cluster.verdict("closed");
    assert_eq!(closed["values"]["failures"], 200, "{closed}");
    assert_eq!(closed["values"]["paths"], 200, "each line counts once: {closed}");
    let dead = cluster.values("dead-letter").into_iter();
    let dead: Vec<Value> = dead.map(|letter| serde_json::from_slice(&letter).unwrap()).collect();
    assert!(dead.iter().any(|letter| letter["reason"] == "too_long"), "{dead:?}");
    cluster.stop();
}

#[test]
fn a_stage_without_brokers_says_what_it_waits_for_and_stops_when_told() {
    let mut cluster = Cluster::away();
    let said = cluster.waiting("detect", "kafka");
    assert!(said.contains("\"ready\":false"), "{said}");
    cluster.stop();
}

/// What `GET /v1/deploys` of a stage tells, one text a deploy.
fn deploys(cluster: &Cluster, stage: &str) -> Vec<String> {
    let answer = running::ask(cluster.admin(stage), "GET", "/v1/deploys", "", "");
    let answer = answer.map_or(Value::Null, |(_, body)| serde_json::from_str(&body).unwrap());
    let records = answer["deploys"].as_array().cloned().unwrap_or_default();
    let text = |record: &Value| {
        let deploy = &record["deploy"];
        format!(
            "{} {} {} {} {}",
            deploy["service"],
            deploy["deploy_id"],
            deploy["version"],
            deploy["deployed_at"],
            record["state"]
        )
    };
    records.iter().map(|record| text(record).replace('"', "")).collect()
}

#[test]
fn deploys_that_others_tell_of_on_a_topic_are_taken_once_and_kept() {
    let Some(brokers) = brokers("deploys on a topic") else { return };
    let mut cluster = Cluster::prepare(&brokers, 1, 1);
    let topic = cluster.topic("cdevents");
    cluster.configure(&format!("[context]\ndeploys_topic = \"{topic}\"\n"));
    let cdevent = |kind: &str, id: &str, time: &str, version: &str| {
        format!(
            r#"{{"context": {{"specversion": "0.5.0", "id": "{id}", "source": "ci", "type": "dev.cdevents.service.{kind}.0.3.0", "timestamp": "{time}"}}, "subject": {{"id": "shop", "content": {{"environment": {{"id": "prod"}}, "artifactId": "pkg:oci/shop@sha256%3Aabc?tag={version}"}}}}}}"#
        )
    };
    let cloud = format!(
        r#"{{"specversion": "1.0", "id": "c2", "source": "ci", "type": "dev.cdevents.service.upgraded.0.3.0", "time": "2026-11-20T08:00:00Z", "datacontenttype": "application/json", "data": {}}}"#,
        cdevent("upgraded", "d2", "2026-11-20T08:00:00Z", "1.4.2")
    );
    let first = cdevent("deployed", "d1", "2026-11-20T07:00:00Z", "1.4.1");
    let built = cdevent("published", "p1", "2026-11-20T06:00:00Z", "1.4.1");
    let ours = r#"{"service": "cart", "deploy_id": "c1", "deployed_at": "2026-11-20T07:30:00Z"}"#;
    let told = [&first, &built, "no deploy at all", &cloud, &first, ours];
    cluster.tell(&topic, &told);
    cluster.start(&["enrich"]);
    let expected = [
        "cart c1 null 2026-11-20T07:30:00.000Z serving",
        "shop d2 1.4.2 2026-11-20T08:00:00.000Z serving",
        "shop d1 1.4.1 2026-11-20T07:00:00.000Z superseded",
    ];
    let all = |cluster: &Cluster| (deploys(cluster, "enrich") == expected).then_some(());
    until("the deploys of the topic", || all(&cluster));
    let stored = |cluster: &Cluster| cluster.values("context.deploys").len();
    assert_eq!(stored(&cluster), 3);
    // After a restart they are there from what was kept, and nothing is stored again.
    cluster.kill("enrich");
    cluster.start(&["enrich"]);
    assert_eq!(deploys(&cluster, "enrich"), expected);
    let back = cdevent("rolledback", "d1", "2026-11-20T09:00:00Z", "1.4.1");
    cluster.tell(&topic, &[&back]);
    until("the rollback", || {
        let told = deploys(&cluster, "enrich");
        (told.get(1)? == "shop d1 1.4.1 2026-11-20T09:00:00.000Z serving").then_some(())
    });
    assert_eq!(stored(&cluster), 4);
    cluster.stop();
}
