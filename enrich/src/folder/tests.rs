use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use runtime::clock::Clock;
use runtime::metrics::Metrics;
use schemas::Deploy;
use tempfile::TempDir;

use super::{Watch, load_folder};
use crate::context::{Context, ContextCell};
use crate::metrics::EnrichMetrics;
use crate::network::tests::mmdb as tests_mmdb;
use crate::problem::Problem;

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn render(folder: &Path, context: &Context, problems: &[Problem]) -> String {
    let tables = context.tables().iter().map(|t| format!("{} {} rows", t.table, t.rows));
    let problems = problems
        .iter()
        .map(|problem| problem.to_string().replace(&folder.display().to_string(), "ctx"));
    tables.chain(problems).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &Expect) {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    let (context, problems) = load_folder(folder.path());
    expected.assert_eq(&render(folder.path(), &context, &problems));
}

const DEPLOY: &str = r#"{"service":"shop","deploy_id":"d1","deployed_at":"2026-11-20T08:00:00Z"}"#;

#[test]
fn no_file_is_needed() {
    check(&[], &expect![[""]]);
}

#[test]
fn every_kind_of_file_is_read() {
    let folder = TempDir::new().unwrap();
    let cdevent = r#"{"context":{"id":"e1","type":"dev.cdevents.service.deployed.0.3.0","timestamp":"2026-11-20T08:00:00Z"},"subject":{"id":"cart"}}"#;
    write(folder.path(), "deploys.jsonl", format!("\u{feff}{DEPLOY}\n\n{cdevent}\n"));
    write(folder.path(), "identities.jsonl", "{\"principal\":\"ann\"}\n");
    write(folder.path(), "api_keys.jsonl", "{\"key_hash\":\"h\",\"owner\":\"ann\"}\n");
    write(folder.path(), "openapi/shop.yml", "openapi: 3.0.0\npaths: {/a: {get: {}}}\n");
    write(
        folder.path(),
        "openapi/api.example.com.json",
        r#"{"openapi":"3.1.0","paths":{"/b":{"get":{}}}}"#,
    );
    write(folder.path(), "lists/own.txt", "10.0.0.0/8\n");
    let country = tests_mmdb::Value::Map(vec![("country_code", tests_mmdb::Value::Text("FR"))]);
    write(folder.path(), "country.mmdb", tests_mmdb::database(&[("203.0.113.0/24", country)]));
    write(folder.path(), "README.md", "notes");
    let (context, problems) = load_folder(folder.path());
    expect![[r#"
        deploys 2 rows
        identities 1 rows
        api_keys 1 rows
        routes 2 rows
        lists 1 rows
        networks 120 rows"#]]
    .assert_eq(&render(folder.path(), &context, &problems));
    let services: Vec<&str> = context.routes().services().collect();
    assert_eq!(services, ["api.example.com", "shop"]);
    let ids: Vec<&str> = context.deploys().all().map(|d| d.deploy_id.as_str()).collect();
    assert_eq!(ids, ["e1", "d1"]);
    let place = context.network().place("203.0.113.7".parse().unwrap());
    assert_eq!(place.country.as_deref(), Some("FR"));
}

#[test]
fn every_mistake_says_where_why_and_what_next_and_the_rest_counts() {
    check(
        &[
            (
                "deploys.jsonl",
                &format!(
                    "{DEPLOY}\n{{\"service\":\"shop\",\"deploy_id\":\"d2\",\"deployed_at\":\"soon\"}}\nnot json\n"
                ),
            ),
            (
                "identities.jsonl",
                "{\"principal\":\"ann\",\"knid\":\"human\"}\n{\"principal\":\"bob\"}\n",
            ),
            ("identity.jsonl", ""),
            ("openapi/shop.yml", "openapi: 3.0.0\npaths:\n  /a: {get: {}}\n  b: {get: {}}\n"),
            ("openapi/cart.yaml", "swagger: '2.0'\n"),
            ("lists/own.txt", "10.0.0.0/8\nlocalhost\n"),
            ("geo.mmdb", "oops"),
        ],
        &expect![[r#"
            deploys 1 rows
            identities 1 rows
            routes 1 rows
            lists 1 rows
            networks 0 rows
            ctx/deploys.jsonl:2:56: the deploy is not taken: `soon` is not a time; write RFC 3339, such as 2026-11-20T08:00:00.000Z; next: correct the time, or leave it out where the deploy is posted as it happens
            ctx/deploys.jsonl:3: the deploy is not taken: `not` is neither JSON nor `name=value`; next: name at least `service`, `deploy_id` and `deployed_at` (RFC 3339, such as 2026-11-20T08:00:00Z)
            ctx/geo.mmdb: the database is not used: not a database in MaxMind's format: invalid database: could not find MaxMind DB metadata in file; next: fetch it again; it must be the unpacked .mmdb file
            ctx/identities.jsonl:1:25: the line is left out: unknown field `knid`, expected one of `principal`, `kind`, `tenant`, `roles`, `scopes`, `active`, `from`, `until`; next: write {"principal": …} with any of `kind` (human, service), `tenant`, `roles`, `scopes`, `active`, `from`, `until`
            ctx/identity.jsonl: the file is not used: the context folder has no file of this name; next: the files are `deploys.jsonl`, `identities.jsonl`, `api_keys.jsonl`, `openapi/<service>.yml` (or .yaml, .json; `<service>@<version>` for one version), `lists/<kind>.txt` (or .csv) and `*.mmdb`
            ctx/lists/own.txt:2:1: the line is left out: `localhost` is neither an address nor a network; next: write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32, one a line
            ctx/openapi/cart.yaml:1:1: the document is not used: it is a Swagger 2.0 document; next: convert it to OpenAPI 3; `swagger2openapi` does
            ctx/openapi/shop.yml:4:3: the operation is left out: the path `b` does not begin with a slash; next: write it as `/…`"#]],
    );
}

#[test]
fn a_folder_that_is_not_there_says_so() {
    let folder = TempDir::new().unwrap();
    let (_, problems) = load_folder(&folder.path().join("none"));
    expect!["ctx/none: it is not used: No such file or directory (os error 2); next: make it, or correct the path in the configuration"].assert_eq(&render(folder.path(), &Context::default(), &problems));
}

#[test]
fn mistakes_without_end_are_counted() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "deploys.jsonl", "x\n".repeat(1_000));
    let (_, problems) = load_folder(folder.path());
    assert_eq!(problems.len(), 21);
    assert_eq!(problems[20].why.as_ref(), "980 more lines have mistakes");
}

struct Watched {
    folder: TempDir,
    watch: Watch,
    context: ContextCell,
    metrics: Metrics,
}

fn watched() -> Watched {
    let folder = TempDir::new().unwrap();
    let (context, metrics) = (ContextCell::default(), Metrics::new());
    let clock = Clock::manual(5_000).clock();
    let watch = Watch::new(folder.path(), context.clone(), clock, EnrichMetrics::new(&metrics));
    Watched { folder, watch, context, metrics }
}

impl Watched {
    fn deploys(&self) -> Vec<String> {
        self.context.load().deploys().all().map(|deploy| deploy.deploy_id.clone()).collect()
    }
}

#[test]
fn a_change_is_put_in_force_and_nothing_else_is_read_again() {
    let mut watched = watched();
    let path = watched.folder.path().to_owned();
    write(&path, "deploys.jsonl", format!("{DEPLOY}\n"));
    write(&path, "lists/own.txt", "10.0.0.0/8\n");
    assert_eq!(watched.watch.poll(), []);
    assert_eq!(watched.deploys(), ["d1"]);
    let before = watched.context.load();
    assert_eq!(watched.watch.poll(), []);
    assert!(std::sync::Arc::ptr_eq(&before, &watched.context.load()), "nothing changed");
    write(&path, "deploys.jsonl", format!("{DEPLOY}\n{}\n", DEPLOY.replace("d1", "d2")));
    watched.watch.poll();
    assert_eq!(watched.deploys(), ["d1", "d2"]);
    let now = watched.context.load();
    assert!(std::sync::Arc::ptr_eq(before.network(), now.network()), "the network stayed");
    fs::remove_file(path.join("deploys.jsonl")).unwrap();
    watched.watch.poll();
    assert_eq!(watched.deploys(), Vec::<String>::new());
}

#[test]
fn a_bad_file_keeps_what_it_said_and_is_reported_once() {
    let mut watched = watched();
    let path = watched.folder.path().to_owned();
    write(&path, "deploys.jsonl", format!("{DEPLOY}\n"));
    write(&path, "openapi/shop.yml", "openapi: 3.0.0\npaths: {/a: {get: {}}}\n");
    watched.watch.poll();
    write(&path, "deploys.jsonl", "{\"service\":\"sh");
    write(&path, "openapi/shop.yml", "openapi: [");
    let problems = watched.watch.poll();
    expect![[r#"
        deploys 1 rows
        routes 1 rows
        ctx/deploys.jsonl:1:14: the deploy is not taken (what it said before stays in force): not JSON: EOF while parsing a string; next: send one JSON object a line, a JSON array, or `service=… deploy_id=…`
        ctx/openapi/shop.yml:1:10: the document is not used (what it said before stays in force): not YAML: unclosed bracket '['; next: correct it; other tools will refuse it too"#]].assert_eq(&render(&path, &watched.context.load(), &problems));
    assert_eq!(watched.deploys(), ["d1"]);
    assert_eq!(watched.watch.poll(), [], "said already");
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(watched.watch.poll().len(), 1);
    assert_eq!(watched.watch.poll(), [], "said already");
    assert_eq!(watched.deploys(), ["d1"], "a folder that goes takes nothing");
}

#[test]
fn posted_deploys_survive_a_change_of_the_folder() {
    let mut watched = watched();
    let posted: Deploy = serde_json::from_str(&DEPLOY.replace("d1", "p1")).unwrap();
    watched.context.add_deploys(vec![posted], None);
    write(watched.folder.path(), "deploys.jsonl", format!("{DEPLOY}\n"));
    watched.watch.poll();
    assert_eq!(watched.deploys(), ["d1", "p1"]);
}

#[test]
fn tables_say_their_age() {
    let mut watched = watched();
    write(watched.folder.path(), "deploys.jsonl", format!("{DEPLOY}\n"));
    watched.watch.poll();
    let report = watched.context.load().report(7_500);
    expect![[r#"[{"table":"deploys","rows":1,"problems":0,"age_s":2.5}]"#]]
        .assert_eq(&serde_json::to_string(&report).unwrap());
    let text = watched.metrics.encode();
    assert!(text.contains("tidegate_enrich_table_rows{table=\"deploys\"} 1"), "{text}");
}

#[test]
fn databases_and_lists_are_read_again_when_they_change_and_a_broken_one_changes_nothing() {
    let mut watched = watched();
    let country = |code| {
        let value = tests_mmdb::Value::Map(vec![("country_code", tests_mmdb::Value::Text(code))]);
        tests_mmdb::database(&[("203.0.113.0/24", value)])
    };
    let place = |watched: &Watched| {
        let place = watched.context.load().network().place("203.0.113.7".parse().unwrap());
        [place.country, place.kind].map(|text| text.as_deref().unwrap_or("-").to_owned()).join(" ")
    };
    let folder = watched.folder.path().to_owned();
    write(&folder, "country.mmdb", country("FR"));
    write(&folder, "lists/providers.csv", "network,kind\n203.0.113.0/24,cloud\n");
    assert_eq!(watched.watch.poll(), []);
    assert_eq!(place(&watched), "FR cloud");
    write(&folder, "country.mmdb", [country("DE"), vec![0; 1]].concat());
    write(&folder, "lists/tor.txt", "203.0.113.7\n");
    assert_eq!(watched.watch.poll(), []);
    assert_eq!(place(&watched), "DE tor");
    write(&folder, "country.mmdb", "<html>quota exceeded</html>");
    fs::remove_file(folder.join("lists/tor.txt")).unwrap();
    let problems = watched.watch.poll();
    assert!(problems[0].to_string().contains("what it said before stays in force"), "{problems:?}");
    assert_eq!(place(&watched), "DE cloud");
}

#[test]
fn a_document_may_be_of_one_version() {
    let folder = TempDir::new().unwrap();
    let document = |path: &str| format!("openapi: 3.0.0\npaths: {{{path}: {{get: {{}}}}}}\n");
    write(folder.path(), "openapi/shop.yml", document("/any"));
    write(folder.path(), "openapi/shop@1.4.yml", document("/old"));
    write(folder.path(), "openapi/cart@2.json", document("/cart"));
    write(folder.path(), "openapi/@3.yml", document("/none"));
    let (context, problems) = load_folder(folder.path());
    expect![[r#"
        routes 3 rows
        ctx/openapi/@3.yml: the document is not used: a file of this folder is called after a service; next: call it <service>.yml, or <service>@<version>.yml where it is of one version"#]]
    .assert_eq(&render(folder.path(), &context, &problems));
    let options = crate::JoinOptions { object_key: [0; 16], learn_routes: false };
    let metrics = EnrichMetrics::new(&Metrics::new());
    let joiner = crate::Joiner::new(ContextCell::new(context), options, metrics);
    let asked = [
        ("shop", None, "/any"),
        ("shop", Some("1.4"), "/old"),
        ("shop", Some("1.4"), "/any"),
        ("shop", Some("1.5"), "/any"),
        ("cart", Some("2"), "/cart"),
        ("cart", Some("3"), "/cart"),
    ];
    let told = asked.map(|(service, version, path)| {
        let event = schemas::Event {
            service: Some(service.into()),
            service_version: version.map(Into::into),
            method: Some("GET".into()),
            path: Some(path.into()),
            ..schemas::Event::default()
        };
        let event = joiner.enrich_event(&event).unwrap();
        let missing = if event.context_missing.is_some() { " missing" } else { "" };
        format!("{service} {version:?} {path}: {:?}{missing}", event.route_declared)
    });
    expect![[r#"
        shop None /any: Some(true)
        shop Some("1.4") /old: Some(true)
        shop Some("1.4") /any: Some(false)
        shop Some("1.5") /any: Some(true)
        cart Some("2") /cart: Some(true)
        cart Some("3") /cart: None missing"#]]
    .assert_eq(&told.join("\n"));
}
