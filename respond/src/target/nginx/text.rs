//! The text of the deny files.
//!
//! Owns: the one way in which a subject is written for nginx and read back.
//! Never: a value that nginx could read as anything but that value.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Subject;

use crate::address;
use crate::guard::NeverBlock;
use crate::ledger::Entry;

/// The first line of every file that we wrote.
const MARK: &str = "# Written by Tidegate; what is changed here by hand is lost.";

/// Bytes of a principal. nginx's hash buckets are 64 bytes by default and told by `nginx -t` when
/// they are too small.
const PRINCIPAL_BYTES_MAX: usize = 200;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) addresses: String,
    pub(super) principals: String,
    pub(super) rejected: BTreeMap<Subject, String>,
}

/// A file that denies nobody.
pub(super) fn empty() -> String {
    format!("{MARK}\n# Undo an entry: tidegate blocks release --order ID\n")
}

/// Whether a file may be overwritten: ours, or one that says nothing.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_idle = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    text.starts_with(MARK) || text.lines().all(is_idle)
}

/// The texts that hold exactly these subjects, but for those that cannot be held.
pub(super) fn render(desired: &BTreeMap<Subject, Entry>, never_block: &NeverBlock) -> Texts {
    let mut texts = Texts { addresses: empty(), principals: empty(), rejected: BTreeMap::new() };
    for (subject, entry) in desired {
        match value(subject, never_block) {
            Ok(value) => {
                let file = match subject.kind.as_str() {
                    "principal" => &mut texts.principals,
                    _ => &mut texts.addresses,
                };
                let until = entry.order.expires_at.map(|at| format!(" until {at}"));
                let until = until.unwrap_or_default();
                file.push_str(&format!("{value} 1; # {}{until}\n", id(&entry.order.id)));
            }
            Err(reason) => {
                texts.rejected.insert(subject.clone(), reason);
            }
        }
    }
    texts
}

/// An order's id, as far as it is one: nothing else may come into a comment either.
fn id(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

fn value(subject: &Subject, never_block: &NeverBlock) -> Result<String, String> {
    if let Some(reason) = never_block.protects(subject) {
        return Err(reason);
    }
    match subject.kind.as_str() {
        "ip" | "network" => address::network(&subject.value)
            .map(|net| address::text(&net))
            .ok_or_else(|| "it is neither an address nor a network".to_owned()),
        "principal" => quoted(&subject.value),
        kind => Err(format!("nginx cannot act on a `{kind}`")),
    }
}

/// A source value of a `map` block, in quotes. The backslash in front keeps nginx from reading it as
/// a regular expression, `default` or `include` (ngx_http_map_module: "the special parameters …
/// should be prefixed with the backslash").
fn quoted(value: &str) -> Result<String, String> {
    if value.is_empty() || value.len() > PRINCIPAL_BYTES_MAX {
        let bytes = value.len();
        return Err(format!("a principal of {bytes} bytes; nginx gets 1 to {PRINCIPAL_BYTES_MAX}"));
    }
    if value.chars().any(char::is_control) {
        return Err("it holds a control character, which is not written to a configuration".into());
    }
    let mut text = String::from("\"\\\\");
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    Ok(text)
}

/// The subjects of an address file.
pub(super) fn addresses(text: &str) -> BTreeSet<Subject> {
    let entries = text.lines().filter(|line| !line.starts_with('#'));
    entries
        .filter_map(|line| address::network(line.split_once(" 1;")?.0))
        .map(|net| {
            let single = net.prefix_len() == net.max_prefix_len();
            let kind = if single { "ip" } else { "network" };
            Subject { kind: kind.to_owned(), value: address::text(&net) }
        })
        .collect()
}

/// The subjects of a principal file.
pub(super) fn principals(text: &str) -> BTreeSet<Subject> {
    text.lines()
        .filter_map(|line| unquoted(line.strip_prefix("\"\\\\")?))
        .map(|value| Subject { kind: "principal".to_owned(), value })
        .collect()
}

fn unquoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().starts_with(" 1;").then_some(value),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "values are made in place")]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::{Expect, expect};
    use proptest::prelude::{ProptestConfig, proptest};
    use schemas::{Action, EventTime, Order, Subject};

    use super::{addresses, empty, is_ours, principals, render};
    use crate::guard::{NeverBlock, NeverBlockLists};
    use crate::ledger::{Entry, Phase};

    fn entry(subject: &Subject) -> Entry {
        let order = Order {
            id: "00ab".into(),
            verdict_id: "v".into(),
            revision: 1,
            rule: "auth/x".into(),
            action: Action::Block,
            subject: Some(subject.clone()),
            target: "nginx".into(),
            decided_at: EventTime(0),
            expires_at: Some(EventTime(1_000)),
            dry_run: false,
            needs_approval: false,
            notes: Vec::new(),
        };
        Entry {
            order,
            phase: Phase::Pending,
            attempt: 0,
            remote_id: None,
            detail: None,
            changed_at: EventTime(0),
            asked: None,
            undo: false,
            undo_asked_at: None,
        }
    }

    fn desired(subjects: &[(&str, &str)]) -> BTreeMap<Subject, Entry> {
        let subjects = subjects
            .iter()
            .map(|(kind, value)| Subject { kind: (*kind).into(), value: (*value).into() });
        subjects.map(|subject| (subject.clone(), entry(&subject))).collect()
    }

    fn never() -> NeverBlock {
        let lists = NeverBlockLists { networks: vec!["192.0.2.0/24".into()], ..Default::default() };
        NeverBlock::new(false, lists).unwrap()
    }

    #[track_caller]
    fn check(subjects: &[(&str, &str)], expected: Expect) {
        let texts = render(&desired(subjects), &never());
        let mut told =
            texts.addresses.replace(&empty(), "") + &texts.principals.replace(&empty(), "");
        for (subject, reason) in texts.rejected {
            told += &format!("not {}:{}: {reason}\n", subject.kind, subject.value.escape_debug());
        }
        expected.assert_eq(&told);
    }

    #[test]
    fn subjects_are_written_one_a_line() {
        check(
            &[("ip", "203.0.113.9"), ("network", "198.51.100.0/24"), ("principal", "ann")],
            expect![[r#"
                203.0.113.9 1; # 00ab until 1970-01-01T00:00:01.000Z
                198.51.100.0/24 1; # 00ab until 1970-01-01T00:00:01.000Z
                "\\ann" 1; # 00ab until 1970-01-01T00:00:01.000Z
            "#]],
        );
    }

    #[test]
    fn what_could_be_read_as_configuration_is_quoted_or_rejected() {
        check(
            &[
                ("ip", "203.0.113.9 1; } evil {"),
                ("ip", "192.0.2.7"),
                ("principal", "a\" 1; } server { # "),
                ("principal", "~.*"),
                ("principal", "default"),
                ("principal", "back\\slash"),
                ("principal", "new\nline"),
                ("principal", ""),
                ("token", "9f31"),
            ],
            expect![[r#"
                "\\a\" 1; } server { # " 1; # 00ab until 1970-01-01T00:00:01.000Z
                "\\back\\slash" 1; # 00ab until 1970-01-01T00:00:01.000Z
                "\\default" 1; # 00ab until 1970-01-01T00:00:01.000Z
                "\\~.*" 1; # 00ab until 1970-01-01T00:00:01.000Z
                not ip:192.0.2.7: 192.0.2.7 shares addresses with 192.0.2.0/24, which is on the never-block list
                not ip:203.0.113.9 1; } evil {: the subject is neither an address nor a network
                not principal:: a principal of 0 bytes; nginx gets 1 to 200
                not principal:new\nline: it holds a control character, which is not written to a configuration
                not token:9f31: nginx cannot act on a `token`
            "#]],
        );
    }

    #[test]
    fn only_our_own_and_idle_files_are_overwritten() {
        assert!(is_ours(empty().as_bytes()) && is_ours(b"") && is_ours(b"\n# nobody yet\n"));
        assert!(!is_ours(b"198.51.100.1 1;\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn whatever_is_written_reads_back_as_it_was(names in proptest::collection::vec(".{0,40}", 0..6)) {
            let subjects: Vec<(&str, &str)> =
                names.iter().map(|name| ("principal", name.as_str())).collect();
            let desired = desired(&subjects);
            let texts = render(&desired, &never());
            let mut present = principals(&texts.principals);
            present.extend(texts.rejected.into_keys());
            assert!(present.iter().eq(desired.keys()));
            assert_eq!(addresses(&texts.addresses).len(), 0);
        }
    }
}
