//! Who is blocked, for look-ups in less than a microsecond.
//!
//! Owns: the table and its look-ups. Never: changes; a new one takes its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use schemas::{EventTime, Subject};

use crate::address;
use crate::guard::NeverBlock;
use crate::ledger::Entry;

/// Hash maps with std's keyed hash: the values that are looked up come from attackers.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By prefix length, so that a look-up costs one hash for each length in use.
    addresses: BTreeMap<(bool, u8), HashMap<IpNet, Blocked>>,
    principals: HashMap<String, Blocked>,
    secrets: HashMap<String, Blocked>,
    subjects: BTreeSet<Subject>,
}

#[derive(Debug)]
struct Blocked {
    order_id: String,
    until: EventTime,
}

impl Blocked {
    fn at(&self, now: EventTime) -> Option<&str> {
        (now < self.until).then_some(self.order_id.as_str())
    }
}

impl Table {
    pub(super) fn new(
        desired: &BTreeMap<Subject, Entry>,
        never_block: &NeverBlock,
    ) -> (Self, BTreeMap<Subject, String>) {
        let mut table = Self::default();
        let mut rejected = BTreeMap::new();
        for (subject, entry) in desired {
            let blocked = Blocked {
                order_id: entry.order.id.clone(),
                until: entry.order.expires_at.unwrap_or(EventTime::MIN),
            };
            let added = match never_block.protects(subject) {
                Some(reason) => Err(reason),
                None => table.add(subject, blocked),
            };
            match added {
                Ok(()) => {
                    table.subjects.insert(subject.clone());
                }
                Err(reason) => {
                    rejected.insert(subject.clone(), reason);
                }
            }
        }
        (table, rejected)
    }

    fn add(&mut self, subject: &Subject, blocked: Blocked) -> Result<(), String> {
        let value = subject.value.clone();
        match subject.kind.as_str() {
            "ip" | "network" => {
                let net = address::network(&value)
                    .ok_or_else(|| "it is neither an address nor a network".to_owned())?;
                let length = (net.addr().is_ipv6(), net.prefix_len());
                self.addresses.entry(length).or_default().insert(net, blocked);
            }
            "principal" => {
                self.principals.insert(value, blocked);
            }
            "token" | "key" => {
                self.secrets.insert(value, blocked);
            }
            kind => return Err(format!("the decision service cannot act on a `{kind}`")),
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    pub(super) fn subjects(&self) -> BTreeSet<Subject> {
        self.subjects.clone()
    }

    /// The order that blocks this address.
    pub(super) fn address(&self, address: IpAddr, now: EventTime) -> Option<&str> {
        let lengths = self.addresses.iter().filter(|((v6, _), _)| *v6 == address.is_ipv6());
        lengths
            .filter_map(|((_, length), nets)| {
                let net = IpNet::new(address, *length).ok()?.trunc();
                nets.get(&net)
            })
            .find_map(|blocked| blocked.at(now))
    }

    /// The order that blocks this principal.
    pub(super) fn principal(&self, name: &str, now: EventTime) -> Option<&str> {
        self.principals.get(name)?.at(now)
    }

    /// The order that blocks this token or key.
    pub(super) fn secret(&self, hash: &str, now: EventTime) -> Option<&str> {
        self.secrets.get(hash)?.at(now)
    }
}
