use expect_test::expect;

use super::{Metrics, Unit};

#[test]
fn names_carry_prefix_component_and_unit() {
    let metrics = Metrics::new();
    let ingest = metrics.component("ingest");
    ingest.counter("read", Unit::Lines, "Lines read from all inputs.").inc_by(3);
    ingest.gauge_f64("lag", Unit::Seconds, "Age of the newest event").set(1.5);
    let dropped = ingest.counters("dropped", Unit::Lines, "Lines without event", ["reason"]);
    dropped.with(["too_long"]).inc();
    let _waits = ingest.histogram("wait", Unit::Seconds, "Wait for room", &[0.1, 1.0]);
    expect![[r#"
        # HELP tidegate_ingest_read_lines Lines read from all inputs.
        # TYPE tidegate_ingest_read_lines counter
        # UNIT tidegate_ingest_read_lines lines
        tidegate_ingest_read_lines_total 3
        # HELP tidegate_ingest_lag_seconds Age of the newest event.
        # TYPE tidegate_ingest_lag_seconds gauge
        # UNIT tidegate_ingest_lag_seconds seconds
        tidegate_ingest_lag_seconds 1.5
        # HELP tidegate_ingest_dropped_lines Lines without event.
        # TYPE tidegate_ingest_dropped_lines counter
        # UNIT tidegate_ingest_dropped_lines lines
        tidegate_ingest_dropped_lines_total{reason="too_long"} 1
        # HELP tidegate_ingest_wait_seconds Wait for room.
        # TYPE tidegate_ingest_wait_seconds histogram
        # UNIT tidegate_ingest_wait_seconds seconds
        tidegate_ingest_wait_seconds_sum 0.0
        tidegate_ingest_wait_seconds_count 0
        tidegate_ingest_wait_seconds_bucket{le="0.1"} 0
        tidegate_ingest_wait_seconds_bucket{le="1.0"} 0
        tidegate_ingest_wait_seconds_bucket{le="+Inf"} 0
        # EOF
    "#]]
    .assert_eq(&metrics.encode());
}

#[test]
fn every_metric_is_described_by_its_full_name() {
    let metrics = Metrics::new();
    let _waits = metrics.component("respond").latencies("act", "Time to act", ["target"]);
    let _orders = metrics.component("respond").counter("sent", Unit::Of("orders"), "Orders sent");
    let described: Vec<String> = metrics
        .describe()
        .iter()
        .map(|metric| {
            let unit = metric.unit.as_str();
            format!("{} {} {unit} {:?} {}", metric.name, metric.kind, metric.labels, metric.help)
        })
        .collect();
    expect![[r#"
        tidegate_respond_act_seconds histogram seconds ["target"] Time to act
        tidegate_respond_sent_orders_total counter orders [] Orders sent"#]]
    .assert_eq(&described.join("\n"));
}

#[test]
fn two_instances_of_a_component_count_together() {
    let metrics = Metrics::new();
    let one = metrics.component("ingest").counter("read", Unit::Lines, "Lines read");
    let other = metrics.component("ingest").counter("read", Unit::Lines, "Lines read");
    one.inc();
    other.inc();
    assert_eq!((one.get(), metrics.describe().len()), (2, 1));
}

#[test]
fn the_number_of_label_sets_is_bounded_and_the_sum_stays_right() {
    let metrics = Metrics::new();
    let seen = metrics.counters("seen", Unit::Events, "Events by service", ["service"]);
    for service in 0..1_500 {
        seen.with([&format!("service-{service}")]).inc();
    }
    let encoded = metrics.encode();
    let series = encoded.lines().filter(|line| line.starts_with("tidegate_seen_events_total"));
    assert_eq!(series.count(), 1_001);
    assert!(encoded.contains(r#"tidegate_seen_events_total{service="other"} 500"#), "{encoded}");
}

#[test]
fn a_name_taken_by_another_kind_is_not_shown_twice() {
    let metrics = Metrics::new();
    let _family = metrics.counters("read", Unit::Lines, "Lines read", ["input"]);
    metrics.counter("read", Unit::Lines, "Lines read").inc();
    assert_eq!(metrics.describe().len(), 1);
    assert!(!metrics.encode().contains("_total 1"));
}
