//! Paths and templates in segments.
//!
//! Owns: how a path is cut, and which part of it names an object. Never: which template matches.

use memchr::{memchr_iter, memchr2};
use siphasher::sip::SipHasher24;

/// Segments of a path at most; deeper paths have no route. 24 slices are 384 bytes on the stack.
pub(super) const SEGMENTS_MAX: usize = 24;

/// The segments of a path, cut at its slashes into `parts`. Empty segments and `.` do not count, so
/// a slash at the end or twice changes nothing. None for what is not an absolute path, or too deep.
///
/// The caller has the room, since moving it costs more than cutting.
pub(super) fn cut<'p, 'b>(
    path: &'p str,
    parts: &'b mut [&'p str; SEGMENTS_MAX],
) -> Option<&'b [&'p str]> {
    let rest = path.strip_prefix('/')?;
    let (mut start, mut len) = (0, 0);
    for end in memchr_iter(b'/', rest.as_bytes()).chain([rest.len()]) {
        let part = rest.get(start..end)?;
        start = end + 1;
        if part.is_empty() || part == "." {
            continue;
        }
        *parts.get_mut(len)? = part;
        len += 1;
    }
    parts.get(..len)
}

/// The path as a server would read its segments: escapes undone but for slashes, and what follows
/// a `;` in a segment left out. None where that changes nothing.
pub(super) fn normalised(path: &str) -> Option<String> {
    memchr2(b'%', b';', path.as_bytes())?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    let mut in_parameter = false;
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        let escaped = escaped.filter(|byte| *byte != b'/');
        rest = match escaped {
            Some(_) => tail.get(2..).unwrap_or(&[]),
            None => tail,
        };
        in_parameter = match first {
            b'/' => false,
            b';' => true,
            _ => in_parameter,
        };
        if !in_parameter {
            bytes.push(escaped.unwrap_or(*first));
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Which part of a path names an object: the segment, and what surrounds the value in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectPlace {
    pub(super) segment: usize,
    pub(super) prefix: usize,
    pub(super) suffix: usize,
}

impl ObjectPlace {
    pub(super) fn value<'p>(&self, segments: &[&'p str]) -> Option<&'p str> {
        let segment = *segments.get(self.segment)?;
        let end = segment.len().checked_sub(self.suffix)?;
        segment.get(self.prefix..end).filter(|value| !value.is_empty())
    }
}

/// Parameters that choose a form of the answer, not an object.
const NOT_OBJECTS: [&str; 8] =
    ["version", "format", "lang", "language", "locale", "page", "ext", "extension"];

/// A segment of a template with its parameter: what is before it, its name, what is after.
fn parameter(segment: &str) -> Option<(&str, &str, &str)> {
    let (prefix, rest) = segment.split_once('{')?;
    let (name, suffix) = rest.split_once('}')?;
    if suffix.contains('{') {
        // Several parameters in one segment name the object together.
        return Some(("", name, ""));
    }
    Some((prefix, name, suffix))
}

fn object(template: &str) -> Option<(usize, Vec<&str>)> {
    let segments: Vec<&str> = template.split('/').filter(|s| !s.is_empty() && *s != ".").collect();
    let names_one = |segment: &&str| {
        parameter(segment).is_some_and(|(_, name, _)| {
            !name.ends_with('+') && !NOT_OBJECTS.contains(&name.to_ascii_lowercase().as_str())
        })
    };
    let place = segments.iter().rposition(names_one)?;
    Some((place, segments))
}

/// The place of the object in paths of a template.
pub(super) fn object_place(template: &str) -> Option<ObjectPlace> {
    let (segment, segments) = object(template)?;
    let (prefix, _, suffix) = parameter(segments.get(segment)?)?;
    Some(ObjectPlace { segment, prefix: prefix.len(), suffix: suffix.len() })
}

/// The type of the object in paths of a template.
pub(super) fn object_type(template: &str) -> Option<&str> {
    let (place, segments) = object(template)?;
    let before = segments.iter().take(place).rev();
    let literal = before.copied().find(|s| !s.contains('{') && !is_version(s));
    literal.or_else(|| {
        let (_, name, _) = parameter(segments.get(place)?)?;
        let bare =
            ["_id", "-id", "Id", "ID", "_uuid"].iter().find_map(|end| name.strip_suffix(end));
        bare.or(Some(name)).filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("id"))
    })
}

/// The part of an object's type in the hash of its id: the same in every process and version.
pub(super) fn type_hash(object_type: Option<&str>) -> u64 {
    SipHasher24::new_with_keys(0, 0).hash(object_type.unwrap_or("").as_bytes())
}

/// `v1`, `v2.7`.
pub(super) fn is_version(segment: &str) -> bool {
    segment.strip_prefix(['v', 'V']).is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::{SEGMENTS_MAX, cut, normalised, object_place, object_type};

    #[track_caller]
    fn check_object(template: &str, path: &str, expected: Option<(&str, &str)>) {
        let mut parts = [""; SEGMENTS_MAX];
        let segments = cut(path, &mut parts).unwrap();
        let value = object_place(template).and_then(|place| place.value(segments));
        assert_eq!(object_type(template).zip(value), expected);
    }

    #[test]
    fn the_last_parameter_names_the_object_and_the_literal_before_it_its_type() {
        check_object("/v1/orders/{id}", "/v1/orders/17", Some(("orders", "17")));
        check_object(
            "/users/{u}/orders/{o}/items",
            "/users/5/orders/7/items",
            Some(("orders", "7")),
        );
        check_object("/users/v1/{username}", "/users/v1/ann", Some(("users", "ann")));
        check_object("/reports/r-{id}.pdf", "/reports/r-9.pdf", Some(("reports", "9")));
        check_object("/{order_id}", "/3", Some(("order", "3")));
        check_object("/a/{x}...{y}", "/a/b...c", Some(("a", "b...c")));
    }

    #[test]
    fn parameters_that_choose_a_form_name_no_object() {
        check_object("/{locale}/about", "/de/about", None);
        check_object("/orders/{id}/{format}", "/orders/1/pdf", Some(("orders", "1")));
    }

    #[test]
    fn slashes_and_dots_do_not_count_and_deep_paths_have_no_segments() {
        let segments = |path: &str| {
            let mut parts = [""; SEGMENTS_MAX];
            cut(path, &mut parts).map(|segments| segments.join("|"))
        };
        assert_eq!(segments("//a/./b/").as_deref(), Some("a|b"));
        assert_eq!(segments("/ä/ö").as_deref(), Some("ä|ö"));
        assert_eq!(segments("/").as_deref(), Some(""));
        assert_eq!(segments("*"), None);
        assert_eq!(segments(&"/a".repeat(25)), None);
    }

    #[test]
    fn escapes_are_undone_but_not_those_of_slashes() {
        assert_eq!(normalised("/us%65rs/a%2fb;x=1/c").as_deref(), Some("/users/a%2fb/c"));
        assert_eq!(normalised("/%zz%").as_deref(), Some("/%zz%"));
        assert_eq!(normalised("/users"), None);
    }
}
