//! A file in MaxMind's format.
//!
//! Owns: where its records keep number, organisation and country. Never: which file.

use std::net::IpAddr;

use maxminddb::{PathElement, Reader};
use serde::Deserialize;

use super::Place;
use crate::problem::Problem;

/// A database in memory.
#[derive(Debug)]
pub struct Database {
    reader: Reader<Vec<u8>>,
}

/// Country codes: MaxMind's own shape, flat ones, and the country that registered the network.
const COUNTRY: [&[PathElement<'_>]; 4] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
    &[PathElement::Key("registered_country"), PathElement::Key("iso_code")],
];
const ASN: [&[PathElement<'_>]; 2] =
    [&[PathElement::Key("autonomous_system_number")], &[PathElement::Key("asn")]];
const ORG: [&[PathElement<'_>]; 3] = [
    &[PathElement::Key("autonomous_system_organization")],
    &[PathElement::Key("as_name")],
    &[PathElement::Key("organization")],
];

type Found<'r> = maxminddb::LookupResult<'r, Vec<u8>>;

impl Database {
    /// From the bytes of a file.
    ///
    /// # Errors
    /// Where they are no database.
    pub fn read(bytes: Vec<u8>) -> Result<Self, Problem> {
        Reader::from_source(bytes).map(|reader| Self { reader }).map_err(|error| {
            Problem::new(
                "the database is not used",
                format!("not a database in MaxMind's format: {error}"),
                "fetch it again; it must be the unpacked .mmdb file",
            )
        })
    }

    /// What its provider calls it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// Nodes of its tree, which is about the number of its networks.
    #[must_use]
    pub fn nodes(&self) -> usize {
        usize::try_from(self.reader.metadata().node_count).unwrap_or(usize::MAX)
    }

    /// Where the record of an address stands; none where there is none.
    pub(super) fn offset(&self, address: IpAddr) -> Option<usize> {
        self.reader.lookup(address).ok()?.offset()
    }

    /// Fills what `place` lacks; whether there is a record at all. A record that cannot be read is
    /// none.
    pub(super) fn fill(&self, address: IpAddr, place: &mut Place) -> bool {
        let Ok(found) = self.reader.lookup(address) else { return false };
        if !found.has_data() {
            return false;
        }
        if place.country.is_none() {
            let code = COUNTRY.iter().find_map(|path| text(&found, path));
            place.country = code.filter(|code| is_country(code)).map(Into::into);
        }
        if place.asn.is_none() {
            place.asn = ASN.iter().find_map(|path| number(&found, path));
        }
        if place.org.is_none() {
            place.org = ORG.iter().find_map(|path| text(&found, path)).map(Into::into);
        }
        true
    }
}

fn text<'r>(found: &Found<'r>, path: &[PathElement<'_>]) -> Option<&'r str> {
    decoded::<&str>(found, path).filter(|text| !text.is_empty())
}

/// A number, or a text such as `AS64500`.
fn number(found: &Found<'_>, path: &[PathElement<'_>]) -> Option<i64> {
    decoded::<u32>(found, path).map(i64::from).or_else(|| {
        let text = decoded::<&str>(found, path)?;
        text.trim_start_matches("AS").parse::<u32>().ok().map(i64::from)
    })
}

/// A value of another type is as good as none.
fn decoded<'r, T: Deserialize<'r>>(found: &Found<'r>, path: &[PathElement<'_>]) -> Option<T> {
    found.decode_path(path).ok().flatten()
}

fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}
