//! Against the real `scim2-server`, which `cargo xtask test` installs.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use runtime::clock::Clock;
use runtime::metrics::Metrics;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::ScimPull;
use super::{caller, config};
use crate::context::ContextCell;
use crate::metrics::EnrichMetrics;

const TOKEN: &str = "0123456789abcdef";

/// The server's program; none where nobody gave it, which is a failure in CI.
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn program() -> Option<OsString> {
    let given = std::env::var_os("TIDEGATE_SCIM_SERVER");
    if given.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI gives TIDEGATE_SCIM_SERVER");
        eprintln!("not run: TIDEGATE_SCIM_SERVER names no scim2-server");
    }
    given
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn started(program: OsString) -> (Server, String, TempDir) {
    let folder = TempDir::new().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new(program)
        .args(["--hostname", "127.0.0.1", "--port", &port.to_string(), "--bearer-token", TOKEN])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let url = format!("http://127.0.0.1:{port}/v2");
    for _ in 0..300 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return (server, url, folder);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("scim2-server does not listen");
}

async fn send(request: reqwest::RequestBuilder, body: &Value) -> Value {
    let request = request.bearer_auth(TOKEN).header("content-type", "application/scim+json");
    let request = request.body(body.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

#[tokio::test]
async fn a_real_directory_is_pulled_whole_and_then_by_what_changed() {
    let Some(program) = program() else { return };
    drop(rustls::crypto::ring::default_provider().install_default());
    let (server, url, _folder) = started(program).await;
    let client = Client::new();
    let mut ids = Vec::new();
    // More than a page.
    for n in 0..210 {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": format!("user{n}"), "active": n != 7,
        });
        let made = send(client.post(format!("{url}/Users")), &user).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "displayName": "admins", "members": [{"value": ids[3]}],
    });
    send(client.post(format!("{url}/Groups")), &group).await;

    let strange = config(&url, "another token, which is wrong");
    let metrics = || EnrichMetrics::new(&Metrics::new());
    let cell = ContextCell::default();
    let refused = ScimPull::new(strange, cell, Clock::system(), metrics()).unwrap().pull().await;
    assert!(refused.unwrap_err().to_string().contains("set `context.scim.token`"));

    let config = config(&url, TOKEN);
    let context = ContextCell::default();
    let clock = Clock::system();
    let mut pull = ScimPull::new(config, context.clone(), clock.clone(), metrics()).unwrap();
    assert_eq!(pull.pull().await.unwrap(), 210);
    let told = |name: &str| caller(&context, name, clock.unix_ms() + 1_000);
    assert_eq!(told("user3"), "human active acme [admins]");
    assert_eq!(told("user7"), "human inactive acme []");
    assert_eq!(told("user209"), "human active acme []");

    let patch = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": false}],
    });
    send(client.patch(format!("{url}/Users/{}", ids[3])), &patch).await;
    assert_eq!(pull.pull().await.unwrap(), 211, "a line until the change, and one from it on");
    assert_eq!(told("user3"), "human inactive acme [admins]");

    drop(server);
    assert!(pull.pull().await.is_err());
    assert_eq!(told("user3"), "human inactive acme [admins]", "the last good state holds");
}
