//! Templates that traffic has shown.
//!
//! Owns: one tree of segments a service, and the bound on all of them. Never: declared routes.
//!
//! A segment that looks like a value (see `shape`) is `{id}`. So is, in a place that has shown
//! more than [`CHILDREN_MAX`] names, every name that is not much more frequent than the others.
//!
//! Anyone can ask for any path, so only answers teach: one that served the request adds what it
//! needs; one that refused the caller (401, 403 and their like) adds at most [`REFUSED_MAX`] names
//! in one place; a 404 and all else add nothing. A path that is not known has no template. What was
//! learned depends on the order of events, not on a clock, and is forgotten with the process.

use std::collections::HashMap;

use super::segments::{ObjectPlace, SEGMENTS_MAX, is_version, type_hash};
use super::{shape, words};
use crate::recent::mixed;

/// Names in one place before the less frequent ones become `{id}`.
const CHILDREN_MAX: usize = 64;

/// Names in one place that only refusals have shown.
const REFUSED_MAX: u16 = 16;

/// Places of one service at most: more templates than any API we know of has.
const SERVICE_NODES_MAX: usize = 4_096;

/// Places of all services. At about 300 bytes each, with their templates, 20 MiB.
const NODES_MAX: usize = 65_536;

/// Services at most; their names may come from Host headers.
const SERVICES_MAX: usize = 1_024;

/// What an answer says about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The application served it.
    Served,
    /// The application refused the caller.
    Refused,
    /// Nothing.
    None,
}

impl Evidence {
    pub(super) fn of(status: Option<i32>) -> Self {
        match status {
            Some(200..=299 | 304) => Self::Served,
            Some(401 | 402 | 403 | 405 | 409 | 412 | 415 | 422 | 423 | 429) => Self::Refused,
            _ => Self::None,
        }
    }
}

/// A learned template and what its words say.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) text: Box<str>,
    /// A segment speaks of administration.
    pub(super) admin: bool,
    pub(super) object: Option<ObjectPlace>,
    pub(super) object_type: Option<Box<str>>,
    /// A hash of `object_type`.
    pub(super) type_hash: u64,
}

#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Places in `services`.
    names: HashMap<Box<str>, usize>,
    services: Vec<Service>,
    nodes: usize,
    templates: usize,
    /// Events without a template because a bound was reached, since the last look.
    unlearned: u64,
}

#[derive(Debug, Default)]
struct Service {
    root: Node,
    nodes: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// The places of the children by the hash of their names, rising.
    places: Vec<(u64, u8)>,
    children: Vec<(Box<str>, Node)>,
    parameter: Option<Box<Node>>,
    template: Option<Box<Template>>,
    /// Served requests that came through here.
    hits: u64,
    /// Children that only refusals have shown.
    refused: u16,
    /// Names that are not children are `{id}`.
    collapsed: bool,
}

/// What a walk adds and may add.
#[derive(Debug)]
struct Walk {
    evidence: Evidence,
    room: usize,
    nodes_added: usize,
    nodes_gone: usize,
    templates_added: usize,
    templates_gone: usize,
    /// Something was left out for want of room.
    full: bool,
}

impl Learned {
    pub(super) fn templates(&self) -> usize {
        self.templates
    }

    /// Events without a template because a bound was reached, since the last call.
    pub(super) fn take_unlearned(&mut self) -> u64 {
        std::mem::take(&mut self.unlearned)
    }

    /// The number of a service; none where there are too many.
    pub(super) fn service(&mut self, name: &str) -> Option<usize> {
        if let Some(known) = self.names.get(name) {
            return Some(*known);
        }
        if self.services.len() >= SERVICES_MAX {
            return None;
        }
        self.names.insert(name.into(), self.services.len());
        self.services.push(Service::default());
        Some(self.services.len() - 1)
    }

    /// The template of a path, after learning from the answer to it.
    pub(super) fn place(
        &mut self,
        service: Option<usize>,
        segments: &[&str],
        evidence: Evidence,
    ) -> Option<&Template> {
        let Some(of) = service.and_then(|service| self.services.get_mut(service)) else {
            self.unlearned += u64::from(evidence != Evidence::None);
            return None;
        };
        let room = SERVICE_NODES_MAX.saturating_sub(of.nodes);
        let mut walk = Walk {
            evidence,
            room: room.min(NODES_MAX.saturating_sub(self.nodes)),
            nodes_added: 0,
            nodes_gone: 0,
            templates_added: 0,
            templates_gone: 0,
            full: false,
        };
        let found = of.root.walk(segments, &mut walk);
        of.nodes = (of.nodes + walk.nodes_added).saturating_sub(walk.nodes_gone);
        self.nodes = (self.nodes + walk.nodes_added).saturating_sub(walk.nodes_gone);
        self.templates =
            (self.templates + walk.templates_added).saturating_sub(walk.templates_gone);
        self.unlearned += u64::from(walk.full);
        found
    }
}

/// One bit a segment: which of them are `{id}`.
type Values = u32;
const _: () = assert!(CHILDREN_MAX <= 256, "the place of a child has eight bits");
const _: () = assert!(SEGMENTS_MAX <= 32, "one bit a segment");

impl Node {
    fn walk(&mut self, segments: &[&str], walk: &mut Walk) -> Option<&Template> {
        let served = u64::from(walk.evidence == Evidence::Served);
        let mut values: Values = 0;
        let mut node = self;
        node.hits += served;
        for (place, segment) in segments.iter().enumerate() {
            let (child, is_value) = node.step(segment, walk)?;
            values |= u32::from(is_value) << place;
            node = child;
            node.hits += served;
        }
        if node.template.is_none() {
            if walk.evidence == Evidence::None {
                return None;
            }
            node.template = Some(Box::new(Template::new(segments, values)));
            walk.templates_added += 1;
        }
        node.template.as_deref()
    }

    /// The node behind a segment, and whether the segment is a value there.
    fn step(&mut self, segment: &str, walk: &mut Walk) -> Option<(&mut Self, bool)> {
        // A name that is known is no value: it would not have become one. Only the others are looked
        // at letter by letter.
        let hash = mixed(segment.as_bytes());
        if let Some(known) = self.child(segment, hash) {
            return self.children.get_mut(known).map(|(_, child)| (child, false));
        }
        if !shape::is_value(segment) && !self.collapsed {
            if !self.may_add(walk) {
                return None;
            }
            if self.children.len() < CHILDREN_MAX {
                return self.add(segment, hash, walk).map(|child| (child, false));
            }
            self.collapse(walk);
        }
        if self.parameter.is_none() {
            if walk.evidence == Evidence::None {
                return None;
            }
            if walk.room == 0 {
                walk.full = true;
                return None;
            }
            walk.room -= 1;
            walk.nodes_added += 1;
        }
        Some((self.parameter.get_or_insert_default(), true))
    }

    /// The place of a child.
    fn child(&self, segment: &str, hash: u64) -> Option<usize> {
        let first = self.places.partition_point(|(known, _)| *known < hash);
        let same = self.places.iter().skip(first).take_while(|(known, _)| *known == hash);
        same.map(|(_, place)| usize::from(*place)).find(|place| {
            self.children.get(*place).is_some_and(|(name, _)| name.as_ref() == segment)
        })
    }

    /// Whether this answer may add a name here.
    fn may_add(&self, walk: &mut Walk) -> bool {
        match walk.evidence {
            Evidence::None => false,
            Evidence::Refused if self.refused >= REFUSED_MAX => {
                walk.full = true;
                false
            }
            Evidence::Refused if self.children.len() >= CHILDREN_MAX => false,
            Evidence::Refused | Evidence::Served => {
                walk.full |= walk.room == 0;
                walk.room > 0
            }
        }
    }

    fn add(&mut self, segment: &str, hash: u64, walk: &mut Walk) -> Option<&mut Self> {
        let place = u8::try_from(self.children.len()).ok()?;
        walk.room = walk.room.saturating_sub(1);
        walk.nodes_added += 1;
        if walk.evidence == Evidence::Refused {
            self.refused += 1;
        }
        let gap = self.places.partition_point(|(known, _)| *known < hash);
        self.places.insert(gap, (hash, place));
        self.children.push((segment.into(), Self::default()));
        self.children.last_mut().map(|(_, child)| child)
    }

    /// Keeps the names that are far more frequent than the others; the rest are `{id}` from now on.
    /// At most a quarter of them can be four times as frequent as all are on average.
    fn collapse(&mut self, walk: &mut Walk) {
        const HITS_MIN: u64 = 16;
        let total: u64 = self.children.iter().map(|(_, child)| child.hits).sum();
        let count = u64::try_from(self.children.len()).unwrap_or(u64::MAX).max(1);
        let often = (4 * total / count).max(HITS_MIN);
        self.children.retain(|(_, child)| {
            if child.hits < often {
                child.leave(walk);
            }
            child.hits >= often
        });
        let places = self.children.iter().zip(0_u8..);
        self.places = places.map(|((name, _), place)| (mixed(name.as_bytes()), place)).collect();
        self.places.sort_unstable();
        self.collapsed = true;
    }

    /// Counts a node and all below it as gone.
    fn leave(&self, walk: &mut Walk) {
        walk.nodes_gone += 1;
        walk.templates_gone += usize::from(self.template.is_some());
        for (_, child) in &self.children {
            child.leave(walk);
        }
        if let Some(child) = &self.parameter {
            child.leave(walk);
        }
    }
}

impl Template {
    fn new(segments: &[&str], values: Values) -> Self {
        let is_value = |place: usize| values >> place & 1 == 1;
        let mut text = String::new();
        for (place, segment) in segments.iter().enumerate() {
            text.push('/');
            text.push_str(if is_value(place) { "{id}" } else { segment });
        }
        if text.is_empty() {
            text.push('/');
        }
        let literals =
            || segments.iter().enumerate().filter(|(place, _)| !is_value(*place)).map(|(_, s)| *s);
        let object = (0..segments.len()).rev().find(|place| is_value(*place));
        let object_type: Option<Box<str>> = object.and_then(|object| {
            let before = segments.iter().enumerate().take(object).rev();
            let mut names = before.filter(|(place, name)| !is_value(*place) && !is_version(name));
            names.next().map(|(_, name)| (*name).into())
        });
        Self {
            text: text.into(),
            admin: literals().any(words::is_admin),
            object: object.map(|segment| ObjectPlace { segment, prefix: 0, suffix: 0 }),
            type_hash: type_hash(object_type.as_deref()),
            object_type,
        }
    }
}

#[cfg(test)]
mod tests;
