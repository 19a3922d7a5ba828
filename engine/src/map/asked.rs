//! Which rows of a batch pass which filters.
//!
//! Owns: asking each atom at most once a batch, and joining the answers. Never: rules, keys.
//!
//! A column of texts that many atoms read is looked up once: its distinct values are numbered, an
//! atom is asked about these, and one that lists its texts only looks for them.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::buffer::{BooleanBuffer, Buffer};

use crate::keyed::ByText;
use crate::plan::{Atom, OfTexts, RunError};
use crate::rows::{count, place};
use crate::ruleset::{Atoms, Wanted};

/// The answers about one batch.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    atoms: &'a Atoms,
    batch: &'a RecordBatch,
    answers: Vec<Option<Answer>>,
    /// By place in `atoms.coded`.
    coded: Vec<OnceCell<Option<Coded<'a>>>>,
    /// Rows that rules see at all.
    seen: Option<BooleanBuffer>,
}

/// Rows are few where the batch has at least so many times as many.
const FEW: usize = 8;

/// For which rows an atom is true.
#[derive(Debug, Clone)]
enum Answer {
    None,
    All,
    Some(BooleanBuffer),
    /// Few of them, ascending.
    Few(Vec<u32>),
    /// It cannot take a value of some row.
    Failed,
}

impl<'a> Asked<'a> {
    pub(super) fn new(atoms: &'a Atoms, batch: &'a RecordBatch, seen: Option<&[bool]>) -> Self {
        Self {
            atoms,
            batch,
            answers: vec![None; atoms.atoms.len()],
            coded: atoms.coded.iter().map(|_column| OnceCell::new()).collect(),
            seen: seen.map(|seen| BooleanBuffer::from_iter(seen.iter().copied())),
        }
    }

    /// The rules that a row of the batch may concern, ascending; of a unit its first.
    pub(super) fn concerned(&self) -> Vec<usize> {
        let mut rules = self.atoms.always.clone();
        for (at, wanted) in self.atoms.wanted.iter().enumerate() {
            if wanted.is_empty() {
                continue;
            }
            match self.coded_at(at) {
                Some(coded) => coded.concerned(wanted, &mut rules),
                None => wanted.values().for_each(|of| rules.extend(of)),
            }
        }
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// The rows that pass all of some atoms, ascending; nothing where one cannot take a value.
    pub(super) fn passing(&mut self, filter: &[usize]) -> Option<Vec<u32>> {
        let mut passing = self.seen.clone();
        let mut few: Option<Vec<u32>> = None;
        for atom in filter {
            match (self.answer(*atom), &mut few) {
                (Answer::Failed, _) => return None,
                (Answer::None, _) => return Some(Vec::new()),
                (Answer::All, _) => {}
                (Answer::Some(rows), Some(few)) => few.retain(|row| rows.value(place(*row))),
                (Answer::Some(rows), None) => {
                    passing = Some(match passing {
                        None => rows.clone(),
                        Some(before) => &before & rows,
                    });
                }
                (Answer::Few(rows), Some(few)) => few.retain(|row| rows.binary_search(row).is_ok()),
                (Answer::Few(rows), None) => few = Some(rows.clone()),
            }
        }
        Some(match (few, passing) {
            (None, None) => (0..count(self.batch.num_rows())).collect(),
            (None, Some(rows)) => rows.set_indices_u32().collect(),
            (Some(few), None) => few,
            (Some(mut few), Some(rows)) => {
                few.retain(|row| rows.value(place(*row)));
                few
            }
        })
    }

    fn answer(&mut self, atom: usize) -> &Answer {
        let known = self.answers.get(atom).is_some_and(Option::is_some);
        if !known {
            let answer = self.atoms.atoms.get(atom).map_or(Answer::Failed, |atom| self.ask(atom));
            if let Some(slot) = self.answers.get_mut(atom) {
                *slot = Some(answer);
            }
        }
        self.answers.get(atom).and_then(Option::as_ref).unwrap_or(&Answer::Failed)
    }

    fn ask(&self, atom: &Atom) -> Answer {
        let coded = atom.of_texts.as_ref().and_then(|texts| Some((texts, self.coded(texts)?)));
        let rows = match coded {
            Some((texts, coded)) => match &texts.listed {
                Some(listed) => return coded.listed(listed),
                None => coded.ask(texts),
            },
            None => atom.ask(self.batch),
        };
        match rows {
            Err(_of_some_row) => Answer::Failed,
            Ok(rows) => match rows.count_set_bits() {
                0 => Answer::None,
                all if all == rows.len() => Answer::All,
                _ => Answer::Some(rows),
            },
        }
    }

    fn coded(&self, texts: &OfTexts) -> Option<&Coded<'a>> {
        self.coded_at(self.atoms.coded.iter().position(|column| *column == texts.column)?)
    }

    fn coded_at(&self, at: usize) -> Option<&Coded<'a>> {
        let column = self.batch.columns().get(*self.atoms.coded.get(at)?)?;
        self.coded.get(at)?.get_or_init(|| Some(Coded::of(column.as_string_opt()?))).as_ref()
    }
}

/// A column of texts with its distinct values numbered; the absent one has the last number.
#[derive(Debug)]
struct Coded<'a> {
    known: HashMap<&'a str, u32, ByText>,
    values: OnceCell<StringArray>,
    /// By number: where its rows end in `rows`.
    ends: Vec<u32>,
    rows: Vec<u32>,
}

impl<'a> Coded<'a> {
    fn of(texts: &'a StringArray) -> Self {
        let few = texts.len() / 4;
        let mut known: HashMap<&'a str, u32, ByText> =
            HashMap::with_capacity_and_hasher(few, ByText::default());
        let numbers: Vec<Option<u32>> = texts
            .iter()
            .map(|text| {
                let next = count(known.len());
                text.map(|text| *known.entry(text).or_insert(next))
            })
            .collect();
        let absent = count(known.len());
        let mut ends = vec![0_u32; known.len() + 1];
        let number = |row: &Option<u32>| place(row.unwrap_or(absent));
        for row in &numbers {
            if let Some(end) = ends.get_mut(number(row)) {
                *end += 1;
            }
        }
        let mut next: Vec<u32> = Vec::with_capacity(ends.len());
        let mut before = 0;
        for end in &mut ends {
            next.push(before);
            before += *end;
            *end = before;
        }
        let mut rows = vec![0; numbers.len()];
        for (row, number_of) in (0_u32..).zip(&numbers) {
            if let Some(next) = next.get_mut(number(number_of)) {
                if let Some(slot) = rows.get_mut(place(*next)) {
                    *slot = row;
                }
                *next += 1;
            }
        }
        Self { known, values: OnceCell::new(), ends, rows }
    }

    /// Adds the rules that want one of its texts.
    fn concerned(&self, wanted: &Wanted, rules: &mut Vec<usize>) {
        if wanted.len() < self.known.len() {
            let known = wanted.iter().filter(|(text, _)| self.known.contains_key(&***text));
            known.for_each(|(_, of)| rules.extend(of));
        } else {
            let wanted = self.known.keys().filter_map(|text| wanted.get(*text));
            wanted.for_each(|of| rules.extend(of));
        }
    }

    /// Rows with one of some texts.
    fn listed(&self, texts: &BTreeSet<String>) -> Answer {
        let numbers = texts.iter().filter_map(|text| self.known.get(text.as_str()));
        let numbers = numbers.map(|number| place(*number));
        let all = numbers.clone().map(|number| self.rows_with(number).len()).sum();
        match all {
            0 => Answer::None,
            all if all == self.rows.len() => Answer::All,
            all if all * FEW > self.rows.len() => Answer::Some(self.rows_of(numbers)),
            all => {
                let mut rows = Vec::with_capacity(all);
                numbers.for_each(|number| rows.extend_from_slice(self.rows_with(number)));
                rows.sort_unstable();
                Answer::Few(rows)
            }
        }
    }

    fn ask(&self, texts: &OfTexts) -> Result<BooleanBuffer, RunError> {
        let truth = texts.ask(self.values.get_or_init(|| self.values()))?;
        Ok(self.rows_of(truth.set_indices()))
    }

    /// The rows of a value, ascending.
    fn rows_with(&self, number: usize) -> &[u32] {
        let from = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let to = self.ends.get(number).copied().unwrap_or_default();
        self.rows.get(place(from.unwrap_or_default())..place(to)).unwrap_or_default()
    }

    /// By number, the absent one last.
    fn values(&self) -> StringArray {
        let mut values: Vec<(u32, &str)> = Vec::with_capacity(self.known.len());
        #[expect(clippy::iter_over_hash_type, reason = "put in order below")]
        for (text, number) in &self.known {
            values.push((*number, text));
        }
        values.sort_unstable();
        let bytes = values.iter().map(|(_, text)| text.len()).sum();
        let mut texts = StringBuilder::with_capacity(values.len() + 1, bytes);
        values.into_iter().for_each(|(_, text)| texts.append_value(text));
        texts.append_null();
        texts.finish()
    }

    fn rows_of(&self, numbers: impl Iterator<Item = usize>) -> BooleanBuffer {
        let mut words = vec![0_u64; self.rows.len().div_ceil(64)];
        for number in numbers {
            for row in self.rows_with(number) {
                if let Some(word) = words.get_mut(place(*row / 64)) {
                    *word |= 1 << (row % 64);
                }
            }
        }
        BooleanBuffer::new(Buffer::from_vec(words), 0, self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Asked, place};
    use crate::plan::Table;
    use crate::trial::{Seen, Text, batch, failure, history, ruleset};

    const fn rule(name: &'static str, sql: &'static str) -> Text {
        (name, "window: 1m", sql)
    }

    const RULES: [Text; 8] = [
        rule("a", "SELECT path, count(*) AS n FROM events WHERE account = 'a1' GROUP BY path"),
        rule(
            "b",
            "SELECT path, count(*) AS n FROM events WHERE account IN ('a2', 'a9') AND status = 401 \
             GROUP BY path",
        ),
        rule(
            "c",
            "SELECT path, count(*) AS n FROM events WHERE account LIKE 'a%' AND status >= 400 \
             GROUP BY path",
        ),
        rule(
            "d",
            "SELECT path, count(*) AS n FROM events WHERE account NOT LIKE '%3' GROUP BY path",
        ),
        rule(
            "e",
            "SELECT path, count(*) AS n FROM events WHERE principal = 'nobody' GROUP BY path",
        ),
        rule(
            "f",
            "SELECT path, count(*) AS n FROM events WHERE account <> 'a0' OR principal IS NULL \
             GROUP BY path",
        ),
        rule(
            "g",
            "SELECT path, count(*) AS n FROM events WHERE 1000 / response_bytes > 2 GROUP BY path",
        ),
        // Dear enough that the column is looked up for it.
        rule(
            "h",
            "SELECT path, count(*) AS n FROM events WHERE upper(principal) NOT LIKE '%1' \
             GROUP BY path",
        ),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn atoms_joined_let_through_what_the_filter_does(
            events in history(60),
            seen in prop::option::of(prop::collection::vec(any::<bool>(), 60)),
        ) {
            let rules = ruleset(&RULES);
            let batch = batch(&events);
            let seen = seen.map(|seen| seen[..events.len()].to_vec());
            let atoms = rules.index().atoms(Table::Events);
            let mut asked = Asked::new(atoms, &batch, seen.as_deref());
            prop_assert_eq!(atoms.coded.len(), 2);
            prop_assert!(atoms.wanted.iter().any(|wanted| !wanted.is_empty()));
            let concerned = asked.concerned();
            prop_assert!(concerned.is_sorted_by(|a, b| a < b));
            let is_seen = |row: &u32| seen.as_ref().is_none_or(|seen| seen[place(*row)]);
            for (at, rule) in rules.rules().enumerate() {
                let filter = rules.index().filters[at].as_deref().unwrap();
                let mut wanted = rule.matching(&batch).ok();
                wanted.iter_mut().for_each(|rows| rows.retain(is_seen));
                if wanted.as_ref().is_none_or(|rows| !rows.is_empty()) {
                    let unit = rules.index().unit_of_rule(at).map(|(unit, _)| unit);
                    let first = unit.map_or(at, |unit| rules.index().units[unit].rules[0]);
                    prop_assert!(concerned.contains(&first), "{}", rule.id());
                }
                prop_assert_eq!(asked.passing(filter), wanted, "{}", rule.id());
            }
        }
    }

    #[test]
    fn only_rules_that_a_row_may_concern_are_asked() {
        let rules = ruleset(&RULES);
        let ids: Vec<&str> = rules.rules().map(|rule| rule.id()).collect();
        let asked_of = |events: &[_]| {
            let batch = batch(events);
            let concerned = Asked::new(rules.index().atoms(Table::Events), &batch, None);
            let named = concerned.concerned().into_iter().map(|at| ids[at].to_owned());
            named.collect::<Vec<String>>()
        };
        let of = |account| Seen { account, ..failure(0, 1) };
        let anyway = ["x/c", "x/d", "x/f", "x/g", "x/h"];
        assert_eq!(asked_of(&[of(0)]), anyway);
        assert_eq!(asked_of(&[of(1), of(0)]), [&["x/a"], &anyway[..]].concat());
        assert_eq!(asked_of(&[of(3), of(9)]), [&["x/b"], &anyway[..]].concat());
        assert_eq!(asked_of(&[of(2), of(1)]), [&["x/a", "x/b"], &anyway[..]].concat());
    }

    #[test]
    fn rows_that_came_late_pass_nothing() {
        let rules = ruleset(&RULES);
        let batch = batch(&[failure(0, 1), failure(1, 1), failure(2, 1)]);
        let seen = [true, false, true];
        let mut asked = Asked::new(rules.index().atoms(Table::Events), &batch, Some(&seen));
        assert_eq!(asked.passing(&[]), Some(vec![0, 2]));
    }
}
