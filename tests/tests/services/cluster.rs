//! Services in a folder of their own, over topics of their own, with an nginx that obeys them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use runtime::clock::Clock;
use serde_json::Value;
use transport::kafka::{Kafka, KafkaConfig, TopicSpec};
use transport::{NewRecord, NextOffset, Partition, ReadLimits, TopicId};

use crate::running::{STUFFING, TARGETS, ask, binary, free_port, until};

/// The schema registry. What is absent is said; in CI it fails.
pub(crate) fn registry(test: &str) -> Option<String> {
    if let Some(url) = std::env::var_os("TIDEGATE_SCHEMA_REGISTRY") {
        return Some(url.into_string().unwrap());
    }
    let absent = "TIDEGATE_SCHEMA_REGISTRY is not set";
    assert!(std::env::var_os("CI").is_none(), "{absent}, and CI skips nothing");
    std::io::stderr().write_all(format!("skipped {test}: {absent}\n").as_bytes()).unwrap();
    None
}

/// What a suite with real parts needs. What is absent is said; in CI it fails.
pub(crate) fn brokers(test: &str) -> Option<String> {
    let known = std::env::var_os("TIDEGATE_KAFKA_BROKERS");
    let there = |program: &str, version: &str| {
        let mut asked = Command::new(program);
        asked.arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let absent = if known.is_none() {
        "TIDEGATE_KAFKA_BROKERS is not set"
    } else if !there("kcat", "-V") {
        "kcat is not installed"
    } else if !there("nginx", "-v") {
        "nginx is not installed"
    } else if !there("rsyslogd", "-v") {
        "rsyslogd is not installed"
    } else {
        return known.map(|brokers| brokers.into_string().unwrap());
    };
    assert!(std::env::var_os("CI").is_none(), "{absent}, and CI skips nothing");
    // Not captured, so that it is seen.
    std::io::stderr().write_all(format!("skipped {test}: {absent}\n").as_bytes()).unwrap();
    None
}

/// A folder with configuration, data and logs, and the processes that run on it.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    brokers: String,
    raw: String,
    partitions: u32,
    turn: std::cell::Cell<u32>,
    prefix: String,
    running: BTreeMap<String, Running>,
    nginx: Option<(Child, u16)>,
    rsyslog: Option<Child>,
}

struct Running {
    child: Child,
    admin: u16,
}

impl Cluster {
    /// Makes the raw topic, writes the configuration, starts nginx.
    pub(crate) fn prepare(brokers: &str, partitions: u32, exchange: u32) -> Self {
        let name = format!("test.{}.", TopicId::random());
        let mut cluster = Self::configured(brokers, &name, exchange);
        cluster.partitions = partitions;
        let spec = TopicSpec::new(&cluster.raw, partitions);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(cluster.kafka().ensure(&spec)).unwrap();
        cluster.nginx = Some(cluster.start_nginx());
        cluster
    }

    /// A client of the test's own.
    pub(crate) fn kafka(&self) -> Kafka {
        let kafka = Kafka::new(KafkaConfig {
            brokers: self.brokers.clone(),
            client_id: "tidegate-test".to_owned(),
            properties: BTreeMap::new(),
            clock: Clock::system(),
        });
        kafka.unwrap()
    }

    /// The full name of a topic between stages.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Adds lines at the end of the configuration.
    pub(crate) fn configure(&self, more: &str) {
        let path = self.path("tidegate.toml");
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(more.as_bytes()).unwrap();
    }

    /// The values of all records of a topic, partition by partition.
    pub(crate) fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let (kafka, topic) = (self.kafka(), self.topic(name));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let log = kafka.topic(&topic).await.unwrap();
            let mut values = Vec::new();
            for partition in (0..log.partitions()).map(Partition) {
                let bounds = log.bounds(partition).await.unwrap();
                let mut reader = log.reader(partition, bounds.start).await.unwrap();
                while reader.next_offset() < bounds.end {
                    let fetched = reader.next(ReadLimits::default()).await.unwrap();
                    values.extend(fetched.records.iter().map(|record| record.value.to_vec()));
                }
            }
            values
        })
    }

    /// Lets a topic forget what is before a place in each of its partitions.
    pub(crate) fn forget(&self, name: &str, places: &[i64]) {
        let (kafka, topic) = (self.kafka(), self.topic(name));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let log = kafka.topic(&topic).await.unwrap();
            for (partition, place) in (0..).zip(places) {
                log.trim_before(Partition(partition), NextOffset(*place)).await.unwrap();
            }
        });
    }

    /// Starts a process that is to end by itself, and gives its exit code and last words.
    pub(crate) fn refused(&mut self, stage: &str) -> (Option<i32>, String) {
        self.spawn(stage);
        let code = self.running.get_mut(stage).unwrap().child.wait().unwrap().code();
        self.running.remove(stage);
        (code, std::fs::read_to_string(self.path(&format!("{stage}.log"))).unwrap())
    }

    /// Nobody listens where the brokers should be.
    pub(crate) fn away() -> Self {
        Self::configured(&format!("127.0.0.1:{}", free_port()), "test.away.", 1)
    }

    fn configured(brokers: &str, prefix: &str, exchange: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let raw = format!("{prefix}access.raw");
        let text = format!(
            r#"
[kafka]
brokers = "{brokers}"
group = "{prefix}group"
topic_prefix = "{prefix}"
exchange_partitions = {exchange}
# So soon partitions of a killed process are given to another.
properties = {{ "session.timeout.ms" = "6000" }}

[[input]]
type = "kafka"
topic = "{raw}"
service = "shop"
live = false

{targets}test = ["nginx", "-t", "-q", "-p", "{folder}", "-c", "nginx.conf"]
reload = ["nginx", "-s", "reload", "-p", "{folder}", "-c", "nginx.conf"]

[storage]
folder = "data"
"#,
            folder = folder.path().display(),
            targets = TARGETS,
        );
        std::fs::write(folder.path().join("tidegate.toml"), text).unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/rule.yml"), STUFFING).unwrap();
        let (brokers, running) = (brokers.to_owned(), BTreeMap::new());
        let turn = std::cell::Cell::new(0);
        let prefix = prefix.to_owned();
        let (nginx, rsyslog) = (None, None);
        Self { folder, brokers, raw, partitions: 1, turn, prefix, running, nginx, rsyslog }
    }

    fn start_nginx(&self) -> (Child, u16) {
        let port = free_port();
        let user = if is_root() { "user root;" } else { "" };
        let text = format!(
            r#"{user} daemon off; worker_processes 1; pid nginx.pid; error_log error.log info;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp;
  scgi_temp_path tmp;
  geo $arg_from $blocked {{ default 0; include deny.map; }}
  server {{
    listen 127.0.0.1:{port};
    if ($blocked) {{ return 403; }}
    location / {{ return 200 "ok"; }}
  }}
}}
"#
        );
        std::fs::create_dir(self.path("tmp")).unwrap();
        std::fs::write(self.path("deny.map"), "").unwrap();
        std::fs::write(self.path("nginx.conf"), text).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(self.folder.path()).args(["-c", "nginx.conf"]).stderr(Stdio::null());
        (nginx.spawn().unwrap(), port)
    }

    /// Ships what [`Self::log`] writes, with the configuration that the README shows.
    pub(crate) fn start_rsyslog(&mut self) {
        let (folder, brokers, raw) = (self.folder.path().display(), &self.brokers, &self.raw);
        let text = format!(
            r#"
global(workDirectory="{folder}/tmp")
module(load="imfile") module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" File="{folder}/access.log" Tag="nginx" ruleset="ship")
ruleset(name="ship" queue.type="LinkedList" queue.filename="ship" queue.saveOnShutdown="on") {{
  action(type="omkafka" broker=["{brokers}"] topic="{raw}" template="line"
         resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="{folder}/failed")
}}
"#
        );
        std::fs::write(self.path("rsyslog.conf"), text).unwrap();
        self.log(&[]);
        let mut rsyslog = Command::new("rsyslogd");
        rsyslog.arg("-n").arg("-f").arg(self.path("rsyslog.conf"));
        rsyslog.arg("-i").arg(self.path("rsyslog.pid"));
        rsyslog.stdout(Stdio::null()).stderr(Stdio::null());
        self.rsyslog = Some(rsyslog.spawn().unwrap());
    }

    /// Appends lines to the file that rsyslog follows.
    pub(crate) fn log(&self, lines: &[String]) {
        let path = self.path("access.log");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts processes and waits until all are ready.
    #[track_caller]
    pub(crate) fn start(&mut self, stages: &[&str]) {
        for stage in stages {
            self.spawn(stage);
        }
        for stage in stages {
            let path = self.path(&format!("{stage}.log"));
            let running = self.running.get_mut(*stage).unwrap();
            until(&format!("readiness of {stage}"), || {
                let ended = running.child.try_wait().unwrap();
                assert_eq!(ended, None, "{stage} ended: {}", tail(&path));
                (ask(running.admin, "GET", "/ready", "", "").ok()?.0 == 200).then_some(())
            });
        }
    }

    /// Starts a process and gives its answer to `/ready` once that speaks of `what`.
    pub(crate) fn waiting(&mut self, stage: &str, what: &str) -> String {
        self.spawn(stage);
        let admin = self.running[stage].admin;
        until(&format!("an answer about {what}"), || {
            let answer = ask(admin, "GET", "/ready", "", "").ok();
            answer.map(|(_, body)| body).filter(|body| body.contains(what))
        })
    }

    fn spawn(&mut self, stage: &str) {
        let admin = free_port();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{stage}.log")))
            .unwrap();
        let mut command = Command::new(binary());
        command.arg(stage).args(["--config", "tidegate.toml"]).current_dir(self.folder.path());
        command.env("TIDEGATE__ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        self.running.insert(stage.to_owned(), Running { child, admin });
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, stage: &str) {
        let mut running = self.running.remove(stage).unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// Asks all to stop, and checks that they end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        for running in self.running.values() {
            let pid = running.child.id().to_string();
            Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        }
        for (stage, mut running) in std::mem::take(&mut self.running) {
            let ended = running.child.wait().unwrap();
            let log = tail(&self.path(&format!("{stage}.log")));
            assert_eq!(ended.code(), Some(0), "{stage}: {log}");
        }
    }

    /// Writes lines to the raw topic as a shipper does, one partition after the other.
    pub(crate) fn ship(&self, lines: &[String]) {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        for partition in 0..self.partitions {
            let own = (turn..).zip(lines).filter(|(at, _)| at % self.partitions == partition);
            let own: Vec<&str> = own.map(|(_, line)| line.as_str()).collect();
            self.produce(partition, &own.join("\n"));
        }
    }

    /// Writes a line to every partition of the raw topic.
    pub(crate) fn ship_everywhere(&self, line: &str) {
        (0..self.partitions).for_each(|partition| self.produce(partition, line));
    }

    fn produce(&self, partition: u32, text: &str) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", &self.brokers, "-t", &self.raw, "-p", &partition.to_string()]);
        let mut kcat = kcat.stdin(Stdio::piped()).spawn().unwrap();
        kcat.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(kcat.wait().unwrap().success());
    }

    /// Writes records to a topic of somebody else, which is made if need be.
    pub(crate) fn tell(&self, topic: &str, values: &[&str]) {
        let kafka = self.kafka();
        let records =
            values.iter().map(|value| NewRecord::new(value.as_bytes().to_vec())).collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let log = kafka.ensure(&TopicSpec::new(topic, 1)).await.unwrap();
            log.append(Partition(0), records).await.unwrap();
        });
    }

    /// The port of a stage's admin endpoint.
    pub(crate) fn admin(&self, stage: &str) -> u16 {
        self.running[stage].admin
    }

    /// What nginx answers to a caller.
    pub(crate) fn nginx(&self, from: &str) -> u16 {
        let port = self.nginx.as_ref().unwrap().1;
        until("an answer of nginx", || {
            ask(port, "GET", &format!("/?from={from}"), "", "").ok().map(|(status, _)| status)
        })
    }

    /// All records of one kind in the file target's journal.
    pub(crate) fn said(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("out.jsonl")).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.filter_map(|record| record.get(kind).cloned()).collect()
    }

    /// The first verdict of a kind, once it is there.
    #[track_caller]
    pub(crate) fn verdict(&self, kind: &str) -> Value {
        until(&format!("a verdict that is {kind}"), || {
            self.said("verdict").into_iter().find(|verdict| verdict["kind"] == kind)
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            drop(running.child.kill());
            drop(running.child.wait());
        }
        if let Some((nginx, _)) = &mut self.nginx {
            // Its workers end with the master, which TERM lets end well.
            drop(Command::new("kill").arg(nginx.id().to_string()).status());
            drop(nginx.wait());
        }
        if let Some(rsyslog) = &mut self.rsyslog {
            drop(rsyslog.kill());
            drop(rsyslog.wait());
        }
        if std::thread::panicking() {
            for stage in ["ingest", "enrich", "detect", "respond", "up"] {
                let log = tail(&self.path(&format!("{stage}.log")));
                drop(writeln!(std::io::stderr(), "== {stage}\n{log}"));
            }
        }
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
