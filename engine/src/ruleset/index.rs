//! What the rules of a set have in common.
//!
//! Owns: atoms, each once; units, which are rules over the same events by the same key and slide.
//! Never: asks or keeps anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::Prepared;
use crate::frame::UnitName;
use crate::keyed::ByText;
use crate::plan::{Atom, Fold, Table};
use crate::window::Windows;

/// A column of texts that so many atoms read is looked up value by value.
const CODED_MIN: usize = 3;

/// Atoms and units of a set of rules.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By table.
    pub(crate) events: Atoms,
    pub(crate) drops: Atoms,
    /// By rule: the places of the atoms of its filter, those first that let the fewest rows
    /// through; absent where the filter is no conjunction.
    pub(crate) filters: Vec<Option<Arc<[usize]>>>,
    /// By rule: its unit.
    pub(crate) unit_of: Vec<Option<usize>>,
    pub(crate) units: Vec<Unit>,
    by_name: HashMap<Arc<str>, usize, ByText>,
}

/// Atoms over one table.
#[derive(Debug, Default)]
pub(crate) struct Atoms {
    pub(crate) atoms: Vec<Atom>,
    by_text: HashMap<String, usize>,
    /// Places of columns whose values are looked up.
    pub(crate) coded: Vec<usize>,
    /// By place in `coded`: which rules are to be asked, by a text that a row has there.
    pub(crate) wanted: Vec<Wanted>,
    /// Rules that are to be asked whatever rows have, ascending.
    pub(crate) always: Vec<usize>,
}

/// Rules by the texts of which their rows have one in some column, and see no row without.
pub(crate) type Wanted = HashMap<Box<str>, Vec<usize>, ByText>;

/// Rules with state in panes over the same events, by the same key and slide.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: Arc<str>,
    /// Its place among the units.
    pub(crate) place: usize,
    /// Places of the rules.
    pub(crate) rules: Vec<usize>,
    /// For each rule: the places of its folds among the unit's.
    pub(crate) folds_of: Vec<Vec<usize>>,
    /// Places of the key in the table.
    pub(crate) key: Vec<usize>,
    pub(crate) pane_ms: i64,
    /// Panes in the longest window of its rules.
    pub(crate) panes_max: i64,
    /// Rows that a window has at least in which one of its rules fires at an event, whatever they
    /// add to sums; absent where none does.
    pub(crate) rows_min: Option<u64>,
    /// Budgets of its rules, added up.
    pub(crate) memory_bytes_max: usize,
    /// Whether its folds can be read of any event.
    pub(crate) never_fails: bool,
    /// The folds of all its rules, each once.
    pub(crate) folds: Vec<Fold>,
    /// Their names.
    pub(crate) names: Arc<[Arc<str>]>,
}

impl Index {
    pub(super) fn of(rules: &[Arc<Prepared>]) -> Self {
        let mut index = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let filter = rule.rule.atoms.as_ref().map(|atoms| index.filter(rule.rule.table, atoms));
            index.filters.push(filter);
            let unit = index.join(place, rule);
            index.unit_of.push(unit);
        }
        for unit in &mut index.units {
            unit.names = unit.folds.iter().map(|fold| Arc::clone(&fold.name)).collect();
        }
        for atoms in [&mut index.events, &mut index.drops] {
            atoms.choose_coded();
        }
        for (place, rule) in rules.iter().enumerate() {
            index.want(place, rule.rule.table);
        }
        index
    }

    pub(crate) fn atoms(&self, table: Table) -> &Atoms {
        match table {
            Table::Events => &self.events,
            Table::Drops => &self.drops,
        }
    }

    /// The unit of this name.
    pub(crate) fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.get(self.place_of_unit(name)?)
    }

    /// The place of the unit of this name.
    pub(crate) fn place_of_unit(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The place of a unit that hits name. Names of one process are one text.
    pub(crate) fn place_named(&self, unit: &UnitName) -> Option<usize> {
        let likely = unit.place.filter(|place| {
            self.units.get(*place).is_some_and(|known| Arc::ptr_eq(&known.name, &unit.name))
        });
        likely.or_else(|| self.place_of_unit(&unit.name))
    }

    /// The unit of a rule, and for each of the rule's folds its place in the unit.
    pub(crate) fn unit_of_rule(&self, rule: usize) -> Option<(usize, &[usize])> {
        let at = self.unit_of.get(rule).copied().flatten()?;
        let unit = self.units.get(at)?;
        let place = unit.rules.iter().position(|of| *of == rule)?;
        Some((at, unit.folds_of.get(place)?))
    }

    /// Whom to ask about rows: of a unit its first rule stands for all.
    fn want(&mut self, place: usize, table: Table) {
        let unit = self.unit_of.get(place).copied().flatten().and_then(|at| self.units.get(at));
        if unit.is_some_and(|unit| unit.rules.first() != Some(&place)) {
            return;
        }
        let filter = self.filters.get(place).and_then(Option::as_deref).unwrap_or_default();
        match table {
            Table::Events => self.events.want(place, filter),
            Table::Drops => self.drops.want(place, filter),
        }
    }

    fn filter(&mut self, table: Table, atoms: &[Atom]) -> Arc<[usize]> {
        let known = match table {
            Table::Events => &mut self.events,
            Table::Drops => &mut self.drops,
        };
        let mut places: Vec<usize> = atoms.iter().map(|atom| known.place(atom)).collect();
        places.sort_by_key(|place| (known.atoms.get(*place).map(|atom| atom.rank), *place));
        places.into()
    }

    fn join(&mut self, place: usize, rule: &Prepared) -> Option<usize> {
        let panes = rule.folded()?;
        let fields = rule.rule.key_columns.as_ref()?;
        // What one rule cannot read must not keep others from it.
        let name: Arc<str> = match panes.never_fails {
            true => Arc::from(rule.rule.unit.as_str()),
            false => Arc::from(format!("{}/{}", rule.rule.unit, rule.id)),
        };
        let next = self.units.len();
        let at = *self.by_name.entry(Arc::clone(&name)).or_insert(next);
        if at == next {
            self.units.push(Unit {
                name,
                place: at,
                rules: Vec::new(),
                folds_of: Vec::new(),
                key: fields.iter().map(|field| field.index()).collect(),
                pane_ms: rule.link.pane_ms(),
                panes_max: 1,
                rows_min: None,
                memory_bytes_max: 0,
                never_fails: panes.never_fails,
                folds: Vec::new(),
                names: Arc::from([]),
            });
        }
        let unit = self.units.get_mut(at)?;
        let folds = panes.folds.iter().map(|fold| {
            let known = unit.folds.iter().position(|other| other.name == fold.name);
            known.unwrap_or_else(|| {
                unit.folds.push(fold.clone());
                unit.folds.len() - 1
            })
        });
        unit.folds_of.push(folds.collect());
        unit.panes_max = unit.panes_max.max(rule.windows.map_or(1, Windows::panes));
        let rows_min = rule.monotone.then(|| panes.bar.rows_ever(&panes.folds));
        unit.rows_min = unit.rows_min.into_iter().chain(rows_min).min();
        let memory = rule.rule.rule.memory_bytes_max;
        // The other half is for what is usual.
        let memory = if rule.rule.learns() { memory / 2 } else { memory };
        unit.memory_bytes_max = unit.memory_bytes_max.saturating_add(memory);
        unit.rules.push(place);
        Some(at)
    }
}

impl Atoms {
    fn place(&mut self, atom: &Atom) -> usize {
        if let Some(known) = self.by_text.get(&atom.text) {
            return *known;
        }
        self.by_text.insert(atom.text.clone(), self.atoms.len());
        self.atoms.push(atom.clone());
        self.atoms.len() - 1
    }

    fn choose_coded(&mut self) {
        let readers = self.atoms.iter().filter_map(|atom| atom.of_texts.as_ref());
        let mut readers: Vec<(usize, bool)> =
            readers.map(|texts| (texts.column, texts.is_dear)).collect();
        readers.sort_unstable();
        let runs = readers
            .chunk_by(|(a, _), (b, _)| a == b)
            .filter(|run| run.len() >= CODED_MIN || run.iter().any(|(_, is_dear)| *is_dear));
        self.coded = runs.filter_map(|run| run.first().map(|(column, _)| *column)).collect();
        self.wanted = self.coded.iter().map(|_column| Wanted::default()).collect();
    }

    /// A rule with this filter is to be asked where a row has one of the texts that the first atom
    /// lists which lists any, and always where none does.
    fn want(&mut self, rule: usize, filter: &[usize]) {
        let listed = filter.iter().find_map(|atom| {
            let texts = self.atoms.get(*atom)?.of_texts.as_ref()?;
            let column = self.coded.iter().position(|column| *column == texts.column)?;
            Some((column, texts.listed.as_ref()?))
        });
        match listed.and_then(|(column, texts)| Some((self.wanted.get_mut(column)?, texts))) {
            None => self.always.push(rule),
            Some((wanted, texts)) => {
                for text in texts {
                    wanted.entry(Box::from(text.as_str())).or_default().push(rule);
                }
            }
        }
    }
}
