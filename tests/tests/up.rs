//! `tidegate up` as a user runs it: lines in, verdicts, orders and tickets out, and what happens
//! when it is killed, when files rotate, and when something is set wrong.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "up/blocks.rs"]
mod blocks;
#[path = "up/reload.rs"]
mod reload;
#[path = "up/running.rs"]
mod running;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use running::{STUFFING, Up, ask, free_port, stamp, until};

const FOLLOWED: &str = r#"
[[input]]
type = "file"
path = "access*.log"
service = "shop"
live = false
"#;

/// Failed logins, one a second, each at a path of its own.
fn failures(seconds: std::ops::Range<u32>) -> String {
    seconds
        .map(|second| {
            let (at, minute, second) = (stamp(second.into()), second / 60, second % 60);
            format!(
                "203.0.113.9 - - [{at}] \
                 \"POST /login/{minute}-{second} HTTP/1.1\" 401 120 \"-\" \"python-requests/2.32\"\n"
            )
        })
        .collect()
}

/// Somebody else, so many seconds after the hour.
fn quiet(seconds: i64) -> String {
    let at = stamp(seconds);
    format!("198.51.100.7 - - [{at}] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n")
}

/// Somebody else, much later: all windows and episodes before are over.
fn later() -> String {
    quiet(90 * 60)
}

#[track_caller]
fn counted(verdict: &Value, failures: u32) {
    assert_eq!(verdict["values"]["failures"], failures, "{verdict}");
    assert_eq!(verdict["values"]["paths"], failures, "each line counts once: {verdict}");
}

/// Every verdict and every order is there once.
#[track_caller]
fn nothing_twice(up: &Up) {
    let verdicts = up.said("verdict");
    let revisions: BTreeSet<String> =
        verdicts.iter().map(|v| format!("{} {}", v["id"], v["revision"])).collect();
    assert_eq!(revisions.len(), verdicts.len(), "{verdicts:?}");
    let orders = up.said("order");
    let ids: BTreeSet<String> = orders.iter().map(|order| order["id"].to_string()).collect();
    assert_eq!(ids.len(), orders.len(), "{orders:?}");
    let done = up.said("outcome").into_iter().filter(|outcome| outcome["state"] == "done");
    let done: Vec<String> = done.map(|outcome| outcome["order_id"].to_string()).collect();
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), done.len(), "{done:?}");
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_acts_nothing_twice() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &failures(0..90));
    until("the block", || up.read("deny.map").contains("203.0.113.9").then_some(()));
    up.kill();
    up.write("access.log", &failures(90..140));
    up.start();
    up.write("access.log", &failures(140..200));
    up.kill(); // in the middle of reading, more often than not
    up.start();
    up.write("access.log", &later());
    counted(&up.verdict("closed"), 200);
    let opened = up.said("verdict").into_iter().filter(|v| v["kind"] == "opened").count();
    assert_eq!(opened, 1, "one episode, however often it was killed");
    until("the last outcome", || {
        let done = up.said("outcome").into_iter().filter(|outcome| outcome["state"] == "done");
        (done.count() == up.said("order").len()).then_some(())
    });
    nothing_twice(&up);
    assert_eq!(up.read("deny.map").matches("203.0.113.9 1;").count(), 1);
    let tickets = std::fs::read_dir(up.path("tickets")).unwrap();
    let tickets: Vec<_> = tickets.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert!(up.stop().success());
}

#[test]
fn it_says_the_same_as_replay() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    let text = failures(0..45) + &failures(1500..1560) + &later();
    up.write("access.log", &text);
    up.start();
    until("both episodes", || {
        let closed = up.said("verdict").into_iter().filter(|v| v["kind"] == "closed");
        (closed.count() == 2).then_some(())
    });
    let path = up.path("access.log").display().to_string();
    let replay = Command::new(running::binary())
        .args(["replay", "-o", "json", "--service", "shop", "--rules", "rules", &path])
        .current_dir(up.folder.path())
        .output()
        .unwrap();
    let replayed: Vec<Value> = String::from_utf8(replay.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |verdicts: Vec<Value>| -> Vec<String> {
        let closed = verdicts.into_iter().filter(|v| v["kind"] == "closed");
        closed.map(|v| format!("{} {} {}", v["id"], v["key"], v["values"])).collect()
    };
    assert_eq!(told(up.said("verdict")), told(replayed));
}

#[test]
fn rotation_truncation_and_a_restart_lose_no_line_and_repeat_none() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.write("access.log", &failures(0..30));
    up.start();
    until_read(&up, 30);
    std::fs::rename(up.path("access.log"), up.path("old-access.log")).unwrap();
    up.write("old-access.log", &failures(30..40)); // its writer holds it still
    up.write("access.log", &failures(40..60));
    until_read(&up, 60);
    assert!(up.stop().success());
    up.write("access.log", &failures(60..70));
    up.start();
    until_read(&up, 10);
    std::fs::write(up.path("access.log"), failures(70..75)).unwrap(); // copytruncate
    until_read(&up, 15);
    up.write("access.log", &later());
    counted(&up.verdict("closed"), 75);
    nothing_twice(&up);
}

/// Waits until this process has read so many lines.
#[track_caller]
fn until_read(up: &Up, lines: u64) {
    until(&format!("{lines} lines"), || {
        let (_, text) = ask(up.admin, "GET", "/metrics", "", "").ok()?;
        let read: u64 = text
            .lines()
            .filter(|line| line.starts_with("tidegate_pipeline_read_lines"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        (read >= lines).then_some(())
    });
}

#[test]
fn lines_posted_over_http_are_judged_and_an_input_that_is_silent_holds_nobody_back() {
    let port = free_port();
    let inputs = format!(
        r#"
[[input]]
type = "http"
listen = "127.0.0.1:{port}"
token = "let-me-in"
service = "shop"
live = false

[[input]]
type = "file"
path = "never-there.log"
"#
    );
    let mut up = Up::prepare(&inputs, STUFFING);
    up.start();
    let (status, body) = ask(port, "POST", "/", "", &failures(0..30)).unwrap();
    assert_eq!(status, 401, "{body}");
    let token = "Authorization: Bearer let-me-in\r\n";
    let (status, body) = ask(port, "POST", "/", token, &failures(0..30)).unwrap();
    assert_eq!((status, body.as_str()), (200, "{\"accepted\":30}"));
    let (status, _) = ask(port, "POST", "/", token, &later()).unwrap();
    assert_eq!(status, 200);
    counted(&up.verdict("closed"), 30);
}

/// The first block of a shipper's page in this language.
fn block(page: &str, language: &str) -> String {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shippers");
    let text = std::fs::read_to_string(pages.join(page)).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn what_rsyslog_sends_as_its_page_says_is_judged() {
    if Command::new("rsyslogd").arg("-v").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "rsyslogd is not installed, and CI skips nothing"
        );
        std::io::stderr().write_all(b"skipped rsyslog: rsyslogd is not installed\n").unwrap();
        return;
    }
    let port = free_port();
    let input = block("rsyslog.md", "toml")
        .replace("5514", &port.to_string())
        .replace("service =", "live = false\nservice =");
    let mut up = Up::prepare(&input, STUFFING);
    up.start();
    let conf = block("rsyslog.md", "rsyslog")
        .replace("/var/log/nginx/access.log", &up.path("access.log").display().to_string())
        .replace("5514", &port.to_string());
    let work = up.path("").display().to_string();
    std::fs::write(up.path("rsyslog.conf"), format!("global(workDirectory=\"{work}\")\n{conf}"))
        .unwrap();
    let conf = up.path("rsyslog.conf").display().to_string();
    let pid = up.path("rsyslog.pid").display().to_string();
    let rsyslog = Command::new("rsyslogd")
        .args(["-n", "-f", &conf, "-i", &pid])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _rsyslog = Ended(rsyslog);
    up.write("access.log", &(failures(0..60) + &later()));
    counted(&up.verdict("closed"), 60);
}

/// A process that ends with this.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn shippers_of_elasticsearch_loki_and_otlp_are_taken_at_one_port() {
    let port = free_port();
    let input = format!(
        "[[input]]\ntype = \"elasticsearch\"\nlisten = \"127.0.0.1:{port}\"\nservice = \"shop\"\nlive = false\n"
    );
    let mut up = Up::prepare(&input, STUFFING);
    up.start();
    let documents: String = failures(0..20)
        .lines()
        .map(|line| format!("{{\"create\":{{}}}}\n{}\n", serde_json::json!({ "message": line })))
        .collect();
    let (status, body) = ask(port, "POST", "/_bulk", "", &documents).unwrap();
    assert_eq!(status, 200, "{body}");
    let json = "Content-Type: application/json\r\n";
    let values: Vec<Value> =
        failures(20..40).lines().map(|line| serde_json::json!(["1", line])).collect();
    let push = serde_json::json!({ "streams": [{ "stream": {}, "values": values }] }).to_string();
    let (status, body) = ask(port, "POST", "/loki/api/v1/push", json, &push).unwrap();
    assert_eq!(status, 204, "{body}");
    let lines = failures(40..60) + &later();
    let records: Vec<Value> =
        lines.lines().map(|line| serde_json::json!({ "body": { "stringValue": line } })).collect();
    let request =
        serde_json::json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
    let (status, body) = ask(port, "POST", "/v1/logs", json, &request.to_string()).unwrap();
    assert_eq!(status, 200, "{body}");
    counted(&up.verdict("closed"), 60);
}

#[test]
fn a_block_is_listed_and_released_by_the_order_that_its_ticket_names() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &failures(0..40));
    up.write("access.log", &later());
    until("the block", || up.read("deny.map").contains("203.0.113.9").then_some(()));
    let listed = up.run(&["blocks", "list", "-o", "json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let block: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(block["order"]["subject"]["value"], "203.0.113.9");
    let order = block["order"]["id"].as_str().unwrap();
    let command = format!("tidegate blocks release --order {order}");
    until("the ticket", || {
        let tickets = std::fs::read_dir(up.path("tickets")).ok()?;
        let mut texts = tickets.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        texts.any(|text| text.contains(&command)).then_some(())
    });
    let released = up.run(&["blocks", "release", "--order", order, "--reason", "false positive"]);
    let said = String::from_utf8(released.stdout).unwrap();
    assert!(said.starts_with("released ip:203.0.113.9 at nginx"), "{said}");
    assert!(!up.read("deny.map").contains("203.0.113.9"));
    let again = up.run(&["blocks", "release", "--order", order]);
    assert_eq!(again.status.code(), Some(1), "nothing is left to release");
    let unknown = up.run(&["blocks", "release", "--order", "no-such-order"]);
    assert_eq!(unknown.status.code(), Some(1));
}

/// Starts what cannot start and returns its exit code and words.
#[track_caller]
fn refused(up: &Up) -> (Option<i32>, String) {
    let output = up.run(&["up"]);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_port_in_use_is_named_with_its_setting() {
    let up = Up::prepare(FOLLOWED, STUFFING);
    let _holder = TcpListener::bind(("127.0.0.1", up.admin)).unwrap();
    let (code, said) = refused(&up);
    assert!(matches!(code, Some(2 | 75)), "{code:?}: {said}");
    let address = format!("127.0.0.1:{}", up.admin);
    assert!(said.contains(&address) && said.contains("admin.listen"), "{said}");
}

#[test]
fn a_misspelt_key_stops_the_start_with_place_and_nearest_name() {
    let up = Up::prepare(&FOLLOWED.replace("service", "servcie"), STUFFING);
    let (code, said) = refused(&up);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("servcie") && said.contains("`service`"), "{said}");
    assert!(said.contains("tidegate.toml:6"), "{said}");
}

#[test]
fn a_rule_that_does_not_parse_and_a_second_process_are_told_apart_and_named() {
    let up = Up::prepare(FOLLOWED, &STUFFING.replace("GROUP BY", "GRUOP BY"));
    let (code, said) = refused(&up);
    assert!(matches!(code, Some(1 | 2)), "{code:?}: {said}");
    assert!(said.contains("rule.yml"), "{said}");
    let mut running = Up::prepare(FOLLOWED, STUFFING);
    running.start();
    let (code, said) = refused(&running);
    assert!(matches!(code, Some(2 | 75)), "{code:?}: {said}");
    assert!(said.contains("data"), "{said}");
}

/// A small disk under a folder, for as long as this lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn under(folder: std::path::PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=192m", "tmpfs"]).arg(&folder);
        assert!(mount.status().unwrap().success(), "a disk of its own takes root");
        Self(folder)
    }

    /// Leaves so little that the store is below its low-water mark, and not without any room.
    fn fill(&self) {
        let mut df = Command::new("df");
        let said = df.args(["--output=avail", "-B1"]).arg(&self.0).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let free: u64 = said.lines().last().unwrap().trim().parse().unwrap();
        let ballast = vec![0; usize::try_from(free - 512 * 1024).unwrap()];
        std::fs::write(self.0.join("ballast"), ballast).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_makes_lines_wait_says_so_and_loses_none() {
    let port = free_port();
    let http = format!("[[input]]\ntype = \"http\"\nlisten = \"127.0.0.1:{port}\"\nlive = false\n");
    let mut up = Up::prepare(&format!("{FOLLOWED}{http}"), STUFFING);
    let disk = SmallDisk::under(up.path("data"));
    up.start();
    up.write("access.log", &failures(0..30));
    until("the first lines", || {
        let (_, metrics) = ask(up.admin, "GET", "/metrics", "", "").ok()?;
        let read =
            metrics.lines().find(|line| line.contains("read_lines") && line.contains("access"));
        read?.ends_with(" 30").then_some(())
    });
    disk.fill();
    up.write("access.log", &failures(30..60));
    let said = until("a word about the disk", || {
        let log = up.read("log");
        log.lines().find(|line| line.contains("lines wait")).map(str::to_owned)
    });
    assert!(said.contains("data/store") && said.contains("bytes free"), "the place: {said}");
    assert!(said.contains("low-water mark of 1048576"), "the cause: {said}");
    assert!(said.contains("refused until there is more"), "the next step: {said}");
    let (status, body) = ask(port, "POST", "/v1/lines", "", &failures(60..61)).unwrap();
    assert_eq!(status, 429, "{body}");
    assert!(body.contains("low-water mark") && body.contains("send it again"), "{body}");
    assert_eq!(ask(up.admin, "GET", "/live", "", "").unwrap().0, 200);
    // What waits is in the file, so that a crash changes nothing.
    up.kill();
    disk.free();
    up.start();
    up.write("access.log", &failures(61..90));
    let (status, body) = ask(port, "POST", "/v1/lines", "", &failures(60..61)).unwrap();
    assert_eq!(status, 200, "{body}");
    up.write("access.log", &later());
    ask(port, "POST", "/v1/lines", "", &later()).unwrap();
    counted(&up.verdict("closed"), 90);
    nothing_twice(&up);
    assert_eq!(up.stop().code(), Some(0), "{}", up.read("log"));
}

#[test]
fn a_line_of_a_mebibyte_is_named_with_cause_and_next_step_and_costs_no_other() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &failures(0..15));
    up.write("access.log", &format!("{}\n", "x".repeat(1 << 20)));
    up.write("access.log", &failures(15..30));
    up.write("access.log", &later());
    counted(&up.verdict("closed"), 30);
    let log = up.read("log");
    let said = log.lines().find(|line| line.contains("too_long")).unwrap_or(&log);
    // The log begins with the rules that run.
    assert!(said.contains("access*.log") && said.contains("raw/0/16"), "the place: {said}");
    assert!(said.contains("1048576 bytes; at most 262144 are read"), "the cause: {said}");
    assert!(said.contains("have its writer"), "the next step: {said}");
    let (_, metrics) = ask(up.admin, "GET", "/metrics", "", "").unwrap();
    let counter = metrics.lines().find(|line| line.contains("reason=\"too_long\""));
    assert!(counter.is_some_and(|line| line.ends_with(" 1")), "{counter:?}");
    assert_eq!(up.stop().code(), Some(0), "{}", up.read("log"));
}

#[test]
fn late_events_are_counted_as_dropped_and_not_as_judged() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &(failures(0..20) + &later()));
    until_read(&up, 21);
    up.write("access.log", &failures(20..25));
    let counter = |name: &str| {
        let (_, metrics) = ask(up.admin, "GET", "/metrics", "", "").ok()?;
        let line =
            metrics.lines().find(|line| line.starts_with(name) && line.contains("access"))?;
        line.rsplit(' ').next().map(str::to_owned)
    };
    until("the late lines", || {
        let late = counter("tidegate_pipeline_dropped_dead_letters_total")?;
        (late == "5").then_some(())
    });
    assert_eq!(counter("tidegate_pipeline_judged_events_total").as_deref(), Some("21"));
    assert!(up.stop().success());
}

#[test]
fn what_waits_and_what_rules_hold_beside_what_they_may_is_shown() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    let many: String = (0..40).map(|_again| failures(0..1_500)).collect();
    up.start();
    up.write("access.log", &many);
    let gauge = |name: &str| -> Option<i64> {
        let (_, metrics) = ask(up.admin, "GET", "/metrics", "", "").ok()?;
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let waiting = || gauge("tidegate_pipeline_waiting_records ");
    until("something that waits", || (waiting()? > 0).then_some(()));
    until_read(&up, 60_000);
    until("nothing that waits", || (waiting()? == 0).then_some(()));
    let held = until("what the rule holds", || {
        gauge("tidegate_state_held_bytes{").filter(|bytes| *bytes > 0)
    });
    let most = gauge("tidegate_state_max_bytes{").unwrap();
    assert_eq!(most, 64 << 20);
    assert!(held < most, "{held}");
    assert!(up.stop().success());
}

/// An input over HTTP for lines of this service.
fn posted(port: u16) -> String {
    format!(
        "[[input]]\ntype = \"http\"\nlisten = \"127.0.0.1:{port}\"\nservice = \"shop\"\nlive = false\n"
    )
}

/// Answers every request with this text, until the test ends.
fn service(text: &str) -> (u16, std::sync::Arc<std::sync::Mutex<String>>) {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::sync::Arc::new(std::sync::Mutex::new(text.to_owned()));
    let told = std::sync::Arc::clone(&answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            drop(stream.read(&mut request));
            let text = told.lock().unwrap().clone();
            let length = text.len();
            drop(write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            ));
        }
    });
    (port, answer)
}

const UNDECLARED: &str = "
title: A route that no document declares
severity: low
mode: live
sql: SELECT method, path, route_declared FROM events WHERE NOT route_declared AND status = 200
key: [method, path]
respond: [ticket]
tests:
  - name: it fires
    events: [{method: GET, path: /x, route_declared: false, status: 200}]
    episodes: [{key: {method: GET, path: /x}}]
  - {name: it stays quiet, events: [{method: GET, path: /x, route_declared: true, status: 200}], episodes: []}
";

#[test]
fn routes_that_a_service_tells_are_joined_and_ready_tells_how_they_stand() {
    let (port, (there, answer)) = (
        free_port(),
        service(
            r#"{"openapi": "3.1.0", "info": {"version": "7"}, "paths": {"/orders": {"get": {}}}}"#,
        ),
    );
    let context = format!(
        "[[context.openapi]]\nservice = \"shop\"\nurl = \"http://127.0.0.1:{there}/openapi.json\"\nevery = \"1s\"\n"
    );
    let mut up = Up::prepare(&format!("{}\n{context}", posted(port)), UNDECLARED);
    up.start();
    let line = |path: &str| {
        format!(
            "203.0.113.9 - - [20/Nov/2026:08:00:00 +0000] \"GET {path} HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n"
        )
    };
    let (status, body) = ask(port, "POST", "/", "", &(line("/orders") + &line("/debug"))).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(up.verdict("opened")["key"]["path"], "/debug");
    let standing = |up: &Up| -> Value {
        let (status, body) = ask(up.admin, "GET", "/ready", "", "").unwrap();
        assert_eq!(status, 200, "{body}");
        let told: Value = serde_json::from_str(&body).unwrap();
        told["details"]["context"]["documents"][0].clone()
    };
    let first = standing(&up);
    assert_eq!((&first["service"], &first["version"]), (&"shop".into(), &"7".into()), "{first}");
    assert_eq!((&first["operations"], &first["error"]), (&1.into(), &Value::Null), "{first}");
    assert!(first["age_s"].is_number(), "{first}");
    *answer.lock().unwrap() = "<html>down for maintenance</html>".to_owned();
    let error = until("the error", || standing(&up)["error"].as_str().map(str::to_owned));
    assert!(error.contains(&format!("http://127.0.0.1:{there}/openapi.json")), "{error}");
    assert!(error.contains("stays in force") && error.contains("next: "), "{error}");
    assert_eq!(standing(&up)["operations"], 1);
}

const CANARY: &str = "
title: The canary answered
severity: low
mode: live
sql: SELECT deploy_id, service_version FROM events WHERE service_version = '2'
key: [deploy_id]
respond: [ticket]
tests:
  - name: it fires
    events: [{service_version: '2', deploy_id: d2}]
    episodes: [{key: {deploy_id: d2}}]
  - {name: it stays quiet, events: [{service_version: '1', deploy_id: d1}], episodes: []}
";

#[test]
fn an_event_of_a_version_that_is_not_known_waits_for_news_of_its_deploy() {
    let port = free_port();
    // Longer than two requests of this test take on any machine.
    let inputs = format!("{}\n[context]\ndeploy_grace = \"1m\"\n", posted(port));
    let mut up = Up::prepare(&inputs, CANARY);
    up.start();
    let deploy = |id: &str, version: &str| {
        let body = format!(
            "service=shop deploy_id={id} version={version} deployed_at=2026-11-20T07:00:00Z"
        );
        ask(up.admin, "POST", "/v1/deploys", "", &body).unwrap()
    };
    assert_eq!(deploy("d1", "1").0, 202);
    let line = |version: &str| {
        format!(
            "{{\"time\": \"2026-11-20T08:00:00Z\", \"service_version\": \"{version}\", \"method\": \"GET\", \"path\": \"/\", \"status\": 200, \"client_ip\": \"203.0.113.9\"}}\n"
        )
    };
    let (status, body) = ask(port, "POST", "/", "", &(line("1") + &line("2"))).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(deploy("d2", "2").0, 202);
    assert_eq!(up.verdict("opened")["key"]["deploy_id"], "d2");
}
