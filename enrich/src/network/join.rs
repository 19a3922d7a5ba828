//! Networks joined to a batch.
//!
//! Owns: the memory of addresses that were looked up. Never: what is known of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Builder, StringBuilder};
use arrow::error::ArrowError;
use schemas::Field;

use super::{Network, PRIVATE, Place, is_private};
use crate::columns::{Building, Columns, Seen};
use crate::missing::{Lack, Missing};

/// Addresses remembered. With about 150 bytes each, 10 MiB; past it, all are forgotten.
const ADDRESSES_MAX: usize = 65_536;

/// What the join of networks keeps from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct NetworkState {
    /// What the places are of.
    of: Option<Arc<Network>>,
    places: HashMap<Box<str>, Place>,
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
            *self = Self { of: Some(Arc::clone(network)), places: HashMap::new() };
        }
        let mut built = Built::default();
        for row in 0..seen.rows {
            let Some(text) = seen.client_ip.get(row) else { continue };
            let place = self.place(network, text);
            built.put(row, place);
            if place.missing {
                missing.note(row, Lack::Network);
            }
        }
        built.asn.fill(Field::ClientAsn, columns)?;
        built.org.fill(Field::ClientOrg, columns)?;
        built.country.fill(Field::ClientCountry, columns)?;
        built.kind.fill(Field::ClientKind, columns)
    }

    fn place(&mut self, network: &Network, text: &str) -> &Place {
        if !self.places.contains_key(text) {
            if self.places.len() >= ADDRESSES_MAX {
                self.places.clear();
            }
            let place = text.parse().map(|address| network.place(address)).unwrap_or_default();
            self.places.insert(text.into(), place);
        }
        self.places.entry(text.into()).or_default()
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
