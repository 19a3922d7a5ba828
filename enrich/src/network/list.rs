//! Lists of addresses and networks.
//!
//! Owns: the text of `lists/*.txt` and `lists/*.csv`. Never: what a list is for; its name says, or
//! a column `kind`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::problem::Problem;

/// A named list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    /// The name, which becomes `client_kind`.
    pub name: String,
    /// Its networks; an address is a network of one.
    pub networks: Vec<IpNet>,
}

impl AddressList {
    /// Reads one address or network a line; what follows `#` is a comment. Of cells that are parted
    /// by commas the first is the network, unless a first line of headings names one of them
    /// `network`, `prefix`, `cidr`, `range` or `ip`. Where a heading is `kind`, its cell is the name
    /// of the list that the line is of; otherwise all are of the one that is called after the file.
    #[must_use]
    pub fn parse(name: &str, text: &str) -> (Vec<Self>, Vec<Problem>) {
        let mut lists: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut places: Option<Places> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}');
            let cells = line.split('#').next().unwrap_or("");
            let cells: Vec<&str> =
                cells.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
            if cells.iter().all(|cell| cell.is_empty()) {
                continue;
            }
            let first = places.is_none();
            let places = *places.get_or_insert_with(|| Places::of(&cells));
            let cell = |place: usize| cells.get(place).copied().unwrap_or("");
            match network(cell(places.network)) {
                Some(network) => {
                    let kind = places.kind.map(cell).filter(|kind| !kind.is_empty());
                    lists.entry(kind.unwrap_or(name).to_owned()).or_default().push(network);
                }
                None if first && cells.len() > 1 => {}
                None => problems.push(
                    Problem::new(
                        "the line is left out",
                        format!("`{}` is neither an address nor a network", cell(places.network)),
                        "write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32, one a line",
                    )
                    .at(number + 1, Some(1)),
                ),
            }
        }
        let lists = lists.into_iter().map(|(name, networks)| Self { name, networks });
        (lists.collect(), problems)
    }
}

/// Which cell holds what.
#[derive(Debug, Clone, Copy)]
struct Places {
    network: usize,
    kind: Option<usize>,
}

impl Places {
    /// As the headings say; the first cell where the line has none.
    fn of(cells: &[&str]) -> Self {
        const NETWORK: [&str; 5] = ["network", "prefix", "cidr", "range", "ip"];
        let place = |names: &[&str]| {
            cells.iter().position(|cell| names.contains(&cell.to_ascii_lowercase().as_str()))
        };
        Self { network: place(&NETWORK).unwrap_or(0), kind: place(&["kind"]) }
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_not_a_network| text.parse::<IpAddr>().map(IpNet::from))
        .ok()
}
