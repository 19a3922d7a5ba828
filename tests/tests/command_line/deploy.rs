//! What `deploy/` says holds: metrics and their labels, links, commands, units.
//!
//! Needs promtool (Debian's prometheus) and systemd-analyze (systemd) for two of the tests. Where one
//! is absent, that is said and its test passes; with `CI` set it fails instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runtime::error::Exit;
use runtime::shutdown::DRAIN_MAX;
use serde_json::Value;

use super::{binary, stderr, tidegate};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The YAML in this file.
#[track_caller]
fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What Prometheus calls each metric of the page, with its labels.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("docs/metrics.md");
    let mut metrics = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let mut labels: BTreeSet<String> = labels.collect();
        labels.extend(["job", "instance"].map(str::to_owned));
        if cells[2] == "histogram" {
            labels.insert("le".to_owned());
            for part in ["bucket", "sum", "count"] {
                metrics.insert(format!("{name}_{part}"), labels.clone());
            }
        } else {
            metrics.insert(name.to_owned(), labels);
        }
    }
    metrics
}

/// What is wrong with the metrics that this text names; and how many it names.
fn unknown(text: &str, metrics: &BTreeMap<String, BTreeSet<String>>) -> (Vec<String>, usize) {
    let (mut wrong, mut named) = (Vec::new(), 0);
    for rest in text.split("tidegate_").skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let name = format!("tidegate_{name}");
        named += 1;
        let Some(labels) = metrics.get(&name) else {
            wrong.push(name);
            continue;
        };
        let selector = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        for matcher in selector.map_or("", |(inside, _)| inside).split(',') {
            let label = matcher.split(['=', '!']).next().unwrap();
            if !label.is_empty() && !labels.contains(label) {
                wrong.push(format!("{name} has no label {label}"));
            }
        }
    }
    (wrong, named)
}

/// Every text below this value under a key of this name.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, inside) in map {
                match inside {
                    Value::String(text) if name == key => found.push(text),
                    _ => texts(inside, key, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inside| texts(inside, key, found)),
        _ => {}
    }
}

#[track_caller]
fn all(value: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    texts(value, key, &mut found);
    assert!(!found.is_empty(), "no `{key}`");
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_and_labels_that_there_are() {
    let metrics = metrics();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/tidegate.json")).unwrap();
    let mut asked = all(&yaml("deploy/prometheus/alerts.yml"), "expr");
    let alerts = asked.len();
    asked.extend(all(&dashboard, "expr"));
    asked.extend(all(&yaml("deploy/prometheus/alerts.test.yml"), "series"));
    let mut named = 0;
    for expression in &asked {
        let (wrong, count) = unknown(expression, &metrics);
        assert_eq!(wrong, [""; 0], "in {expression}");
        assert!(count > 0 || expression.starts_with("up{") || expression.contains("(up{"));
        named += count;
    }
    assert!(alerts >= 20 && named > 100, "{alerts} alerts, {named} metrics");
}

/// The anchors of a page's headings, as forges make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        anchors.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    anchors
}

/// Whether `PATH#HEADING`, from this folder of the repository, points at something.
#[track_caller]
fn leads(link: &str, folder: &str) {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let file = root().join(folder).join(path);
    assert!(file.exists(), "{link}: there is no {}", file.display());
    if !heading.is_empty() {
        let anchors = anchors(&fs::read_to_string(&file).unwrap());
        assert!(anchors.contains(heading), "{link}: the headings are {anchors:?}");
    }
}

/// Whether the binary knows this command and all that is said after it.
#[track_caller]
fn parses(words: &str) {
    let mut words: Vec<&str> = words.split_whitespace().skip(1).collect();
    words.push("--help");
    let output = tidegate(&words, "");
    let said = stderr(&output);
    assert!(output.status.success(), "{}: {said}", words.join(" "));
    // Help of the command itself, and not of the group before it.
    let last = words.iter().rfind(|word| word.chars().all(|c| c.is_ascii_lowercase())).unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains(&format!(" {last} [")) || help.contains(&format!(" {last} <")), "{help}");
}

/// Commands that stand between backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|words| words.starts_with("tidegate ")).map(str::to_owned).collect()
}

#[test]
fn every_alert_says_what_it_means_what_helps_and_where_to_read_on() {
    let alerts = yaml("deploy/prometheus/alerts.yml");
    let groups = alerts["groups"].as_array().unwrap().iter();
    let mut commands = BTreeSet::new();
    let tested = read("deploy/prometheus/alerts.test.yml");
    for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        let note = |key: &str| rule["annotations"][key].as_str().unwrap_or_default();
        assert!(!note("summary").is_empty() && note("description").len() > 80, "{name}");
        assert!(note("runbook").starts_with("docs/") && note("runbook").contains('#'), "{name}");
        leads(note("runbook"), "");
        let said = quoted(note("description"));
        assert!(!said.is_empty(), "{name} names no command");
        commands.extend(said);
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        assert!(tested.contains(&format!("\"{name}\"")), "{name} is not in alerts.test.yml");
    }
    commands.iter().for_each(|command| parses(command));
    assert!(commands.len() > 10, "{commands:?}");
}

#[test]
fn the_page_links_what_there_is_and_names_commands_that_parse() {
    let page = read("deploy/README.md");
    let links: Vec<&str> =
        page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() >= 5, "{links:?}");
    links.iter().filter(|link| !link.contains("://")).for_each(|link| leads(link, "deploy"));
    let (mut code, mut text) = (String::new(), String::new());
    for (number, part) in page.split("```").enumerate() {
        if number % 2 == 1 { &mut code } else { &mut text }.push_str(part);
    }
    let lines = code.lines().flat_map(|line| line.split("&&")).map(str::trim);
    let mut commands: BTreeSet<String> =
        lines.filter(|line| line.starts_with("tidegate ")).map(str::to_owned).collect();
    assert!(!commands.is_empty(), "{code}");
    commands.extend(quoted(&text));
    commands.iter().for_each(|command| parses(command));
    for file in code.split_whitespace().filter(|word| word.starts_with("deploy/")) {
        let folder = file.rsplit_once('/').unwrap().0;
        let is_there = if file.contains('*') { folder } else { file };
        assert!(root().join(is_there).exists(), "{file}");
    }
}

/// What the page has one type, with a folder in place of `/etc`.
#[test]
fn the_configuration_that_the_page_makes_writes_only_where_the_service_may() {
    let folder = tempfile::tempdir().unwrap();
    let page = read("deploy/README.md");
    let line = page.lines().find(|line| line.contains("tidegate init ")).unwrap();
    let line = line.replace("/etc/tidegate", &folder.path().join("etc").display().to_string());
    let line = line.replace("&& tidegate ", &format!("&& {} ", binary().display()));
    let output = Command::new("sh").args(["-e", "-c", &line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    let made = folder.path().join("etc/tidegate.toml");
    let output = tidegate(&["config", "check", "--config", made.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let made: toml::Table = fs::read_to_string(made).unwrap().parse().unwrap();
    let targets = made["target"].as_array().unwrap().iter();
    let written: Vec<&str> = targets
        .filter_map(|target| target.get("folder").or_else(|| target.get("path"))?.as_str())
        .collect();
    assert_eq!(written, ["/var/lib/tidegate/tickets", "/var/lib/tidegate/respond.jsonl"]);
}

/// The values of a unit's key.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

const STAGES: [&str; 4] = ["ingest", "enrich", "detect", "respond"];

/// The units by what `%i` stands for, with what is beside the template.
fn units() -> Vec<(String, String)> {
    let mut units = vec![("up".to_owned(), read("deploy/systemd/tidegate.service"))];
    for stage in STAGES {
        let template = read("deploy/systemd/tidegate@.service").replace("%i", stage);
        let own = read(&format!("deploy/systemd/tidegate@{stage}.service.d/stage.conf"));
        units.push((stage.to_owned(), template + &own));
    }
    units
}

#[test]
fn units_run_commands_that_parse_and_keep_to_how_a_process_ends() {
    let scrape = read("deploy/prometheus/scrape.yml");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, "[[input]]\ntype = \"stdin\"\n\n[kafka]\nbrokers = \"127.0.0.1:9092\"\n")
        .unwrap();
    let mut ports = BTreeSet::new();
    for (command, unit) in units() {
        let start = values(&unit, "ExecStart");
        assert_eq!(start.len(), 1, "{start:?}");
        let start = start[0].strip_prefix("/usr/local/bin/").unwrap();
        assert!(start.starts_with(&format!("tidegate {command} ")), "{start}");
        parses(start);
        // Those that do not listen for SIGHUP are ended by it.
        let reloads = ["up", "detect"].contains(&command.as_str());
        assert_eq!(values(&unit, "ExecReload").len(), usize::from(reloads), "{command}");
        let never = Exit::Usage.code().to_string();
        assert_eq!(values(&unit, "RestartPreventExitStatus"), [never.as_str()]);
        let patience = values(&unit, "TimeoutStopSec")[0].strip_suffix('s').unwrap();
        assert!(Duration::from_secs(patience.parse().unwrap()) > DRAIN_MAX, "{patience}");
        let mut check = Command::new(binary());
        check.args(["config", "show", "--config"]).arg(&file);
        for (name, value) in values(&unit, "Environment").iter().map(|v| v.split_once('=').unwrap())
        {
            check.env(name, value);
        }
        let output = check.output().unwrap();
        assert!(output.status.success(), "{command}: {}", stderr(&output));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains("/var/lib/tidegate"), "{shown}");
        let listen = shown.split("listen = \"").nth(1).unwrap().split('"').next().unwrap();
        assert!(scrape.contains(&format!("\"{listen}\"")), "{listen} is not scraped");
        assert!(ports.insert(listen.to_owned()), "{listen} twice");
    }
}

/// Runs a tool that a machine may lack; absent where it does.
fn tool(name: &str, folder: &Path, args: &[&str]) -> Option<(bool, String)> {
    match Command::new(name).args(args).current_dir(folder).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
            Some((output.status.success(), said))
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{name}: {error}, and CI skips nothing");
            let said = format!("skipped a check of deploy/: {name}: {error}\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            None
        }
    }
}

#[test]
fn prometheus_takes_scrape_and_alerts_and_each_alert_fires_where_it_should() {
    let folder = root().join("deploy/prometheus");
    for args in
        [["check", "config", "scrape.yml"].as_slice(), &["test", "rules", "alerts.test.yml"]]
    {
        if let Some((passed, said)) = tool("promtool", &folder, args) {
            assert!(passed, "{said}");
        }
    }
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (stage, unit) in units() {
        // The program is not where a package puts it, and the user is not there.
        let unit = unit.replace("/usr/local/bin/tidegate", &binary().display().to_string());
        let path = folder.path().join(format!("tidegate-{stage}.service"));
        fs::write(&path, unit).unwrap();
        paths.push(path.display().to_string());
    }
    for path in &paths {
        let verify = ["verify", "--man=no", path.as_str()];
        let Some((passed, said)) = tool("systemd-analyze", folder.path(), &verify) else { return };
        assert!(passed && said.trim().is_empty(), "{said}");
        let exposed = ["security", "--offline=true", "--threshold=20", "--no-pager", path.as_str()];
        let Some((passed, said)) = tool("systemd-analyze", folder.path(), &exposed) else { return };
        assert!(passed, "{said}");
    }
}
