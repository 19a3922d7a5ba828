//! Templates to steps.
//!
//! Owns: the grammar of each language, what makes a template unusable, and how formats are copied
//! out of a gateway's configuration. Never: reads lines.

use std::str::FromStr;

use super::super::aliases::{Aliases, Mapping, Meaning};
use super::variables::{Language, variable};
use super::{Shape, Step, Template, Variable};
use crate::read::json::{Object, Value};

/// Levels of a JSON template that are looked into.
const DEPTH_MAX: usize = 3;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is nothing in it that would be filled.
    #[error(
        "no variable stands in it; write one as nginx (`$remote_addr`), Envoy (`%START_TIME%`), \
         Apache (`%h`) or HAProxy (`%ci`) does"
    )]
    NoVariable,
    /// A name that its language does not have.
    #[error("`{name}` is no variable of {language}{}", or(.nearest))]
    Unknown {
        /// As it was written.
        name: String,
        /// The language that the template seems to be in.
        language: &'static str,
        /// What may have been meant.
        nearest: Vec<String>,
    },
    /// Two values with nothing between them.
    #[error(
        "`{first}` and `{second}` stand side by side: nothing shows where the first ends; put text \
         between them"
    )]
    Adjacent {
        /// The first of them.
        first: String,
        /// The one behind it.
        second: String,
    },
    /// A variable that begins and does not end.
    #[error("`{start}` does not end; it needs `{end}`")]
    Open {
        /// How it begins.
        start: String,
        /// What would end it.
        end: char,
    },
    /// Without a moment an event has no place in time.
    #[error("no variable gives the time; add {suggestion}")]
    NoTime {
        /// A variable that would.
        suggestion: &'static str,
    },
}

fn or(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; nearest: {}", nearest.join(", ")) }
}

/// A piece of a template.
enum Token {
    Text(String),
    Variable(Variable),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let plain = unwrapped(text.trim());
        let language = language(&plain);
        let tokens = tokens(&plain, language)?;
        let variables = || {
            tokens.iter().filter_map(|token| match token {
                Token::Variable(variable) => Some(variable),
                Token::Text(_) => None,
            })
        };
        if variables().next().is_none() {
            return Err(TemplateError::NoVariable);
        }
        if !variables().any(|v| matches!(v.meaning, Meaning::Time | Meaning::Started)) {
            return Err(TemplateError::NoTime { suggestion: time_of(language) });
        }
        if plain.trim_start().starts_with('{') && plain.trim_end().ends_with('}') {
            let mut names = Vec::new();
            json_names(&plain, language, "", &mut names)?;
            let text = text.to_owned();
            return Ok(Self { steps: Vec::new(), duration: None, json: Some(names), text });
        }
        let steps = steps(tokens)?;
        Ok(Self { steps, duration: None, json: None, text: text.to_owned() })
    }
}

impl Template {
    /// With the user's names for its variables.
    pub(crate) fn mapped(mut self, mapping: &Mapping) -> Self {
        for step in &mut self.steps {
            if let Step::Value(variable) = step
                && let Some(meaning) = mapping.meaning(&variable.name)
            {
                variable.meaning = meaning;
            }
        }
        self
    }
}

fn time_of(language: Language) -> &'static str {
    match language {
        Language::Nginx => "`[$time_local]`",
        Language::Envoy => "`[%START_TIME%]`",
        Language::Apache => "`%t`",
        Language::Haproxy => "`[%tr]`",
    }
}

/// The format itself, where it was copied with what stands around it in a configuration.
fn unwrapped(text: &str) -> String {
    let mut rest = text.trim_end_matches(';').trim();
    if let Some(after) = rest.strip_prefix("log_format ") {
        // The name, and `escape=json` perhaps.
        let quote = after.find(['\'', '"']).unwrap_or(0);
        rest = after.get(quote..).unwrap_or(after);
    }
    for word in ["LogFormat ", "CustomLog ", "log-format "] {
        rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
    }
    if rest.starts_with('\'') {
        let pieces: Vec<&str> = rest.split('\'').skip(1).step_by(2).collect();
        return pieces.concat();
    }
    if let Some(inner) = rest.strip_prefix('"')
        && let Some(end) = inner.rfind('"')
        && inner.contains("\\\"")
    {
        return inner.get(..end).unwrap_or(inner).replace("\\\"", "\"");
    }
    rest.trim_end_matches("\\n").to_owned()
}

fn language(text: &str) -> Language {
    let after = |mark: char| {
        let text = text.to_owned();
        let places: Vec<usize> = text.match_indices(mark).map(|(at, _)| at + 1).collect();
        places.into_iter().map(move |at| text.get(at..).unwrap_or("").to_owned())
    };
    if after('$').any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '{')) {
        return Language::Nginx;
    }
    let shouted = |rest: &String| {
        let len = rest.bytes().take_while(|b| b.is_ascii_uppercase() || *b == b'_').count();
        len >= 2 && matches!(rest.as_bytes().get(len), Some(b'%' | b'('))
    };
    if after('%').any(|rest| shouted(&rest)) {
        return Language::Envoy;
    }
    let is_haproxy = |rest: String| {
        let bare = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let flags = bare.is_some_and(|(flags, _)| flags.starts_with(['+', '-']));
        let rest = bare.map_or(rest.as_str(), |(_, rest)| rest);
        let len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = rest.get(..len).unwrap_or("");
        flags
            || rest.starts_with('[')
            || len > 1 && bare.is_none() && variable(Language::Haproxy, name, "").is_ok()
    };
    if after('%').any(is_haproxy) { Language::Haproxy } else { Language::Apache }
}

fn tokens(text: &str, language: Language) -> Result<Vec<Token>, TemplateError> {
    let mark = if language == Language::Nginx { '$' } else { '%' };
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(mark) {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        push(&mut tokens, before);
        let after = after.get(1..).unwrap_or("");
        if let Some(literal) = after.strip_prefix('%').filter(|_| mark == '%') {
            push(&mut tokens, "%");
            rest = literal;
            continue;
        }
        rest = match language {
            Language::Nginx => nginx(after, &mut tokens)?,
            Language::Envoy => envoy(after, &mut tokens)?,
            Language::Apache => apache(after, &mut tokens)?,
            Language::Haproxy => haproxy(after, &mut tokens)?,
        };
    }
    push(&mut tokens, rest);
    Ok(tokens)
}

fn push(tokens: &mut Vec<Token>, text: &str) {
    match tokens.last_mut() {
        _ if text.is_empty() => {}
        Some(Token::Text(before)) => before.push_str(text),
        _ => tokens.push(Token::Text(text.to_owned())),
    }
}

fn known(
    language: Language,
    name: &str,
    argument: &str,
    written: &str,
) -> Result<Token, TemplateError> {
    variable(language, name, argument).map(Token::Variable).map_err(|nearest| {
        TemplateError::Unknown { name: written.to_owned(), language: language.name(), nearest }
    })
}

/// `name` or `{name}`.
fn nginx<'t>(after: &'t str, tokens: &mut Vec<Token>) -> Result<&'t str, TemplateError> {
    if let Some(inner) = after.strip_prefix('{') {
        let (name, rest) = inner
            .split_once('}')
            .ok_or_else(|| TemplateError::Open { start: "${".to_owned(), end: '}' })?;
        tokens.push(known(Language::Nginx, name, "", &format!("${{{name}}}"))?);
        return Ok(rest);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = after.find(|c: char| !is_part(c)).unwrap_or(after.len());
    let (name, rest) = after.split_at_checked(end).unwrap_or((after, ""));
    if name.is_empty() {
        push(tokens, "$");
    } else {
        tokens.push(known(Language::Nginx, name, "", &format!("${name}"))?);
    }
    Ok(rest)
}

/// `NAME%`, `NAME(argument)%`, `NAME(argument):10%`.
fn envoy<'t>(after: &'t str, tokens: &mut Vec<Token>) -> Result<&'t str, TemplateError> {
    let len = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (name, mut rest) = after.split_at_checked(len).unwrap_or((after, ""));
    let mut argument = "";
    let open = |end| TemplateError::Open { start: format!("%{name}"), end };
    if let Some(inner) = rest.strip_prefix('(') {
        (argument, rest) = inner.split_once(')').ok_or_else(|| open(')'))?;
    }
    let (_length, rest) = rest.split_once('%').ok_or_else(|| open('%'))?;
    let written = format!("%{name}%");
    tokens.push(known(Language::Envoy, name, argument, &written)?);
    Ok(rest)
}

/// `h`, `>s`, `{argument}i`, `!200{argument}i`, `^ti`.
fn apache<'t>(after: &'t str, tokens: &mut Vec<Token>) -> Result<&'t str, TemplateError> {
    let is_condition = |c: char| c.is_ascii_digit() || matches!(c, ',' | '!' | '<' | '>');
    let mut rest = after.trim_start_matches(is_condition);
    let mut argument = "";
    if let Some(inner) = rest.strip_prefix('{') {
        (argument, rest) = inner
            .split_once('}')
            .ok_or_else(|| TemplateError::Open { start: "%{".to_owned(), end: '}' })?;
    }
    let len = if rest.starts_with('^') { 3 } else { rest.chars().next().map_or(0, char::len_utf8) };
    let (name, rest) = rest.split_at_checked(len).unwrap_or((rest, ""));
    let written =
        if argument.is_empty() { format!("%{name}") } else { format!("%{{{argument}}}{name}") };
    tokens.push(known(Language::Apache, name, argument, &written)?);
    Ok(rest)
}

/// `ci`, `[fetch]`, `{+Q}r`.
fn haproxy<'t>(after: &'t str, tokens: &mut Vec<Token>) -> Result<&'t str, TemplateError> {
    let mut rest = after;
    let mut flags = "";
    if let Some(inner) = rest.strip_prefix('{') {
        (flags, rest) = inner
            .split_once('}')
            .ok_or_else(|| TemplateError::Open { start: "%{".to_owned(), end: '}' })?;
    }
    let quoted = flags.contains("+Q");
    if quoted && !rest.starts_with('o') {
        push(tokens, "\"");
    }
    if let Some(inner) = rest.strip_prefix('[') {
        let (fetch, after) = inner
            .split_once(']')
            .ok_or_else(|| TemplateError::Open { start: "%[".to_owned(), end: ']' })?;
        tokens.push(known(Language::Haproxy, "", fetch, fetch)?);
        rest = after;
    } else {
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let all = rest.get(..letters).unwrap_or("");
        // `%cims` is `%ci` and text: the longest name that is known.
        let len = (1..=letters)
            .rev()
            .find(|len| {
                all.get(..*len).is_some_and(|name| variable(Language::Haproxy, name, "").is_ok())
            })
            .unwrap_or(letters);
        let (name, after) = rest.split_at_checked(len).unwrap_or((rest, ""));
        rest = after;
        // `%{+Q}o` sets flags and prints nothing.
        if name == "o" {
            return Ok(rest.strip_prefix(' ').unwrap_or(rest));
        }
        tokens.push(known(Language::Haproxy, name, "", &format!("%{name}"))?);
    }
    if quoted {
        push(tokens, "\"");
    }
    Ok(rest)
}

fn steps(tokens: Vec<Token>) -> Result<Vec<Step>, TemplateError> {
    let mut steps: Vec<Step> = Vec::with_capacity(tokens.len());
    for token in tokens {
        match token {
            Token::Text(text) => steps.push(Step::Text(text)),
            Token::Variable(mut variable) => {
                match steps.last() {
                    Some(Step::Value(first)) if first.shape != Shape::BracketedTime => {
                        return Err(TemplateError::Adjacent {
                            first: first.name.clone(),
                            second: variable.name,
                        });
                    }
                    Some(Step::Text(text)) if text.ends_with('"') => {
                        variable.shape = Shape::Quoted;
                    }
                    _ => {}
                }
                steps.push(Step::Value(variable));
            }
        }
    }
    Ok(steps)
}

/// The names of a JSON template whose value is one variable.
fn json_names(
    text: &str,
    language: Language,
    above: &str,
    names: &mut Vec<(String, Meaning)>,
) -> Result<(), TemplateError> {
    let Some(mut object) = Object::open(text) else { return Ok(()) };
    while let Some((key, value)) = object.next() {
        let name = match above {
            "" => key.read().into_owned(),
            above => format!("{above}.{}", key.read()),
        };
        let written = match value {
            Value::Object(inner) if above.matches('.').count() < DEPTH_MAX => {
                json_names(inner, language, &name, names)?;
                continue;
            }
            Value::Text(text) => text.raw(),
            Value::Bare(word) | Value::Number(word) => word,
            _ => continue,
        };
        if let [Token::Variable(variable)] = tokens(written, language)?.as_slice() {
            // A variable that we do not know may stand under a name that we do.
            let meaning = match variable.meaning {
                Meaning::Unknown => Aliases::ours().meaning(&name),
                meaning => meaning,
            };
            names.push((name, meaning));
        }
    }
    Ok(())
}
