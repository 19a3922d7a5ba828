//! Real shippers that write to Kafka with the configuration that their page in `docs/shippers` shows.
//!
//! Needs what the suite needs, syslog-ng in the folder that `TIDEGATE_SYSLOG_NG` names, and a Python
//! with Rotel that `TIDEGATE_COLLECTORS` names.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, brokers};
use crate::parts::{block, client_of, export, hostile, named, rotel, syslog_ng, write_lines};
use crate::running::until;

/// Says each client once, of events or of what was dropped.
fn rule(table: &str) -> String {
    format!(
        "
title: Every client of {table}
severity: low
mode: live
rearm: 1h
sql: SELECT client_ip FROM {table} WHERE client_ip IS NOT NULL
key: [client_ip]
subject: {{ip: client_ip}}
"
    )
}

/// The clients of verdicts of a rule.
fn clients(cluster: &Cluster, rule: &str) -> BTreeSet<String> {
    let verdicts = cluster.said("verdict").into_iter().filter(|verdict| verdict["rule"] == rule);
    verdicts.filter_map(|v| Some(v["key"]["client_ip"].as_str()?.to_owned())).collect()
}

fn judged(brokers: &str) -> Cluster {
    let cluster = Cluster::prepare(brokers, 1, 1);
    std::fs::write(cluster.path("rules/rule.yml"), rule("events")).unwrap();
    std::fs::write(cluster.path("rules/drops.yml"), rule("drops")).unwrap();
    cluster
}

/// Every client has an event or a dead letter; the one of line 8, which is no line, a dead letter.
#[track_caller]
fn all_arrive(cluster: &Cluster) {
    let expected: BTreeSet<String> = (1..=hostile().len()).map(client_of).collect();
    until("every client", || {
        let (events, drops) = (clients(cluster, "rule"), clients(cluster, "drops"));
        let all: BTreeSet<String> = events.union(&drops).cloned().collect();
        (all == expected && drops.contains(&client_of(8))).then_some(())
    });
    let (events, drops) = (clients(cluster, "rule"), clients(cluster, "drops"));
    assert!(events.is_disjoint(&drops), "{events:?} {drops:?}");
}

#[test]
fn syslog_ng_to_kafka_as_its_page_says() {
    let Some(brokers) = brokers("syslog-ng to Kafka") else { return };
    let Some(root) = named("TIDEGATE_SYSLOG_NG", "syslog-ng to Kafka") else { return };
    let mut cluster = judged(&brokers);
    cluster.start(&["up"]);
    let configuration = block("syslog-ng.md", "syslog-ng", 1)
        .replace("/var/log/nginx/access.log", &cluster.path("access.log").display().to_string())
        .replace("/var/lib/syslog-ng", &cluster.path("").display().to_string())
        .replace("127.0.0.1:9092", &brokers)
        .replace("access.raw", &cluster.topic("access.raw"));
    write_lines(&cluster.path("access.log"), &hostile());
    let _syslog_ng = syslog_ng(&root, &cluster.path(""), &configuration);
    all_arrive(&cluster);
    cluster.stop();
}

#[test]
fn rotel_to_kafka_as_its_page_says_and_dead_letters_of_its_requests_reach_rules() {
    let Some(brokers) = brokers("Rotel to Kafka") else { return };
    let Some(python) = named("TIDEGATE_COLLECTORS", "Rotel to Kafka") else { return };
    for format in ["protobuf", "json"] {
        let mut cluster = judged(&brokers);
        cluster.start(&["up"]);
        let replaced = [
            ("127.0.0.1:9092", brokers.clone()),
            ("access.raw", cluster.topic("access.raw")),
            ("protobuf", format.to_owned()),
        ];
        let (_rotel, receives) = rotel(&python, 2, &cluster.path(""), &replaced);
        export(&python, "grpc", &format!("127.0.0.1:{receives}"), &hostile());
        all_arrive(&cluster);
        cluster.stop();
    }
}
