//! `tidegate up` in a folder of its own, started, killed and asked as a user would.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use runtime::clock::Clock;
use schemas::EventTime;
use serde_json::Value;

/// Longer than anything here takes on a machine that is busy.
const PATIENCE_TURNS: u32 = 1_200;
const TURN: Duration = Duration::from_millis(50);

/// Fires at twenty failures. Its window holds all that a test plays, so the numbers of the closed
/// verdict, the highest of all windows, count every failure.
pub(crate) const STUFFING: &str = "
title: Many accounts fail to log in from one address
severity: high
mode: live
window: 10m
slide: 1m
rearm: 5m
sql: |
  SELECT client_ip, count(*) AS failures, count(DISTINCT path) AS paths
  FROM events
  WHERE status = 401 AND blocked_by IS NULL
  GROUP BY client_ip
  HAVING count(*) >= 20
subject: {ip: client_ip}
respond: [block 6h, ticket]
tests:
  - name: it fires
    events: [{each: 20, every: 1s, status: 401, client_ip: 203.0.113.9}]
    episodes: [{key: {client_ip: 203.0.113.9}}]
  - {name: it stays quiet, events: [{each: 3, every: 1s, status: 401, client_ip: 203.0.113.9}], episodes: []}
";

/// A full hour, two to three hours ago: what happened long ago is blocked no more, and a test plays
/// an hour and a half.
static HOUR: LazyLock<i64> = LazyLock::new(|| {
    const HOUR_MS: i64 = 3_600_000;
    Clock::system().unix_ms().div_euclid(HOUR_MS) * HOUR_MS - 2 * HOUR_MS
});

/// The time in access logs, so many seconds after the full hour at which tests begin to play.
pub(crate) fn stamp(seconds: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = EventTime(*HOUR + seconds * 1_000).to_string();
    let (date, time) = text.split_once('T').unwrap();
    let (year, day) = date.split_once('-').unwrap();
    let (month, day) = day.split_once('-').unwrap();
    let month = MONTHS.get(month.parse::<usize>().unwrap() - 1).unwrap();
    format!("{day}/{month}/{year}:{} +0000", time.split_once('.').unwrap().0)
}

/// Rules and targets; what nginx is asked by follows.
pub(crate) const TARGETS: &str = r#"
[rules]
folder = "rules"

[respond]
dry_run = false

[[target]]
type = "file"
path = "out.jsonl"

[[target]]
type = "tickets"
folder = "tickets"

[[target]]
type = "nginx"
ip_map = "deny.map"
"#;

/// The binary beside this test's own, or the one that `TIDEGATE_BIN` names.
pub(crate) fn binary() -> PathBuf {
    let beside = std::env::current_exe().unwrap();
    let beside = beside.parent().and_then(Path::parent).unwrap().join("tidegate");
    std::env::var_os("TIDEGATE_BIN").map_or(beside, Into::into)
}

/// Asks until there is an answer; fails with `what` when none comes.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE_TURNS {
        if let Some(answer) = ask() {
            return answer;
        }
        pause();
    }
    panic!("never came: {what}");
}

/// Lets others get on.
#[expect(clippy::disallowed_methods, reason = "no runtime here that this could block")]
pub(crate) fn pause() {
    std::thread::sleep(TURN);
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A folder with a configuration, and the process that runs on it.
pub(crate) struct Up {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) admin: u16,
    child: Option<Child>,
}

impl Up {
    /// Writes the configuration; `inputs` holds the `[[input]]` tables.
    pub(crate) fn prepare(inputs: &str, rule: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = free_port();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/rule.yml"), rule).unwrap();
        let targets = TARGETS;
        let text = format!(
            r#"
{inputs}

{targets}test = ["true"]
reload = ["true"]

[storage]
folder = "data"
free_min = "1MiB"

[admin]
listen = "127.0.0.1:{admin}"
"#
        );
        std::fs::write(folder.path().join("tidegate.toml"), text).unwrap();
        Self { folder, admin, child: None }
    }

    /// Starts the process and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut child = self.command(&["up"]).stderr(log).spawn().unwrap();
        until("readiness", || {
            let ended = child.try_wait().unwrap();
            assert_eq!(ended, None, "it ended at its start: {}", self.read("log"));
            (ask(self.admin, "GET", "/ready", "", "").ok()?.0 == 200).then_some(())
        });
        self.child = Some(child);
    }

    /// Ends it without a word: kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        child.wait().unwrap()
    }

    /// Runs another command on the same configuration, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stderr(Stdio::piped()).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).args(["--config", "tidegate.toml"]).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file's text; empty where there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Appends to a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// All records of one kind in the file target's journal: `verdict`, `order`, `outcome`.
    pub(crate) fn said(&self, kind: &str) -> Vec<Value> {
        let text = self.read("out.jsonl");
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.filter_map(|record| record.get(kind).cloned()).collect()
    }

    /// The first verdict of a kind, once it is there.
    #[track_caller]
    pub(crate) fn verdict(&self, kind: &str) -> Value {
        until(&format!("a verdict that is {kind}; the log: {}", self.path("log").display()), || {
            self.said("verdict").into_iter().find(|verdict| verdict["kind"] == kind)
        })
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// One request to a server on this machine: status and body.
pub(crate) fn ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status.unwrap_or(0), body))
}
