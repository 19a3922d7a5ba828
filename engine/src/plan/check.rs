//! What a planned query must not do.
//!
//! Owns: what would make answers differ between runs, and lengths that are not fixed.
//! Never: names (see `names`), keys (see `shape`).

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Diagnostic, ScalarValue, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::functions::WINDOW_FUNCTIONS;
use crate::rule::lists::network;
use crate::rule::problem::{Level, Problem, nearest};
use crate::rule::source::nowhere;
use crate::rule::{Lists, Rule};

/// Aggregates whose answer depends on the order of rows.
const ORDERED_AGGREGATES: [&str; 5] =
    ["array_agg", "first_value", "last_value", "nth_value", "string_agg"];
/// Window functions whose answer does not depend on the order of rows.
const UNORDERED_WINDOWS: [&str; 9] =
    ["count", "sum", "min", "max", "avg", "bool_and", "bool_or", "stddev", "var"];
/// Sketches whose content depends on the order in which parts are merged, and what to write.
const SKETCHES: [(&str, &str); 4] = [
    ("approx_median", "median"),
    ("approx_percentile_cont", "percentile_cont"),
    ("approx_percentile_cont_with_weight", "percentile_cont"),
    ("approx_top_k", "GROUP BY and count(*)"),
];

/// Everything in the plan that a rule cannot have.
pub(super) fn plan(rule: &Rule, lists: &Lists, plan: &LogicalPlan) -> Vec<Problem> {
    let mut check = Check { rule, lists, said: BTreeSet::new(), problems: Vec::new() };
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                check.expr(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    if let Err(error) = walked {
        check.problems.extend(planning(rule, &error));
    }
    check.problems
}

struct Check<'r> {
    rule: &'r Rule,
    lists: &'r Lists,
    said: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Reports once, at the first place of `word` in the SQL.
    fn error(&mut self, word: &str, message: String, hint: &str) {
        if self.said.insert(message.clone()) {
            let at = self.rule.source.word(word);
            let problem = self.rule.source.in_sql(Level::Error, at, message);
            self.problems.push(problem.hint(hint));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(scalar, _) => self.literal(scalar),
            Expr::ScalarFunction(function) => self.scalar(function),
            Expr::AggregateFunction(function) => self.aggregate(function),
            Expr::WindowFunction(function) => self.window(function),
            Expr::GroupingSet(_) => {
                let message = "grouping sets leave key columns empty".to_owned();
                self.error("group", message, "write one rule for each grouping");
            }
            Expr::Placeholder(placeholder) => {
                let message = format!("`{}` has no value", placeholder.id);
                self.error(&placeholder.id, message, "add it to `with:`");
            }
            _ => {}
        }
    }

    fn literal(&mut self, scalar: &ScalarValue) {
        let months = match scalar {
            ScalarValue::IntervalMonthDayNano(Some(interval)) => interval.months,
            ScalarValue::IntervalYearMonth(Some(months)) => *months,
            _ => 0,
        };
        if months != 0 {
            let message = "months and years differ in length".to_owned();
            self.error("interval", message, "write days, such as INTERVAL '30 days'");
        }
    }

    fn scalar(&mut self, function: &ScalarFunction) {
        let name = function.name();
        if WINDOW_FUNCTIONS.contains(&name) {
            if self.rule.window.is_none() {
                let message = format!("`{name}()` has no meaning without a window");
                self.error(name, message, "add `window:`");
            }
            return;
        }
        match (name, function.args.as_slice()) {
            ("in_list", [list, _]) => self.list(list),
            ("cidr_match", [_, net]) => self.network(net),
            _ => {}
        }
        match function.func.signature().volatility {
            Volatility::Immutable => {}
            Volatility::Stable => {
                let message = format!("`{name}` depends on the clock, so a replay would differ");
                self.error(name, message, "use event_time, window_start() or window_end()");
            }
            Volatility::Volatile => {
                let message = format!("`{name}` differs from run to run");
                self.error(name, message, "a rule gives the same answer on the same events");
            }
        }
    }

    fn list(&mut self, list: &Expr) {
        let Expr::Literal(name, _) = list else {
            let message = "the name of a list is a text, not a column".to_owned();
            self.error("in_list", message, "write such as in_list('known-bots', user_agent)");
            return;
        };
        let name = name.try_as_str().flatten().unwrap_or_default();
        if self.lists.get(name).is_none() {
            let hint = match nearest(name, self.lists.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add the file lists/{name}.txt to the pack"),
            };
            self.error(name, format!("there is no list `{name}`"), &hint);
        }
    }

    fn network(&mut self, net: &Expr) {
        if let Expr::Literal(text, _) = net
            && let Some(Some(text)) = text.try_as_str()
            && network(text).is_none()
        {
            let message = format!("`{text}` is neither a network nor an address");
            self.error(text, message, "write such as 10.0.0.0/8 or 2001:db8::/32");
        }
    }

    fn aggregate(&mut self, function: &AggregateFunction) {
        let name = function.func.name();
        self.sketch(name);
        if ORDERED_AGGREGATES.contains(&name) && function.params.order_by.is_empty() {
            let message = format!("`{name}` depends on the order of rows, which is not given");
            let hint = format!("write such as {name}(path ORDER BY event_time)");
            self.error(name, message, &hint);
        }
    }

    fn window(&mut self, function: &WindowFunction) {
        let name = function.fun.name();
        self.sketch(name);
        if !UNORDERED_WINDOWS.contains(&name) && function.params.order_by.is_empty() {
            let message = format!("`{name}` depends on the order of rows, which is not given");
            self.error(name, message, "write such as OVER (PARTITION BY … ORDER BY event_time)");
        }
    }

    fn sketch(&mut self, name: &str) {
        if let Some((_, instead)) = SKETCHES.iter().find(|(sketch, _)| *sketch == name) {
            let message = format!("`{name}` depends on the order in which parts are merged");
            self.error(name, message, &format!("use {instead}"));
        }
    }
}

/// What DataFusion says about a query, as problems.
pub(super) fn planning(rule: &Rule, error: &DataFusionError) -> Vec<Problem> {
    let mut problems = Vec::new();
    collect(rule, error, None, &mut problems);
    problems
}

fn collect(
    rule: &Rule,
    error: &DataFusionError,
    diagnostic: Option<&Diagnostic>,
    problems: &mut Vec<Problem>,
) {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => {
            collect(rule, inner, Some(diagnostic), problems);
        }
        DataFusionError::Context(_, inner) => collect(rule, inner, diagnostic, problems),
        DataFusionError::Shared(inner) => collect(rule, inner, diagnostic, problems),
        DataFusionError::Collection(errors) => {
            for error in errors {
                collect(rule, error, diagnostic, problems);
            }
        }
        DataFusionError::SchemaError(schema, _) => problems.push(name(rule, schema, diagnostic)),
        other => problems.push(plain(rule, other, diagnostic)),
    }
}

fn place(diagnostic: Option<&Diagnostic>) -> Span {
    let Some(span) = diagnostic.and_then(|diagnostic| diagnostic.span) else { return nowhere() };
    Span::new(
        Location { line: span.start.line, column: span.start.column },
        Location { line: span.end.line, column: span.end.column },
    )
}

fn name(rule: &Rule, error: &SchemaError, diagnostic: Option<&Diagnostic>) -> Problem {
    let (name, message, hint) = match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known = valid_fields.iter().map(|field| field.name.as_str());
            let hint = match nearest(&field.name, known) {
                Some(near) if near != field.name => format!("did you mean `{near}`?"),
                _ => format!("`{}` is not known at this place", field.flat_name()),
            };
            (field.name.as_str(), format!("unknown column `{}`", field.name), hint)
        }
        SchemaError::AmbiguousReference { field } => {
            let hint = "put the table's alias before it".to_owned();
            (field.name.as_str(), format!("`{}` can be two columns", field.name), hint)
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            let hint = "name them with AS".to_owned();
            (name.as_str(), format!("two columns are named `{name}`"), hint)
        }
    };
    let at = match place(diagnostic) {
        at if at == nowhere() => rule.source.word(name),
        at => at,
    };
    rule.source.in_sql(Level::Error, at, message).hint(hint)
}

fn plain(rule: &Rule, error: &DataFusionError, diagnostic: Option<&Diagnostic>) -> Problem {
    let text = match (error, diagnostic) {
        (_, Some(diagnostic)) => diagnostic.message.clone(),
        (DataFusionError::Plan(text) | DataFusionError::NotImplemented(text), None) => text.clone(),
        (other, None) => other.strip_backtrace(),
    };
    let text = text.split("\n\nbacktrace").next().unwrap_or_default();
    let text = text.trim().trim_end_matches('.').replace("events.", "");
    if let Some(word) = not_read(&text) {
        let message = format!("the text '{word}' stands where {} is expected", expected(&text));
        let at = rule.source.word(word);
        return rule.source.in_sql(Level::Error, at, message).hint("compare what is of one kind");
    }
    let text = said_by_function(&text);
    let problem = rule.source.in_sql(Level::Error, place(diagnostic), lowered(text));
    if text.contains("must appear in") && text.contains("GROUP BY") {
        return problem.hint("add it to GROUP BY, or take max() or min() of it");
    }
    if text.contains("orrelated") && text.contains("ubquery") {
        return problem.hint("write it as a LEFT JOIN");
    }
    let help = diagnostic.and_then(|diagnostic| diagnostic.helps.first());
    match help {
        Some(help) => problem.hint(help.message.clone()),
        None => problem,
    }
}

/// The text of a query that cannot be read as a value of another kind.
fn not_read(text: &str) -> Option<&str> {
    let (_, rest) = text
        .split_once("Cannot cast string '")
        .or_else(|| text.split_once("Error parsing timestamp from '"))?;
    rest.split_once('\'').map(|(word, _)| word)
}

fn expected(text: &str) -> &'static str {
    let (_, kind) = text.split_once("to value of ").unwrap_or(("", "Timestamp"));
    match kind {
        kind if kind.starts_with("Bool") => "true or false",
        kind if kind.starts_with("Timestamp") || kind.starts_with("Date") => "a time",
        _ => "a number",
    }
}

/// What a function of ours says of its arguments, without what the planner puts around it.
fn said_by_function(text: &str) -> &str {
    const AROUND: [&str; 2] =
        ["coercion failed with: Error during planning: ", ". No function matches"];
    let [before, behind] = AROUND;
    match text.split_once(before).and_then(|(_, said)| said.split_once(behind)) {
        Some((said, _)) => said,
        None => text,
    }
}

fn lowered(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            format!("{}{second}{}", first.to_lowercase(), chars.as_str())
        }
        _ => text.to_owned(),
    }
}
