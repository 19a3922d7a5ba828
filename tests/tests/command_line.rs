//! The commands as a user runs them: the built binary, files in, text out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "command_line/gateways.rs"]
mod gateways;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The binary beside this test's own, or the one that `TIDEGATE_BIN` names.
fn tidegate(args: &[&str], stdin: &str) -> Output {
    let beside = std::env::current_exe().unwrap();
    let beside = beside.parent().and_then(Path::parent).unwrap().join("tidegate");
    let binary = std::env::var_os("TIDEGATE_BIN").map_or(beside, Into::into);
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
