//! What looks like a secret.
//!
//! Owns: names of secrets and shapes of secrets. Never: hashing, masking.

/// Parts of names whose values are secrets, without separators, lower case.
const NAME_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "subscriptionkey",
    "authorization",
    "credential",
    "cookie",
    "session",
    "signature",
    "bearer",
    "csrf",
    "xsrf",
    "jwt",
    "assertion",
    "cardnumber",
    "creditcard",
];

/// Whole names whose values are secrets.
const NAMES: &[&str] = &["auth", "otp", "pin", "sig", "sid", "cvv", "cvc", "key", "xauth"];

/// What such names may end with without being secrets: facts about one, not the thing itself.
const FACTS: &[&str] = &[
    "type", "kind", "method", "status", "expires", "expiry", "exp", "iss", "issuer", "aud", "sub",
    "issued", "iat", "count", "length", "size", "scheme", "scope", "scopes", "ok", "valid",
];

/// Ways that tokens of well-known issuers begin, and the least length of the whole.
const PREFIXES: &[(&str, usize)] = &[
    ("eyJ", 20),
    ("AKIA", 20),
    ("ASIA", 20),
    ("AIza", 30),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("ghu_", 20),
    ("ghr_", 20),
    ("github_pat_", 30),
    ("glpat-", 20),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("pk_live_", 16),
    ("whsec_", 16),
    ("npm_", 30),
    ("pypi-", 30),
    ("hvs.", 20),
    ("ya29.", 20),
    ("1//0", 30),
    ("SG.", 30),
    ("dop_v1_", 30),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("shpat_", 20),
];

/// The least length of a random text that is taken for a secret. 24 letters of 62 hold 142 bits.
const RANDOM_LEN_MIN: usize = 24;

/// Whether values under this name are secrets.
pub(crate) fn is_name(name: &str) -> bool {
    if name.len() > 64 {
        return false;
    }
    let mut buffer = [0_u8; 64];
    let mut len = 0;
    for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
        if let Some(place) = buffer.get_mut(len) {
            *place = byte.to_ascii_lowercase();
            len += 1;
        }
    }
    let plain = buffer.get(..len).and_then(|plain| std::str::from_utf8(plain).ok()).unwrap_or("");
    let part = NAME_PARTS.iter().any(|part| plain.contains(part));
    (part || NAMES.contains(&plain)) && !(part && FACTS.iter().any(|fact| plain.ends_with(fact)))
}

/// Whether a text looks like a secret, whatever it is called.
pub(crate) fn is_value(text: &str) -> bool {
    text.len() >= 16 && (is_known_token(text) || is_random(text))
}

/// Whether a text begins like the tokens of a well-known issuer.
pub(crate) fn is_known_token(text: &str) -> bool {
    let first = text.as_bytes().first().copied().unwrap_or(0);
    PREFIXES.iter().any(|(prefix, least)| {
        prefix.as_bytes().first() == Some(&first)
            && text.len() >= *least
            && text.starts_with(prefix)
            && text.bytes().all(is_token_byte)
    })
}

/// Whether a token of a well-known issuer stands anywhere in a text, behind whatever parts words.
pub(crate) fn holds_known_token(text: &str) -> bool {
    let mut begins = true;
    text.char_indices().any(|(at, letter)| {
        let was_beginning = std::mem::replace(&mut begins, !letter.is_ascii_alphanumeric());
        was_beginning && {
            let tail = text.get(at..).unwrap_or("");
            let len = tail.bytes().position(|b| !is_token_byte(b)).unwrap_or(tail.len());
            tail.get(..len).is_some_and(is_known_token)
        }
    })
}

/// Whether a byte may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
}

/// Whether a text looks drawn at random from letters and digits: long, all three kinds of
/// characters, and changing between them more often than words written together do. Such words
/// hold one number at most, and runs of small letters.
fn is_random(text: &str) -> bool {
    if text.len() < RANDOM_LEN_MIN {
        return false;
    }
    let (mut upper, mut lower, mut digits, mut changes) = (0_usize, 0_usize, 0_usize, 0_usize);
    let (mut numbers, mut small_in_row, mut small_run_max) = (0_usize, 0_usize, 0_usize);
    let mut last = 0_u8;
    for byte in text.bytes() {
        let kind = match byte {
            b'A'..=b'Z' => 1,
            b'a'..=b'z' => 2,
            b'0'..=b'9' => 3,
            b'-' | b'_' | b'.' | b'~' | b'+' | b'=' | b'/' => 0,
            _ => return false,
        };
        match kind {
            1 => upper += 1,
            2 => lower += 1,
            3 => digits += 1,
            _ => {}
        }
        small_in_row = if kind == 2 { small_in_row + 1 } else { 0 };
        small_run_max = small_run_max.max(small_in_row);
        numbers += usize::from(kind == 3 && last != 3);
        if kind != 0 {
            changes += usize::from(last != 0 && last != kind);
            last = kind;
        }
    }
    let letters = upper + lower + digits;
    let spread = numbers >= 2 && changes * 100 >= letters * 38;
    let torn = changes * 2 >= letters && small_run_max < 4;
    letters >= RANDOM_LEN_MIN && upper >= 3 && lower >= 3 && digits >= 1 && (spread || torn)
}

/// Whether a path segment after this one is a secret by custom: `/reset/<token>`.
pub(crate) fn announces_token(segment: &str) -> bool {
    const WORDS: &[&str] = &[
        "reset",
        "reset-password",
        "password-reset",
        "password_reset",
        "token",
        "tokens",
        "verify",
        "verify-email",
        "confirm",
        "activate",
        "activation",
        "invite",
        "invitation",
        "invitations",
        "magic",
        "magic-link",
        "unsubscribe",
        "recover",
        "recovery",
    ];
    segment.len() <= 16 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(segment))
}

/// Whether a segment after such a word is the token: long, and of token letters with digits.
pub(crate) fn may_be_token(segment: &str) -> bool {
    segment.len() >= 16
        && segment.bytes().all(is_token_byte)
        && segment.bytes().any(|b| b.is_ascii_digit())
        && segment.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::{is_name, is_value};

    #[test]
    fn names_of_secrets_are_known_in_any_dress() {
        for name in
            ["Authorization", "X-Api-Key", "api_key", "apikey", "password", "user[password]"]
        {
            assert!(is_name(name), "{name}");
        }
        for name in ["JSESSIONID", "set-cookie", "access_token", "X-CSRF-Token", "client_secret"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["keyword", "status", "path", "token_type", "author", "monkey", "jwt_sub"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_told_from_names_and_numbers() {
        for secret in [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE",
            "f3K9xQ2mZ8vL1pT7wR4yB6nD0sHa",
        ] {
            assert!(is_value(secret), "{secret}");
        }
        for plain in [
            "component---src-pages-index-js-4b15624544f97cf0bb8f.js",
            "e983c8cf3d713548baa50c9e2fffeb34",
            "3bbc0252-2d5c-49fe-bd89-104e9b61770b",
            "GetPhpInfoForTheMicrosoftGraph2020Tests",
            "1548957970627_remove-db-version.sql",
            "A-Long-Title-Of-An-Article-With-Many-Words-2024",
            "iPhone12,3_14.8.1_18H17_Restore.ipsw",
        ] {
            assert!(!is_value(plain), "{plain}");
        }
    }
}
