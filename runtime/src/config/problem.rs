//! Mistakes as text, with the place quoted.
//!
//! Owns: how a mistake looks on a terminal and in a log.
//! Never: a line that may hold a secret, unmasked.

use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::mask::mask;
use super::read::Source;
use super::tree::Place;
use crate::error::{Class, Classified};

/// One mistake.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// What is wrong.
    pub(super) title: String,
    pub(super) place: Place,
    /// Said at the place.
    pub(super) label: Option<String>,
    /// What next, where the label does not say it.
    pub(super) help: Option<String>,
}

/// All mistakes in a configuration; never none.
#[derive(Clone)]
pub struct Problems {
    problems: Vec<Problem>,
    sources: Vec<Source>,
}

impl fmt::Debug for Problems {
    /// As it is shown, because the sources hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Problems {
    /// In the order of their places.
    pub(super) fn new(mut problems: Vec<Problem>, sources: Vec<Source>) -> Self {
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        Self { problems, sources }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// Each with its place, with colours if the reader can show them; without a newline at the end.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let masked: Vec<String> = self.sources.iter().map(|source| mask(&source.text)).collect();
        let rendered: Vec<String> = self
            .problems
            .iter()
            .map(|problem| renderer.render(&self.groups(problem, &masked)))
            .collect();
        rendered.join("\n\n")
    }

    fn groups<'a>(&'a self, problem: &'a Problem, masked: &'a [String]) -> Vec<Group<'a>> {
        let title = Level::ERROR.primary_title(problem.title.as_str());
        let said = problem.label.iter().chain(&problem.help);
        let group = match &problem.place {
            Place::Text { text, start, end } => {
                let (name, quoted) = self
                    .sources
                    .get(*text)
                    .zip(masked.get(*text))
                    .map_or(("", ""), |(source, quoted)| (source.name.as_str(), quoted.as_str()));
                let span = (*start).min(quoted.len())..(*end).min(quoted.len());
                let annotation = AnnotationKind::Primary.span(span).label(problem.label.as_deref());
                let group =
                    title.element(Snippet::source(quoted).path(name).annotation(annotation));
                group.elements(problem.help.iter().map(|help| Level::HELP.message(help.as_str())))
            }
            Place::Environment(name) => title
                .element(Origin::path(format!("environment variable {name}")))
                .elements(said.map(|text| Level::HELP.message(text.as_str()))),
            Place::Flag(name) => title
                .element(Origin::path(name.as_ref()))
                .elements(said.map(|text| Level::HELP.message(text.as_str()))),
            Place::Top => Group::with_title(title)
                .elements(said.map(|text| Level::HELP.message(text.as_str()))),
        };
        vec![group]
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl Classified for Problems {
    fn class(&self) -> Class {
        Class::Input
    }
}
