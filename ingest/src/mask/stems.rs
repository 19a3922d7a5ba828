//! Marks that a secret stands near: names of secrets, beginnings of tokens, schemes.
//!
//! Owns: the search for them. Never: queries and assignments.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use aho_corasick::packed::{Config, Searcher};

use super::Clear;
use super::holes::{Holes, enclosing_end, user_part_end, value_end};
use crate::read::grams::Grams;
use crate::secret;

/// Stems, without their first letter where that may be a capital. At most 64, so that a vector
/// search takes them all at once; four bytes at least, for by three it stops at places in ordinary
/// text that cost more than the search itself.
const STEMS: &[&str] = &[
    "uthoriz",
    "AUTHORIZ",
    "ookie",
    "OOKIE",
    "oken",
    "TOKEN",
    "ecret",
    "SECRET",
    "assw",
    "ASSW",
    "assp",
    "ession",
    "ESSION",
    "ESSID",
    "redential",
    "ignature",
    "sserti",
    "key\"",
    "Key\"",
    "KEY\"",
    "key\\",
    "Key:",
    "key:",
    "pwd\"",
    "\"auth\"",
    "\"otp\"",
    "\"pin\"",
    "\"sid\"",
    "-auth",
    "-Auth",
    "earer",
    "EARER",
    "asic ",
    "igest ",
    "AKIA",
    "ASIA",
    "AIza",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_",
    "glpat",
    "_live_",
    "_test_",
    "whsec_",
    "npm_",
    "hvs.",
    "ya29.",
    "sk-ant",
    "sk-proj",
    "shpat_",
    "pypi-",
    "dop_v1_",
];

/// Stems of three bytes: at most eight, so that the search tells each from the others.
const SHORT_STEMS: &[&str] = &["srf", "SRF", "jwt", "JWT", "eyJ", "xox", "SG.", "://"];

/// Bytes of a name on either side of its stem. Longer words are no names.
const NAME_BYTES_MAX: usize = 48;

/// A search for stems: by vectors where the machine has them.
enum Search {
    Vectors(Searcher),
    Automaton(AhoCorasick),
    /// Neither could be made: everything is looked at.
    Neither,
}

impl Search {
    fn of(stems: &[&str]) -> Self {
        if let Some(vectors) = Config::new().builder().extend(stems).build() {
            return Self::Vectors(vectors);
        }
        AhoCorasick::new(stems).map_or(Self::Neither, Self::Automaton)
    }

    fn any(&self, text: &str) -> bool {
        match self {
            Self::Vectors(search) => search.find(text).is_some(),
            Self::Automaton(search) => search.is_match(text),
            Self::Neither => true,
        }
    }

    fn each(&self, text: &str, mut see: impl FnMut(usize)) {
        match self {
            Self::Vectors(search) => search.find_iter(text).for_each(|hit| see(hit.start())),
            Self::Automaton(search) => search.find_iter(text).for_each(|hit| see(hit.start())),
            Self::Neither => {
                (0..text.len()).filter(|at| text.is_char_boundary(*at)).for_each(see);
            }
        }
    }
}

static SEARCHES: LazyLock<[Search; 2]> =
    LazyLock::new(|| [Search::of(STEMS), Search::of(SHORT_STEMS)]);

/// Whether any mark stands in the text.
pub(super) fn any(text: &str) -> bool {
    SEARCHES.iter().any(|search| search.any(text))
}

/// The beginning of every stem, and what begins a query, assigns, or may hide that.
static BEGINNINGS: Grams =
    Grams::none().with(STEMS, false).with(SHORT_STEMS, false).with_bytes(b"?#=%");

/// What a short text is clear of, with the bytes that it stands between.
pub(super) fn clear(before: u8, text: &str, after: u8) -> Clear {
    let seen = BEGINNINGS.look(before, text.as_bytes(), after);
    let marked = seen.may_hold_word() && {
        let mut whole = String::with_capacity(text.len() + 2);
        whole.push(char::from(before));
        whole.push_str(text);
        whole.push(char::from(after));
        any(&whole)
    };
    Clear { marks: !marked, queries: !seen.has_byte() }
}

/// Takes out the secrets near every mark.
pub(super) fn holes(text: &str, holes: &mut Holes) {
    for search in SEARCHES.iter() {
        search.each(text, |at| near(text, at, holes));
    }
}

fn near(text: &str, at: usize, holes: &mut Holes) {
    let rest = text.get(at..).unwrap_or("");
    if rest.starts_with("://") {
        if let Some(end) = user_part_end(text, at + 3) {
            holes.add(at + 3..end);
        }
        return;
    }
    token(text, at, holes);
    let bytes = text.as_bytes();
    let at = at + usize::from(rest.starts_with(['"', '-']));
    let back = bytes.get(..at).unwrap_or(&[]).iter().rev().take(NAME_BYTES_MAX);
    let start = at - back.take_while(|byte| is_name_byte(**byte)).count();
    let ahead = bytes.get(at..).unwrap_or(&[]).iter().take(NAME_BYTES_MAX);
    let end = at + ahead.take_while(|byte| is_name_byte(**byte)).count();
    let word = text.get(start..end).unwrap_or("");
    if matches!(word, "Bearer" | "bearer" | "BEARER" | "Basic" | "basic" | "Digest" | "digest") {
        scheme(text, end, holes);
    }
    if secret::is_name(word) {
        named(text, end, holes);
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[')
}

fn run(bytes: &[u8], at: usize, of: fn(u8) -> bool) -> usize {
    bytes.get(at..).unwrap_or(&[]).iter().take_while(|byte| of(**byte)).count()
}

/// A token of a well-known issuer that begins here, or in whose beginning this stands.
fn token(text: &str, at: usize, holes: &mut Holes) {
    let bytes = text.as_bytes();
    for start in [at, at.saturating_sub(2)] {
        let len = run(bytes, start, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'=')
        });
        if text.get(start..start + len).is_some_and(secret::is_known_token) {
            holes.add(start..start + len);
        }
    }
}

/// The credentials behind `Bearer` or `Basic`.
fn scheme(text: &str, end: usize, holes: &mut Holes) {
    let bytes = text.as_bytes();
    let spaces = run(bytes, end, |byte| byte == b' ' || byte == b'+');
    if spaces > 0 {
        let start = end + spaces;
        let len = run(bytes, start, |byte| !matches!(byte, b' ' | b'"' | b',' | b'\'' | b'\\'));
        holes.add(start..start + len);
    }
}

/// The value behind the name of a secret: `"name": value`, `name: value`, `name=value`.
fn named(text: &str, end: usize, holes: &mut Holes) {
    let bytes = text.as_bytes();
    let mut at = end + run(bytes, end, |byte| matches!(byte, b'\\' | b'"' | b' ' | b']' | b'\''));
    if !matches!(bytes.get(at), Some(b':' | b'=')) {
        return;
    }
    let assigns = bytes.get(at) == Some(&b'=');
    at += 1;
    at += run(bytes, at, |byte| byte == b' ');
    let whole = match bytes.get(at..).unwrap_or(&[]) {
        [b'"', ..] => at + 1..enclosing_end(text, at + 1),
        [b'\\', b'"', ..] => {
            let inner = text.get(at + 2..).unwrap_or("");
            at + 2..at + 2 + inner.find("\\\"").unwrap_or(inner.len())
        }
        [open @ (b'[' | b'{'), ..] => {
            let close = if *open == b'[' { ']' } else { '}' };
            let inner = text.get(at + 1..).unwrap_or("");
            at + 1..at + 1 + inner.find(close).unwrap_or(inner.len())
        }
        rest if assigns => at..at + value_end(rest).unwrap_or(rest.len()),
        // JSON's bare words end soon; a header's value goes on to the end of its text.
        [b'0'..=b'9' | b'-', ..] | [b't' | b'f' | b'n', ..] if bytes.get(end) == Some(&b'"') => {
            at..at + run(bytes, at, |byte| !matches!(byte, b',' | b'}' | b']' | b' '))
        }
        _ => at..enclosing_end(text, at),
    };
    holes.add(whole);
}

#[cfg(test)]
mod tests {
    use super::{SEARCHES, SHORT_STEMS, STEMS, Search, any, clear};
    use crate::mask::Clear;
    use crate::read::number::is_plain;

    #[test]
    fn the_stems_are_few_enough_for_vector_searches() {
        assert!(STEMS.len() <= 64, "{}", STEMS.len());
        assert!(STEMS.iter().all(|stem| stem.len() >= 4));
        assert!(SHORT_STEMS.len() <= 8 && SHORT_STEMS.iter().all(|stem| stem.len() == 3));
        assert!(SEARCHES.iter().all(|search| !matches!(search, Search::Neither)));
    }

    #[test]
    fn what_is_looked_at_piece_by_piece_shows_what_the_whole_shows() {
        for stem in STEMS.iter().chain(SHORT_STEMS) {
            for text in [format!("\"{stem}\""), format!("\"ab{stem}cd\""), format!("\"{stem}x\"")] {
                let inner = text.trim_matches('"');
                assert!(any(&text) && !clear(b'"', inner, b'"').marks, "{text}");
            }
        }
        for text in ["", "a", "/v1/users/42", "message", "addresses", "ook", "//host"] {
            assert_eq!(clear(b'"', text, b'"'), Clear::OF_ALL, "{text}");
        }
        for text in ["/v1/search?q", "a=b", "%3Fq"] {
            assert_eq!(clear(b'"', text, b'"'), Clear { marks: true, queries: false }, "{text}");
        }
        assert!(!clear(b'"', "auth", b'"').marks && clear(b' ', "auth", b'"').marks);
        assert!(!clear(b':', "//host", b',').marks);
    }

    /// A line may be looked at by its values only if no stem begins or ends with what parts them.
    #[test]
    fn no_stem_reaches_over_what_parts_values() {
        for stem in STEMS.iter().chain(SHORT_STEMS).filter(|stem| **stem != "://") {
            let inner = stem.get(1..stem.len() - 1).unwrap();
            let parts = |c: char| matches!(c, '"' | ',' | ':' | '{' | '}' | '[' | ']' | ' ');
            assert!(!inner.contains(parts), "{stem}");
            assert!(!is_plain(&stem.replace('"', "")), "{stem}");
            assert!(!stem.starts_with([',', ':', '{', '}', '[', ']', ' ']), "{stem}");
        }
    }
}
