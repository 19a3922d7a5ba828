//! Where requests come from.
//!
//! Owns: databases in MaxMind's format and lists of addresses, and what they say of an address.
//! Never: ships a database; decides who the client is behind proxies (`ingest` does).
//!
//! `client_kind` is the name of the list whose network is the most specific around the address
//! (`own`, `cloud`, `tor`, or any other); `private` for private, loopback and link-local addresses
//! that no list has. Of several databases the first, by name of the file, that knows a field says
//! it.

mod database;
mod join;
mod known;
mod list;
mod ranges;

use std::net::IpAddr;
use std::sync::Arc;

pub use database::Database;
pub(crate) use join::NetworkState;
pub use list::AddressList;
use ranges::Ranges;

/// All databases and lists, ready to be joined.
#[derive(Debug, Default)]
pub struct Network {
    databases: Vec<Arc<Database>>,
    ranges: Ranges,
}

/// What is known of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the autonomous system.
    pub asn: Option<i64>,
    /// Its organisation.
    pub org: Option<Box<str>>,
    /// Country, ISO 3166-1 alpha-2.
    pub country: Option<Box<str>>,
    /// See the module.
    pub kind: Option<Box<str>>,
    /// Whether a database should have known it and did not.
    pub missing: bool,
}

/// Where the tables have what they know of an address: addresses with equal ones have one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Records {
    private: bool,
    /// The number of the list that has it.
    list: Option<usize>,
    /// Where each database has its record, in its order.
    offsets: Box<[Option<usize>]>,
}

impl Network {
    /// Of these. Where two lists have the same network, the first has it.
    #[must_use]
    pub fn new(databases: Vec<Arc<Database>>, lists: &[AddressList]) -> Self {
        Self { databases, ranges: Ranges::new(lists) }
    }

    /// Whether there is neither a database nor a list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.ranges.is_empty()
    }

    fn records(&self, address: IpAddr) -> Records {
        Records {
            private: is_private(address),
            list: self.ranges.list(address),
            offsets: self.databases.iter().map(|database| database.offset(address)).collect(),
        }
    }

    /// What is known of an address.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Place {
        let private = is_private(address);
        let kind = self.ranges.name(address).or(private.then_some(PRIVATE));
        let mut place = Place { kind: kind.map(Into::into), ..Place::default() };
        let mut known = false;
        for database in &self.databases {
            known |= database.fill(address, &mut place);
        }
        place.missing = !known && !private && !self.databases.is_empty();
        place
    }
}

/// The kind of addresses that are not reached over the internet.
const PRIVATE: &str = "private";

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
