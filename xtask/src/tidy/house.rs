//! The import table: which crate may name which.
//!
//! Owns: that table, as ARCHITECTURE.md states it. Never: anything inside a crate.

use super::breach::Breach;
use super::graph::{Graph, Member};

/// A crate of ours: what it may import of ours.
struct Room {
    name: &'static str,
    imports: &'static [&'static str],
}

const ANY: &[&str] = &[
    "schemas",
    "engine",
    "runtime",
    "transport",
    "ingest",
    "enrich",
    "detect",
    "respond",
    "tidegate",
];

const ROOMS: &[Room] = &[
    Room { name: "schemas", imports: &[] },
    Room { name: "engine", imports: &["schemas"] },
    Room { name: "runtime", imports: &[] },
    Room { name: "transport", imports: &["runtime"] },
    Room { name: "ingest", imports: &["schemas", "runtime", "transport"] },
    Room { name: "enrich", imports: &["schemas", "runtime", "transport"] },
    Room { name: "detect", imports: &["schemas", "runtime", "transport", "engine"] },
    Room { name: "respond", imports: &["schemas", "runtime", "transport"] },
    Room { name: "tidegate", imports: ANY },
    Room { name: "xtask", imports: &[] },
    Room { name: "tests", imports: ANY },
];

/// What only one crate may name: families of crates by the start of their name.
const KEPT: &[(&str, &str)] = &[
    ("arrow-avro", "schemas"),
    ("apache-avro", "schemas"),
    ("datafusion", "engine"),
    ("config", "runtime"),
    ("axum", "runtime"),
    ("prometheus-client", "runtime"),
    ("tracing-subscriber", "runtime"),
    ("rdkafka", "transport"),
    ("fjall", "transport"),
    ("clap", "tidegate"),
    ("testcontainers", "tests"),
];

const CRATES_MAX: usize = 14;
const EDGES_MAX: usize = 4;

/// Checks every manifest against the table.
pub(super) fn check(graph: &Graph) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = graph.members.iter().flat_map(check_member).collect();
    let root = "Cargo.toml";
    if graph.members.len() > CRATES_MAX {
        let what = format!("{} crates, at most {CRATES_MAX}", graph.members.len());
        breaches.push(Breach::new(
            root,
            what,
            "make the newest a module of the crate that uses it",
        ));
    }
    let path = longest_path(graph, "tidegate", "schemas");
    if path.len() > EDGES_MAX + 1 {
        breaches.push(Breach::new(
            root,
            format!("{} edges from tidegate to schemas: {}", path.len() - 1, path.join(" → ")),
            format!("at most {EDGES_MAX}: let a crate of this chain do without the next"),
        ));
    }
    breaches
}

/// Checks that the map of the house names every crate; a repository without a map has none to name.
pub(super) fn check_map(graph: &Graph, map: Option<&str>) -> Vec<Breach> {
    let Some(map) = map else { return Vec::new() };
    let mut breaches = Vec::new();
    for member in &graph.members {
        let name = &member.name;
        if ![format!("`{name}`"), format!("`{name}/"), format!("{name}/")]
            .iter()
            .any(|form| map.contains(form.as_str()))
        {
            let what = format!("does not name the crate `{name}`");
            breaches.push(Breach::new("ARCHITECTURE.md", what, "say what it owns and never does"));
        }
    }
    let lines = map.lines().count();
    if lines > 200 {
        let what = format!("{lines} lines, at most 200");
        breaches.push(Breach::new(
            "ARCHITECTURE.md",
            what,
            "move detail to the module it is about",
        ));
    }
    breaches
}

fn check_member(member: &Member) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |what: String, mend: &str| {
        breaches.push(Breach::new(&member.manifest, what, mend));
    };
    if !member.takes_lints {
        breach("does not take the workspace's lints".to_owned(), "add `[lints] workspace = true`");
    }
    let Some(room) = ROOMS.iter().find(|room| room.name == member.name) else {
        breach(
            format!("`{}` is not in the import table", member.name),
            "add it to the table in xtask/src/tidy/house.rs and to ARCHITECTURE.md, or fold it in",
        );
        return breaches;
    };
    for named in &member.names {
        let name = named.name.as_str();
        if named.ours && !room.imports.contains(&name) {
            breach(
                format!("names `{name}`, which `{}` may not import", room.name),
                "services meet in schemas; a test that crosses crates belongs in `tests`",
            );
        }
        if let Some((family, keeper)) = KEPT.iter().find(|(family, _)| belongs(name, family))
            && *keeper != room.name
        {
            breach(
                format!("names `{name}`; only `{keeper}` may name {family}"),
                "use what that crate offers, or add there what is missing",
            );
        }
        if named.any_version {
            breach(format!("takes any version of `{name}`"), "say which, in the workspace's table");
        }
    }
    if room.name == "xtask" && member.names.iter().any(|named| named.name != "serde_json") {
        let mend = "do without, so that `cargo xtask` builds in seconds on any machine";
        breach("xtask has dependencies beside serde_json".to_owned(), mend);
    }
    breaches
}

/// `datafusion-expr` belongs to `datafusion`; `configparser` does not belong to `config`.
fn belongs(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

/// The longest chain of imports between two crates, both included; empty where there is none.
fn longest_path(graph: &Graph, from: &str, to: &str) -> Vec<String> {
    let Some(member) = graph.member(from) else { return Vec::new() };
    if from == to {
        return vec![from.to_owned()];
    }
    // Cargo refuses cycles of these, so this ends.
    let imports = member.names.iter().filter(|named| named.ours && !named.for_tests);
    let paths = imports.map(|named| longest_path(graph, &named.name, to));
    let mut longest = paths.max_by_key(Vec::len).unwrap_or_default();
    if !longest.is_empty() {
        longest.insert(0, from.to_owned());
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Graph, Member, Named};
    use super::{belongs, check, check_map};

    fn member(name: &str, ours: &[&str], others: &[&str]) -> Member {
        let named = |name: &&str, ours| Named {
            name: (*name).to_owned(),
            for_tests: false,
            ours,
            any_version: false,
        };
        let names = ours.iter().map(|name| named(name, true));
        Member {
            name: name.to_owned(),
            manifest: format!("{name}/Cargo.toml"),
            takes_lints: true,
            names: names.chain(others.iter().map(|name| named(name, false))).collect(),
        }
    }

    #[track_caller]
    fn finds(members: Vec<Member>, expected: &[&str]) {
        let graph = Graph { members, others: Vec::new() };
        let found: Vec<String> = check(&graph).into_iter().map(|breach| breach.what).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_table_itself_is_no_breach() {
        finds(
            vec![
                member("schemas", &[], &["arrow-avro", "serde"]),
                member("engine", &["schemas"], &["datafusion"]),
                member("detect", &["schemas", "engine"], &["tokio"]),
                member("tidegate", &["detect", "schemas"], &["clap"]),
            ],
            &[],
        );
    }

    #[test]
    fn a_service_that_imports_a_service_is_found() {
        finds(
            vec![member("detect", &["ingest"], &[])],
            &["names `ingest`, which `detect` may not import"],
        );
    }

    #[test]
    fn a_library_outside_its_only_room_is_found() {
        finds(
            vec![member("detect", &[], &["datafusion-expr"])],
            &["names `datafusion-expr`; only `engine` may name datafusion"],
        );
        assert!(!belongs("configparser", "config"));
    }

    #[test]
    fn a_crate_without_the_lints_and_an_unknown_crate_are_found() {
        let careless = Member { takes_lints: false, ..member("engine", &[], &[]) };
        finds(vec![careless], &["does not take the workspace's lints"]);
        finds(vec![member("shared", &[], &[])], &["`shared` is not in the import table"]);
    }

    #[test]
    fn any_version_and_a_dependency_of_xtask_are_found() {
        let mut greedy = member("engine", &[], &["serde"]);
        greedy.names[0].any_version = true;
        finds(vec![greedy], &["takes any version of `serde`"]);
        finds(
            vec![member("xtask", &[], &["tokio"])],
            &["xtask has dependencies beside serde_json"],
        );
    }

    #[test]
    fn a_chain_of_more_than_four_edges_is_found() {
        let members = vec![
            member("tidegate", &["tests"], &[]),
            member("tests", &["respond"], &[]),
            member("respond", &["transport"], &[]),
            member("transport", &["runtime"], &[]),
            member("runtime", &["schemas"], &[]),
            member("schemas", &[], &[]),
        ];
        let graph = Graph { members, others: Vec::new() };
        let found = check(&graph);
        assert!(
            found.iter().any(|breach| breach.what.starts_with("5 edges from tidegate")),
            "{found:?}"
        );
    }

    #[test]
    fn a_fifteenth_crate_is_found() {
        let members = (0..15).map(|_| member("schemas", &[], &[])).collect();
        finds(members, &["15 crates, at most 14"]);
    }

    #[test]
    fn a_crate_that_the_map_does_not_name_is_found() {
        let graph = Graph {
            members: vec![member("schemas", &[], &[]), member("engine", &[], &[])],
            others: Vec::new(),
        };
        let found = check_map(&graph, Some("| `schemas` | records |"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "does not name the crate `engine`");
        assert!(check_map(&graph, None).is_empty());
    }
}
