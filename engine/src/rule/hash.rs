//! Hashes that name versions of rules.
//!
//! Owns: their key and form. Never: hashes of what attackers choose.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Published and fixed, so that every installation names the same version alike.
const KEY: [u8; 16] = *b"tidegate/rule/01";

/// SipHash-128 of the parts, each with its length first, as 32 hexadecimal digits.
pub(crate) fn text(parts: &[&str]) -> String {
    let mut hasher = SipHasher24::new_with_key(&KEY);
    for part in parts {
        hasher.write_u64(u64::try_from(part.len()).unwrap_or(u64::MAX));
        hasher.write(part.as_bytes());
    }
    let hash = hasher.finish128();
    format!("{:016x}{:016x}", hash.h1, hash.h2)
}
