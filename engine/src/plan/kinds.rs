//! What is compared and computed with what, looked at only where the planner has failed: its own
//! words name types that no analyst wrote, and no place.
//!
//! Owns: the kind of each part of a query, what does not go together, what to write instead.
//! Never: refuses what can be planned.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ExprSchemable;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, Select, Spanned, Statement, UnaryOperator, Value, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::query::WindowCell;
use super::session::Language;
use super::{Table, check, functions, signature};
use crate::rule::problem::{Level, Problem};
use crate::rule::{Lists, Rule};

/// What is wrong with a query that the planner could not plan: in words of the rule language where
/// they can be found, else in those of the planner.
pub(super) fn planning(
    rule: &Rule,
    lists: &Arc<Lists>,
    statement: &Statement,
    error: &DataFusionError,
) -> Vec<Problem> {
    let found = found(rule, lists, statement, Asked::Mistakes);
    if found.is_empty() { check::planning(rule, error) } else { found }
}

/// What can be planned and still fails at the first event that is not as the query supposes: a text
/// that is compared with a number is read as one.
pub(super) fn supposed(rule: &Rule, lists: &Arc<Lists>, statement: &Statement) -> Vec<Problem> {
    found(rule, lists, statement, Asked::Suppositions)
}

fn found(rule: &Rule, lists: &Arc<Lists>, statement: &Statement, asked: Asked) -> Vec<Problem> {
    let window = Arc::new(WindowCell::default());
    let language = Language::new(functions::own(lists, &window), false);
    let fields = Table::ALL.map(Table::schema);
    let Ok(schema) = Schema::try_merge(fields.iter().map(|schema| schema.as_ref().clone()))
        .map_err(DataFusionError::from)
        .and_then(DFSchema::try_from)
    else {
        return Vec::new();
    };
    let planner = SqlToRel::new(&language);
    let (said, problems) = (BTreeSet::new(), Vec::new());
    let mut kinds = Kinds { rule, planner, schema, asked, said, problems };
    if let ControlFlow::Break(never) = statement.visit(&mut kinds) {
        match never {}
    }
    kinds.problems
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Mistakes,
    Suppositions,
}

/// What analysts tell types apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Flag,
    List,
    Time,
}

impl Kind {
    /// None for what is compared with nothing else, such as lengths of time.
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Boolean => Self::Flag,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Self::List,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Time,
            number if number.is_numeric() => Self::Number,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Flag => "true or false",
            Self::List => "a list",
            Self::Time => "a time",
        }
    }

    /// Whether a text that stands for a value of this kind is read as one.
    fn reads(self, text: &str) -> bool {
        match self {
            Self::Number => text.trim().parse::<f64>().is_ok(),
            Self::Time => string_to_timestamp_nanos(text).is_ok(),
            Self::Text => true,
            Self::Flag | Self::List => false,
        }
    }
}

struct Kinds<'r> {
    rule: &'r Rule,
    planner: SqlToRel<'r, Language>,
    schema: DFSchema,
    asked: Asked,
    said: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Kinds<'_> {
    fn error(&mut self, at: Span, message: String, hint: &str) {
        if self.asked == Asked::Mistakes {
            self.report(Level::Error, at, message, hint);
        }
    }

    fn report(&mut self, level: Level, at: Span, message: String, hint: &str) {
        if self.said.insert(message.clone()) {
            let problem = self.rule.source.in_sql(level, at, message);
            self.problems.push(problem.hint(hint));
        }
    }

    fn data_type(&self, expr: &Expr) -> Result<DataType, DataFusionError> {
        let expr = match expr {
            // Whatever the table is called here, its columns are the same.
            Expr::CompoundIdentifier(parts) if !parts.is_empty() => {
                parts.last().map_or_else(|| expr.clone(), |part| Expr::Identifier(part.clone()))
            }
            other => other.clone(),
        };
        let planned = self.planner.sql_to_expr(expr, &self.schema, &mut PlannerContext::new())?;
        planned.get_type(&self.schema)
    }

    fn kind(&self, expr: &Expr) -> Option<Kind> {
        self.data_type(expr).ok().as_ref().and_then(Kind::of)
    }

    /// A comparison of `one` with `other`, by `sign`.
    fn compared(&mut self, at: Span, one: &Expr, sign: &BinaryOperator, other: &Expr) {
        let (Some(left), Some(right)) = (self.kind(one), self.kind(other)) else { return };
        if left == right {
            return;
        }
        // The side that is no text, or the list, says what the other should be.
        let turned = match (left, right) {
            (_, Kind::List) => true,
            (Kind::List, _) => false,
            (Kind::Text, _) => true,
            _ => false,
        };
        let (subject, kind, against) =
            if turned { (other, right, one) } else { (one, left, other) };
        let negated = *sign == BinaryOperator::NotEq;
        let hint = match kind {
            Kind::List => {
                let not = if negated { "NOT " } else { "" };
                match text_of(against) {
                    Some(text) => format!("write `{not}array_has({subject}, '{text}')`"),
                    None => format!("write such as `{not}array_has({subject}, 'a')`"),
                }
            }
            Kind::Flag => format!("write `{subject}` or `NOT {subject}`"),
            Kind::Number | Kind::Time => {
                // A column that is a text is cast, and so is a text that reads as a value.
                let Some(text) = text_of(against) else {
                    if kind == Kind::Number {
                        let cast = format!("CAST({subject} AS VARCHAR)");
                        let instead = match (subject, turned) {
                            (Expr::Value(value), _) => format!("it as a text: `'{value}'`"),
                            (_, true) => format!("such as `{against} {sign} {cast}`"),
                            (_, false) => format!("such as `{cast} {sign} {against}`"),
                        };
                        self.read_as_number(at, against, subject, &format!("write {instead}"));
                    }
                    return;
                };
                if kind.reads(text) {
                    return;
                }
                let value = sample(subject, kind);
                match kind {
                    Kind::Number if turned => {
                        format!("write a number, such as `{value} {sign} {subject}`")
                    }
                    Kind::Number => format!("write a number, such as `{subject} {sign} {value}`"),
                    _ => format!("write a time, such as `{subject} {sign} {value}`"),
                }
            }
            Kind::Text => return,
        };
        let against = match text_of(against) {
            Some(text) => format!("the text '{text}'"),
            None => format!("`{against}`"),
        };
        let what = kind.name();
        self.error(at, format!("`{subject}` is {what} and is compared with {against}"), &hint);
    }

    /// A text of each event that is compared with a number.
    fn read_as_number(&mut self, at: Span, text: &Expr, number: &Expr, hint: &str) {
        if self.asked == Asked::Suppositions && self.kind(text) == Some(Kind::Text) {
            let message = format!(
                "`{text}` is a text and is compared with `{number}`, a number: an event whose \
                 text is no number cannot be judged"
            );
            self.report(Level::Warning, at, message, hint);
        }
    }

    fn in_list(&mut self, subject: &Expr, items: &[Expr], negated: bool) {
        if self.kind(subject) != Some(Kind::List) {
            for item in items {
                self.compared(item.span(), subject, &BinaryOperator::Eq, item);
            }
            return;
        }
        let has = |item: &Expr| format!("array_has({subject}, {item})");
        let any = items.iter().map(has).collect::<Vec<_>>().join(" OR ");
        let hint = if negated { format!("write `NOT ({any})`") } else { format!("write `{any}`") };
        let at = items.iter().fold(subject.span(), |at, item| at.union(&item.span()));
        self.error(at, format!("`{subject}` is a list, and IN looks for one value"), &hint);
    }

    /// A pattern, which only a text can match.
    fn pattern(&mut self, at: Span, subject: &Expr, sign: &str, pattern: &Expr) {
        let Some(kind) = self.kind(subject) else { return };
        let hint = match kind {
            Kind::Text => {
                let Some(other) = self.kind(pattern).filter(|kind| *kind != Kind::Text) else {
                    return;
                };
                let what = other.name();
                let message = format!("`{pattern}` is {what}, and {sign} takes a text");
                self.error(pattern.span(), message, &format!("write it as one: `'{pattern}'`"));
                return;
            }
            Kind::Number => {
                let more = if subject.to_string() == "status" {
                    "`status BETWEEN 400 AND 499`, or "
                } else {
                    ""
                };
                format!("write {more}`CAST({subject} AS VARCHAR) {sign} {pattern}`")
            }
            Kind::List => {
                let all = format!("`array_to_string({subject}, ' ') {sign} {pattern}`");
                format!("one value: `array_has({subject}, 'a')`; a pattern over all: {all}")
            }
            Kind::Flag => format!("write `{subject}` or `NOT {subject}`"),
            Kind::Time => format!("compare it, such as `{subject} >= {}`", sample(subject, kind)),
        };
        let what = kind.name();
        self.error(at, format!("`{subject}` is {what}, and {sign} matches texts"), &hint);
    }

    fn computed(&mut self, sign: &BinaryOperator, part: &Expr) {
        if text_of(part).is_some_and(|text| Kind::Number.reads(text)) {
            return;
        }
        let hint = match self.kind(part) {
            Some(Kind::Text) => format!("the length of a text is `length({part})`"),
            Some(Kind::List) => format!("how many a list holds is `cardinality({part})`"),
            Some(Kind::Flag) => format!("write `CASE WHEN {part} THEN 1 ELSE 0 END`"),
            _ => return,
        };
        let what = self.kind(part).map_or("", Kind::name);
        let message = format!("`{part}` is {what}, and `{sign}` computes with numbers");
        self.error(part.span(), message, &hint);
    }

    /// What has to be true or false.
    fn condition(&mut self, expr: &Expr) {
        let Some(kind) = self.kind(expr).filter(|kind| *kind != Kind::Flag) else { return };
        let hint = match kind {
            Kind::List => format!("write such as `array_has({expr}, 'a')`"),
            Kind::Text => format!("compare it, such as `{expr} = 'a'`"),
            _ => format!("compare it, such as `{expr} >= {}`", sample(expr, kind)),
        };
        let what = kind.name();
        self.error(expr.span(), format!("`{expr}` is {what} and no condition"), &hint);
    }

    fn function(&mut self, call: &Expr, function: &Function) {
        let Err(error) = self.data_type(call) else { return };
        let name = function.name.to_string().to_lowercase();
        let text = error.strip_backtrace();
        let Some(refused) = signature::Refused::of(&name, &text) else { return };
        let hint = refused.hint();
        self.error(function.name.span(), refused.message(), &hint);
    }
}

impl Visitor for Kinds<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        for condition in select.selection.iter().chain(&select.having) {
            self.condition(condition);
        }
        ControlFlow::Continue(())
    }

    // Inner parts before what is made of them.
    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        let at = expr.span();
        match expr {
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::And | BinaryOperator::Or => {
                    self.condition(left);
                    self.condition(right);
                }
                BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq => self.compared(at, left, op, right),
                BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::Divide
                | BinaryOperator::Modulo => {
                    self.computed(op, left);
                    self.computed(op, right);
                }
                BinaryOperator::PGRegexMatch
                | BinaryOperator::PGRegexIMatch
                | BinaryOperator::PGRegexNotMatch
                | BinaryOperator::PGRegexNotIMatch => {
                    self.pattern(at, left, &op.to_string(), right);
                }
                _ => {}
            },
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.condition(expr),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::Between { expr, low, high, .. } => {
                self.compared(low.span(), expr, &BinaryOperator::GtEq, low);
                self.compared(high.span(), expr, &BinaryOperator::LtEq, high);
            }
            Expr::Like { expr, pattern, .. } => self.pattern(at, expr, "LIKE", pattern),
            Expr::ILike { expr, pattern, .. } => self.pattern(at, expr, "ILIKE", pattern),
            Expr::Function(function) => {
                if let Some(filter) = &function.filter {
                    self.condition(filter);
                }
                self.function(expr, function);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The text that a part of a query writes out.
fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A value that a part of a query may be compared with.
fn sample(expr: &Expr, kind: Kind) -> &'static str {
    match kind {
        Kind::Time => "TIMESTAMP '2026-01-31T12:00:00Z'",
        _ if expr.to_string().ends_with("status") => "404",
        _ => "100",
    }
}
