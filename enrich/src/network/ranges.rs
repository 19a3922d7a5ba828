//! Networks of several lists as one sorted table.
//!
//! Owns: which list has an address. Never: reads lists.
//!
//! Networks either contain each other or have nothing in common, so nested ones can be flattened
//! into ranges without overlap, and an address is found by halving.

use std::net::IpAddr;

use ipnet::IpNet;

use super::AddressList;

/// From each start to the next, the number of the list.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    v4: Vec<(u128, Option<usize>)>,
    v6: Vec<(u128, Option<usize>)>,
    names: Vec<Box<str>>,
}

/// A network in numbers; `last` is inside.
#[derive(Debug, Clone, Copy)]
struct Net {
    first: u128,
    last: u128,
    list: usize,
}

impl Ranges {
    pub(super) fn new(lists: &[AddressList]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (list, AddressList { networks, .. }) in lists.iter().enumerate() {
            for network in networks {
                match network {
                    IpNet::V4(net) => v4.push(Net {
                        first: u128::from(u32::from(net.network())),
                        last: u128::from(u32::from(net.broadcast())),
                        list,
                    }),
                    IpNet::V6(net) => v6.push(Net {
                        first: u128::from(net.network()),
                        last: u128::from(net.broadcast()),
                        list,
                    }),
                }
            }
        }
        let names = lists.iter().map(|list| list.name.as_str().into()).collect();
        Self { v4: flat(v4), v6: flat(v6), names }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The name of the list that has the address.
    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        self.names.get(self.list(address)?).map(AsRef::as_ref)
    }

    /// The number of that list.
    pub(super) fn list(&self, address: IpAddr) -> Option<usize> {
        let (table, number) = match address {
            IpAddr::V4(v4) => (&self.v4, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (&self.v6, u128::from(v6)),
        };
        let after = table.partition_point(|(start, _)| *start <= number);
        let (_, list) = table.get(after.checked_sub(1)?)?;
        *list
    }
}

fn flat(mut nets: Vec<Net>) -> Vec<(u128, Option<usize>)> {
    // The wider first; of two equal ones, the one of the later list first, since what comes later
    // is laid over it.
    nets.sort_by_key(|net| (net.first, std::cmp::Reverse(net.last), std::cmp::Reverse(net.list)));
    let mut ranges = Vec::new();
    let mut open: Vec<Net> = Vec::new();
    for net in nets {
        close(&mut ranges, &mut open, Some(net.first));
        lay(&mut ranges, net.first, Some(net.list));
        open.push(net);
    }
    close(&mut ranges, &mut open, None);
    ranges
}

/// Ends the open networks that end before `before`; all of them where there is none.
fn close(ranges: &mut Vec<(u128, Option<usize>)>, open: &mut Vec<Net>, before: Option<u128>) {
    while let Some(net) = open.pop_if(|net| before.is_none_or(|before| net.last < before)) {
        if let Some(after) = net.last.checked_add(1) {
            lay(ranges, after, open.last().map(|around| around.list));
        }
    }
}

/// Begins a range; one that began at the same place is laid over.
fn lay(ranges: &mut Vec<(u128, Option<usize>)>, start: u128, list: Option<usize>) {
    if ranges.last().is_some_and(|(last, _)| *last == start) {
        ranges.pop();
    }
    ranges.push((start, list));
}
