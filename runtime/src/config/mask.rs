//! Hiding what looks like a secret in a text that is quoted in a message.
//!
//! Owns: the guess by the name of a key; types are not known where a text cannot be read.
//! Never: a change of length, because places are counted in bytes.

/// Names that hold secrets, and how many letters of them may be wrong.
const NAMES: [(&str, usize); 7] = [
    ("password", 2),
    ("passwd", 1),
    ("passphrase", 2),
    ("secret", 1),
    ("token", 1),
    ("credential", 2),
    ("apikey", 1),
];

/// The text with stars over the values of keys that sound secret, each to the end of its line.
pub(super) fn mask(text: &str) -> String {
    text.split_inclusive('\n').map(mask_line).collect()
}

fn mask_line(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('=') {
        masked.push_str(before);
        masked.push('=');
        // `token = { file = "…" }` says where the secret is, not what.
        if sounds_secret(last_word(before)) && !after.trim_start().starts_with('{') {
            masked.push_str(&stars(after));
            return masked;
        }
        rest = after;
    }
    masked.push_str(rest);
    masked
}

fn last_word(text: &str) -> &str {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    text.rsplit(|letter| !inside(letter)).next().unwrap_or(text)
}

fn sounds_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let mut parts = key.split(['_', '-']).chain([key.as_str()]);
    let sounds = parts.any(|part| {
        NAMES.iter().any(|(name, wrong_max)| {
            part.contains(name) || strsim::damerau_levenshtein(part, name) <= *wrong_max
        })
    });
    sounds || key == "key" || key.ends_with("_key") || key.ends_with("pass")
}

fn stars(value: &str) -> String {
    let keep = |letter: char| letter.is_ascii_whitespace() || "\"'{},".contains(letter);
    let star = |letter: char| {
        if keep(letter) { letter.to_string() } else { "*".repeat(letter.len_utf8()) }
    };
    value.chars().map(star).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::mask;

    #[track_caller]
    fn check(line: &str, expected: &Expect) {
        let masked = mask(line);
        assert_eq!(masked.len(), line.len(), "places are counted in bytes");
        expected.assert_eq(&masked);
    }

    #[test]
    fn values_of_keys_that_sound_secret_are_hidden() {
        check("token = \"hunter2\"", &expect![[r#"token = "*******""#]]);
        check("pasword = hünter2", &expect!["pasword = ********"]);
        check(
            "sasl = { user = \"shop\", password = \"hunter2\" }",
            &expect![[r#"sasl = { user = "shop", password = "*******" }"#]],
        );
        check(
            "url = \"http://127.0.0.1/?api_key=hunter2\"",
            &expect![[r#"url = "http://127.0.0.1/?api_key=*******""#]],
        );
        check("'redmine-token' = 'hunter2' # mine", &expect!["'redmine-token' = '*******' * ****"]);
    }

    #[test]
    fn everything_else_is_quoted_as_it_is() {
        for line in [
            "listen = \"127.0.0.1:7070\"",
            "token = { file = \"/run/secrets/token\" }",
            "path = \"a=b\"",
            "[secret]",
            "broken line",
        ] {
            assert_eq!(mask(line), line);
        }
    }
}
