//! Blocks in a real nginx on loopback: 200 before, 403 for the attacker alone, 200 after.
//!
//! Needs `nginx` in the path (`apt-get install nginx`). Where it is absent, that is said and the
//! suite passes; with `CI` set it fails instead.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use respond::{
    Asker, KnownGood, Ledger, Options, Parts, Policy, Responder, Settings, TargetConfig,
    TargetParts, Targets, Which,
};
use runtime::clock::Clock;
use runtime::metrics::Metrics;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use schemas::Verdict;
use serde_json::json;
use tokio::time::Instant;

const ATTACKER: &str = "127.0.0.5";
const OTHER: &str = "127.0.0.6";

/// Longer than any reload takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const POLICY: &str = "lines: [{name: all, then: asked}]\nnever_block: {own: false}";

/// A real nginx with a prefix of its own.
struct Nginx {
    folder: tempfile::TempDir,
    /// Deny file and `geo`.
    files: SocketAddr,
    /// `auth_request` to the decision service.
    asks: SocketAddr,
    authz: SocketAddr,
    process: Child,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with the master, which TERM lets end well.
        let pid = self.process.id().to_string();
        drop(Command::new("kill").arg(pid).status());
        drop(self.process.wait());
    }
}

fn has_nginx() -> bool {
    let found = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    let told = "nginx is not installed; `apt-get install nginx` lets this suite run";
    assert!(found || std::env::var_os("CI").is_none(), "{told}");
    if !found {
        #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
        {
            eprintln!("skipped: {told}");
        }
    }
    found
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Nginx {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (files, asks, authz) = (free_port(), free_port(), free_port());
        for name in ["tmp", "deny"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("deny/ip.map"), "# nobody yet\n").unwrap();
        std::fs::write(folder.path().join("deny/principal.map"), "").unwrap();
        let user = if is_root() { "user root;" } else { "" };
        let text = format!(
            r#"{user} daemon off; worker_processes 1; pid nginx.pid; error_log error.log info;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp;
  scgi_temp_path tmp; map_hash_bucket_size 512;
  geo $ip_blocked {{ default 0; include deny/ip.map; }}
  map $http_x_user $principal_blocked {{ default 0; include deny/principal.map; }}
  server {{
    listen {files};
    if ($ip_blocked) {{ return 403; }}
    if ($principal_blocked) {{ return 403; }}
    location / {{ return 200 "ok"; }}
  }}
  server {{
    listen {asks};
    location = /_authz {{
      internal; proxy_pass http://{authz}/authz; proxy_pass_request_body off;
      proxy_set_header Content-Length ""; proxy_set_header X-Real-IP $remote_addr;
    }}
    location / {{
      auth_request /_authz; auth_request_set $why $upstream_http_x_block_reason;
      add_header X-Block-Reason $why always; try_files /index.html =404;
    }}
    root .;
  }}
}}
"#
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        std::fs::write(folder.path().join("index.html"), "ok").unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { folder, files, asks, authz, process };
        nginx.wait_for(nginx.files, OTHER, &[], 200).await;
        nginx
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let own = ["nginx", "-p", &folder, "-c", "nginx.conf", "-g", "error_log stderr;"];
        own.iter().chain(arguments).map(|&part| part.to_owned()).collect()
    }

    /// Both targets, as a configuration names them.
    fn targets(&self) -> Vec<TargetConfig> {
        let text = json!([
            {"nginx": {
                "ip_map": "deny/ip.map", "principal_map": "deny/principal.map",
                "test": self.command(&["-t"]), "pid_file": self.path("nginx.pid"),
            }},
            {"authz": {"listen": self.authz}},
        ]);
        serde_json::from_value(text).unwrap()
    }

    /// The status that a caller from this address gets on a new connection.
    async fn status(&self, server: SocketAddr, from: &str, headers: &[(&str, &str)]) -> u16 {
        let client = client(from);
        let mut request = client.get(format!("http://{server}/"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.map_or(0, |response| response.status().as_u16())
    }

    async fn wait_for(&self, server: SocketAddr, from: &str, headers: &[(&str, &str)], want: u16) {
        let until = Instant::now() + PATIENCE;
        let mut found = self.status(server, from, headers).await;
        while found != want && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
            found = self.status(server, from, headers).await;
        }
        let told = std::fs::read_to_string(self.path("error.log")).unwrap_or_default();
        assert_eq!(found, want, "{from} {headers:?} at {server}\n{told}");
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

fn client(from: &str) -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let address: IpAddr = from.parse().unwrap();
    reqwest::Client::builder().local_address(address).timeout(PATIENCE).build().unwrap()
}

fn verdict(id: &str, kind: &str, value: &str, block: &str) -> Verdict {
    serde_json::from_value(json!({
        "id": id, "revision": 1, "kind": "opened", "rule": "auth/x", "rule_version": "1",
        "title": "x", "severity": "high", "mode": "live", "key": {"k": value},
        "subject": {kind: value}, "values": {}, "first_event": "2027-01-15T08:00:00.000Z",
        "last_event": "2027-01-15T08:00:57.000Z", "fired_at": "2027-01-15T08:00:57.000Z",
        "early": true, "degraded": false, "respond": [block],
    }))
    .unwrap()
}

fn responder(base: &Path, configs: &[TargetConfig], clock: &Clock) -> Responder {
    let policy = Policy::parse(POLICY, "policy.yml").unwrap();
    let parts = TargetParts {
        base,
        never_block: policy.never_block.clone(),
        fingerprint: None,
        clock: clock.clone(),
    };
    let parts = Parts {
        targets: Targets::build(configs, &parts).unwrap(),
        ledger: Ledger::open(&base.join("ledger"), Options::default()).unwrap(),
        clock: clock.clone(),
        metrics: Metrics::new(),
        known_good: KnownGood::new(),
    };
    Responder::new(Settings { policy, dry_run: false }, parts).unwrap()
}

fn ann() -> Asker {
    Asker { by: "ann".into(), reason: "the test".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attacker_gets_403_and_others_200_until_the_block_ends() {
    if !has_nginx() {
        return;
    }
    let nginx = Nginx::start().await;
    let hand = Clock::manual(1_800_000_000_000);
    let responder = responder(nginx.folder.path(), &nginx.targets(), &hand.clock());
    let tasks = Tasks::new(Shutdown::new());
    responder.start(&tasks).await.unwrap();
    for server in [nginx.files, nginx.asks] {
        nginx.wait_for(server, ATTACKER, &[], 200).await;
    }

    responder.take(verdict("a", "ip", ATTACKER, "block 30m")).await.unwrap();
    for server in [nginx.files, nginx.asks] {
        nginx.wait_for(server, ATTACKER, &[], 403).await;
        assert_eq!(nginx.status(server, OTHER, &[]).await, 200);
    }
    let blocks = responder.blocks();
    assert_eq!(blocks.len(), 2);
    hand.advance_ms(30 * 60 * 1_000);
    for server in [nginx.files, nginx.asks] {
        nginx.wait_for(server, ATTACKER, &[], 200).await;
    }
    let ids: Vec<String> = blocks.into_iter().map(|shown| shown.order.id).collect();
    let over = responder.finished(&ids, PATIENCE).await;
    assert!(over.iter().all(|shown| shown.state == "expired"), "{over:?}");

    responder.take(verdict("b", "ip", ATTACKER, "block 30m")).await.unwrap();
    nginx.wait_for(nginx.files, ATTACKER, &[], 403).await;
    let released = responder.release(Which::All, ann()).await.unwrap();
    let over = responder.finished(&released, PATIENCE).await;
    assert!(over.iter().all(|shown| shown.state == "released"), "{over:?}");
    for server in [nginx.files, nginx.asks] {
        nginx.wait_for(server, ATTACKER, &[], 200).await;
    }
    tasks.shutdown().request("the test is over");
    tasks.join_all(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_principal_is_blocked_and_is_no_configuration() {
    if !has_nginx() {
        return;
    }
    let nginx = Nginx::start().await;
    let hand = Clock::manual(1_800_000_000_000);
    let mut configs = nginx.targets();
    configs.truncate(1);
    let responder = responder(nginx.folder.path(), &configs, &hand.clock());
    let hostile = [
        "a\" 1; } server { listen 1; #x",
        "~.*",
        "default",
        "back\\slash\\",
        "include /etc/passwd;",
        "$http_x_user",
        "${x",
        "}",
        "\\~x",
        "hostnames",
    ];
    for (index, name) in hostile.iter().enumerate() {
        responder
            .take(verdict(&format!("v{index}"), "principal", name, "block 30m"))
            .await
            .unwrap();
    }
    assert_eq!(responder.settle().await.unwrap(), [""; 0]);
    for name in hostile {
        nginx.wait_for(nginx.files, OTHER, &[("x-user", name)], 403).await;
    }
    for name in ["ann", "", "x", "a", ".*", "~."] {
        assert_eq!(nginx.status(nginx.files, OTHER, &[("x-user", name)]).await, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_configuration_is_put_back_and_tried_again() {
    if !has_nginx() {
        return;
    }
    let nginx = Nginx::start().await;
    let hand = Clock::manual(1_800_000_000_000);
    let mut configs = nginx.targets();
    configs.truncate(1);
    let before = responder(nginx.folder.path(), &configs, &hand.clock());
    before.take(verdict("a", "ip", OTHER, "block 30m")).await.unwrap();
    assert_eq!(before.settle().await.unwrap(), [""; 0]);
    nginx.wait_for(nginx.files, OTHER, &[], 403).await;
    drop(before);

    // Somebody breaks the configuration of nginx elsewhere.
    let (conf, map) = (nginx.path("nginx.conf"), nginx.path("deny/ip.map"));
    let (sound, held) =
        (std::fs::read_to_string(&conf).unwrap(), std::fs::read_to_string(&map).unwrap());
    std::fs::write(&conf, format!("{sound}\nnonsense;\n")).unwrap();
    let broken = responder(nginx.folder.path(), &configs, &hand.clock());
    broken.take(verdict("b", "ip", ATTACKER, "block 30m")).await.unwrap();
    let wrong = broken.settle().await.unwrap().join("; ");
    assert!(
        wrong.contains("the former deny file is back") && wrong.contains("nonsense"),
        "{wrong}"
    );
    assert_eq!(std::fs::read_to_string(&map).unwrap(), held);
    let pending = broken.orders(Some("pending"), 9);
    assert!(pending[0].detail.as_ref().unwrap().contains("nginx refuses its configuration"));
    assert_eq!(nginx.status(nginx.files, ATTACKER, &[]).await, 200);

    std::fs::write(&conf, &sound).unwrap();
    drop(broken);
    let mended = responder(nginx.folder.path(), &configs, &hand.clock());
    assert_eq!(mended.settle().await.unwrap(), [""; 0]);
    nginx.wait_for(nginx.files, ATTACKER, &[], 403).await;
    assert_eq!(nginx.status(nginx.files, OTHER, &[]).await, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_somebody_else_is_not_overwritten() {
    if !has_nginx() {
        return;
    }
    let nginx = Nginx::start().await;
    let theirs = "198.51.100.1 1;\n";
    std::fs::write(nginx.path("deny/ip.map"), theirs).unwrap();
    let hand = Clock::manual(1_800_000_000_000);
    let mut configs = nginx.targets();
    configs.truncate(1);
    let responder = responder(nginx.folder.path(), &configs, &hand.clock());
    responder.take(verdict("a", "ip", ATTACKER, "block 30m")).await.unwrap();
    let wrong = responder.settle().await.unwrap().join("; ");
    assert!(wrong.contains("was not written by Tidegate"), "{wrong}");
    assert_eq!(std::fs::read_to_string(nginx.path("deny/ip.map")).unwrap(), theirs);
}
