//! What targets begin with.
//!
//! Owns: the stored inputs as text, and where more come from. Never: running a target.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::place;
use crate::trouble::Trouble;

/// Bytes of a stored input at most, and of all of a target's as they are written.
const INPUT_BYTES_MAX: usize = 600;
const STORED_BYTES_MAX: usize = 6 * 1024;

fn folder() -> PathBuf {
    place::root().join("tests/fuzz/corpus")
}

fn file_of(target: &str) -> PathBuf {
    folder().join(format!("{target}.txt"))
}

/// The names of all targets.
pub(super) fn targets() -> Result<Vec<String>, Trouble> {
    let folder = folder();
    let entries = fs::read_dir(&folder).map_err(|e| Trouble::io("read", &folder, &e))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(".txt")?.to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// Bytes of an input at most. Longer ones make every run slower and show no more.
pub(super) fn length_max(target: &str) -> usize {
    match target {
        "rules" => 8 * 1024,
        "lists" => 512,
        _ => 4 * 1024,
    }
}

/// Writes what a target begins with into a folder, beside what earlier runs found.
pub(super) fn unpack(target: &str, into: &Path) -> Result<(), Trouble> {
    let mut inputs = stored(target)?;
    match target {
        "rules" => inputs.extend(files(&place::root().join("rules"), "yml")?),
        "lists" => {
            let lists = files(&place::root().join("rules/lists"), "txt")?;
            inputs.extend(lists.into_iter().map(|list| [b"0", &*list].concat()));
        }
        "frames" | "markers" => {}
        _ => {
            let lines = place::read(&place::root().join("ingest/corpus/formats.txt"))?;
            inputs.extend(lines.lines().map(|line| line.as_bytes().to_vec()));
        }
    }
    for (number, input) in inputs.iter().enumerate() {
        let file = into.join(format!("stored-{number}"));
        fs::write(&file, input).map_err(|e| Trouble::io("write", &file, &e))?;
    }
    Ok(())
}

/// Adds an input to those stored.
pub(super) fn store(target: &str, file: &Path) -> Result<(), Trouble> {
    let input = fs::read(file).map_err(|e| Trouble::io("read", file, &e))?;
    let mut inputs: BTreeSet<Vec<u8>> = stored(target)?.into_iter().collect();
    inputs.insert(input);
    write(target, &inputs)?;
    println!("stored in {}", file_of(target).display());
    Ok(())
}

/// Adds the shortest of what was found, as far as there is room.
pub(super) fn keep(
    target: &str,
    found: &Path,
    merge: impl FnOnce(&Path) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let merged = found.with_extension("merged");
    place::remove_folder(&merged)?;
    merge(&place::folder(&merged)?)?;
    let mut inputs: BTreeSet<Vec<u8>> = stored(target)?.into_iter().collect();
    let mut size: usize = inputs.iter().map(|input| escaped(input).len()).sum();
    let mut more = files(&merged, "")?;
    more.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    for input in more.into_iter().filter(|input| input.len() <= INPUT_BYTES_MAX) {
        size += escaped(&input).len();
        if size > STORED_BYTES_MAX {
            break;
        }
        inputs.insert(input);
    }
    write(target, &inputs)
}

fn write(target: &str, inputs: &BTreeSet<Vec<u8>>) -> Result<(), Trouble> {
    let lines: Vec<String> = inputs.iter().map(|input| escaped(input) + "\n").collect();
    place::write(&file_of(target), &lines.concat())
}

fn stored(target: &str) -> Result<Vec<Vec<u8>>, Trouble> {
    Ok(place::read(&file_of(target))?.lines().map(unescaped).collect())
}

/// The contents of the files of an ending below a folder; of all where it is empty.
fn files(folder: &Path, ending: &str) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut contents = Vec::new();
    let entries = fs::read_dir(folder).map_err(|e| Trouble::io("read", folder, &e))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            contents.extend(files(&path, ending)?);
        } else if ending.is_empty() || path.extension().is_some_and(|found| found == ending) {
            contents.push(fs::read(&path).map_err(|e| Trouble::io("read", &path, &e))?);
        }
    }
    Ok(contents)
}

/// An input on one line.
fn escaped(input: &[u8]) -> String {
    let mut text = String::new();
    for byte in input {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a text does not fail.
            other => drop(write!(text, "\\x{other:02x}")),
        }
    }
    text
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut input = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        let escape = if byte == b'\\' { rest.next() } else { None };
        match escape {
            None => input.push(byte),
            Some(b'n') => input.push(b'\n'),
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let text = std::str::from_utf8(&digits).unwrap_or("00");
                input.push(u8::from_str_radix(text, 16).unwrap_or(0));
            }
            Some(other) => input.push(other),
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::{escaped, stored, targets, unescaped};

    #[test]
    fn any_bytes_stand_on_one_line_and_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(!escaped(&all).contains('\n'));
        assert_eq!(unescaped(&escaped(&all)), all);
        assert_eq!(escaped(b"a\\n\nb"), "a\\\\n\\nb");
    }

    #[test]
    fn stored_inputs_are_written_as_they_are_read() {
        for target in targets().unwrap() {
            for input in stored(&target).unwrap() {
                assert_eq!(unescaped(&escaped(&input)), input, "{target}");
            }
        }
    }
}
