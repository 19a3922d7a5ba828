//! Lists that rules look values up in.
//!
//! Owns: reading `*.txt` and `*.csv`, membership, networks. Never: files or folders.
//!
//! A text file has one entry a line; `#` at the start or after a space begins a comment. A CSV file has a header; entries are
//! in its column `value`, or in the first. An entry that is an address or a network holds every
//! address inside it; every entry also holds the same text.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::problem::{Level, Problem, SourceFile};

/// Entries of one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    texts: BTreeSet<String>,
    networks: Networks,
}

impl List {
    /// A list of these entries.
    pub fn new<S: Into<String>>(entries: impl IntoIterator<Item = S>) -> Self {
        let texts: BTreeSet<String> = entries.into_iter().map(Into::into).collect();
        let networks = texts.iter().filter_map(|text| network(text)).collect();
        Self { texts, networks: Networks::new(networks) }
    }

    /// Whether the list holds this text, or a network with this address.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.texts.contains(value)
            || (!self.networks.is_empty()
                && address(value).is_some_and(|address| self.networks.contains(address)))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Lists by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    lists: BTreeMap<String, Arc<List>>,
}

impl Lists {
    /// Reads list files. A list's name is the file's, without folder and ending. Of two files of
    /// one name the later wins, so that a deployment can replace a list of the pack.
    #[must_use]
    pub fn load(files: &[SourceFile]) -> (Self, Vec<Problem>) {
        let mut lists = Self::default();
        let mut problems = Vec::new();
        for file in files {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            let entries = match name.rsplit_once('.') {
                Some((name, "txt")) => Some((name, lines(&file.text))),
                Some((name, "csv")) => Some((name, cells(&file.text))),
                _ => None,
            };
            let Some((name, entries)) = entries else {
                let message = "a list is a `.txt` or a `.csv` file".to_owned();
                problems.push(Problem::new(Level::Error, file, &(0..0), message));
                continue;
            };
            if entries.is_empty() {
                let message = format!("the list `{name}` is empty");
                problems.push(Problem::new(Level::Warning, file, &(0..0), message));
            }
            lists.insert(name, List::new(entries));
        }
        (lists, problems)
    }

    /// Adds a list or replaces one.
    pub fn insert(&mut self, name: impl Into<String>, list: List) {
        self.lists.insert(name.into(), Arc::new(list));
    }

    /// The list of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<List>> {
        self.lists.get(name)
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }
}

fn lines(text: &str) -> Vec<String> {
    // A user agent may hold a `#`; one that begins a comment stands first or after a space.
    let entry = |line: &str| match line.trim() {
        comment if comment.starts_with('#') => String::new(),
        line => line.split(" #").next().unwrap_or(line).trim().to_owned(),
    };
    text.trim_start_matches('\u{feff}')
        .lines()
        .map(entry)
        .filter(|entry| !entry.is_empty())
        .collect()
}

fn cells(text: &str) -> Vec<String> {
    let mut rows = text.trim_start_matches('\u{feff}').lines().map(row);
    let header = rows.next().unwrap_or_default();
    let place = header.iter().position(|name| name.eq_ignore_ascii_case("value")).unwrap_or(0);
    rows.filter_map(|row| row.into_iter().nth(place)).filter(|cell| !cell.is_empty()).collect()
}

/// Cells of a CSV line; a quoted cell may hold commas and doubled quotes (RFC 4180), not lines.
fn row(line: &str) -> Vec<String> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            other => cell.push(other),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}

/// Networks as sorted ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    four: Vec<(u128, u128)>,
    six: Vec<(u128, u128)>,
}

impl Networks {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => {
                    four.push((net.network().to_bits().into(), net.broadcast().to_bits().into()));
                }
                IpNet::V6(net) => six.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { four: merged(four), six: merged(six) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.four.is_empty() && self.six.is_empty()
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (ranges, bits) = match address {
            IpAddr::V4(address) => (&self.four, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.six, address.to_bits()),
        };
        let place = ranges.partition_point(|(start, _)| *start <= bits);
        place
            .checked_sub(1)
            .and_then(|place| ranges.get(place))
            .is_some_and(|(_, end)| bits <= *end)
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match merged.last_mut() {
            Some((_, last)) if start <= last.saturating_add(1) => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Reads an address; one that is IPv4 inside IPv6 counts as IPv4.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Reads a network or an address; IPv4 inside IPv6 counts as IPv4.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    if let Some(address) = address(text) {
        return Some(IpNet::from(address));
    }
    let network = text.parse::<IpNet>().ok()?;
    match (network.network().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(address), length @ 96..=128) if matches!(network, IpNet::V6(_)) => {
            IpNet::new(IpAddr::V4(address), length - 96).ok()
        }
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::{List, Lists, network};
    use crate::rule::problem::SourceFile;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_list_holds_texts_and_the_addresses_of_its_networks() {
        let list = List::new(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "curl/8", "::/129"]);
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "192.0.2.7", "curl/8"] {
            assert!(list.contains(inside), "{inside}");
        }
        assert!(list.contains("10.0.0.0/8"), "an entry holds its own text");
        for outside in ["11.0.0.1", "2001:db9::", "192.0.2.8", "CURL/8", "", "10.0.0", "10.0.0.0/9"]
        {
            assert!(!list.contains(outside), "{outside}");
        }
    }

    #[test]
    fn files_give_lists_by_name_with_comments_and_quotes_understood() {
        let (lists, problems) = Lists::load(&[
            file("lists/known.txt", "\u{feff}# ours\nsvc-a # batch\n\nsvc-b\n"),
            file("lists/nets.csv", "note,Value\n\"a, b\",10.0.0.0/8\nc,\"x\"\"y\"\n"),
            file("lists/first.csv", "agent,why\nscan/1,bad\n"),
            file("lists/none.txt", ""),
            file("lists/what.json", "[]"),
        ]);
        assert_eq!(lists.names().collect::<Vec<_>>(), ["first", "known", "nets", "none"]);
        let holds = |name: &str, value: &str| lists.get(name).unwrap().contains(value);
        assert!(holds("known", "svc-a") && holds("known", "svc-b"));
        assert!(holds("nets", "10.9.9.9") && holds("nets", "x\"y"));
        assert!(holds("first", "scan/1") && !holds("first", "agent"));
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "lists/none.txt:1:1: the list `none` is empty",
                "lists/what.json:1:1: a list is a `.txt` or a `.csv` file"
            ]
        );
    }

    #[test]
    fn mapped_networks_count_as_the_networks_they_map() {
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("10.1.2.3"), network("10.1.2.3/32"));
        assert_eq!(network("10.0.0.0/33"), None);
    }
}
