//! Routes and objects joined to a batch.
//!
//! Owns: the order of gateway, document and traffic, and the hash of objects. Never: how each of
//! them finds a template.

use arrow::array::{BooleanBuilder, Int64Builder, StringBuilder};
use arrow::error::ArrowError;
use schemas::Field;
use siphasher::sip::SipHasher24;

use super::learned::{Evidence, Learned};
use super::segments::{SEGMENTS_MAX, cut, normalised};
use super::tree::Leaf;
use super::versions::Versions;
use super::{Declared, Known, POST, Routes, method_number, words};
use crate::columns::{Building, Columns, Seen};
use crate::deploys::Deploys;
use crate::facts::Picks;
use crate::missing::{Lack, Missing};
use crate::recent::Recent;

/// What the join of routes keeps from batch to batch.
#[derive(Debug)]
pub(crate) struct RouteState {
    learned: Option<Learned>,
    object_key: [u64; 2],
}

impl RouteState {
    pub(crate) fn new(object_key: [u8; 16], learn: bool) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = object_key;
        let object_key = [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)];
        Self { learned: learn.then(Learned::default), object_key }
    }

    /// How many templates are learned, and how many events went without one for want of room since
    /// the last call.
    pub(crate) fn counts(&mut self) -> (usize, u64) {
        match &mut self.learned {
            Some(learned) => (learned.templates(), learned.take_unlearned()),
            None => (0, 0),
        }
    }
}

/// The columns that are built row by row.
#[derive(Debug, Default)]
struct Built {
    route: Building<StringBuilder>,
    source: Building<StringBuilder>,
    declared: Building<BooleanBuilder>,
    login: Building<BooleanBuilder>,
    privileged: Building<BooleanBuilder>,
    object_type: Building<StringBuilder>,
    object_id: Building<StringBuilder>,
    object_number: Building<Int64Builder>,
}

/// A request, as far as routes go.
#[derive(Debug, Clone, Copy)]
struct Request<'s> {
    row: usize,
    method: Option<usize>,
    path: Option<&'s str>,
    route: Option<&'s str>,
    declared: Option<&'s Declared>,
    /// Its service's number among the learned ones.
    learned: Option<usize>,
    status: Option<i32>,
    blocked: bool,
}

/// What is known of a request's service.
#[derive(Debug, Clone, Copy)]
struct Service<'s> {
    declared: Option<&'s Versions>,
    /// Its number among the learned ones.
    learned: Option<usize>,
}

/// What routes are held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'s> {
    pub(crate) seen: &'s Seen,
    pub(crate) deploys: &'s Deploys,
}

impl Routes {
    /// Fills the columns of routes and objects.
    pub(crate) fn join(
        &self,
        state: &mut RouteState,
        Held { seen, deploys }: Held<'_>,
        columns: &mut Columns,
        missing: &mut Missing,
    ) -> Result<(), ArrowError> {
        if self.is_empty() && state.learned.is_none() {
            return Ok(());
        }
        let mut operations = Picks::with_capacity(seen.rows);
        let mut templates = Picks::with_capacity(seen.rows);
        let mut built = Built::default();
        let mut services = Recent::new();
        for row in 0..seen.rows {
            let (path, route) = (seen.path.get(row), seen.route.get(row));
            // A call that the service itself made has a path of its peer.
            let outward = seen.direction.get(row) == Some("out");
            if outward || (path.is_none() && route.is_none()) {
                operations.push(None);
                templates.push(None);
                continue;
            }
            let service = services.get(seen.service.get(row).unwrap_or(""), |name| Service {
                declared: self.services.get(name),
                learned: state.learned.as_mut().and_then(|learned| learned.service(name)),
            });
            let declared = service
                .declared
                .and_then(|versions| versions.of(|| deploys.version_behind(seen, row)));
            let request = Request {
                row,
                method: seen.method.get(row).and_then(method_number),
                path,
                route,
                declared,
                learned: service.learned,
                status: seen.status.get(row),
                blocked: seen.blocked_by.get(row).is_some(),
            };
            if declared.is_none() && !self.is_empty() {
                missing.note(row, Lack::Route);
            }
            let (operation, template) = match state.place(&request, &mut built) {
                Known::Operation(fact) => (Some(fact), None),
                Known::Template(fact) => (None, Some(fact)),
                Known::Nothing => (None, None),
            };
            operations.push(operation);
            templates.push(template);
        }
        // Before the facts, since what the log named is the gateway's, whatever a document says.
        built.fill(columns)?;
        self.facts.fill(operations, columns)?;
        self.others.fill(templates, columns)
    }
}

impl RouteState {
    /// What is known of a request; what has no fact is put into `built`.
    fn place(&mut self, request: &Request<'_>, built: &mut Built) -> Known {
        let declared = request.declared;
        let normal = request.path.and_then(normalised);
        let mut parts = [""; SEGMENTS_MAX];
        let path = normal.as_deref().or(request.path);
        let segments = path.and_then(|path| cut(path, &mut parts));
        if request.route.is_some() {
            built.source.put(request.row, "gateway");
        }
        if let Some(declared) = declared {
            let named = request.route.and_then(|route| declared.leaf_of_template(route));
            let found =
                named.or_else(|| segments.and_then(|path| declared.find(path, request.method)));
            if let Some(leaf) = found {
                self.put_object(request.row, leaf, segments.unwrap_or(&[]), built);
                return leaf.known(request.method);
            }
        }
        self.learn(request, segments, built);
        if declared.is_some() {
            built.declared.put(request.row, false);
        }
        Known::Nothing
    }

    /// Puts the object of a declared route, whose type is among the facts.
    fn put_object(&self, row: usize, leaf: &Leaf, segments: &[&str], built: &mut Built) {
        if let Some(value) = leaf.object.and_then(|place| place.value(segments)) {
            let of_type = leaf.object_type;
            built.object(row, ObjectName { key: self.object_key, of_type, value });
        }
    }

    fn learn(&mut self, request: &Request<'_>, segments: Option<&[&str]>, built: &mut Built) {
        let Request { row, route, .. } = *request;
        let last = segments.and_then(|segments| segments.last());
        let tries_password = request.method == Some(POST)
            && request.status != Some(404)
            && last.is_some_and(|last| words::is_login(last));
        let evidence = match Evidence::of(request.status) {
            _ if request.blocked => Evidence::None,
            _ if tries_password => Evidence::Served,
            evidence => evidence,
        };
        let template = match (&mut self.learned, segments) {
            (Some(learned), Some(segments)) => learned.place(request.learned, segments, evidence),
            _ => None,
        };
        if route.is_none() {
            if let Some(template) = template {
                built.route.put(row, &template.text);
            }
            built.source.put(row, if template.is_some() { "learned" } else { "none" });
        }
        if tries_password {
            built.login.put(row, true);
        }
        let (Some(template), Some(segments)) = (template, segments) else { return };
        if template.admin {
            built.privileged.put(row, true);
        }
        if let Some(value) = template.object.and_then(|place| place.value(segments)) {
            if let Some(of_type) = template.object_type.as_deref() {
                built.object_type.put(row, of_type);
            }
            let of_type = template.type_hash;
            built.object(row, ObjectName { key: self.object_key, of_type, value });
        }
    }
}

/// What an object's id is a hash of.
#[derive(Debug, Clone, Copy)]
struct ObjectName<'o> {
    key: [u64; 2],
    /// A hash of its type.
    of_type: u64,
    value: &'o str,
}

impl Built {
    fn object(&mut self, row: usize, name: ObjectName<'_>) {
        let ObjectName { key: [first, second], of_type, value } = name;
        // The type goes into the key, so that one call hashes the value for this type alone.
        let hash = SipHasher24::new_with_keys(first ^ of_type, second).hash(value.as_bytes());
        let mut text = [0; 16];
        self.object_id.put(row, hexadecimal(hash, &mut text));
        if let Some(number) = number(value) {
            self.object_number.put(row, number);
        }
    }
}

impl Declared {
    fn find(&self, segments: &[&str], method: Option<usize>) -> Option<&Leaf> {
        self.tree.find(segments, method).map(|(leaf, _has_method)| leaf)
    }
}

impl Built {
    fn fill(self, columns: &mut Columns) -> Result<(), ArrowError> {
        self.route.fill(Field::Route, columns)?;
        self.source.fill(Field::RouteSource, columns)?;
        self.declared.fill(Field::RouteDeclared, columns)?;
        self.login.fill(Field::RouteLogin, columns)?;
        self.privileged.fill(Field::RoutePrivileged, columns)?;
        self.object_type.fill(Field::ObjectType, columns)?;
        self.object_id.fill(Field::ObjectId, columns)?;
        self.object_number.fill(Field::ObjectNumber, columns)
    }
}

/// 64 bits, written in 16 digits. Of ten million objects two share one with a chance of one in
/// 400,000.
fn hexadecimal(hash: u64, text: &mut [u8; 16]) -> &str {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(hash.to_be_bytes()) {
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    std::str::from_utf8(text).unwrap_or("")
}

/// The value as a number, where it is written as one.
fn number(value: &str) -> Option<i64> {
    if value.len() > 19 || value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}
