//! Reads one JSON object, entry by entry, without copying.
//!
//! Owns: the forgiving grammar. Never: what a key means.
//!
//! Gateways write JSON that a strict reader refuses: Apache's `\xHH`, raw control characters, a
//! missing value (`"rt":,`), a bare `-`, an object that was cut at 64 KiB. All of that is read here
//! as far as it goes. A value that was cut is dropped, since half an address is another address.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use schemas::same;

use super::number::is_plain;

/// A piece of JSON text between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The text as it was meant.
    pub(crate) fn read(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }

    /// Whether it was meant otherwise than it was written.
    pub(crate) fn is_escaped(self) -> bool {
        self.escaped
    }

    /// The text as it was written.
    pub(crate) fn raw(self) -> &'a str {
        self.raw
    }
}

/// A value of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Text(Text<'a>),
    /// A number, or any other bare word.
    Bare(&'a str),
    /// A number that is known for one: digits and dots.
    Number(&'a str),
    Flag(bool),
    Null,
    /// The whole object, braces included; without the last where the line was cut.
    Object(&'a str),
    /// The whole list, brackets included.
    List(&'a str),
}

/// The key of an entry as it is likely to stand in a line: with its quotes and the colon behind.
#[derive(Debug)]
pub(crate) struct Key(Box<str>);

impl Key {
    /// The key of this name, as it was written.
    pub(crate) fn of(raw: &str) -> Self {
        Self(format!("\"{raw}\":").into())
    }

    /// The name as it was written.
    pub(crate) fn raw(&self) -> &str {
        self.0.get(1..self.0.len() - 2).unwrap_or("")
    }

    /// Whether bytes begin with it.
    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        begins(bytes, self.0.as_bytes())
    }
}

#[inline]
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.get(..with.len()).is_some_and(|bytes| same(bytes, with))
}

/// What the next value of a name is likely to be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Likely<'l> {
    /// This text, in which no quote or backslash may stand.
    pub(crate) text: Option<&'l str>,
    /// A plain text of so many bytes: nobody need look for its end then.
    pub(crate) plain: Option<usize>,
}

/// What a value was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The likely text.
    Text,
    /// A plain text of the likely length.
    Plain,
    /// Anything.
    Any,
}

impl Likely<'_> {
    /// The text that begins `rest`, behind its quote, if it is as it was likely to be.
    #[inline]
    fn of(self, rest: &str) -> Option<(&str, Found)> {
        let ends = |len: usize| rest.as_bytes().get(len) == Some(&b'"');
        if let Some(text) = self.text
            && ends(text.len())
            && begins(rest.as_bytes(), text.as_bytes())
        {
            return Some((rest.get(..text.len())?, Found::Text));
        }
        let len = self.plain.filter(|len| ends(*len))?;
        rest.get(..len).filter(|text| is_plain(text)).map(|text| (text, Found::Plain))
    }
}

/// How an object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Not yet.
    Open,
    /// With its brace.
    Closed,
    /// With the line, before its brace.
    Cut,
    /// With something that no reader could take for JSON.
    Broken,
}

/// A cursor over the entries of an object.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a> {
    text: &'a str,
    at: usize,
    end: End,
}

impl<'a> Object<'a> {
    /// A cursor before the first entry, if the text begins with a brace.
    pub(crate) fn open(text: &'a str) -> Option<Self> {
        let at = after_space(text.as_bytes(), 0);
        (text.as_bytes().get(at) == Some(&b'{')).then_some(Self {
            text,
            at: at + 1,
            end: End::Open,
        })
    }

    /// How it ended; [`End::Open`] until [`Object::next`] has given `None`.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// What follows the closing brace.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The value of the next entry where its key is this one, and whether it is what was likely.
    /// Nothing is taken where the key is another.
    #[inline]
    pub(crate) fn next_of(&mut self, key: &Key, likely: Likely<'_>) -> Option<(Value<'a>, Found)> {
        if self.end != End::Open {
            return None;
        }
        let bytes = self.text.as_bytes();
        let mut at = self.at + usize::from(bytes.get(self.at) == Some(&b','));
        if !key.begins(bytes.get(at..)?) {
            at = after_commas(bytes, at);
            key.begins(bytes.get(at..)?).then_some(())?;
        }
        at += key.0.len();
        let (value, end) = match bytes.get(at)? {
            b'"' => {
                let rest = self.text.get(at + 1..)?;
                if let Some((raw, found)) = likely.of(rest) {
                    self.at = at + raw.len() + 2;
                    return Some((Value::Text(Text { raw, escaped: false }), found));
                }
                let (inner, end) = text(self.text, at + 1)?;
                (Value::Text(inner), end)
            }
            b'0'..=b'9' => number(self.text, at).or_else(|| value(self.text, at).ok())?,
            _ => value(self.text, after_space(bytes, at)).ok()?,
        };
        self.at = end;
        Some((value, Found::Any))
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Option<(Text<'a>, Value<'a>)> {
        if self.end != End::Open {
            return None;
        }
        match self.entry() {
            Ok(entry) => Some(entry),
            Err(end) => {
                self.end = end;
                None
            }
        }
    }

    fn entry(&mut self) -> Result<(Text<'a>, Value<'a>), End> {
        let bytes = self.text.as_bytes();
        let (key, at) = self.key(after_commas(bytes, self.at))?;
        let (value, at) = value(self.text, after_space(bytes, at))?;
        self.at = at;
        Ok((key, value))
    }

    fn key(&mut self, at: usize) -> Result<(Text<'a>, usize), End> {
        let bytes = self.text.as_bytes();
        match bytes.get(at) {
            Some(b'"') => {}
            Some(b'}') => {
                self.at = at + 1;
                return Err(End::Closed);
            }
            Some(_) => return Err(End::Broken),
            None => return Err(End::Cut),
        }
        let (key, at) = text(self.text, at + 1).ok_or(End::Cut)?;
        let at = after_space(bytes, at);
        match bytes.get(at) {
            Some(b':') => Ok((key, at + 1)),
            Some(_) => Err(End::Broken),
            None => Err(End::Cut),
        }
    }
}

/// The items of a list, as far as they can be read.
pub(crate) fn items(list: &str) -> impl Iterator<Item = Value<'_>> {
    let mut at = usize::from(list.starts_with('['));
    std::iter::from_fn(move || {
        let bytes = list.as_bytes();
        at = after_commas(bytes, at);
        if matches!(bytes.get(at), None | Some(b']')) {
            return None;
        }
        let (item, next) = value(list, at).ok().filter(|(_, next)| *next > at)?;
        at = next;
        Some(item)
    })
}

#[inline]
fn after_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Behind any spaces and commas.
fn after_commas(bytes: &[u8], at: usize) -> usize {
    let mut at = after_space(bytes, at);
    while bytes.get(at) == Some(&b',') {
        at = after_space(bytes, at + 1);
    }
    at
}

/// The plain number at `at`, and where it ends; nothing where it is something else.
#[inline]
fn number(text_of: &str, at: usize) -> Option<(Value<'_>, usize)> {
    let digits = text_of.as_bytes().get(at..)?;
    let len = digits.iter().position(|b| !matches!(b, b'0'..=b'9' | b'.'))?;
    matches!(digits.get(len)?, b',' | b'}').then_some(())?;
    Some((Value::Number(text_of.get(at..at + len)?), at + len))
}

/// The value at `at`, and where it ends.
#[inline]
fn value(text_of: &str, at: usize) -> Result<(Value<'_>, usize), End> {
    let bytes = text_of.as_bytes();
    match bytes.get(at) {
        None => Err(End::Cut),
        Some(b'"') => {
            let (inner, at) = text(text_of, at + 1).ok_or(End::Cut)?;
            Ok((Value::Text(inner), at))
        }
        Some(open @ (b'{' | b'[')) => {
            let end = nested_end(bytes, at);
            let whole = text_of.get(at..end.unwrap_or(bytes.len())).unwrap_or("");
            let value = if *open == b'{' { Value::Object(whole) } else { Value::List(whole) };
            Ok((value, end.unwrap_or(bytes.len())))
        }
        Some(_) => bare(text_of, at),
    }
}

fn bare(text_of: &str, at: usize) -> Result<(Value<'_>, usize), End> {
    let rest = text_of.get(at..).unwrap_or("");
    let stops = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
    let Some(len) = rest.as_bytes().iter().position(stops) else {
        return Err(End::Cut);
    };
    let word = rest.get(..len).unwrap_or("");
    let value = match word {
        "true" => Value::Flag(true),
        "false" => Value::Flag(false),
        "null" | "" | "-" => Value::Null,
        _ if word.contains(['"', ':', '{', '[']) => return Err(End::Broken),
        _ => Value::Bare(word),
    };
    Ok((value, at + len))
}

/// The text that begins at `at`, after its quote, and where the next thing begins.
#[inline]
fn text(text_of: &str, at: usize) -> Option<(Text<'_>, usize)> {
    let bytes = text_of.as_bytes();
    let (mut from, mut escaped) = (at, false);
    loop {
        let found = from + quote_or_backslash(bytes.get(from..)?)?;
        if bytes.get(found) == Some(&b'"') {
            let raw = text_of.get(at..found)?;
            return Some((Text { raw, escaped }, found + 1));
        }
        escaped = true;
        from = found + 2;
    }
}

/// Words of eight bytes that are looked at one by one, since most texts end there; a vector search
/// pays for itself only behind them.
const WORDS: usize = 5;
const LOW: u64 = 0x0101_0101_0101_0101;

/// Where the first quote or backslash stands.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().take(WORDS).enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = zeros(word ^ (LOW * 0x22)) | zeros(word ^ (LOW * 0x5c));
        if hits != 0 {
            return Some(place * 8 + usize::try_from(hits.trailing_zeros() / 8).unwrap_or(0));
        }
    }
    let from = words.len().min(WORDS) * 8;
    memchr2(b'"', b'\\', bytes.get(from..)?).map(|at| from + at)
}

/// The high bit of the first byte that is zero, and of some behind it.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & (LOW << 7)
}

/// Where the object or list that begins at `at` ends.
fn nested_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut from = at;
    loop {
        match bytes.get(from)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(from + 1);
                }
            }
            b'"' => {
                from = text_end(bytes, from + 1)?;
                continue;
            }
            _ => {}
        }
        from += 1;
    }
}

fn text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    loop {
        let found = from + memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        from = found + 2;
    }
}

/// Reads escapes, Apache's `\xHH` among them; what is no escape stays as it is.
pub(crate) fn unescape(raw: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some(at) = memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = one_escape(escape, &mut out);
    }
    out.extend_from_slice(rest);
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(broken) => String::from_utf8_lossy(broken.as_bytes()).into_owned(),
    }
}

/// Takes one escape from the front of `escape`, which begins with a backslash.
fn one_escape<'e>(escape: &'e [u8], out: &mut Vec<u8>) -> &'e [u8] {
    let (taken, byte) = match escape.get(1) {
        Some(b'"') => (2, b'"'),
        Some(b'\\') => (2, b'\\'),
        Some(b'/') => (2, b'/'),
        Some(b'n') => (2, b'\n'),
        Some(b't') => (2, b'\t'),
        Some(b'r') => (2, b'\r'),
        Some(b'b') => (2, 8),
        Some(b'f') => (2, 12),
        Some(b'x') => match escape.get(2..4).and_then(hex) {
            Some(code) => (4, u8::try_from(code).unwrap_or(b'?')),
            None => (1, b'\\'),
        },
        Some(b'u') => return unicode_escape(escape, out),
        _ => (1, b'\\'),
    };
    out.push(byte);
    escape.get(taken..).unwrap_or(&[])
}

fn unicode_escape<'e>(escape: &'e [u8], out: &mut Vec<u8>) -> &'e [u8] {
    let Some(code) = escape.get(2..6).and_then(hex) else {
        out.push(b'\\');
        return escape.get(1..).unwrap_or(&[]);
    };
    let low = || {
        let second = escape.get(6..8).filter(|mark| *mark == b"\\u").and(escape.get(8..12))?;
        hex(second).filter(|low| (0xDC00..0xE000).contains(low))
    };
    let (letter, taken) = match code {
        0xD800..0xDC00 => match low() {
            Some(low) => (char::from_u32(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), 12),
            None => (None, 6),
        },
        _ => (char::from_u32(code), 6),
    };
    let mut buffer = [0; 4];
    let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
    escape.get(taken..).unwrap_or(&[])
}

/// The number that hexadecimal digits write.
pub(crate) fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};
    use serde_json::Value as Json;

    use super::{End, Found, Key, Likely, Object, Value, is_plain, items};

    fn entries(text: &str) -> (Vec<(String, String)>, End) {
        let mut object = Object::open(text).unwrap();
        let mut found = Vec::new();
        loop {
            let likely = Likely { text: Some("text"), plain: Some(3) };
            let likely = object.next_of(&Key::of("likely"), likely).map(|(value, found)| {
                let raw = if let Value::Text(text) = value { text.raw() } else { "" };
                assert!(found != Found::Text || raw == "text");
                assert!(found != Found::Plain || raw.len() == 3 && is_plain(raw));
                ("likely".to_owned(), value)
            });
            let next = likely.or_else(|| object.next().map(|(k, v)| (k.read().into_owned(), v)));
            let Some((key, value)) = next else { break };
            let value = match value {
                Value::Text(text) => text.read().into_owned(),
                Value::Bare(word) | Value::Number(word) => word.to_owned(),
                Value::Object(word) | Value::List(word) => word.to_owned(),
                Value::Flag(flag) => flag.to_string(),
                Value::Null => "null".to_owned(),
            };
            found.push((key, value));
        }
        (found, object.end())
    }

    #[track_caller]
    fn check(text: &str, expected: &str, end: End) {
        let (found, ended) = entries(text);
        let shown: Vec<String> = found.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!((shown.join(" ").as_str(), ended), (expected, end), "{text}");
    }

    #[test]
    fn an_object_reads_entry_by_entry() {
        check(
            r#" {"a":"x","likely":1, "b" : {"c":[1,"}"]} ,"d":null,"e":true,"f":[{}]} "#,
            r#"a=x likely=1 b={"c":[1,"}"]} d=null e=true f=[{}]"#,
            End::Closed,
        );
        check(
            r#"{"likely":"text","likely":"texts","likely":"text\"s","likely":"tex","likely":"7\"1","likely":"7:1","likely":"text""#,
            r#"likely=text likely=texts likely=text"s likely=tex likely=7"1 likely=7:1 likely=text"#,
            End::Cut,
        );
        check("{}", "", End::Closed);
    }

    #[test]
    fn escapes_read_as_meant_and_apache_bytes_too() {
        check(
            r#"{"a":"q\"\\\/\n\u00e9\ud83d\ude00","b":"\xc3\xa9 \xff","c":"\q\u12"}"#,
            "a=q\"\\/\né😀 b=é \u{fffd} c=\\q\\u12",
            End::Closed,
        );
    }

    #[test]
    fn a_cut_object_keeps_what_came_whole() {
        check(r#"{"a":1,"b":"two","c":"thr"#, "a=1 b=two", End::Cut);
        check(r#"{"a":1,"b":2"#, "a=1", End::Cut);
        check(r#"{"a":1,"b"#, "a=1", End::Cut);
        check(r#"{"a":{"x":1,"y":"#, r#"a={"x":1,"y":"#, End::Cut);
    }

    #[test]
    fn missing_values_and_dashes_are_absent() {
        check(r#"{"a":,"b":-,"c":3}"#, "a=null b=null c=3", End::Closed);
    }

    #[test]
    fn what_is_no_object_is_broken() {
        check(r#"{"a":1 "b":2}"#, "a=1 b=2", End::Closed);
        check(r#"{"a" 1}"#, "", End::Broken);
        check("{a:1}", "", End::Broken);
        assert!(Object::open("[1]").is_none());
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = proptest::prop_oneof![
            any::<i64>().prop_map(Json::from),
            any::<bool>().prop_map(Json::from),
            any::<String>().prop_map(Json::from),
            proptest::prelude::Just(Json::Null),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    fn same(text: Value<'_>, expected: &Json) -> bool {
        match (text, expected) {
            (Value::Text(text), Json::String(wanted)) => text.read() == *wanted,
            (Value::Bare(word), Json::Number(wanted)) => word == wanted.to_string(),
            (Value::Flag(flag), Json::Bool(wanted)) => flag == *wanted,
            (Value::Null, Json::Null) => true,
            (Value::List(list), Json::Array(wanted)) => {
                let found: Vec<Value<'_>> = items(list).collect();
                found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| same(*f, w))
            }
            (Value::Object(text), Json::Object(_)) => {
                serde_json::from_str::<Json>(text).unwrap() == *expected
            }
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn proper_json_reads_as_a_strict_reader_reads_it(
            map in prop::collection::btree_map(any::<String>(), json(), 0..6),
            spaces in any::<bool>(),
        ) {
            let wanted: serde_json::Map<String, Json> = map.into_iter().collect();
            let text = if spaces {
                serde_json::to_string_pretty(&wanted).unwrap()
            } else {
                serde_json::to_string(&wanted).unwrap()
            };
            let mut object = Object::open(&text).unwrap();
            let mut found = 0;
            while let Some((key, value)) = object.next() {
                let key = key.read();
                assert!(same(value, &wanted[key.as_ref()]), "{key} of {text}");
                found += 1;
            }
            assert_eq!((found, object.end()), (wanted.len(), End::Closed));
        }

        #[test]
        fn any_text_comes_to_an_end(text in "\\{[\\x20-\\x7e]{0,64}") {
            let mut object = Object::open(&text).unwrap();
            let mut entries = 0;
            while object.next().is_some() {
                entries += 1;
            }
            assert!(entries <= text.len());
            assert_ne!(object.end(), End::Open);
        }
    }
}
