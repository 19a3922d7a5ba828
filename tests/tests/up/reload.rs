//! Other rules in the place of those that run, as a user changes them: by saving a file.

use std::collections::BTreeSet;

use serde_json::Value;

use super::running::{STUFFING, Up, ask, until};
use super::{FOLLOWED, failures, later, nothing_twice, quiet, until_read};

/// Somebody else, so that the first windows close.
fn two_minutes_later() -> String {
    quiet(2 * 60)
}

/// What the process says that it runs.
fn running(up: &Up) -> Value {
    let (status, body) = ask(up.admin, "GET", "/v1/rules", "", "").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Saves a rule and waits until other rules run than before.
#[track_caller]
fn save(up: &Up, rule: &str) {
    let before = running(up)["ruleset"].clone();
    std::fs::write(up.path("rules/rule.yml"), rule).unwrap();
    until("other rules", || (running(up)["ruleset"] != before).then_some(()));
}

fn metric(up: &Up, name: &str) -> f64 {
    let (_, text) = ask(up.admin, "GET", "/metrics", "", "").unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(-1.0)
}

fn opened(up: &Up) -> Vec<Value> {
    up.said("verdict").into_iter().filter(|verdict| verdict["kind"] == "opened").collect()
}

#[test]
fn a_lower_threshold_keeps_what_was_counted_and_another_slide_begins_anew() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &failures(0..12));
    until_read(&up, 12);
    assert_eq!(opened(&up).len(), 0);
    // Twelve are counted: with three more a threshold of fifteen is met.
    save(&up, &STUFFING.replace(">= 20", ">= 15"));
    up.write("access.log", &failures(12..15));
    let first = up.verdict("opened");
    assert_eq!(first["values"]["failures"], 15, "{first}");
    // An episode that is open goes on under another title and severity, with the same id.
    save(&up, &STUFFING.replace(">= 20", ">= 15").replace("high", "critical"));
    up.write("access.log", &failures(15..30));
    up.write("access.log", &two_minutes_later());
    let update = up.verdict("updated");
    assert_eq!((&update["id"], &update["severity"]), (&first["id"], &Value::from("critical")));
    // Another slide is another rule as far as state goes: the old episode ends, the new one counts
    // from here on.
    save(&up, &STUFFING.replace("slide: 1m", "slide: 2m"));
    let closed = up.verdict("closed");
    assert_eq!(closed["id"], first["id"], "{closed}");
    up.write("access.log", &failures(150..169));
    until_read(&up, 50);
    assert_eq!(opened(&up).len(), 1, "nineteen since the switch");
    up.write("access.log", &failures(169..170));
    until("the second", || (opened(&up).len() == 2).then_some(()));
    let second = &opened(&up)[1];
    assert_eq!(second["values"]["failures"], 20, "{second}");
    assert_ne!(second["id"], first["id"]);
    nothing_twice(&up);
}

#[test]
fn another_window_over_the_same_panes_ends_the_episode_and_goes_on_with_what_is_there() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &failures(0..30));
    let first = up.verdict("opened");
    until_read(&up, 30);
    save(&up, &STUFFING.replace("window: 10m", "window: 20m").replace(">= 20", ">= 40"));
    assert_eq!(up.verdict("closed")["id"], first["id"]);
    up.write("access.log", &failures(30..39));
    until_read(&up, 39);
    assert_eq!(opened(&up).len(), 1, "thirty-nine");
    up.write("access.log", &failures(39..40));
    until("the second", || (opened(&up).len() == 2).then_some(()));
    let second = &opened(&up)[1];
    assert_eq!(second["values"]["failures"], 40, "{second}");
    assert_ne!(second["id"], first["id"]);
    nothing_twice(&up);
}

#[test]
fn reading_the_log_again_switches_at_the_same_place() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &failures(0..16));
    until_read(&up, 16);
    save(&up, &STUFFING.replace(">= 20", ">= 15"));
    up.kill(); // right after
    up.write("access.log", &failures(16..24));
    up.start();
    let hash = running(&up)["ruleset"].clone();
    up.write("access.log", &failures(24..26));
    let first = up.verdict("opened");
    up.kill();
    // Without a marker all of the log is read again, through the switch in its middle.
    drop(std::fs::remove_file(up.path("data/marker")));
    assert!(!up.path("data/marker").exists());
    up.start();
    assert_eq!(running(&up)["ruleset"], hash);
    up.write("access.log", &later());
    let closed = up.verdict("closed");
    assert_eq!(closed["id"], first["id"]);
    assert_eq!(closed["values"]["failures"], 26, "{closed}");
    let ids: BTreeSet<String> =
        opened(&up).iter().map(|verdict| verdict["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "one episode, whoever read it");
    nothing_twice(&up);
}

#[test]
fn rules_that_cannot_run_are_refused_and_the_old_ones_go_on() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    let before = running(&up);
    let (_, body) = ask(up.admin, "GET", "/ready", "", "").unwrap();
    assert!(body.contains("no file matches"), "{body}");
    up.write("access.log", "");
    until("a file that is there", || {
        let (_, body) = ask(up.admin, "GET", "/ready", "", "").ok()?;
        (!body.contains("remarks")).then_some(())
    });
    std::fs::write(up.path("rules/rule.yml"), STUFFING.replace("client_ip,", "client_ipp,"))
        .unwrap();
    let told = until("a remark", || {
        let (status, body) = ask(up.admin, "GET", "/ready", "", "").ok()?;
        assert_eq!(status, 200, "it is of use all the same: {body}");
        let report: Value = serde_json::from_str(&body).unwrap();
        Some(report["remarks"][0]["reason"].as_str()?.to_owned())
    });
    assert!(told.contains("rule.yml:"), "{told}");
    assert!(told.contains("client_ip"), "{told}");
    assert!(up.read("log").contains("a mistake in the rules"), "{}", up.read("log"));
    assert!((metric(&up, "tidegate_rules_refused") - 1.0).abs() < f64::EPSILON);
    assert_eq!(running(&up), before);
    up.write("access.log", &failures(0..20));
    up.verdict("opened");
    // Mended, it runs, and nothing is left to remark.
    save(&up, &STUFFING.replace(">= 20", ">= 21"));
    until("no remark", || {
        let (_, body) = ask(up.admin, "GET", "/ready", "", "").ok()?;
        (!body.contains("remarks")).then_some(())
    });
    assert!((metric(&up, "tidegate_rules_switched") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn check_says_against_the_running_process_what_an_edit_costs() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    std::fs::create_dir(up.path("draft")).unwrap();
    let check = |rule: &str| {
        std::fs::write(up.path("draft/rule.yml"), rule).unwrap();
        let output = up.run(&["rules", "check", "draft", "--against", "live"]);
        String::from_utf8(output.stdout).unwrap()
    };
    let same = check(STUFFING);
    assert!(same.contains("nothing changes"), "{same}");
    let higher = check(&STUFFING.replace(">= 20", ">= 30"));
    assert!(higher.contains("only text or threshold changed"), "{higher}");
    let wider = check(&STUFFING.replace("window: 10m", "window: 20m"));
    assert!(wider.contains("window 10m → 20m; its episodes end, its panes go on"), "{wider}");
}
