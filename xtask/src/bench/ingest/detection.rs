//! Whether formats are told right on lines that others collected.
//!
//! Owns: which formats a corpus may be told as. Never: the corpora, which may not be here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place;
use crate::process::output;
use crate::trouble::Trouble;

/// What lines of a source may be told as. Servers write shorter and longer forms of one format.
const MAY_BE: [(&str, &[&str]); 10] = [
    ("apache/access", &["combined", "common", "vhost_combined", "apache_ssl_request"]),
    ("nginx/access", &["combined", "common", "vhost_combined"]),
    ("nginx/ingress_controller", &["ingress_nginx"]),
    ("haproxy/log", &["haproxy"]),
    ("iis/access", &["iis"]),
    ("traefik/access", &["traefik", "traefik_json"]),
    ("nginx", &["combined", "common", "vhost_combined"]),
    ("apache2", &["combined", "common", "vhost_combined"]),
    ("caddy", &["caddy"]),
    ("haproxy", &["haproxy"]),
];

/// Counts the logs of the corpora whose format the benchmark `parse` tells wrong.
pub(super) fn check(
    bench: &Path,
    folder: &Path,
    corpora: Option<PathBuf>,
) -> Result<String, Trouble> {
    let corpora = corpora.unwrap_or_else(|| place::root().join("../shared/corpora"));
    let logs = logs(&corpora);
    if logs.is_empty() {
        return Ok(format!("auto-detection: not run, no corpora in {}", corpora.display()));
    }
    let folder = place::folder(&folder.join("detect"))?;
    let mut files = Vec::new();
    for (number, lines) in logs.values().enumerate() {
        let file = folder.join(format!("{number}.log"));
        place::write(&file, lines)?;
        files.push(file);
    }
    let told = output(Command::new(bench).arg("--detect").args(&files))?;
    place::remove_folder(&folder)?;
    let (mut right, mut none, mut wrong) = (0, 0, Vec::new());
    for ((source, name), told) in logs.keys().zip(told.lines()) {
        let may_be = MAY_BE.iter().find(|(of, _)| of == source).map_or(&[][..], |(_, all)| all);
        match told {
            "none" => none += 1,
            told if may_be.contains(&told) => right += 1,
            told => wrong.push(format!("{source} {name} as {told}")),
        }
    }
    if right + none + wrong.len() != logs.len() {
        return Err(Trouble::dependency("the benchmark did not say what each log is told as"));
    }
    let mut text = format!(
        "auto-detection on the logs of the corpora: {right} right, {} wrong, {none} told as none \
         (logs that hold no request)",
        wrong.len()
    );
    if !wrong.is_empty() {
        text.push_str(&format!(": {}", wrong.join(", ")));
    }
    Ok(text)
}

/// The lines of every log of a known source, by source and name.
fn logs(corpora: &Path) -> BTreeMap<(String, String), String> {
    let mut logs: BTreeMap<(String, String), String> = BTreeMap::new();
    let read = |name: &str| std::fs::read_to_string(corpora.join(name)).unwrap_or_default();
    let (beats, hub) = (read("beats-access.jsonl"), read("crowdsec-hub.jsonl"));
    for case in beats.lines().chain(hub.lines()) {
        let Ok(case) = serde_json::from_str::<Value>(case) else { continue };
        let text = |name: &str| case.get(name).and_then(Value::as_str).unwrap_or_default();
        let source = if text("format").is_empty() { text("log_type") } else { text("format") };
        let name = if text("file").is_empty() { text("test") } else { text("file") };
        if !MAY_BE.iter().any(|(known, _)| *known == source) {
            continue;
        }
        let log = logs.entry((source.to_owned(), name.to_owned())).or_default();
        let lines = case.get("lines").and_then(Value::as_array).into_iter().flatten();
        for line in lines.chain(case.get("raw")).filter_map(Value::as_str) {
            log.push_str(&format!("{}\n", line.replace('\n', " ")));
        }
    }
    logs
}
