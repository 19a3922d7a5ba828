//! What somebody runs into who begins with the docs: mistakes in rules and settings, a failing
//! test of a rule, a log that is still being written.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{RULE, binary, rules, stderr, stuffing, tidegate};

const TESTS: &str = "tests:
  - name: it fires
    events:
      - {each: 24, every: 1s, status: 401, client_ip: 203.0.113.9, account: \"a{i%12}\"}
    episodes:
      - {key: {client_ip: 203.0.113.9}, opens: 5s}
  - name: it stays quiet
    events: [{status: 401, client_ip: 203.0.113.9}]
    episodes: []
";

/// `tidegate rules COMMAND` over a folder with this rule.
fn of_rules(command: &str, text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("stuffing.yml"), text).unwrap();
    tidegate(&["rules", command, folder.path().to_str().unwrap()], "")
}

/// `tidegate config COMMAND` over this file.
fn of_configuration(command: &str, text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    fs::write(&path, text).unwrap();
    tidegate(&["config", command, "--config", path.to_str().unwrap()], "")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn mistakes_in_the_sql_are_told_beside_those_in_the_rest_and_in_words_of_the_language() {
    let rule = RULE
        .replace("severity: high", "severity: hihg")
        .replace("status = 401", "status = 'abc' AND roles = 'admin'");
    let output = of_rules("check", &(rule + TESTS));
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("unknown severity `hihg`"), "{said}");
    assert!(said.contains("`status` is a number and is compared with the text 'abc'"), "{said}");
    assert!(said.contains("write `array_has(roles, 'admin')`"), "{said}");
    assert!(said.contains("stuffing.yml:9:9"), "{said}");
    assert!(said.contains("3 errors") && !said.contains("arrow"), "{said}");
}

#[test]
fn a_failed_test_of_a_rule_is_printed_once() {
    let output = of_rules("test", &format!("{RULE}{TESTS}"));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert_eq!(said.matches("opens at 19s, expected 5s").count(), 1, "{said}");
    assert_eq!(said.matches("expected  ").count(), 1, "one time line: {said}");
    assert!(!said.contains("disagree") && !said.contains("with state in"), "{said}");
}

#[test]
fn verdicts_over_standard_input_come_as_its_lines_do() {
    let rules = rules();
    let mut child = Command::new(binary())
        .args(["replay", "-o", "json", "--rules", rules.path().to_str().unwrap(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, came) = mpsc::channel();
    std::thread::spawn(move || out.lines().try_for_each(|line| sender.send(line.unwrap())));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(stuffing().as_bytes()).unwrap();
    let opened = came.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(opened.contains("\"kind\":\"opened\""), "{opened}");
    // Only now the input ends, and with it the episode.
    drop(stdin);
    let rest: Vec<String> = came.iter().collect();
    assert!(rest.iter().any(|line| line.contains("\"kind\":\"closed\"")), "{rest:?}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_key_that_an_input_has_no_use_for_is_refused_with_its_line() {
    let output = of_configuration(
        "check",
        "[[input]]\ntype = \"file\"\npath = \"access.log\"\nlisten = \"127.0.0.1:7071\"\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(":4:") && said.contains("`file` has no `listen`"), "{said}");
}

#[test]
fn what_is_in_force_says_whether_anything_is_blocked() {
    let shown = text(&of_configuration("show", ""));
    assert!(shown.contains("dry_run = true"), "{shown}");
    let shown = text(&of_configuration("show", "[respond]\ndry_run = false\n"));
    let line = shown.lines().find(|line| line.contains("dry_run")).unwrap();
    assert!(line.starts_with("dry_run = false") && line.contains("tidegate.toml"), "{line}");
}

#[test]
fn a_file_without_a_line_has_no_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let detect = |path: &Path| tidegate(&["formats", "detect", path.to_str().unwrap()], "");
    for empty in ["", "\n\n"] {
        fs::write(&path, empty).unwrap();
        let output = detect(&path);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains("access.log: no line in it"), "{said}");
        assert_eq!(text(&output), "");
    }
}
