//! Whether a text, as sent, could carry a payload at all.
//!
//! Owns: the first look, which ordinary traffic does not get past. Never: a verdict.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use aho_corasick::packed::{Config, Searcher};

use crate::read::grams::{Glance, Grams};

/// A byte that every disguise and most payloads need, and that names and numbers do not.
const MARK: u8 = 1;
/// A capital letter.
const CAPITAL: u8 = 2;
/// A byte that one of [`PAIRS`] begins and ends with.
const OF_PAIR: u8 = 4;

#[expect(clippy::indexing_slicing, reason = "a table of all bytes, made at compile time")]
const fn kinds() -> [u8; 256] {
    let mut table = [0; 256];
    let marks = b"'\"<>();|`$\\{}*%@#!^ ";
    let mut place = 0;
    while place < marks.len() {
        table[marks[place] as usize] = MARK;
        place += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 {
            table[byte] = MARK;
        } else if byte >= b'A' as usize && byte <= b'Z' as usize {
            table[byte] = CAPITAL;
        } else if byte == b'.' as usize || byte == b'-' as usize {
            table[byte] = OF_PAIR;
        }
        byte += 1;
    }
    table
}

static KINDS: [u8; 256] = kinds();

/// Words of two bytes.
const PAIRS: &[&str] = &["..", "--", "/."];

/// Longer words of payloads that need no mark. With the pairs at most 64, for a vector search.
const WORDS: &[&str] = &[
    "://",
    "union+",
    "select+",
    "+or+",
    "+and+",
    "etc/",
    ".ini",
    "system32",
    "proc/",
    "web-inf",
    ".ssh/",
    "bin/",
    "cmd.exe",
    "powershell",
    "dev/tcp",
    "script:",
    "onerror=",
    "onload=",
    "document.",
    "php:",
    "data:",
    "expect:",
    "phpinfo",
    "phpunit",
    "invokefunction",
    "prepend_file",
    "url_include",
    "server[",
    "globals[",
    "__proto__",
    "__class__",
    "constructor",
    "prototype",
    "process.",
    "java.lang",
    "classloader",
    "getruntime",
    "freemarker",
    "jndi:",
    "169.254.",
    "metadata",
    "localhost",
    "file:",
    "gopher:",
    "dict:",
    "w00tw00t",
    "acunetix",
    "nikto",
    "xp_cmdshell",
    "wget+",
    "curl+",
    "whoami",
    "base64",
    "information_schema",
    "sqlite_master",
    "sysobjects",
    "waitfor+",
    "=if+",
    ",null,",
    "xor+",
];

/// How the words begin.
static BEGINNINGS: Grams = Grams::none().with(WORDS, true);

/// The search: by vectors where the machine has them and the text is plain small letters.
struct Search {
    vectors: Option<Searcher>,
    automaton: Option<AhoCorasick>,
}

static SEARCH: LazyLock<Search> = LazyLock::new(|| Search {
    vectors: Config::new().builder().extend(PAIRS).extend(WORDS).build(),
    automaton: AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(PAIRS.iter().chain(WORDS))
        .ok(),
});

/// Whether a closer look is worth its price.
pub(super) fn is_suspect(text: &str) -> bool {
    let (mut kinds, mut seen) = (0, Glance::default());
    for byte in text.bytes() {
        kinds |= KINDS.get(usize::from(byte)).copied().unwrap_or(MARK);
        seen = BEGINNINGS.next(seen, byte);
    }
    if kinds & MARK != 0 {
        return true;
    }
    // The shortest word is one byte shorter than what is looked at.
    let begins = BEGINNINGS.next(seen, 0).may_hold_word();
    if !begins && kinds & OF_PAIR == 0 {
        return false;
    }
    match (&SEARCH.vectors, &SEARCH.automaton) {
        (Some(search), _) if kinds & CAPITAL == 0 => search.find(text).is_some(),
        (_, Some(search)) => search.is_match(text),
        (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{PAIRS, WORDS, is_suspect};

    #[test]
    fn ordinary_targets_get_no_second_look() {
        for text in ["/v1/users/42", "q=item7", "page=2&sort=name", "/a_b-c.d~e/f:g", "a,b+c"] {
            assert!(!is_suspect(text), "{text}");
        }
        for text in ["/a/../b", "id=1'", "a=%27", "/ETC/PASSWD", "u=http://x"] {
            assert!(is_suspect(text), "{text}");
        }
    }

    #[test]
    fn every_word_is_seen_wherever_it_stands_in_any_case() {
        for word in PAIRS.iter().chain(WORDS) {
            for text in [(*word).to_owned(), format!("/a{word}"), format!("{word}b/c")] {
                assert!(is_suspect(&text) && is_suspect(&text.to_uppercase()), "{text}");
            }
        }
    }
}
