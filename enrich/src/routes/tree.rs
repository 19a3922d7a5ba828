//! Declared templates of one service, by segments.
//!
//! Owns: which template a path matches. Never: what is known of a template.
//!
//! Templates that differ only in the names of their parameters share a leaf. In a segment, a
//! literal is tried before a literal with parameters in it, and that before a parameter alone. A
//! dead end, or a leaf that lacks the method, sends the search back, which crates that walk a
//! radix tree once per path cannot do: `/users/me` may have GET alone while `DELETE /users/{id}`
//! is declared.

use super::METHODS;
use super::segments::ObjectPlace;
use crate::recent::mixed;

/// What is known of a template.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) template: Box<str>,
    /// The fact of each declared method.
    pub(super) facts: [Option<u32>; METHODS.len()],
    /// The fact of an OPTIONS request that is not declared.
    pub(super) preflight: u32,
    /// The fact of another method that is not declared.
    pub(super) undeclared: u32,
    pub(super) object: Option<ObjectPlace>,
    /// A hash of the object's type.
    pub(super) object_type: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
}

#[derive(Debug, Default)]
struct Node {
    /// By hash, so that most of the search stays in a few lines of memory.
    literals: Vec<(u64, u32)>,
    /// The texts of the literals, in the same order.
    texts: Vec<Box<str>>,
    mixed: Vec<(Mixed, u32)>,
    parameter: Option<u32>,
    /// A leaf that takes all that is left.
    rest: Option<u32>,
    leaf: Option<u32>,
}

/// A segment with text around its parameters: `{id}.pdf`, `{base}...{head}`.
#[derive(Debug, PartialEq, Eq)]
struct Mixed {
    prefix: Box<str>,
    between: Vec<Box<str>>,
    suffix: Box<str>,
}

impl Mixed {
    fn read(segment: &str) -> Self {
        let mut literals = Vec::new();
        let mut rest = segment;
        while let Some((before, after)) = rest.split_once('{') {
            literals.push(before.into());
            rest = after.split_once('}').map_or("", |(_, after)| after);
        }
        let mut literals = literals.into_iter();
        let prefix = literals.next().unwrap_or_default();
        Self { prefix, between: literals.collect(), suffix: rest.into() }
    }

    fn matches(&self, segment: &str) -> bool {
        let inner = segment
            .strip_prefix(self.prefix.as_ref())
            .and_then(|rest| rest.strip_suffix(self.suffix.as_ref()));
        let Some(mut rest) = inner.filter(|inner| !inner.is_empty()) else { return false };
        for literal in &self.between {
            // A parameter takes at least one character.
            let start = rest.chars().next().map_or(0, char::len_utf8);
            let Some(tail) = rest.get(start..) else { return false };
            let Some((_, after)) = tail.split_once(literal.as_ref()) else { return false };
            rest = after;
        }
        self.between.is_empty() || !rest.is_empty()
    }
}

impl Node {
    /// The child behind a literal.
    fn literal(&self, segment: &str) -> Option<u32> {
        if let [(_, child)] = self.literals.as_slice() {
            // Most places have one name.
            return self.texts.first().filter(|text| text.as_ref() == segment).map(|_| *child);
        }
        let hash = mixed(segment.as_bytes());
        let first = self.literals.partition_point(|(known, _)| *known < hash);
        let same = self.literals.iter().zip(&self.texts).skip(first);
        same.take_while(|((known, _), _)| *known == hash)
            .find(|(_, text)| text.as_ref() == segment)
            .map(|((_, child), _)| *child)
    }
}

/// A search through the tree.
#[derive(Debug)]
struct Search<'s> {
    method: Option<usize>,
    /// The first leaf that fits but for the method.
    other: Option<&'s Leaf>,
}

impl Tree {
    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    pub(super) fn leaf(&self, place: u32) -> Option<&Leaf> {
        self.leaves.get(usize::try_from(place).ok()?)
    }

    pub(super) fn leaf_mut(&mut self, place: u32) -> Option<&mut Leaf> {
        self.leaves.get_mut(usize::try_from(place).ok()?)
    }

    fn node(&self, place: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(place).ok()?)
    }

    /// The place of the leaf of a template, new and empty where there was none.
    pub(super) fn place(&mut self, template: &str) -> u32 {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in template.split('/').filter(|s| !s.is_empty() && *s != ".") {
            if segment.starts_with('{') && segment.ends_with("+}") {
                return self.leaf_place(at, |node| &mut node.rest);
            }
            at = self.child(at, segment);
        }
        self.leaf_place(at, |node| &mut node.leaf)
    }

    fn leaf_place(&mut self, at: usize, of: impl Fn(&mut Node) -> &mut Option<u32>) -> u32 {
        let next = number(self.leaves.len());
        let Some(node) = self.nodes.get_mut(at) else { return next };
        let place = *of(node).get_or_insert(next);
        if place == next {
            self.leaves.push(Leaf {
                template: Box::default(),
                facts: [None; METHODS.len()],
                preflight: 0,
                undeclared: 0,
                object: None,
                object_type: 0,
            });
        }
        place
    }

    fn child(&mut self, at: usize, segment: &str) -> usize {
        let next = number(self.nodes.len());
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let place = if !segment.contains('{') {
            node.literal(segment).unwrap_or_else(|| {
                let hash = mixed(segment.as_bytes());
                let gap = node.literals.partition_point(|(known, _)| *known < hash);
                node.literals.insert(gap, (hash, next));
                node.texts.insert(gap, segment.into());
                next
            })
        } else if is_parameter(segment) {
            *node.parameter.get_or_insert(next)
        } else {
            let pattern = Mixed::read(segment);
            match node.mixed.iter().find(|(known, _)| *known == pattern) {
                Some((_, child)) => *child,
                None => {
                    node.mixed.push((pattern, next));
                    // The more text, the more it says.
                    node.mixed.sort_by_key(|(pattern, _)| {
                        std::cmp::Reverse(pattern.prefix.len() + pattern.suffix.len())
                    });
                    next
                }
            }
        };
        if place == next {
            self.nodes.push(Node::default());
        }
        usize::try_from(place).unwrap_or(at)
    }

    /// The leaf of a path, and whether it has the method.
    pub(super) fn find(&self, segments: &[&str], method: Option<usize>) -> Option<(&Leaf, bool)> {
        let mut search = Search { method, other: None };
        match self.descend(0, segments, &mut search) {
            Some(leaf) => Some((leaf, true)),
            None => search.other.map(|leaf| (leaf, false)),
        }
    }

    fn descend<'s>(
        &'s self,
        at: u32,
        segments: &[&str],
        search: &mut Search<'s>,
    ) -> Option<&'s Leaf> {
        let node = self.node(at)?;
        let Some((first, rest)) = segments.split_first() else {
            return self.arrive(node.leaf, search);
        };
        if let Some(child) = node.literal(first) {
            let found = self.descend(child, rest, search);
            if found.is_some() {
                return found;
            }
        }
        for (pattern, child) in &node.mixed {
            if pattern.matches(first) {
                let found = self.descend(*child, rest, search);
                if found.is_some() {
                    return found;
                }
            }
        }
        let by_parameter = node.parameter.and_then(|child| self.descend(child, rest, search));
        by_parameter.or_else(|| self.arrive(node.rest, search))
    }

    fn arrive<'s>(&'s self, leaf: Option<u32>, search: &mut Search<'s>) -> Option<&'s Leaf> {
        let leaf = self.leaf(leaf?)?;
        if leaf.fact(search.method).is_some() {
            return Some(leaf);
        }
        search.other.get_or_insert(leaf);
        None
    }
}

/// Whether a segment of a template is one parameter and nothing else.
fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{') && segment.find('}') == Some(segment.len() - 1)
}

/// Nodes and leaves are numbered in 32 bits; a document of 32 MiB has fewer segments.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
