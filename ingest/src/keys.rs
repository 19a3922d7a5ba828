//! Keyed hashes in the place of secrets.
//!
//! Owns: the installation's key and the form of a hash. Never: where the key is kept.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

const MARK: &str = "h:";
const DIGITS: usize = 32;

/// The installation's key. Equal for all instances of one installation, or the same secret would
/// hash to different names.
#[derive(Clone)]
pub struct Keys {
    key: [u8; 16],
}

impl Keys {
    /// Takes the key; 16 random bytes, made once an installation.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The name that a secret travels under: `h:` and 32 hexadecimal digits, which are SipHash-2-4
    /// with 128 bits (Aumasson and Bernstein) under the installation's key. A hash is its own name.
    #[must_use]
    pub fn hash(&self, secret: &str) -> String {
        if is_hash(secret) {
            return secret.to_owned();
        }
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(secret.as_bytes());
        format!("{MARK}{:032x}", hasher.finish128().as_u128())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Keys(…)")
    }
}

/// Whether a text is a hash of ours.
pub(crate) fn is_hash(text: &str) -> bool {
    text.strip_prefix(MARK).is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Keys, is_hash};

    #[test]
    fn a_hash_depends_on_secret_and_key_and_is_its_own_hash() {
        let (one, two) = (Keys::new([1; 16]), Keys::new([2; 16]));
        let hash = one.hash("sk_live_1");
        assert!(is_hash(&hash), "{hash}");
        assert_eq!(one.hash("sk_live_1"), hash);
        assert_ne!(one.hash("sk_live_2"), hash);
        assert_ne!(two.hash("sk_live_1"), hash);
        assert_eq!(two.hash(&hash), hash);
    }

    #[test]
    fn the_key_does_not_show() {
        assert_eq!(format!("{:?}", Keys::new([7; 16])), "Keys(…)");
    }
}
