//! The commands as a user runs them: the built binary, files in, text out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "command_line/deploy.rs"]
mod deploy;
#[path = "command_line/gateways.rs"]
mod gateways;
#[path = "command_line/newcomer.rs"]
mod newcomer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary beside this test's own, or the one that `TIDEGATE_BIN` names.
fn binary() -> PathBuf {
    let beside = std::env::current_exe().unwrap();
    let beside = beside.parent().and_then(Path::parent).unwrap().join("tidegate");
    std::env::var_os("TIDEGATE_BIN").map_or(beside, Into::into)
}

/// What it gives for these arguments and this input.
fn tidegate(args: &[&str], stdin: &str) -> Output {
    let binary = binary();
    let mut child = Command::new(&binary)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; build it with `cargo build -p tidegate`", binary.display())
        });
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn login(second: u32, account: &str, status: u32) -> String {
    format!(
        "203.0.113.9 - {account} [20/Nov/2026:08:00:{second:02} +0000] \"POST /login HTTP/1.1\" {status} 120 \"-\" \"python-requests/2.32\"\n"
    )
}

#[test]
fn parse_prints_an_event_or_a_dead_letter_for_each_line_in_order() {
    let lines = format!("{}this is no log line\n", login(1, "ann", 200));
    let output = tidegate(&["parse", "-"], &lines);
    let printed = stdout(&output);
    assert_eq!(printed.len(), 2, "{printed:?}");
    assert_eq!(printed[0]["client_ip"], "203.0.113.9");
    assert_eq!(printed[0]["event_time"], "2026-11-20T08:00:01.000Z");
    assert_eq!(printed[0]["path"], "/login");
    assert!(printed[1]["dead_letter"]["reason"].is_string(), "{:?}", printed[1]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("2 lines, 1 event, 1 dead letter"), "{}", stderr(&output));
}

const RULE: &str = "
title: Many accounts fail to log in from one address
severity: high
window: 1m
slide: 10s
sql: |
  SELECT client_ip, count(*) AS failures, count(DISTINCT account) AS accounts
  FROM events
  WHERE status = 401
  GROUP BY client_ip
  HAVING count(*) >= 20 AND count(DISTINCT account) >= 10
subject: {ip: client_ip}
respond: [block 30m, ticket]
";

fn rules() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stuffing.yml"), RULE).unwrap();
    folder
}

fn stuffing() -> String {
    (0..30).map(|i| login(i, &format!("account{}", i % 12), 401)).collect()
}

#[test]
fn an_episode_is_told_in_the_order_of_its_revisions() {
    let rules = rules();
    // Twice as many as make it fire, which is known at the close of a window, after the last event.
    let lines: String = (2..47).map(|i| login(i, &format!("account{}", i % 12), 401)).collect();
    let replay = ["replay", "-o", "json", "--rules", rules.path().to_str().unwrap(), "-"];
    let told: Vec<(String, i64)> = stdout(&tidegate(&replay, &lines))
        .iter()
        .map(|verdict| {
            let kind = verdict["kind"].as_str().unwrap().to_owned();
            (kind, verdict["revision"].as_i64().unwrap())
        })
        .collect();
    let expected = [("opened", 1), ("updated", 2), ("closed", 3)];
    assert_eq!(told, expected.map(|(kind, revision)| (kind.to_owned(), revision)));
}

#[test]
fn replay_says_who_did_it_once_and_gives_the_same_bytes_again() {
    let rules = rules();
    let rules = rules.path().to_str().unwrap();
    let args = ["replay", "--rules", rules, "-o", "json", "-"];
    let output = tidegate(&args, &stuffing());
    assert!(output.status.success(), "{}", stderr(&output));
    let verdicts = stdout(&output);
    let kinds: Vec<&str> = verdicts.iter().filter_map(|v| v["kind"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"opened"), Some(&"closed")), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "opened").count(), 1);
    assert_eq!(verdicts[0]["key"]["client_ip"], "203.0.113.9");
    assert_eq!(verdicts[0]["subject"]["ip"], "203.0.113.9");
    assert_eq!(verdicts[0]["values"]["failures"], 20);
    assert_eq!(verdicts[0]["fired_at"], "2026-11-20T08:00:19.000Z");
    assert_eq!(tidegate(&args, &stuffing()).stdout, output.stdout);
}

/// Whoever names them in whatever order, as a shell does: `access.log access.log.1`.
#[test]
fn several_files_are_read_in_the_order_of_their_times() {
    let (rules, logs) = (rules(), tempfile::tempdir().unwrap());
    let lines: Vec<String> =
        (0..30).map(|second| login(second, &format!("user{second}"), 401)).collect();
    let [old, new] = ["access.log.1", "access.log"].map(|name| logs.path().join(name));
    std::fs::write(&old, lines[..8].concat()).unwrap();
    std::fs::write(&new, lines[8..].concat()).unwrap();
    let rules = rules.path().to_str().unwrap();
    let [old, new] = [&old, &new].map(|path| path.to_str().unwrap());
    let replayed = |files: [&str; 2]| {
        let output = tidegate(&["replay", "-o", "json", "--rules", rules, files[0], files[1]], "");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).iter().map(|verdict| verdict["fired_at"].clone()).collect::<Vec<_>>()
    };
    let fired = replayed([old, new]);
    assert!(!fired.is_empty());
    assert_eq!(replayed([new, old]), fired);
    let whole = tidegate(&["replay", "-o", "json", "--rules", rules, "-"], &lines.concat());
    assert_eq!(stdout(&whole)[0]["fired_at"], fired[0]);
}

#[test]
fn a_log_that_cannot_be_read_says_what_shows_why_and_a_missing_folder_of_context_is_refused() {
    let output = tidegate(&["replay", "-"], "no access log\nat all\n");
    let said = stderr(&output);
    assert!(output.status.success() && said.contains("tidegate formats detect"), "{said}");
    assert!(said.contains("2 dead letters: unknown_format"), "{said}");
    let output = tidegate(&["replay", "--context", "/nowhere", "-"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nowhere: no such folder"), "{}", stderr(&output));
}

#[test]
fn a_rule_with_a_misspelt_column_is_shown_with_its_place_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let text = RULE.replace("WHERE status", "WHERE statsu");
    std::fs::write(folder.path().join("stuffing.yml"), text).unwrap();
    let output = tidegate(&["rules", "check", folder.path().to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("stuffing.yml") && said.contains("statsu"), "{said}");
    assert!(said.contains("status"), "{said}");
}

#[test]
fn the_pack_in_the_binary_lists_its_rules() {
    let output = tidegate(&["rules", "list"], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("auth/credential-stuffing"), "{text}");
}

#[test]
fn wrong_usage_ends_with_code_2_and_says_what_is_right() {
    let output = tidegate(&["replay", "/no/such/file.log"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/no/such/file.log"), "{}", stderr(&output));
    let output = tidegate(&["parse", "--format", "nginks", "-"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nginks"), "{}", stderr(&output));
}

#[test]
fn a_misspelt_key_of_the_configuration_is_shown_with_line_and_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, "[[input]]\ntype = \"file\"\npaht = \"access.log\"\n").unwrap();
    let output = tidegate(&["config", "check", "--config", path.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("paht") && said.contains("path") && said.contains(":3"), "{said}");
}

/// A context folder with a document of one route in use, one deprecated, one dead.
fn context() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("deploys.jsonl"),
        r#"{"service":"shop","environment":"prod","deploy_id":"d1","deployed_at":"2026-11-20T07:00:00Z","version":"1.0"}
{"service":"shop","environment":"prod","deploy_id":"d2","deployed_at":"2026-11-20T08:00:00Z","version":"1.1"}
{"service":"shop","environment":"prod","deploy_id":"d1","deployed_at":"2026-11-20T09:00:00Z","action":"rolledback"}
"#,
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("openapi")).unwrap();
    std::fs::write(
        folder.path().join("openapi/shop.yml"),
        "openapi: 3.0.3
info: {title: shop, version: '1'}
paths:
  /orders/{id}: {get: {responses: {}}, delete: {responses: {}}}
  /v1/orders: {get: {deprecated: true, responses: {}}}
",
    )
    .unwrap();
    folder
}

#[test]
fn deploys_list_says_what_served_at_a_time_and_what_became_of_the_rest() {
    let folder = context();
    let folder = folder.path().to_str().unwrap();
    let list = |at: &str| {
        let output =
            tidegate(&["deploys", "list", "--context", folder, "--at", at, "-o", "json"], "");
        assert!(output.status.success(), "{}", stderr(&output));
        let told: Vec<String> = stdout(&output)
            .iter()
            .map(|line| format!("{} {}", line["deploy"]["deploy_id"], line["state"]))
            .collect();
        told.join(", ").replace('"', "")
    };
    assert_eq!(list("2026-11-20T08:30:00Z"), "d1 to_come, d2 serving, d1 superseded");
    assert_eq!(list("2026-11-20T09:30:00Z"), "d1 serving, d2 rolled_back, d1 superseded");
    let output = tidegate(&["deploys", "list", "--context", folder], "");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("rolled back 2026-11-20T09:00:00.000Z by d1"), "{table}");
    let output = tidegate(&["deploys", "list", "--context", folder, "--service", "cart"], "");
    assert!(stderr(&output).contains("deploys are known of shop"), "{}", stderr(&output));
    let empty = tempfile::tempdir().unwrap();
    let output = tidegate(&["deploys", "list", "--context", empty.path().to_str().unwrap()], "");
    assert!(output.status.success());
    assert!(stderr(&output).contains("deploys.jsonl, such as\n{"), "{}", stderr(&output));
    let output = tidegate(&["deploys", "list", "--context", folder, "--at", "yesterday"], "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn routes_list_tells_shadow_zombie_and_orphan_from_declared() {
    let folder = context();
    let folder = folder.path().to_str().unwrap();
    let mut lines = String::new();
    for (second, (request, status)) in [
        ("GET /orders/17", 200),
        ("GET /orders/18", 404),
        ("GET /v1/orders", 200),
        ("GET /debug/vars", 200),
        ("GET /wp-login.php", 404),
    ]
    .iter()
    .enumerate()
    {
        lines.push_str(&format!(
            "203.0.113.9 - - [20/Nov/2026:08:00:{second:02} +0000] \"{request} HTTP/1.1\" {status} 120 \"-\" \"curl/8\"\n"
        ));
    }
    let output = tidegate(&["routes", "list", "--context", folder, "-o", "json", "-"], &lines);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Vec<String> = stdout(&output)
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["state"], line["method"], line["route"], line["calls"])
        })
        .collect();
    assert_eq!(
        told.join("\n").replace('"', ""),
        "shadow GET /debug/vars 1\nzombie GET /v1/orders 1\n\
         orphan DELETE /orders/{id} 0\ndeclared GET /orders/{id} 2"
    );
    let said = stderr(&output);
    assert!(said.contains("4 routes: 1 shadow, 1 zombie, 1 orphan, 1 declared"), "{said}");
    let args = ["routes", "list", "--context", folder, "--states", "ghost", "-"];
    let output = tidegate(&args, &lines);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the states are shadow"), "{}", stderr(&output));
}

/// The blocks of a page in TOML.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap())
}

#[test]
fn the_configuration_in_the_pages_is_good_as_it_stands() {
    let deploys = include_str!("../../docs/deploys.md");
    let pages = [
        deploys,
        include_str!("../../docs/identities.md"),
        include_str!("../../docs/routes.md"),
        include_str!("../../docs/configuration.md"),
        include_str!("../../docs/respond.md"),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for name in ["github", "gitlab", "flux", "scim", "cart-docs", "hook", "redmine"] {
        std::fs::write(folder.path().join("secrets").join(name), "0123456789abcdef\n").unwrap();
    }
    let path = folder.path().join("tidegate.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        tidegate(&["config", "check", "--config", path.to_str().unwrap()], "")
    };
    let input = "[[input]]\ntype = \"file\"\npath = \"access.log\"\n\n";
    let kafka = "[kafka]\nbrokers = \"127.0.0.1:9092\"\n";
    let mut checked = 0;
    for block in pages.iter().flat_map(|page| blocks(page)) {
        let needs = if block.contains("needs [kafka]") { kafka } else { "" };
        let output = check(&format!("{input}{block}{needs}"));
        assert!(output.status.success(), "{block}\n{}", stderr(&output));
        checked += 1;
    }
    assert_eq!(checked, 16, "blocks of configuration");
    let topic = "[context]\ndeploys_topic = \"cdevents\"\n";
    let said = stderr(&check(&format!("{input}{topic}")));
    assert!(said.contains("deploys_topic") && said.contains("[kafka]"), "{said}");
    let webhooks = blocks(deploys).find(|block| block.contains("webhooks")).unwrap();
    let text = format!("{input}{webhooks}");
    let output = check(&text);
    assert!(output.status.success(), "{}", stderr(&output));
    std::fs::write(folder.path().join("secrets/flux"), "short").unwrap();
    let output = check(&text);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("flux_secret") && said.contains("openssl rand"), "{said}");
    let token = "[admin]\ntoken = \"0123456789abcdef\"\n\
                 [context.webhooks]\ngithub_secret = \"0123456789abcdef\"\n";
    let output = check(&format!("{}{token}", text.split_once("[context").unwrap().0));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("listen = "), "{}", stderr(&output));
}
