//! Finding all mistakes, not only the first.
//!
//! Owns: reading again with the mistake taken out, until nothing is wrong any more.
//! Never: settings that were repaired; once there is a mistake, there are no settings.

use serde::de::DeserializeOwned;

use super::describe::{describe, nearest};
use super::fault::{Fault, Kind};
use super::problem::Problem;
use super::reader::{Outside, Reader};
use super::tree::{Node, Step};

/// Mistakes told at once; more do not fit on a screen.
const PROBLEMS_MAX: usize = 50;

/// The settings, or all mistakes that can be told apart. A mistake is repaired with what a lower
/// layer says, or by taking the value out; what is then missing because of that is not told.
pub(super) fn read<T: DeserializeOwned>(tree: &Node, outside: &Outside) -> Result<T, Vec<Problem>> {
    let mut fault = match T::deserialize(Reader { node: tree, outside }) {
        Ok(settings) => return Ok(settings),
        Err(fault) => fault,
    };
    let mut tree = tree.clone();
    let mut problems = Vec::new();
    let mut removed: Vec<Vec<Step>> = Vec::new();
    // Ends, because every repair makes the tree smaller.
    loop {
        let path = fault.path();
        if !follows_from(&fault, &path, &removed) {
            problems.push(describe(&tree, &path, &fault.kind));
            removed.extend(meant(&path, &fault.kind));
        }
        if problems.len() >= PROBLEMS_MAX || !repair(&mut tree, &path, &fault.kind, &mut removed) {
            return Err(problems);
        }
        match T::deserialize(Reader { node: &tree, outside }) {
            Ok(_repaired) => return Err(problems),
            Err(next) => fault = next,
        }
    }
}

/// Whether the mistake is there only because of what was taken out.
fn follows_from(fault: &Fault, path: &[Step], removed: &[Vec<Step>]) -> bool {
    removed.iter().any(|gone| match &fault.kind {
        Kind::Missing { key } => {
            matches!(gone.strip_prefix(path), Some([Step::Key(last)]) if last == key)
        }
        Kind::Message(_) => gone.len() > path.len() && gone.starts_with(path),
        Kind::UnknownKey { .. }
        | Kind::UnknownName { .. }
        | Kind::WrongType { .. }
        | Kind::WrongValue { .. } => false,
    })
}

/// The path of the key that an unknown one seems to mean: that it is missing is no news.
fn meant(path: &[Step], kind: &Kind) -> Option<Vec<Step>> {
    let Kind::UnknownKey { known } = kind else { return None };
    let (Step::Key(key), parents) = path.split_last()? else { return None };
    let near = nearest(key, known)?;
    Some([parents, &[Step::Key(near.to_owned())]].concat())
}

fn repair(tree: &mut Node, path: &[Step], kind: &Kind, removed: &mut Vec<Vec<Step>>) -> bool {
    if !matches!(kind, Kind::UnknownKey { .. } | Kind::Missing { .. }) && tree.uncover(path) {
        return true;
    }
    removed.push(path.to_vec());
    tree.remove(path)
}
