//! `tidegate rules check --against …`: which rules keep their state, and which begin anew.
//!
//! Owns: where the other side comes from, and what is printed. Never: what an edit means; that is
//! `engine`'s.

use std::path::Path;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use engine::plan::{Fate, Identity, fates};
use serde_json::Value;

use crate::blocks::{ask, ask_at};
use crate::cli::Configured;
use crate::fault::Fault;
use crate::pack::{Pack, counted};
use crate::terminal;

/// The path of the admin endpoint that says what runs.
const RUNNING: &str = "v1/rules";

/// What becomes of each rule's state where this pack takes the place of the other side.
pub(super) fn compared(pack: &Pack, other: &str, config: &Path) -> Result<String, Fault> {
    let before = running(other, config)?;
    let after: Vec<Identity> = pack.compiled.iter().map(Identity::of).collect();
    Ok(shown(other, &fates(&before, &after)))
}

fn running(other: &str, config: &Path) -> Result<Vec<Identity>, Fault> {
    if other == "live" {
        let configured = Configured { config: config.to_owned(), log: "off".to_owned() };
        return read(&ask(&configured, RUNNING, None)?, other);
    }
    if other.starts_with("http://") {
        return read(&ask_at(other, RUNNING)?, other);
    }
    let path = Path::new(other);
    if path.is_dir() {
        return Ok(Pack::load(Some(path))?.compiled.iter().map(Identity::of).collect());
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        Fault::Usage(format!(
            "--against {other}: {error}; give `live`, an address such as http://127.0.0.1:7070, a \
             folder of rules, or a file with what that address answered to GET /{RUNNING}"
        ))
    })?;
    let answer = serde_json::from_str(&text)
        .map_err(|error| Fault::Usage(format!("--against {other}: it is no JSON: {error}")))?;
    read(&answer, other)
}

fn read(answer: &Value, other: &str) -> Result<Vec<Identity>, Fault> {
    let rules = answer.get("rules").cloned().unwrap_or_default();
    serde_json::from_value(rules).map_err(|error| {
        Fault::Usage(format!(
            "--against {other}: that is not what GET /{RUNNING} answers: {error}; is it of another \
             version of Tidegate?"
        ))
    })
}

fn shown(other: &str, fates: &[(String, Fate)]) -> String {
    let mut table = terminal::table(UTF8_BORDERS_ONLY);
    table.set_header(["rule", "against", other]);
    terminal::keep_whole(&mut table, &[0]);
    let (mut kept, mut anew, mut new, mut gone) = (0, 0, 0, 0);
    for (rule, fate) in fates {
        let (word, why) = match fate {
            Fate::Unchanged => {
                kept += 1;
                continue;
            }
            Fate::Kept => {
                kept += 1;
                (
                    "keeps",
                    "state, open episodes and their ids: only text or threshold changed".into(),
                )
            }
            Fate::Anew(changes) => {
                anew += 1;
                ("anew", changes.join("; "))
            }
            Fate::New => {
                new += 1;
                ("new", "begins without state".to_owned())
            }
            Fate::Gone => {
                gone += 1;
                ("gone", "does not run any more; its open episodes end".to_owned())
            }
        };
        table.add_row([rule.as_str(), word, &why]);
    }
    let keeping = if kept == 1 { "keeps its" } else { "keep their" };
    let summary =
        format!("{} {keeping} state, {anew} anew, {new} new, {gone} gone", counted(kept, "rule"));
    if anew + new + gone == 0 && table.is_empty() {
        return format!("{summary}: nothing changes");
    }
    format!("{table}\n{summary}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::compared;
    use crate::pack::Pack;

    const RULE: &str = "title: t\nseverity: low\nwindow: 5m\nsql: |\n  SELECT client_ip, count(*) AS n \
                        FROM events WHERE status = 401 GROUP BY client_ip HAVING count(*) >= 20\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("x").join(name), text).unwrap();
        }
        folder
    }

    fn against(before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        let (before, after) = (folder(before), folder(after));
        let pack = Pack::load(Some(after.path())).unwrap();
        let other = before.path().display().to_string();
        let shown = compared(&pack, &other, Path::new("tidegate.toml")).unwrap();
        shown.replace(&other, "DIR")
    }

    #[test]
    fn an_edit_is_told_apart_by_what_it_costs() {
        let higher = RULE.replace(">= 20", ">= 30");
        let wider = RULE.replace("5m", "10m");
        let other = RULE.replace("status = 401", "status = 403");
        let before = [("a.yml", RULE), ("b.yml", RULE), ("c.yml", RULE), ("d.yml", RULE)];
        let after = [("a.yml", RULE), ("b.yml", &*higher), ("c.yml", &*wider), ("e.yml", &*other)];
        let shown = against(&before, &after);
        assert!(!shown.contains("x/a"), "{shown}");
        assert!(shown.contains("only text or threshold changed"), "{shown}");
        assert!(shown.contains("window 5m → 10m; slide 10s → 20s"), "{shown}");
        assert!(shown.ends_with("2 rules keep their state, 1 anew, 1 new, 1 gone"), "{shown}");
        let filter = against(&[("a.yml", RULE)], &[("a.yml", &*other)]);
        assert!(filter.contains("status = 401"), "{filter}");
        assert!(filter.contains("status = 403"), "{filter}");
    }

    #[test]
    fn the_same_rules_change_nothing() {
        let same = [("a.yml", RULE)];
        let shown = against(&same, &same);
        assert_eq!(shown, "1 rule keeps its state, 0 anew, 0 new, 0 gone: nothing changes");
    }

    #[test]
    fn what_is_no_answer_says_so() {
        let pack = Pack::load(None).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{\"rules\": [{\"id\": 7}]}").unwrap();
        let check =
            |other: &str| compared(&pack, other, Path::new("x.toml")).unwrap_err().to_string();
        assert!(check(&file.path().display().to_string()).contains("GET /v1/rules"));
        assert!(check("/nowhere").contains("give `live`, an address"));
    }
}
