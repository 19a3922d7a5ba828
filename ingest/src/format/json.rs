//! JSON access logs of any gateway.
//!
//! Owns: the walk through the object, names to parts. Never: names themselves, which are `aliases`'.
//!
//! Lines of one input have the same names in the same order, so each name's meaning is kept by its
//! place and only compared from then on.

use std::borrow::Cow;

use schemas::{Event, Field, same};

use super::aliases::{Aliases, Meaning, Slot};
use super::{Desk, Failure};
use crate::mask::{self, Clear};
use crate::parts::Parts;
use crate::read::json::{End, Found, Key, Likely, Object, Value, items, unescape};
use crate::read::number::{self, Unit, is_plain};
use crate::read::times::Times;
use crate::read::words::present;
use crate::secret;

/// Names whose meaning is kept. Longer objects are read, only slower.
const PLACES_MAX: usize = 64;
/// Levels of nesting that are looked into.
const DEPTH_MAX: usize = 4;
/// Names beside the columns that are kept.
const ATTRS_MAX: usize = 32;

/// The names of the last line, in order.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    places: Vec<Place>,
}

/// A name at its place.
#[derive(Debug)]
struct Place {
    name: Key,
    meaning: Meaning,
    /// What the name is clear of.
    clear: Clear,
    /// A value of this name in which nothing needs masking: most hosts and methods are the last
    /// line's.
    last: String,
    /// How often the next value was another.
    others: u8,
    /// The length of its last text, where that was plain.
    plain_len: usize,
    /// How often the next was plain and as long.
    plain_times: u8,
}

/// Values in a row that differ before a name's values are thought to differ always.
const OTHERS_MAX: u8 = 32;

/// Plain values in a row of one length before the next is thought to be one too: ids and most moments
/// are as long line after line, addresses only by chance.
const PLAIN_TIMES_MIN: u8 = 8;

impl Memory {
    fn keep(&mut self, place: usize, name: &str, meaning: Meaning) {
        let kept = Place {
            name: Key::of(name),
            meaning,
            clear: mask::clear(b'"', name, b'"'),
            last: String::new(),
            others: 0,
            plain_len: 0,
            plain_times: 0,
        };
        if let Some(place) = self.places.get_mut(place) {
            *place = kept;
        } else if place == self.places.len() && place < PLACES_MAX {
            self.places.push(kept);
        }
    }
}

impl Place {
    /// The next value, where one is most often like the other.
    #[inline]
    fn likely(&self) -> Likely<'_> {
        let is_text = self.others < OTHERS_MAX && !self.last.is_empty();
        Likely {
            text: is_text.then_some(&self.last),
            plain: (self.plain_times >= PLAIN_TIMES_MIN).then_some(self.plain_len),
        }
    }

    /// What the entry is clear of that has this value, found to be such.
    #[inline]
    fn clear_of(&mut self, value: Value<'_>, found: Found) -> Clear {
        match found {
            Found::Any => self.clear(value),
            Found::Plain => self.clear,
            Found::Text => {
                self.others = 0;
                self.clear
            }
        }
    }

    /// What this entry is clear of. A User-Agent is looked at with the rest of what is known of it.
    #[inline]
    fn clear(&mut self, value: Value<'_>) -> Clear {
        let of_value = match value {
            Value::Null | Value::Flag(_) | Value::Number(_) => Clear::OF_ALL,
            Value::Object(_) | Value::List(_) => Clear::default(),
            Value::Bare(word) => mask::clear(b':', word, b','),
            Value::Text(text) if self.meaning == AGENT && !text.is_escaped() => Clear::OF_ALL,
            // What is escaped is not remembered, so that what is remembered ends with its quote.
            Value::Text(text) if text.is_escaped() => mask::clear(b'"', text.raw(), b'"'),
            Value::Text(text) => self.clear_text(text.raw()),
        };
        self.clear.and(of_value)
    }

    #[inline]
    fn clear_text(&mut self, text: &str) -> Clear {
        if self.others < OTHERS_MAX && same(text.as_bytes(), self.last.as_bytes()) {
            self.others = 0;
            return Clear::OF_ALL;
        }
        let is_plain = is_plain(text);
        self.learn_length(text.len(), is_plain);
        let clear = if is_plain { Clear::OF_ALL } else { mask::clear_of_words(b'"', text, b'"') };
        if self.others < OTHERS_MAX && clear == Clear::OF_ALL {
            self.others += 1;
            text.clone_into(&mut self.last);
        }
        clear
    }

    #[inline]
    fn learn_length(&mut self, len: usize, is_plain: bool) {
        let is_again = is_plain && len == self.plain_len;
        self.plain_times = if is_again { self.plain_times.saturating_add(1) } else { 0 };
        self.plain_len = len;
    }
}

const AGENT: Meaning = Meaning::Text(Slot::UserAgent);

/// How the names of a format are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// The unit of spans whose name gives none; without one it is told by the look.
    pub(super) duration: Option<Unit>,
    /// Whether unknown names go to `attrs`.
    pub(super) attrs: bool,
    /// Whether names are those of our columns, and values must be of their kinds.
    pub(super) own: bool,
}

/// What a format may want beside the parts.
#[derive(Debug, Default)]
pub(super) struct Extra<'a> {
    pub(super) flags: Option<Cow<'a, str>>,
    pub(super) details: Option<Cow<'a, str>>,
    /// Whether a name for the upstream's status was there, even without a value.
    pub(super) names_upstream_status: bool,
    /// Whether a time was there that could not be read.
    pub(super) bad_time: bool,
}

/// JSON with any names.
pub(super) fn read<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
) -> Result<(), Failure> {
    let style = Style { duration: None, attrs: true, own: false };
    let extra = fill(line, desk, parts, style)?;
    let asks = parts.request.is_some() || parts.target.is_some() || parts.path.is_some();
    if parts.status.is_none() && !(asks && parts.method.is_some()) && parts.request.is_none() {
        return Err(Failure::telling(
            "JSON without a request or a status under any known name; name them in `mapping`",
        ));
    }
    need_time(parts, &extra)?;
    parts.no_upstream = extra.names_upstream_status && parts.upstream_status.is_none();
    if extra.flags.is_some() || extra.details.is_some() {
        let flags = extra.flags.as_deref().unwrap_or("-");
        if let Some(by) = super::envoy::refusal(flags, extra.details.as_deref().unwrap_or("")) {
            parts.blocked_by.get_or_insert(by);
        }
    }
    Ok(())
}

/// Refuses a line without a time.
pub(super) fn need_time(parts: &Parts<'_>, extra: &Extra<'_>) -> Result<(), Failure> {
    if parts.time.is_some() || parts.started.is_some() {
        return Ok(());
    }
    Err(if extra.bad_time {
        Failure::value("the time cannot be read")
    } else {
        Failure::value("no time under any known name; name it in `mapping`")
    })
}

/// Reads the object into `parts`.
pub(super) fn fill<'a>(
    line: &'a str,
    desk: &mut Desk,
    parts: &mut Parts<'a>,
    style: Style,
) -> Result<Extra<'a>, Failure> {
    let Desk { times, aliases, memory, own_memory, .. } = desk;
    let memory = if style.own { own_memory } else { memory };
    let mut object = Object::open(line).ok_or(Failure::other("no JSON object"))?;
    let mut filler = Filler { times, aliases, parts, extra: Extra::default(), style };
    let (mut place, mut clear) = (0, Clear::OF_ALL);
    loop {
        if let Some(known) = memory.places.get_mut(place)
            && let Some((value, found)) = object.next_of(&known.name, known.likely())
        {
            clear = clear.and(known.clear_of(value, found));
            if known.meaning == AGENT && filler.parts.user_agent.is_some() {
                // Of two agents only the first is the event's.
                clear = Clear::default();
            }
            if !filler.put_usual(known.meaning, value) {
                filler.entry(known.name.raw(), known.meaning, value)?;
            }
        } else {
            let Some((key, value)) = object.next() else { break };
            let meaning = filler.meaning(&key.read());
            memory.keep(place, key.raw(), meaning);
            clear = Clear::default();
            filler.entry(key.raw(), meaning, value)?;
        }
        place += 1;
    }
    // What was cut off is in no entry.
    filler.parts.clear = if object.end() == End::Closed { clear } else { Clear::default() };
    match object.end() {
        End::Open | End::Closed if object.rest().trim().is_empty() => {}
        End::Open | End::Closed => {
            return Err(Failure::malformed("something follows the JSON object"));
        }
        End::Cut => {}
        End::Broken => return Err(Failure::malformed("broken JSON")),
    }
    Ok(filler.extra)
}

/// Puts values where their names say.
pub(super) struct Filler<'f, 'a> {
    times: &'f mut Times,
    aliases: &'f Aliases,
    pub(super) parts: &'f mut Parts<'a>,
    extra: Extra<'a>,
    style: Style,
}

impl<'f, 'a> Filler<'f, 'a> {
    /// For formats whose values come without their names.
    pub(super) fn new(desk: &'f mut Desk, parts: &'f mut Parts<'a>, style: Style) -> Self {
        let (times, aliases) = (&mut desk.times, &desk.aliases);
        Self { times, aliases, parts, extra: Extra::default(), style }
    }

    /// Puts a word that says something. Whether it is of the kind that belongs there.
    pub(super) fn put_word(&mut self, meaning: Meaning, word: &'a str) -> bool {
        self.put(meaning, Value::Bare(word))
    }

    /// What was found beside the parts.
    pub(super) fn end(self) -> Extra<'a> {
        self.extra
    }

    fn meaning(&self, name: &str) -> Meaning {
        if self.style.own {
            Field::named(name).map_or(Meaning::Unknown, super::aliases::meaning)
        } else {
            self.aliases.meaning(name)
        }
    }

    /// Puts a value of a kind that most have that stand under such a name. Whether it was one: then
    /// nothing can be wrong with it.
    #[inline]
    fn put_usual(&mut self, meaning: Meaning, value: Value<'a>) -> bool {
        match (meaning, value) {
            (Meaning::Text(slot), Value::Text(text)) if !text.is_escaped() => {
                self.put_plain(slot, text.raw());
            }
            // Of times and numbers only our own event's must be what they are called.
            (Meaning::Time, Value::Text(text)) if !text.is_escaped() && !self.style.own => {
                if let Some(time) = present(text.raw()) {
                    self.put_number(meaning, time);
                }
            }
            (
                Meaning::Status | Meaning::BodyBytes | Meaning::Duration(_),
                Value::Bare(word) | Value::Number(word),
            ) if !self.style.own => {
                self.put_number(meaning, word);
            }
            _ => return false,
        }
        true
    }

    /// Puts the value of a name as it was written.
    fn entry(&mut self, name: &str, meaning: Meaning, value: Value<'a>) -> Result<(), Failure> {
        if meaning == Meaning::Unknown || !self.style.own && holds_names(meaning, value) {
            self.unknown(&unescaped(name), value, 1);
            return Ok(());
        }
        if !self.put(meaning, value) && self.style.own {
            let name: String = name.chars().take(64).collect();
            return Err(Failure::value(format!("column `{name}` has a value of another kind")));
        }
        Ok(())
    }

    /// Puts a text that stands in the line as it was meant.
    #[inline]
    fn put_plain(&mut self, slot: Slot, text: &'a str) {
        let value = match present(text) {
            None if !slot.keeps_empty() => return,
            None => "",
            Some(text) => text,
        };
        let place = slot.of(self.parts);
        if place.is_none_or(str::is_empty) {
            *place = Some(value);
        }
    }

    /// A name without a meaning: its inner names may have one, else it goes to `attrs`.
    fn unknown(&mut self, name: &str, value: Value<'a>, depth: usize) {
        let is_absent = matches!(value, Value::Null | Value::Text(_)) && text(value).is_none();
        self.parts.caller.other_secret |=
            !is_absent && secret::is_name(name.rsplit('.').next().unwrap_or(name));
        match value {
            Value::Object(text) if depth < DEPTH_MAX && !self.style.own => {
                let Some(mut object) = Object::open(text) else { return };
                while let Some((key, value)) = object.next() {
                    let inner = format!("{name}.{}", key.read());
                    let meaning = self.aliases.meaning(&inner);
                    if meaning == Meaning::Unknown || holds_names(meaning, value) {
                        self.unknown(&inner, value, depth + 1);
                    } else {
                        self.put(meaning, value);
                    }
                }
            }
            _ if self.style.attrs && self.parts.attrs.len() < ATTRS_MAX => {
                let value = match value {
                    Value::Object(text) | Value::List(text) => Some(Cow::Borrowed(text)),
                    other => text(other),
                };
                if let Some(value) = value {
                    self.parts.attrs.push((Cow::Owned(name.to_owned()), value));
                }
            }
            _ => {}
        }
    }

    /// Puts a value where it belongs. Whether it is of the kind that belongs there; absent is of
    /// any kind.
    fn put(&mut self, meaning: Meaning, value: Value<'a>) -> bool {
        match meaning {
            Meaning::Text(slot) => return self.put_text(slot, value),
            Meaning::Column(field) => return self.put_column(field, value),
            Meaning::Scopes | Meaning::Roles => {
                let Some(words) = self.words(value) else { return false };
                let caller = &mut self.parts.caller;
                let is_scopes = meaning == Meaning::Scopes;
                let list = if is_scopes { &mut caller.scopes } else { &mut caller.roles };
                list.extend(words);
            }
            Meaning::Flags => self.extra.flags = text(value),
            Meaning::Details => self.extra.details = text(value),
            Meaning::UpstreamStatus => {
                self.extra.names_upstream_status = true;
                let status = text(value);
                self.parts.upstream_status = status.as_deref().and_then(number::last_status);
                return self.parts.upstream_status.is_some() || status.is_none();
            }
            Meaning::Blocked => {
                let yes = matches!(
                    value,
                    Value::Flag(true) | Value::Bare("1") | Value::Number("1")
                ) || matches!(value, Value::Text(text) if matches!(text.raw(), "1" | "true" | "yes"));
                if yes {
                    self.parts.blocked_by.get_or_insert("gateway");
                }
            }
            Meaning::Ignore | Meaning::Unknown => {}
            numeric => {
                let Some(value) = text(value) else { return true };
                return self.put_number(numeric, &value);
            }
        }
        true
    }

    fn put_text(&mut self, slot: Slot, value: Value<'a>) -> bool {
        if let Value::Object(_) = value {
            return false;
        }
        let value = match text(value) {
            None if slot.keeps_empty() => Some(""),
            value => value.map(|text| self.parts.keep(text)),
        };
        let place = slot.of(self.parts);
        if place.is_none_or(str::is_empty) && value.is_some() {
            *place = value;
        }
        true
    }

    /// The words of a list of texts, or of a text that holds one, parted by spaces or commas.
    fn words(&mut self, value: Value<'a>) -> Option<Vec<&'a str>> {
        const ITEMS_MAX: usize = 64;
        Some(match value {
            Value::List(list) => {
                let words = items(list).filter_map(text).take(ITEMS_MAX);
                words.map(|word| self.parts.keep(word)).collect()
            }
            Value::Text(one) => {
                let words = self.parts.keep(one.read()).split([' ', ',']);
                words.filter(|word| !word.is_empty() && *word != "-").take(ITEMS_MAX).collect()
            }
            Value::Null => Vec::new(),
            Value::Bare(_) | Value::Number(_) | Value::Flag(_) | Value::Object(_) => return None,
        })
    }

    fn put_number(&mut self, meaning: Meaning, value: &str) -> bool {
        let parts = &mut *self.parts;
        match meaning {
            Meaning::Time => {
                let Some(time) = self.times.any(value) else {
                    self.extra.bad_time = true;
                    return false;
                };
                // Of two the finer: `ts` in seconds beside `msec`.
                if parts.time.is_none() || time.millis() % 1000 != 0 {
                    parts.time = Some(time);
                }
                true
            }
            Meaning::Started => set(&mut parts.started, self.times.any(value)),
            Meaning::Issued => set(&mut parts.caller.issued, self.times.any(value)),
            Meaning::Expires => set(&mut parts.caller.expires, self.times.any(value)),
            Meaning::Duration(unit) => {
                // API Gateway's `requestTime` is a moment.
                set(&mut parts.duration, duration(value, unit.or(self.style.duration)))
                    || set(&mut parts.time, self.times.any(value))
            }
            Meaning::Status => set(&mut parts.status, number::status(value)) || value == "0",
            Meaning::RequestBytes => set(&mut parts.request_bytes, number::count(value)),
            Meaning::BodyBytes => {
                let bytes = number::count(value);
                parts.response_bytes = bytes.or(parts.response_bytes);
                bytes.is_some()
            }
            Meaning::SentBytes => {
                parts.response_bytes.is_some()
                    || set(&mut parts.response_bytes, number::count(value))
            }
            _ => true,
        }
    }

    fn put_column(&mut self, field: Field, value: Value<'a>) -> bool {
        let json = match value {
            Value::Text(text) => serde_json::Value::String(text.read().into_owned()),
            Value::Flag(flag) => serde_json::Value::Bool(flag),
            Value::Null => return true,
            Value::Bare(raw) | Value::Number(raw) | Value::Object(raw) | Value::List(raw) => {
                match serde_json::from_str(raw) {
                    Ok(json) => json,
                    Err(_no_json) => return false,
                }
            }
        };
        let columns = self.parts.columns.get_or_insert_with(|| Box::new(Event::default()));
        columns.set(field, &cleaned(json, field)).is_ok()
    }
}

/// A value for a column without what must not travel.
fn cleaned(value: serde_json::Value, field: Field) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Json::String(text) if field == Field::Line => {
            Json::String(mask::line(&text, mask::How::default()).into_owned())
        }
        Json::String(text) if field == Field::QueryKeys && text.contains('=') => {
            cleaned(Json::String(text.split('=').next().unwrap_or("").to_owned()), field)
        }
        Json::String(text) if secret::is_value(&text) => Json::String("*".to_owned()),
        Json::String(text) => Json::String(mask::value(&text).into_owned()),
        Json::Array(items) => items.into_iter().map(|item| cleaned(item, field)).collect(),
        Json::Object(entries) => {
            let clean = |(name, value): (String, Json)| {
                let hidden = secret::is_name(&name);
                let value =
                    if hidden { Json::String("*".to_owned()) } else { cleaned(value, field) };
                (mask::value(&name).into_owned(), value)
            };
            Json::Object(entries.into_iter().map(clean).collect())
        }
        plain @ (Json::Null | Json::Bool(_) | Json::Number(_)) => plain,
    }
}

/// A name as it was meant.
fn unescaped(name: &str) -> Cow<'_, str> {
    if name.contains('\\') { Cow::Owned(unescape(name)) } else { Cow::Borrowed(name) }
}

/// Whether a name such as `request` or `client` holds an object of names rather than a value.
fn holds_names(meaning: Meaning, value: Value<'_>) -> bool {
    matches!(value, Value::Object(_)) && !matches!(meaning, Meaning::Column(_) | Meaning::Ignore)
}

/// Sets what is absent. Whether there was something to set it to.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let read = value.is_some();
    if place.is_none() {
        *place = value;
    }
    read
}

/// A span with its unit behind it, else in the unit given, else seconds where it has a fraction and
/// milliseconds where it has none.
fn duration(value: &str, unit: Option<Unit>) -> Option<i64> {
    if let None | Some(Unit::Seconds) = unit
        && let Some(micros) = number::micros_of_seconds(value)
    {
        return Some(micros);
    }
    if let Some(span) = number::span_with_unit(value) {
        return Some(span);
    }
    let by_look = if value.contains('.') { Unit::Seconds } else { Unit::Millis };
    // Of tries in a row (`0.1, 0.2`) the last counts.
    let last = value.rsplit([',', ' ']).find(|part| !part.is_empty())?;
    number::micros(last, unit.unwrap_or(by_look))
}

/// The text of a value; of a list, as headers come, the first.
fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => match text.read() {
            Cow::Borrowed(text) => present(text).map(Cow::Borrowed),
            Cow::Owned(text) => (!text.is_empty() && text != "-").then_some(Cow::Owned(text)),
        },
        Value::Bare(word) | Value::Number(word) => Some(Cow::Borrowed(word)),
        Value::Flag(true) => Some(Cow::Borrowed("true")),
        Value::Flag(false) => Some(Cow::Borrowed("false")),
        Value::Null | Value::Object(_) => None,
        Value::List(list) => {
            items(list).next().filter(|i| !matches!(i, Value::List(_))).and_then(text)
        }
    }
}
