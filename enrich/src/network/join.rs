//! Networks joined to a batch.
//!
//! Owns: the memory of what was looked up. Never: what is known of an address.
//!
//! Callers come again and again, and many of them share one place: an address is remembered with
//! the number of its place, and a place is read anew only where no other address had the same
//! records.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{Int64Builder, StringBuilder};
use arrow::error::ArrowError;
use schemas::Field;

use super::known::Known;
use super::{Network, PRIVATE, Place, Records, is_private};
use crate::columns::{Building, Columns, Seen};
use crate::missing::{Lack, Missing};

/// Places remembered. With about 150 bytes each, 10 MiB; past it, all are forgotten.
const PLACES_MAX: usize = 65_536;

/// Addresses that are read before they are looked up.
const AHEAD: usize = 32;

/// What the join of networks keeps from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct NetworkState {
    /// What the places are of.
    of: Option<Arc<Network>>,
    addresses: Known,
    places: Vec<Place>,
    numbers: HashMap<Records, u32>,
}

#[derive(Debug, Default)]
struct Built {
    asn: Building<Int64Builder>,
    org: Building<StringBuilder>,
    country: Building<StringBuilder>,
    kind: Building<StringBuilder>,
}

impl NetworkState {
    /// Fills the columns of the client's network.
    pub(crate) fn join(
        &mut self,
        network: &Arc<Network>,
        seen: &Seen,
        columns: &mut Columns,
        missing: &mut Missing,
    ) -> Result<(), ArrowError> {
        if seen.client_ip.is_absent() {
            return Ok(());
        }
        if network.is_empty() {
            return private_alone(seen, columns);
        }
        if !self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, network)) {
            *self = Self { of: Some(Arc::clone(network)), ..Self::default() };
        }
        let mut built = Built::default();
        for first in (0..seen.rows).step_by(AHEAD) {
            self.make_room();
            // A few addresses first, so that the reaches into memory overlap.
            let mut addresses: [Option<IpAddr>; AHEAD] = [None; AHEAD];
            for (address, row) in addresses.iter_mut().zip(first..seen.rows) {
                // What is no address has no place.
                *address = seen.client_ip.get(row).and_then(|text| text.parse().ok());
            }
            let numbers = addresses.map(|address| self.addresses.get(address?));
            for ((address, number), row) in addresses.iter().zip(numbers).zip(first..seen.rows) {
                let Some(address) = *address else { continue };
                let Some(place) = self.place(network, address, number) else { continue };
                built.put(row, place);
                if place.missing {
                    missing.note(row, Lack::Network);
                }
            }
        }
        built.asn.fill(Field::ClientAsn, columns)?;
        built.org.fill(Field::ClientOrg, columns)?;
        built.country.fill(Field::ClientCountry, columns)?;
        built.kind.fill(Field::ClientKind, columns)
    }

    /// The place of an address, by its number where that was known a moment ago.
    fn place(&mut self, network: &Network, address: IpAddr, known: Option<u32>) -> Option<&Place> {
        let number = known.unwrap_or_else(|| self.look_up(network, address));
        self.places.get(usize::try_from(number).ok()?)
    }

    /// The number of the place of an address that is not remembered; now it is.
    fn look_up(&mut self, network: &Network, address: IpAddr) -> u32 {
        let records = network.records(address);
        if let Some(number) = self.numbers.get(&records).copied() {
            self.addresses.put(address, number);
            return number;
        }
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(network.place(address));
        self.numbers.insert(records, number);
        self.addresses.put(address, number);
        number
    }

    /// Forgets everything once there are too many places.
    fn make_room(&mut self) {
        if self.places.len() > PLACES_MAX {
            *self = Self { of: self.of.take(), ..Self::default() };
        }
    }
}

impl Built {
    fn put(&mut self, row: usize, place: &Place) {
        if let Some(asn) = place.asn {
            self.asn.put(row, asn);
        }
        if let Some(org) = &place.org {
            self.org.put(row, org);
        }
        if let Some(country) = &place.country {
            self.country.put(row, country);
        }
        if let Some(kind) = &place.kind {
            self.kind.put(row, kind);
        }
    }
}

/// Without tables, only private addresses are told; most others are passed over by their first
/// bytes.
fn private_alone(seen: &Seen, columns: &mut Columns) -> Result<(), ArrowError> {
    const MAYBE: [&str; 8] = ["10.", "127.", "172.", "192.168.", "169.254.", "f", "F", "::1"];
    let mut kind: Building<StringBuilder> = Building::default();
    for row in 0..seen.rows {
        let Some(text) = seen.client_ip.get(row) else { continue };
        let first = text.as_bytes().first();
        if !matches!(first, Some(b'1' | b'f' | b'F' | b':')) {
            continue;
        }
        if MAYBE.iter().any(|start| text.starts_with(start)) && text.parse().is_ok_and(is_private) {
            kind.put(row, PRIVATE);
        }
    }
    kind.fill(Field::ClientKind, columns)
}
