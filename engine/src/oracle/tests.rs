use expect_test::expect;
use serde_json::Value;

use super::closed;
use crate::rule::Lists;
use crate::trial::{COUNT, NONE, Seen, accepted, failure, numbered, ruleset};

#[test]
fn every_window_is_asked_and_what_is_within_reach_is_one_episode() {
    // Three at once fire in all six windows that hold them: [-50 s, 10 s) to [0 s, 60 s). The next
    // three are 180 s later; the reach is (60 + 20) / 10 = 8 windows.
    let burst = |from: i64| (0..3).map(move |n| failure(from + n * 1_000, 1));
    let near = burst(0).chain(burst(70_000)).chain(burst(300_000));
    let broken = |at| Seen { status: 500, ..failure(at, 2) };
    let events = near.chain([broken(0), broken(15_000), broken(30_001)]).collect();
    let episodes =
        closed(&ruleset(&[COUNT, NONE]), &Lists::default(), &[accepted(&numbered(events))]);
    let lines: Vec<String> = episodes
        .unwrap()
        .iter()
        .map(|episode| {
            let (start, end) = (episode.span.0.millis(), episode.span.1.millis());
            let text =
                |map: &serde_json::Map<String, Value>| Value::Object(map.clone()).to_string();
            let (key, totals) = (text(&episode.key), text(&episode.totals));
            format!("{} {key} [{start}, {end}) {totals}", episode.rule)
        })
        .collect();
    expect![[r#"
        x/count {"client_ip":"192.0.2.1"} [-50000, 130000) {"n":3}
        x/count {"client_ip":"192.0.2.1"} [250000, 360000) {"n":3}
        x/count {"client_ip":"192.0.2.2"} [-20000, 60000) {"n":3}
        x/none {"client_ip":"192.0.2.2"} [0, 15000) {"path":"/p0","status":500}
        x/none {"client_ip":"192.0.2.2"} [30001, 30001) {"path":"/p0","status":500}
    "#]]
    .assert_eq(&(lines.join("\n") + "\n"));
}
