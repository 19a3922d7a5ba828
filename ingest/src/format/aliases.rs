//! Names that gateways give to the parts of a request.
//!
//! Owns: the table of names, and the user's additions to it. Never: values.
//!
//! Names are compared without case and separators' kind: `X-Forwarded-For`, `x_forwarded_for` and
//! `xForwardedFor` are one. Nested names are joined: `request.headers.User-Agent`.

mod columns;
mod facts;
mod meaning;
mod words;

use std::collections::HashMap;
use std::sync::LazyLock;

use schemas::Field;

pub(crate) use columns::{column_of, meaning};
pub(crate) use meaning::{Meaning, Slot};

use facts::FACTS;
use words::{CALLERS, TEXTS};

type Row = (Meaning, &'static [&'static str]);

/// The names of one input.
#[derive(Debug)]
pub(crate) struct Aliases {
    table: HashMap<String, Meaning>,
}

static OURS: LazyLock<Aliases> = LazyLock::new(|| Aliases::new(&Mapping::default(), &[]));

impl Aliases {
    /// The table without any user's names.
    pub(crate) fn ours() -> &'static Self {
        &OURS
    }

    /// The table with a template's names before ours, and the user's before all.
    pub(crate) fn new(mapping: &Mapping, template: &[(String, Meaning)]) -> Self {
        let rows = TEXTS.iter().chain(CALLERS).chain(FACTS);
        let ours =
            rows.flat_map(|(meaning, names)| names.iter().map(|n| ((*n).to_owned(), *meaning)));
        let users = mapping.names.iter().map(|(name, field)| (plain(name), meaning(*field)));
        let known = template.iter().filter(|(_, meaning)| *meaning != Meaning::Unknown);
        let named = known.map(|(name, meaning)| (plain(name), *meaning));
        Self { table: ours.chain(named).chain(users).collect() }
    }

    /// What a name stands for.
    pub(crate) fn meaning(&self, name: &str) -> Meaning {
        if name.len() > 128 {
            return Meaning::Unknown;
        }
        self.table.get(plain(name).as_str()).copied().unwrap_or(Meaning::Unknown)
    }
}

/// A name without case and kinds of separators.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut last_was_small = false;
    for letter in name.trim_start_matches(['$', '@', ':', '_']).chars() {
        match letter {
            'A'..='Z' => {
                if last_was_small {
                    out.push('_');
                }
                out.push(letter.to_ascii_lowercase());
                last_was_small = false;
            }
            '-' | '.' | ' ' | '_' | '/' | ':' => {
                if !out.ends_with('_') {
                    out.push('_');
                }
                last_was_small = false;
            }
            _ => {
                out.push(letter);
                last_was_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
            }
        }
    }
    out
}

/// The user's names for columns, per input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    names: Vec<(String, Field)>,
}

/// A mapping to what is no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is mapped to `{column}`, which is no column; see docs/fields.md")]
pub struct MappingError {
    /// The name in the log.
    pub name: String,
    /// What it was mapped to.
    pub column: String,
}

impl Mapping {
    /// A mapping from names in the log, nested ones joined by dots, to names of columns.
    ///
    /// # Errors
    /// Where a column is unknown.
    pub fn new<'n>(
        names: impl IntoIterator<Item = (&'n str, &'n str)>,
    ) -> Result<Self, MappingError> {
        let read = |(name, column): (&str, &str)| match Field::named(column) {
            Some(field) => Ok((name.to_owned(), field)),
            None => Err(MappingError { name: name.to_owned(), column: column.to_owned() }),
        };
        Ok(Self { names: names.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// What the user says that a name stands for.
    pub(crate) fn meaning(&self, name: &str) -> Option<Meaning> {
        let found = self.names.iter().find(|(known, _)| plain(known) == plain(name));
        found.map(|(_, field)| meaning(*field))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Aliases, CALLERS, FACTS, Mapping, Meaning, Slot, TEXTS, plain};

    #[test]
    fn no_name_stands_for_two_things_and_all_are_plain() {
        let mut seen = HashSet::new();
        for (_, names) in TEXTS.iter().chain(CALLERS).chain(FACTS) {
            for name in *names {
                assert!(seen.insert(*name), "{name} twice");
                assert_eq!(plain(name), *name);
            }
        }
    }

    #[test]
    fn dress_does_not_matter() {
        let aliases = Aliases::new(&Mapping::default(), &[]);
        for name in ["X-Forwarded-For", "x_forwarded_for", "xForwardedFor", "$x_forwarded_for"] {
            assert_eq!(aliases.meaning(name), Meaning::Text(Slot::Chain), "{name}");
        }
        assert_eq!(aliases.meaning("DownstreamStatus"), Meaning::Status);
        assert_eq!(aliases.meaning(":authority"), Meaning::Text(Slot::Host));
        assert_eq!(aliases.meaning("request.headers.User-Agent"), Meaning::Text(Slot::UserAgent));
        assert_eq!(aliases.meaning("shoe_size"), Meaning::Unknown);
    }

    #[test]
    fn the_users_names_go_first() {
        let mapping =
            Mapping::new([("kunde", "principal"), ("status", "upstream_status")]).unwrap();
        let aliases = Aliases::new(&mapping, &[]);
        assert_eq!(aliases.meaning("kunde"), Meaning::Text(Slot::Principal));
        assert_eq!(aliases.meaning("status"), Meaning::UpstreamStatus);
        assert_eq!(
            Mapping::new([("a", "statusx")]).unwrap_err().to_string(),
            "`a` is mapped to `statusx`, which is no column; see docs/fields.md"
        );
    }
}
