//! Shippers with the configuration that their page in `docs/shippers` shows, over lines with hostile
//! bytes: each line is found as an event or a dead letter, with its client.
//!
//! Needs rsyslog; syslog-ng, which `TIDEGATE_SYSLOG_NG` names a folder with; a Python that
//! `TIDEGATE_COLLECTORS` names, with Rotel and OpenTelemetry's exporters; Envoy, in the folder that
//! `TIDEGATE_GATEWAYS` names. Where one is absent, that is said and its test passes; with `CI` set
//! it fails instead. Filebeat, Logstash, Fluent Bit and Vector cannot be had: what they send is
//! written here as their documentation shows it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "shippers/documented.rs"]
mod documented;
#[path = "shippers/parts.rs"]
mod parts;
#[path = "up/running.rs"]
#[expect(dead_code, reason = "the other suites start `tidegate` with it")]
mod running;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use ingest::input::{
    HttpInput, InputConfig, InputType, RawKind, RawLog, RawRecord, SyslogInput, lines_router,
};
use ingest::{Keys, Parsed, Parser, Place, Settings};
use runtime::CancellationToken;
use runtime::clock::Clock;
use runtime::http::{HttpMetrics, Listening, Serving, listen, serve};
use runtime::metrics::Metrics;
use schemas::EventTime;
use serde::Deserialize;
use tokio::runtime::Runtime;
use transport::embedded::{Store, StoreOptions};
use transport::{NextOffset, ReadLimits};

use parts::{Ended, block, client_of, export, hostile, named, rotel, syslog_ng, write_lines};
use running::{ask, free_port, until};

/// The block of a configuration that a page shows.
#[derive(Deserialize)]
struct Shown {
    input: Vec<InputConfig>,
}

/// An input that a page shows, at another port, in a folder of its own.
pub(crate) struct Input {
    pub(crate) folder: tempfile::TempDir,
    raw: RawLog,
    stop: CancellationToken,
    runtime: Runtime,
}

impl Drop for Input {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Input {
    /// The one that stands in this place on a page. `shown` is the port there.
    pub(crate) fn of(page: &str, place: usize, shown: u16, port: u16) -> Self {
        let text = block(page, "toml", place);
        assert!(text.contains(&shown.to_string()), "{text}");
        let text = text.replace(&shown.to_string(), &port.to_string());
        let config = toml::from_str::<Shown>(&text).unwrap().input.remove(0);
        assert_eq!(config.check(), None);
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let store = Store::open(&folder.path().join("store"), StoreOptions::new(clock.clone()));
        let raw = RawLog::open(&store.unwrap(), clock).unwrap();
        let (stop, runtime) = (CancellationToken::new(), Runtime::new().unwrap());
        let input = Self { folder, raw, stop, runtime };
        input.run(&config);
        input
    }

    /// As `tidegate up` does.
    fn run(&self, config: &InputConfig) {
        let (raw, stop) = (self.raw.clone(), self.stop.clone());
        if config.r#type == InputType::Syslog {
            let input = self.runtime.block_on(SyslogInput::open(config, raw)).unwrap();
            self.runtime.handle().spawn(input.run(stop));
            return;
        }
        let address = config.listen.unwrap();
        let listening = Listening { what: "HTTP input", address, setting: "input.listen" };
        let listener = self.runtime.block_on(listen(listening)).unwrap();
        let router = lines_router(HttpInput::new(&config.sensor(), config.token.clone(), raw));
        let metrics = HttpMetrics::new(&Metrics::new(), "input");
        let serving = Serving { http2: true, ..Serving::new(metrics) };
        self.runtime.handle().spawn(serve(listener, router, serving, stop));
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What became of every line so far: the client of each, with whether it is an event.
    fn clients(&self) -> Vec<(String, bool)> {
        let mut parser = Parser::new(Settings::default(), Keys::new([7; 16]));
        let records = self.runtime.block_on(async {
            let mut reader =
                self.raw.log().reader(RawLog::PARTITION, NextOffset::ZERO).await.unwrap();
            let (end, mut records) = (self.raw.end().await.unwrap(), Vec::new());
            while reader.next_offset() < end {
                records.extend(reader.next(ReadLimits::default()).await.unwrap().records);
            }
            records
        });
        let mut clients = Vec::new();
        let mut add = |parsed: &Parsed| match parsed {
            Parsed::Events(events) => clients.extend(
                events
                    .iter()
                    .map(|event| (event.client_ip.as_deref().unwrap_or("").to_owned(), true)),
            ),
            Parsed::DeadLetter(letter) => {
                clients.push((letter.client_ip.clone().unwrap_or_default(), false));
            }
            other => panic!("{other:?}"),
        };
        for record in &records {
            let raw = RawRecord::of(record);
            assert_eq!(raw.kind, RawKind::Line);
            let place = Place { topic: "raw", partition: 0, offset: record.offset.0 };
            match parser.line(raw.value, place, EventTime(0)) {
                Parsed::Bundle(all) => all.iter().for_each(&mut add),
                one => add(&one),
            }
        }
        clients
    }

    /// Waits until so many lines are there, and checks that they are those of the clients, each once.
    #[track_caller]
    pub(crate) fn arrive(&self, clients: usize) {
        let mut found = Vec::new();
        let came = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("every line", || {
                found = self.clients();
                (found.len() >= clients).then_some(())
            });
        }));
        let mut counts = BTreeMap::new();
        for (client, _) in &found {
            *counts.entry(client.clone()).or_insert(0) += 1;
        }
        let expected: BTreeMap<String, i32> = (1..=clients).map(|n| (client_of(n), 1)).collect();
        assert_eq!(counts, expected, "{}", if came.is_ok() { "" } else { "not all came" });
        let events = found.iter().filter(|(_, is_event)| *is_event).count();
        assert!(events > clients / 2, "hostile bytes are no reason to be none: {found:?}");
    }
}

#[test]
fn syslog_ng_as_its_page_says() {
    let Some(root) = named("TIDEGATE_SYSLOG_NG", "syslog-ng") else { return };
    let port = free_port();
    let input = Input::of("syslog-ng.md", 0, 5514, port);
    write_lines(&input.path("access.log"), &hostile());
    let configuration = block("syslog-ng.md", "syslog-ng", 0)
        .replace("/var/log/nginx/access.log", &input.path("access.log").display().to_string())
        .replace("/var/lib/syslog-ng", &input.path("").display().to_string())
        .replace("5514", &port.to_string());
    let _syslog_ng = syslog_ng(&root, input.folder.path(), &configuration);
    input.arrive(hostile().len());
}

#[test]
fn rsyslog_as_its_page_says() {
    if Command::new("rsyslogd").arg("-v").output().is_err() {
        parts::absent("rsyslog", "rsyslogd is not installed");
        return;
    }
    let port = free_port();
    let input = Input::of("rsyslog.md", 0, 5514, port);
    let folder = input.folder.path().display();
    let configuration = block("rsyslog.md", "rsyslog", 0)
        .replace("/var/log/nginx/access.log", &format!("{folder}/access.log"))
        .replace("5514", &port.to_string());
    let configuration = format!("global(workDirectory=\"{folder}\")\n{configuration}");
    std::fs::write(input.path("rsyslog.conf"), configuration).unwrap();
    write_lines(&input.path("access.log"), &hostile());
    let mut rsyslog = Command::new("rsyslogd");
    rsyslog.arg("-n").arg("-f").arg(input.path("rsyslog.conf"));
    rsyslog.arg("-i").arg(input.path("rsyslog.pid"));
    let _rsyslog = Ended::run(rsyslog.stderr(Stdio::null()));
    input.arrive(hostile().len());
}

#[test]
fn the_exporters_for_python_over_grpc_and_http() {
    let Some(python) = named("TIDEGATE_COLLECTORS", "OpenTelemetry's exporters") else { return };
    let port = free_port();
    let input = Input::of("otel.md", 0, 4317, port);
    let lines = hostile();
    let (first, second) = lines.split_at(lines.len() / 2);
    export(&python, "grpc", &format!("127.0.0.1:{port}"), first);
    export(&python, "http", &format!("http://127.0.0.1:{port}/v1/logs"), second);
    input.arrive(lines.len());
}

#[test]
fn rotel_as_its_page_says_over_grpc_and_http() {
    let Some(python) = named("TIDEGATE_COLLECTORS", "Rotel") else { return };
    for place in 0..2 {
        let port = free_port();
        let input = Input::of("otel.md", 0, 4317, port);
        let replaced = [("127.0.0.1:4317", format!("127.0.0.1:{port}"))];
        let (_rotel, receives) = rotel(&python, place, input.folder.path(), &replaced);
        export(&python, "grpc", &format!("127.0.0.1:{receives}"), &hostile());
        input.arrive(hostile().len());
    }
}

#[test]
fn envoys_access_log_as_the_page_of_otlp_says() {
    let Some(folder) = named("TIDEGATE_GATEWAYS", "Envoy over OTLP") else { return };
    let (port, gateway) = (free_port(), free_port());
    let input = Input::of("otel.md", 0, 4317, port);
    let indented = |text: &str, by: usize| -> String {
        text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
    };
    let log = indented(&block("otel.md", "yaml", 1), 10);
    let cluster = indented(&block("otel.md", "yaml", 2), 2).replace("4317", &port.to_string());
    let text = format!(
        r#"static_resources:
  listeners:
  - name: api
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {gateway} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
{log}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [ {{ name: all, match: {{ prefix: "/" }}, direct_response: {{ status: 200 }} }} ] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
{cluster}
"#
    );
    std::fs::write(input.path("envoy.yaml"), text).unwrap();
    let errors = std::fs::File::create(input.path("envoy.log")).unwrap();
    let mut envoy = Command::new(folder.join("envoy"));
    envoy.arg("-c").arg(input.path("envoy.yaml"));
    envoy.args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]);
    let _envoy = Ended::run(envoy.stderr(errors));
    until("Envoy", || {
        ask(gateway, "GET", "/v1/plain?a=b", "", "").ok().filter(|(status, _)| *status == 200)
    });
    ask(gateway, "GET", "/%ff\"x\\?c=d", "User-Agent: \"\\ {}\r\n", "").unwrap();
    let both =
        until("both requests", || Some(input.clients()).filter(|clients| clients.len() == 2));
    assert_eq!(both, vec![("127.0.0.1".to_owned(), true); 2], "{both:?}");
}
