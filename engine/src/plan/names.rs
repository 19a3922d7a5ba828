//! What a query names: tables, columns and functions that exist, clauses that mean something.
//!
//! Owns: mistakes that can be found before planning, all at once. Never: types, scopes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, LimitClause, ObjectName, Query, Select, SelectItem, Spanned, Statement,
    TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::Table;
use super::session::SESSION;
use crate::rule::Rule;
use crate::rule::problem::{Level, Problem, nearest};
use crate::rule::source::nowhere;

/// Functions of ours, for messages.
const OWN: [&str; 7] = [
    "baseline_max",
    "cidr_match",
    "first_seen",
    "in_list",
    "sequence",
    "window_start",
    "window_end",
];
/// Tables that exist in the design and not yet here.
const LATER_TABLES: [&str; 3] = ["deploys", "identities", "routes"];

/// The statement, and every name in it that does not exist.
pub(super) fn parse(rule: &Rule) -> (Option<Statement>, Vec<Problem>) {
    let parsed = Parser::new(&GenericDialect {})
        .with_tokens_with_locations(rule.tokens())
        .parse_statements();
    let mut statements = match parsed {
        Ok(statements) => statements,
        Err(error) => return (None, vec![syntax(rule, &error)]),
    };
    let problem = |message: &str| {
        rule.source.in_sql(Level::Error, nowhere(), message).hint("write one SELECT")
    };
    let Some(statement) = statements.pop() else {
        return (None, vec![problem("there is no query")]);
    };
    if !statements.is_empty() {
        return (None, vec![problem("there is more than one statement")]);
    }
    if !matches!(statement, Statement::Query(_)) {
        return (None, vec![problem("a rule is a query and changes nothing")]);
    }
    let mut names = Names::new(rule);
    if let ControlFlow::Break(never) = statement.visit(&mut names) {
        match never {}
    }
    let problems = names.problems();
    (Some(statement), problems)
}

fn syntax(rule: &Rule, error: &ParserError) -> Problem {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "it is nested too deeply",
    };
    let (message, place) = text.rsplit_once(" at Line: ").unwrap_or((text, ""));
    let numbers: Vec<u64> =
        place.split(", Column: ").filter_map(|number| number.parse().ok()).collect();
    let at = match numbers.as_slice() {
        [line, column] => {
            let start = Location { line: *line, column: *column };
            Span::new(start, Location { column: column + 1, ..start })
        }
        _ => nowhere(),
    };
    let message = message.strip_prefix("Expected: ").map_or_else(
        || message.to_owned(),
        |rest| format!("expected {}", rest.replace(", found:", ", found")),
    );
    let problem = rule.source.in_sql(Level::Error, at, format!("this is not SQL: {message}"));
    match message.strip_prefix("expected (, found ") {
        Some(list) if is_list(list) => {
            problem.hint(format!("a list is asked with `array_has({list}, 'a')`"))
        }
        _ => problem,
    }
}

fn is_list(name: &str) -> bool {
    let schema = Table::Events.schema();
    schema.field_with_name(name).is_ok_and(|field| field.data_type().is_nested())
}

#[derive(Debug)]
struct Named {
    name: String,
    at: Span,
}

impl Named {
    /// Unquoted names are the same in any case.
    fn of(ident: &Ident) -> Self {
        let name = match ident.quote_style {
            None => ident.value.to_lowercase(),
            Some(_) => ident.value.clone(),
        };
        Self { name, at: ident.span }
    }
}

struct Names<'r> {
    rule: &'r Rule,
    tables: Vec<Named>,
    columns: Vec<Named>,
    functions: Vec<Named>,
    /// Names that the query itself gives: aliases of tables and columns, common table expressions.
    given: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl<'r> Names<'r> {
    fn new(rule: &'r Rule) -> Self {
        Self {
            rule,
            tables: Vec::new(),
            columns: Vec::new(),
            functions: Vec::new(),
            given: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    fn error(&mut self, at: Span, message: impl Into<String>, hint: impl Into<String>) {
        let problem = self.rule.source.in_sql(Level::Error, at, message).hint(hint);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn problems(mut self) -> Vec<Problem> {
        let read = self.unknown_tables();
        self.unknown_functions();
        self.unknown_columns(&read);
        self.problems
    }

    /// Reports unknown tables and gives the known ones.
    fn unknown_tables(&mut self) -> Vec<Table> {
        let mut read: Vec<Table> = Vec::new();
        for table in std::mem::take(&mut self.tables) {
            let name = &table.name;
            if let Some(known) = Table::named(name) {
                if !read.contains(&known) {
                    read.push(known);
                }
            } else if LATER_TABLES.contains(&name.as_str()) {
                let hint = "the columns of `events` carry deploy, identity and route already";
                self.error(table.at, format!("the table `{name}` cannot be read yet"), hint);
            } else if !self.given.contains(name) {
                let hint = match nearest(name, Table::ALL.map(Table::name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "a rule reads `events` or `drops`".to_owned(),
                };
                self.error(table.at, format!("unknown table `{name}`"), hint);
            }
        }
        if let [_, second, ..] = read.as_slice() {
            let at = self.rule.source.word(second.name());
            let hint = "write two rules";
            self.error(at, "a rule reads `events` or `drops`, not both", hint);
        }
        read
    }

    fn unknown_functions(&mut self) {
        for function in std::mem::take(&mut self.functions) {
            let name = &function.name;
            let known = || SESSION.function_names().chain(OWN);
            if known().any(|known| known == name) {
                continue;
            }
            let hint = match nearest(name, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("functions are those of DataFusion, and {}", OWN.join(", ")),
            };
            self.error(function.at, format!("unknown function `{name}`"), hint);
        }
    }

    fn unknown_columns(&mut self, read: &[Table]) {
        let schemas: Vec<_> = read.iter().map(|table| table.schema()).collect();
        let columns: BTreeSet<&str> = schemas
            .iter()
            .flat_map(|schema| schema.fields().iter().map(|field| field.name().as_str()))
            .collect();
        if read.is_empty() {
            return;
        }
        for column in std::mem::take(&mut self.columns) {
            let name = column.name.as_str();
            if columns.contains(name) || self.given.contains(name) {
                continue;
            }
            let given = self.given.iter().map(String::as_str);
            let hint = match nearest(name, columns.iter().copied().chain(given)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if read.contains(&Table::Drops) => {
                    format!("columns of `drops`: {}", Vec::from_iter(columns.clone()).join(", "))
                }
                None => "docs/fields.md lists the columns of `events`".to_owned(),
            };
            self.error(column.at, format!("unknown column `{name}`"), hint);
        }
    }

    fn function(&mut self, function: &Function) {
        let mut idents = function.name.0.iter().filter_map(|part| part.as_ident());
        if let Some(ident) = idents.next_back() {
            let named = Named::of(ident);
            self.functions.push(Named { name: named.name.to_lowercase(), at: named.at });
        }
    }

    fn order_and_limit(&mut self, query: &Query) {
        let limited = query.fetch.is_some()
            || match &query.limit_clause {
                None => false,
                Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                    limit.is_some() || offset.is_some() || !limit_by.is_empty()
                }
                Some(LimitClause::OffsetCommaLimit { .. }) => true,
            };
        match (&query.order_by, limited) {
            (Some(order), false) => {
                let message = "ORDER BY means nothing here: rows of a rule have no order";
                self.error(order.span(), message, "remove it");
            }
            (None, true) => {
                let at = self.rule.source.word("limit");
                let message = "LIMIT without ORDER BY keeps rows by chance";
                self.error(at, message, "remove it, or say by what the rows are ordered");
            }
            _ => {}
        }
    }
}

impl Visitor for Names<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        self.order_and_limit(query);
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        for table in tables {
            self.given.insert(Named::of(&table.alias.name).name);
            self.given.extend(table.alias.columns.iter().map(|c| Named::of(&c.name).name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.given.insert(Named::of(alias).name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        let alias = match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
            _ => None,
        };
        if let Some(alias) = alias {
            self.given.insert(Named::of(&alias.name).name);
            self.given.extend(alias.columns.iter().map(|c| Named::of(&c.name).name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        if let Some(ident) = relation.0.last().and_then(|part| part.as_ident()) {
            self.tables.push(Named::of(ident));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(ident) => self.columns.push(Named::of(ident)),
            Expr::CompoundIdentifier(idents) => {
                self.columns.extend(idents.last().map(Named::of));
            }
            Expr::Function(function) => self.function(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
