//! `docs/metrics.md`: every metric that a process shows.
//!
//! Owns: the page. Never: a metric; each part declares its own.

use detect::StateMetrics;
use detect::exchange::{MapperMetrics, ReducerMetrics};
use enrich::EnrichMetrics;
use expect_test::expect_file;
use runtime::http::HttpMetrics;
use runtime::metrics::{Description, Metrics};
use runtime::ready::ReadyMetrics;
use transport::hop::HopMetrics;

use super::disk::DiskMetrics;
use super::pipeline::Counts;
use super::rules::RulesMetrics;

const HEAD: &str = "\
# Metrics

`/metrics` of the admin endpoint, for Prometheus. Made by `cargo xtask gen docs` from what the code \
declares. In `up` without `[kafka]` there are no `tidegate_detect_*`, `tidegate_ingest_hop_*` and \
`tidegate_enrich_hop_*`; `tidegate_pipeline_*` are there alone.

| metric | kind | labels | meaning |
|---|---|---|---|
";

fn row(metric: &Description) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let (name, kind, help) = (&metric.name, metric.kind, &metric.help);
    format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
}

#[test]
fn the_page_of_metrics_says_what_the_code_declares() {
    let metrics = Metrics::new();
    drop((HttpMetrics::new(&metrics, "admin"), EnrichMetrics::new(&metrics)));
    drop((Counts::new(&metrics), RulesMetrics::new(&metrics)));
    drop((DiskMetrics::new(&metrics), ReadyMetrics::new(&metrics)));
    for stage in ["ingest", "enrich"] {
        drop(HopMetrics::new(&metrics.component(stage)));
    }
    drop(StateMetrics::new(&metrics));
    let detect = metrics.component("detect");
    drop((MapperMetrics::new(&detect), ReducerMetrics::new(&detect)));
    respond::declare_metrics(&metrics);
    let rows: String = metrics.describe().iter().map(row).collect();
    expect_file!["../../../docs/metrics.md"].assert_eq(&(HEAD.to_owned() + &rows));
}
