//! From a mistake to the words for it.
//!
//! Owns: what, where, why and what next.
//! Never: the value of a setting.

use super::fault::Kind;
use super::layers::PREFIX;
use super::problem::Problem;
use super::tree::{Node, Place, Step, Value};

/// Names in a list of what is known.
const NAMES_MAX: usize = 30;

/// The mistake of this kind at `path`.
pub(super) fn describe(tree: &Node, path: &[Step], kind: &Kind) -> Problem {
    let value_place = || tree.find(path).map_or(Place::Top, |node| node.place.clone());
    let setting = dotted(path);
    match kind {
        Kind::UnknownKey { known } => {
            let place = tree.key_place(path).cloned().unwrap_or(Place::Top);
            let (key, parents) = last(path);
            let near = nearest(&key, known);
            let label = near.map(|near| match &place {
                Place::Environment(name) => {
                    format!("did you mean {}?", renamed(name, parents.len(), near))
                }
                _ => format!("did you mean `{near}`?"),
            });
            let help = near.is_none().then(|| known_here(known));
            let title = format!("unknown key `{key}` {}", section(tree, parents));
            Problem { title, place, label: label.or(Some("not known here".to_owned())), help }
        }
        Kind::Missing { key } => Problem {
            title: format!("`{key}` is missing {}", section(tree, path)),
            label: Some(match value_place() {
                Place::Environment(_) => format!("set {}", variable(path, key)),
                Place::Text { .. } | Place::Flag(_) | Place::Top => format!("add `{key} = …`"),
            }),
            place: value_place(),
            help: None,
        },
        Kind::UnknownName { name, known } => {
            let near = nearest(name, known);
            Problem {
                title: format!("unknown value `{name}` of `{setting}`"),
                place: value_place(),
                label: near.map(|near| format!("did you mean `{near}`?")),
                help: Some(known_here(known)),
            }
        }
        Kind::WrongType { got, expected } => Problem {
            title: format!("wrong type of `{setting}`"),
            place: value_place(),
            label: Some(format!("this is {got}; expected {expected}")),
            help: None,
        },
        Kind::WrongValue { expected } => Problem {
            title: format!("wrong value of `{setting}`"),
            place: value_place(),
            label: Some(format!("expected {expected}")),
            help: None,
        },
        Kind::Message(message) => Problem {
            title: if setting.is_empty() {
                "wrong configuration".to_owned()
            } else {
                format!("wrong value of `{setting}`")
            },
            place: value_place(),
            label: Some(message.clone()),
            help: None,
        },
    }
}

/// The path as the user writes it: `input.path`; the numbers of a list's elements are left out.
pub(super) fn dotted(path: &[Step]) -> String {
    let keys: Vec<&str> = path.iter().filter_map(key_of).collect();
    keys.join(".")
}

fn key_of(step: &Step) -> Option<&str> {
    match step {
        Step::Key(key) => Some(key),
        Step::Index(_) => None,
    }
}

fn last(path: &[Step]) -> (String, &[Step]) {
    match path.split_last() {
        Some((last, parents)) => (last.to_string(), parents),
        None => (String::new(), path),
    }
}

/// Where a key is or should be: `in [[input]] of type "file"`.
fn section(tree: &Node, path: &[Step]) -> String {
    let name = dotted(path);
    let header = match path.last() {
        None => return "at the top level".to_owned(),
        Some(Step::Index(_)) => format!("in `[[{name}]]`"),
        Some(Step::Key(_)) => format!("in `[{name}]`"),
    };
    let Some(Value::Table(table)) = tree.find(path).map(|node| &node.value) else { return header };
    match table.get("type").map(|entry| &entry.node.value) {
        Some(Value::Text(kind)) => format!("{header} of type `{kind}`"),
        _ => header,
    }
}

/// The name of a variable with the part at `depth` below the prefix replaced.
fn renamed(variable: &str, depth: usize, key: &str) -> String {
    let parts = variable.split("__").enumerate().map(|(index, part)| match index == depth + 1 {
        true => key.to_uppercase(),
        false => part.to_owned(),
    });
    parts.collect::<Vec<String>>().join("__")
}

/// The variable that sets `key` in the table at `parents`.
fn variable(parents: &[Step], key: &str) -> String {
    let mut name = PREFIX.trim_end_matches('_').to_owned();
    for part in parents.iter().map(ToString::to_string).chain([key.to_owned()]) {
        name.push_str("__");
        name.push_str(&part.to_uppercase());
    }
    name
}

fn known_here(known: &[&str]) -> String {
    if known.is_empty() {
        return "nothing else can be set here".to_owned();
    }
    let names: Vec<String> = known.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > NAMES_MAX { ", …" } else { "" };
    format!("known here: {}{more}", names.join(", "))
}

/// The known name that is most like this one, if it is like it at all: at most a third of its
/// letters are wrong, or one of them is a part of the other.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('-', "_");
    let tolerated = (name.chars().count() / 3).max(1);
    let distance = |other: &str| strsim::damerau_levenshtein(&name, other);
    let near = known.iter().map(|other| (distance(other), *other)).min();
    match near {
        Some((distance, other)) if distance <= tolerated => Some(other),
        _ => known
            .iter()
            .find(|other| name.len() > 2 && (other.contains(&name) || name.contains(**other)))
            .copied(),
    }
}
