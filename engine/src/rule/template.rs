//! `{i}` and arithmetic on it inside the values of a test's events.
//!
//! Owns: what braces mean. Never: columns.
//!
//! Braces that hold only digits, `i`, `+ - * / % ( )` and spaces are arithmetic on whole numbers;
//! all other braces are text, so that `/orders/{id}` stays a route.

use std::iter::Peekable;
use std::str::Chars;

/// The text with every `{…}` worked out for this `i`.
///
/// # Errors
/// The text says what is wrong with the arithmetic.
pub(super) fn expand(text: &str, i: i64) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        expanded.push_str(before);
        match after.split_once('}') {
            Some((inner, after)) if is_arithmetic(inner) => {
                let number =
                    evaluate(inner, i).map_err(|wrong| format!("`{{{inner}}}` {wrong}"))?;
                expanded.push_str(&number.to_string());
                rest = after;
            }
            _ => {
                expanded.push('{');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_arithmetic(inner: &str) -> bool {
    !inner.trim().is_empty()
        && inner.chars().all(|c| c.is_ascii_digit() || "i+-*/%() ".contains(c))
        && inner.contains(|c: char| c == 'i' || c.is_ascii_digit())
}

fn evaluate(inner: &str, i: i64) -> Result<i64, &'static str> {
    let mut reader = Reader { rest: inner.chars().peekable(), i, depth: 0 };
    let number = reader.sum()?;
    reader.skip();
    match reader.rest.peek() {
        None => Ok(number),
        Some(_) => Err("is not arithmetic on `i`"),
    }
}

/// Parentheses inside parentheses at most; test files are hand-written.
const DEPTH_MAX: usize = 16;

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    i: i64,
    depth: usize,
}

impl Reader<'_> {
    fn skip(&mut self) {
        while self.rest.next_if_eq(&' ').is_some() {}
    }

    fn next_of(&mut self, operators: &str) -> Option<char> {
        self.skip();
        self.rest.next_if(|c| operators.contains(*c))
    }

    fn sum(&mut self) -> Result<i64, &'static str> {
        let mut total = self.product()?;
        while let Some(operator) = self.next_of("+-") {
            let right = self.product()?;
            let next =
                if operator == '+' { total.checked_add(right) } else { total.checked_sub(right) };
            total = next.ok_or("is too large")?;
        }
        Ok(total)
    }

    fn product(&mut self) -> Result<i64, &'static str> {
        let mut total = self.atom()?;
        while let Some(operator) = self.next_of("*/%") {
            let right = self.atom()?;
            if right == 0 && operator != '*' {
                return Err("divides by zero");
            }
            let next = match operator {
                '*' => total.checked_mul(right),
                '/' => total.checked_div(right),
                _ => total.checked_rem_euclid(right),
            };
            total = next.ok_or("is too large")?;
        }
        Ok(total)
    }

    fn atom(&mut self) -> Result<i64, &'static str> {
        if self.next_of("-").is_some() {
            return self.nested(Self::atom)?.checked_neg().ok_or("is too large");
        }
        if self.next_of("i").is_some() {
            return Ok(self.i);
        }
        if self.next_of("(").is_some() {
            let inner = self.nested(Self::sum)?;
            return self.next_of(")").map(|_| inner).ok_or("lacks a `)`");
        }
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            return Err("lacks a number");
        }
        digits.parse().map_err(|_too_large| "is too large")
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<i64, &'static str>,
    ) -> Result<i64, &'static str> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("is nested too deeply");
        }
        let number = read(self);
        self.depth -= 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::expand;

    #[test]
    fn arithmetic_on_i_is_worked_out_and_other_braces_stay() {
        let at_23 = |text| expand(text, 23).unwrap();
        assert_eq!(at_23("a{i%10}"), "a3");
        assert_eq!(at_23("10.0.{i / 10}.{(i+2)*2 - 1}"), "10.0.2.49");
        assert_eq!(at_23("/orders/{id}/{i}"), "/orders/{id}/23");
        assert_eq!(at_23("{-i}{ } {"), "-23{ } {");
        assert_eq!(at_23("{7}"), "7");
    }

    #[test]
    fn wrong_arithmetic_says_what_is_wrong() {
        let error = |text| expand(text, 5).unwrap_err();
        assert_eq!(error("{i%}"), "`{i%}` lacks a number");
        assert_eq!(error("{i/0}"), "`{i/0}` divides by zero");
        assert_eq!(error("{(i}"), "`{(i}` lacks a `)`");
        assert_eq!(error("{i i}"), "`{i i}` is not arithmetic on `i`");
        assert_eq!(error("{9999999999*9999999999}"), "`{9999999999*9999999999}` is too large");
        assert!(error(&format!("{{{}i}}", "(".repeat(5000))).ends_with("is nested too deeply"));
    }

    proptest! {
        #[test]
        fn it_agrees_with_rust(i in 0_i64..1_000_000, a in 1_i64..1000, b in 0_i64..1000) {
            let text = format!("{{(i + {b}) * {a} % 97 - i / {a}}}");
            let expected = ((i + b) * a).rem_euclid(97) - i / a;
            prop_assert_eq!(expand(&text, i).unwrap(), expected.to_string());
        }

        #[test]
        fn no_text_panics(text in "[{}i0-9+*/%() -]{0,40}", i in any::<i64>()) {
            let _either = expand(&text, i);
        }
    }
}
