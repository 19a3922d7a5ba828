//! `$name` in a rule's SQL: values put in place as literals.
//!
//! Owns: literals and where they go. Never: the meaning of the SQL.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};
use serde_json::Value;

/// SQL in tokens that keep their places in the text as it stands in the file.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// The text as written, with `$name`.
    pub(crate) written: String,
    tokens: Vec<TokenWithSpan>,
}

/// A parameter that the SQL names but nothing gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) name: String,
    pub(crate) at: Span,
}

/// Text that is not even tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) message: String,
    pub(crate) at: Location,
}

impl Template {
    pub(crate) fn new(written: &str) -> Result<Self, Unreadable> {
        let tokens = Tokenizer::new(&GenericDialect {}, written)
            .tokenize_with_location()
            .map_err(|error| Unreadable { message: error.message, at: error.location })?;
        Ok(Self { written: written.to_owned(), tokens })
    }

    /// The tokens as written, parameters included.
    pub(crate) fn written_tokens(&self) -> &[TokenWithSpan] {
        &self.tokens
    }

    /// The names of the parameters, each once, in order of appearance.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for token in &self.tokens {
            if let Some(name) = parameter(&token.token).filter(|name| !names.contains(name)) {
                names.push(name);
            }
        }
        names
    }

    /// The parameters that `params` has no value for.
    pub(crate) fn missing(&self, params: &BTreeMap<String, Value>) -> Vec<Missing> {
        let named = |token: &TokenWithSpan| {
            let name = parameter(&token.token)?;
            let missing = !params.contains_key(name);
            missing.then(|| Missing { name: name.to_owned(), at: token.span })
        };
        self.tokens.iter().filter_map(named).collect()
    }

    /// The tokens with the values in place, each at the place of its parameter.
    pub(crate) fn tokens(&self, params: &BTreeMap<String, Value>) -> Vec<TokenWithSpan> {
        let mut tokens = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let value = parameter(&token.token).and_then(|name| params.get(name));
            match value {
                Some(value) => tokens.extend(
                    literal(value).into_iter().map(|new| TokenWithSpan::new(new, token.span)),
                ),
                None => tokens.push(token.clone()),
            }
        }
        tokens
    }

    /// The text with the values in place.
    pub(crate) fn filled(&self, params: &BTreeMap<String, Value>) -> String {
        let mut filled = String::with_capacity(self.written.len());
        let mut done = 0;
        for token in &self.tokens {
            let value = parameter(&token.token).and_then(|name| params.get(name));
            let Some(value) = value else { continue };
            let start = byte_at(&self.written, token.span.start);
            filled.push_str(self.written.get(done..start).unwrap_or_default());
            filled.extend(literal(value).iter().map(as_text));
            done = byte_at(&self.written, token.span.end);
        }
        filled.push_str(self.written.get(done..).unwrap_or_default());
        filled
    }
}

fn parameter(token: &Token) -> Option<&str> {
    match token {
        Token::Placeholder(name) => name.strip_prefix('$'),
        _ => None,
    }
}

/// Whether a value can stand in SQL.
pub(crate) fn is_literal(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => {
            !items.is_empty() && items.iter().all(|item| !item.is_array() && is_literal(item))
        }
        Value::Null | Value::Object(_) => false,
    }
}

fn literal(value: &Value) -> Vec<Token> {
    match value {
        Value::Null | Value::Object(_) => vec![Token::make_keyword("NULL")],
        Value::Bool(flag) => vec![Token::make_keyword(if *flag { "TRUE" } else { "FALSE" })],
        Value::String(text) => vec![Token::SingleQuotedString(text.clone())],
        Value::Number(number) => {
            let text = number.to_string();
            match text.strip_prefix('-') {
                None => vec![Token::Number(text, false)],
                Some(digits) => {
                    let digits = Token::Number(digits.to_owned(), false);
                    vec![Token::LParen, Token::Minus, digits, Token::RParen]
                }
            }
        }
        Value::Array(items) => {
            let mut tokens = Vec::new();
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    tokens.push(Token::Comma);
                }
                tokens.extend(literal(item));
            }
            tokens
        }
    }
}

/// A token as it is written; the token itself holds quotes undoubled.
fn as_text(token: &Token) -> String {
    match token {
        Token::SingleQuotedString(text) => format!("'{}'", text.replace('\'', "''")),
        other => other.to_string(),
    }
}

/// The byte of a place in the text; places count from 1, columns in characters.
pub(crate) fn byte_at(text: &str, place: Location) -> usize {
    let line = usize::try_from(place.line).unwrap_or(1).max(1);
    let column = usize::try_from(place.column).unwrap_or(1).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(byte, _)| byte)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::Template;

    fn filled(sql: &str, params: Value) -> String {
        let params: BTreeMap<String, Value> = serde_json::from_value(params).unwrap();
        Template::new(sql).unwrap().filled(&params)
    }

    #[test]
    fn values_stand_where_their_names_stood() {
        let sql = "SELECT 'é$n' -- $n\nFROM events WHERE a >= $n AND b IN ($codes) AND c = $t";
        assert_eq!(
            filled(sql, json!({"n": 20, "codes": [400, 401], "t": "it's"})),
            "SELECT 'é$n' -- $n\nFROM events WHERE a >= 20 AND b IN (400,401) AND c = 'it''s'"
        );
        assert_eq!(filled("a - $n", json!({"n": -1.5})), "a - (-1.5)");
        assert_eq!(filled("a = $n", json!({"n": true})), "a = TRUE");
    }

    #[test]
    fn parameters_without_a_value_are_named_with_their_place() {
        let template = Template::new("SELECT $a,\n  $b, $a").unwrap();
        let params = BTreeMap::from([("a".to_owned(), json!(1))]);
        let missing = template.missing(&params);
        assert_eq!(template.names(), ["a", "b"]);
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].name.as_str(), missing[0].at.start.line), ("b", 2));
        assert_eq!(missing[0].at.start.column, 3);
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_literal(text in ".{0,30}", number in any::<i64>()) {
            let params = json!({"t": text, "n": number});
            let params: BTreeMap<String, Value> = serde_json::from_value(params).unwrap();
            let template = Template::new("SELECT a FROM e WHERE b = $t AND c - $n > 0").unwrap();
            let by_text =
                Parser::parse_sql(&GenericDialect {}, &template.filled(&params)).unwrap();
            let tokens = template.tokens(&params);
            let by_tokens = Parser::new(&GenericDialect {})
                .with_tokens_with_locations(tokens)
                .parse_statements()
                .unwrap();
            prop_assert_eq!(&by_text, &by_tokens);
            prop_assert_eq!(by_text.len(), 1);
        }
    }
}
