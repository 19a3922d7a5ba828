//! Lists of addresses and networks.
//!
//! Owns: the text of `lists/*.txt` and `lists/*.csv`. Never: what a list is for; its name says.

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
    /// Reads one address or network a line; what follows `#` is a comment, and so is what follows
    /// the first comma. A first line that is neither may be a heading.
    #[must_use]
    pub fn parse(name: &str, text: &str) -> (Self, Vec<Problem>) {
        let mut networks = Vec::new();
        let mut problems = Vec::new();
        let mut first = true;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}');
            let entry = line.split(['#', ',']).next().unwrap_or("").trim().trim_matches('"');
            if entry.is_empty() {
                continue;
            }
            match network(entry) {
                Some(network) => networks.push(network),
                None if first && line.contains(',') => {}
                None => problems.push(
                    Problem::new(
                        "the line is left out",
                        format!("`{entry}` is neither an address nor a network"),
                        "write 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32, one a line",
                    )
                    .at(number + 1, Some(1)),
                ),
            }
            first = false;
        }
        (Self { name: name.to_owned(), networks }, problems)
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_not_a_network| text.parse::<IpAddr>().map(IpNet::from))
        .ok()
}
