//! Kill -9 in the middle of everything, again and again: no verdict that was acknowledged is lost,
//! and nothing is acted on twice.
//!
//! A test without the harness, because it starts itself as the process that is killed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use respond::{
    KnownGood, Ledger, Options, Parts, Policy, Responder, Settings, TargetParts, Targets,
};
use runtime::clock::Clock;
use runtime::http::axum::body::Bytes;
use runtime::http::axum::extract::State;
use runtime::http::axum::http::HeaderMap;
use runtime::http::axum::{Router, routing::post};
use runtime::metrics::Metrics;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use schemas::{EventTime, Verdict};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const VERDICTS: usize = 120;
const KILLS: usize = 15;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let [_, role, folder, hook] = arguments.as_slice()
        && role == "--be-killed"
    {
        runtime.block_on(be_killed(Path::new(folder), hook));
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        say("nothing_is_lost_and_nothing_is_done_twice: test");
        return ExitCode::SUCCESS;
    }
    runtime.block_on(nothing_is_lost_and_nothing_is_done_twice());
    say("test nothing_is_lost_and_nothing_is_done_twice ... ok");
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn verdict(index: usize) -> Verdict {
    // The clock is the machine's, and an old verdict is not acted on.
    let now = EventTime(Clock::system().unix_ms()).to_string();
    serde_json::from_value(json!({
        "id": format!("v{index}"), "revision": 1, "kind": "opened", "rule": format!("rule/{index}"),
        "rule_version": "1", "title": "x", "severity": "high", "mode": "live", "key": {"k": index},
        "subject": {"ip": format!("203.0.{}.{}", index / 200, index % 200 + 1)}, "values": {},
        "first_event": now, "last_event": now, "fired_at": now, "early": true, "degraded": false,
        "respond": ["block 30m", "ticket"],
    }))
    .unwrap()
}

/// Takes all verdicts from the first, as after a lost position, and says which it has taken.
async fn be_killed(folder: &Path, hook: &str) {
    let text = "lines: [{then: asked}]\nbudget: {per_minute: 9999, total: 9999}";
    let policy = Policy::parse(text, "policy.yml").unwrap();
    let configs = json!([
        {"webhook": {"url": hook, "secret": "a secret of more than sixteen bytes"}},
        {"tickets": {"folder": "tickets"}},
        {"file": {"path": "journal.jsonl"}},
    ]);
    let configs: Vec<respond::TargetConfig> = serde_json::from_value(configs).unwrap();
    let clock = Clock::system();
    let parts = TargetParts {
        base: folder,
        never_block: policy.never_block.clone(),
        fingerprint: None,
        clock: clock.clone(),
    };
    let options = Options { compact_bytes_min: 60_000, ..Options::default() };
    let parts = Parts {
        targets: Targets::build(&configs, &parts).unwrap(),
        ledger: Ledger::open(folder, options).unwrap(),
        clock,
        metrics: Metrics::new(),
        known_good: KnownGood::new(),
    };
    let responder = Responder::new(Settings { policy, dry_run: false }, parts).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    responder.start(&tasks).await.unwrap();
    for index in 0..VERDICTS {
        responder.take(verdict(index)).await.unwrap();
        say(&format!("taken {index}"));
    }
    loop {
        let open = responder.orders(Some("pending"), 1);
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tasks.shutdown().request("all is done");
    tasks.join_all(PATIENCE).await.unwrap();
    say("all is done");
}

/// Idempotency key → how often it was sent.
type Heard = Arc<Mutex<BTreeMap<String, usize>>>;

async fn hear(State(heard): State<Heard>, headers: HeaderMap, body: Bytes) {
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["kind"], "order");
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    *heard.lock().unwrap().entry(key).or_insert(0) += 1;
}

async fn serve(heard: &Heard, serving: &mut JoinSet<()>) -> SocketAddr {
    let router = Router::new().route("/", post(hear)).with_state(Arc::clone(heard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serving.spawn(async move { runtime::http::axum::serve(listener, router).await.unwrap() });
    address
}

fn start(folder: &Path, hook: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("--be-killed")
        .arg(folder)
        .arg(hook)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn nothing_is_lost_and_nothing_is_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let mut serving = JoinSet::new();
    let hook = format!("http://{}/", serve(&heard, &mut serving).await);
    let mut acknowledged = BTreeSet::new();
    let mut kills = 0;
    loop {
        let mut child = start(folder.path(), &hook);
        let stdout = child.stdout.take().unwrap();
        let read =
            move || BufReader::new(stdout).lines().map_while(Result::ok).collect::<Vec<String>>();
        let lines = tokio::task::spawn_blocking(read);
        if kills < KILLS {
            // Later each time, so that every part of the work is hit.
            let after = 12 + 9 * u64::try_from(kills).unwrap();
            tokio::time::sleep(Duration::from_millis(after)).await;
            child.kill().unwrap();
            kills += 1;
        }
        let lines = tokio::time::timeout(PATIENCE, lines).await.unwrap().unwrap();
        let ended = child.wait().unwrap();
        let done = lines.iter().any(|line| line == "all is done");
        acknowledged.extend(lines.into_iter().filter(|line| line.starts_with("taken ")));
        assert!(done || !ended.success(), "it ended by itself before all was done");
        if done {
            break;
        }
    }
    assert_eq!(acknowledged.len(), VERDICTS);
    check(folder.path(), &heard.lock().unwrap(), kills);
}

fn check(folder: &Path, heard: &BTreeMap<String, usize>, kills: usize) {
    let journal = std::fs::read_to_string(folder.join("journal.jsonl")).unwrap();
    let journal: Vec<Value> =
        journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdicts: Vec<&Value> = journal.iter().filter_map(|line| line.get("verdict")).collect();
    let orders: Vec<&Value> = journal.iter().filter_map(|line| line.get("order")).collect();
    assert_eq!((verdicts.len(), orders.len()), (VERDICTS, 2 * VERDICTS));
    let done = |order: &&&Value| {
        journal.iter().any(|line| {
            line["outcome"]["order_id"] == order["id"] && line["outcome"]["state"] == "done"
        })
    };
    assert_eq!(orders.iter().filter(done).count(), 2 * VERDICTS);
    assert_eq!(heard.len(), VERDICTS, "one idempotency key for each block");
    let repeated: usize = heard.values().map(|times| times - 1).sum();
    assert!(repeated <= kills, "only what was under way at a kill is sent again: {repeated}");
    for index in 0..VERDICTS {
        let ticket = folder.join(format!("tickets/tidegate-v{index}.md"));
        let text = std::fs::read_to_string(ticket).unwrap();
        assert_eq!(text.matches("revision 1)").count(), 1);
    }
    assert_eq!(std::fs::read_dir(folder.join("tickets")).unwrap().count(), VERDICTS);
    say(&format!("{kills} kills, {repeated} requests sent again under their key"));
}
