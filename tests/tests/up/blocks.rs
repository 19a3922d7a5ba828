//! Blocks as a user sees them: which wait for a person, which are refused, and what ends them.

use serde_json::Value;

use super::running::{STUFFING, Up, ask, stamp, until};
use super::{FOLLOWED, later, until_read};

/// An address that no machine of a test has.
const PROXY: &str = "10.77.0.5";

/// Lines of one client, one a second.
fn lines(client: &str, seconds: std::ops::Range<i64>, status: u32) -> String {
    let line = |second: i64| {
        let at = stamp(second);
        format!(
            "{client} - - [{at}] \"POST /login/{second} HTTP/1.1\" {status} 5 \"-\" \"curl/8\"\n"
        )
    };
    seconds.map(line).collect()
}

fn remarks(up: &Up) -> String {
    let (_, body) = ask(up.admin, "GET", "/ready", "", "").unwrap();
    let ready: Value = serde_json::from_str(&body).unwrap();
    ready["remarks"].to_string()
}

/// The only block of these.
fn block(up: &Up) -> Value {
    until("a block", || up.said("order").into_iter().find(|order| order["action"] == "block"))
}

#[test]
fn the_proxy_that_all_come_by_waits_for_a_person_and_ready_says_what_to_set() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &lines(PROXY, 0..3_000, 200));
    up.write("access.log", &lines(PROXY, 3_000..3_024, 401));
    up.write("access.log", &later());
    let order = block(&up);
    assert_eq!(order["needs_approval"], true, "{order}");
    assert_eq!(order["notes"][0]["guard"], "hidden_callers", "{order}");
    assert!(remarks(&up).contains("trusted_proxies"), "{}", remarks(&up));
    let id = order["id"].as_str().unwrap();
    until("the ticket", || {
        let tickets = std::fs::read_dir(up.path("tickets")).ok()?;
        let mut texts = tickets.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let approve = format!("tidegate blocks approve {id}");
        texts.any(|text| text.contains("trusted_proxies") && text.contains(&approve)).then_some(())
    });
    assert!(!up.read("deny.map").contains(PROXY));
    assert!(up.stop().success());
    up.start();
    assert!(remarks(&up).contains("trusted_proxies"), "before a thousand lines are seen again");
    let listed = String::from_utf8(up.run(&["blocks", "list"]).stdout).unwrap();
    assert!(listed.contains("waiting"), "{listed}");
    let approved = up.run(&["blocks", "approve", id, "--reason", "our own load test"]);
    let said = String::from_utf8(approved.stdout).unwrap();
    assert!(said.starts_with("approved, until 20") && said.contains(PROXY), "{said}");
    until("the block", || up.read("deny.map").contains(PROXY).then_some(()));
    let refused = up.run(&["blocks", "refuse", id]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("waits for nobody"), "{said}");
    let log = up.read("log");
    for line in log.lines().filter(|line| line.starts_with('{')) {
        assert_eq!(line.matches("\"target\":").count(), 1, "{line}");
    }
    let guardrail = log.lines().find(|line| line.contains("hidden_callers")).unwrap();
    assert!(guardrail.contains(id), "{guardrail}");
}

#[test]
fn a_proxy_that_was_blocked_before_it_was_known_for_one_is_released() {
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.start();
    up.write("access.log", &lines(PROXY, 0..30, 401));
    until("the block", || up.read("deny.map").contains(PROXY).then_some(()));
    up.write("access.log", &lines(PROXY, 30..1_030, 200));
    until("its end", || (!up.read("deny.map").contains(PROXY)).then_some(()));
    until_read(&up, 1_030);
    let released = until("the outcome", || {
        up.said("outcome").into_iter().find(|outcome| outcome["state"] == "released")
    });
    let detail = released["detail"].as_str().unwrap();
    assert!(detail.contains("released by tidegate") && detail.contains("trusted_proxies"));
}

#[test]
fn a_log_of_last_month_blocks_nobody_and_says_so() {
    const MONTH_S: i64 = 27 * 86_400;
    let mut up = Up::prepare(FOLLOWED, STUFFING);
    up.write("access.log", &lines("203.0.113.9", -MONTH_S..60 - MONTH_S, 401));
    up.write("access.log", &later());
    up.start();
    let order = block(&up);
    let refused = until("the outcome", || {
        up.said("outcome").into_iter().find(|outcome| outcome["order_id"] == order["id"])
    });
    assert_eq!(refused["state"], "refused", "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("its time was over before it could be enforced"), "{detail}");
    let listed = String::from_utf8(up.run(&["blocks", "list"]).stdout).unwrap();
    assert!(listed.starts_with("no blocks"), "{listed}");
    assert!(!up.read("deny.map").contains("203.0.113.9"));
}
