//! Signatures.
//!
//! Owns: HMAC-SHA256 over bytes, compared in constant time. Never: says what the right one is.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use runtime::http::axum::http::HeaderMap;
use sha2::Sha256;

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The header is not there.
    Missing(&'static str),
    /// It has another form than it should.
    Malformed(&'static str),
    /// It is not what the secret gives for this body.
    Wrong(&'static str),
    /// The signed time is not near.
    Old(&'static str),
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(header) => write!(out, "the header {header} is missing"),
            Self::Malformed(header) => write!(out, "the header {header} is malformed"),
            Self::Wrong(header) => write!(out, "the header {header} does not fit secret and body"),
            Self::Old(header) => {
                write!(out, "the time in {header} is more than 5 minutes from the clock here")
            }
        }
    }
}

/// The header, as text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Doubt> {
    let value = headers.get(name).ok_or(Doubt::Missing(name))?;
    value.to_str().map_err(|_not_text| Doubt::Malformed(name))
}

/// Whether `name: sha256=<hex>` is the HMAC of the body.
pub(super) fn of_hex(
    secret: &[u8],
    headers: &HeaderMap,
    name: &'static str,
    body: &[u8],
) -> Result<(), Doubt> {
    let text = header(headers, name)?;
    let digits = text.strip_prefix("sha256=").ok_or(Doubt::Malformed(name))?;
    let tag = unhex(digits).ok_or(Doubt::Malformed(name))?;
    if holds(secret, &[body], &tag) { Ok(()) } else { Err(Doubt::Wrong(name)) }
}

/// Whether the tag is the HMAC of these parts in a row.
pub(super) fn holds(secret: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(tag).is_ok()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? * 16 + digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}
