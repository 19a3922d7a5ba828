//! The layers of a configuration, from the lowest to the highest.
//!
//! Owns: their order, and the only reading of the environment.
//! Never: a default that stands in code; those are in the embedded text.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::in_force::InForce;
use super::problem::{Problem, Problems};
use super::read::{Source, document};
use super::reader::Outside;
use super::repair;
use super::tree::{Node, Place};

/// The beginning of the names of environment variables that are settings.
pub(super) const PREFIX: &str = "TIDEGATE__";

/// The name of the lowest layer in messages.
const DEFAULTS: &str = "embedded defaults";

/// Collects the layers of a configuration; see [`super`].
#[derive(Clone)]
pub struct Layers {
    defaults: String,
    file: Option<File>,
    environment: BTreeMap<String, String>,
    flags: Vec<Flag>,
}

#[derive(Clone)]
enum File {
    Required(PathBuf),
    Optional(PathBuf),
    /// Its name and text.
    Given(String, String),
}

#[derive(Clone)]
struct Flag {
    name: String,
    setting: String,
    text: String,
}

impl fmt::Debug for Layers {
    /// Without values, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

/// The settings, and how they came to be.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings, parsed.
    pub settings: T,
    /// What they were parsed from.
    pub in_force: InForce,
    /// The folder of the configuration file, empty without one; beside it relative paths are
    /// looked up.
    pub folder: PathBuf,
}

/// All variables of this process; for [`Layers::environment`].
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect()
}

impl Layers {
    /// Begins with the embedded defaults, in TOML.
    #[must_use]
    pub fn new(defaults: &str) -> Self {
        Self {
            defaults: defaults.to_owned(),
            file: None,
            environment: BTreeMap::new(),
            flags: Vec::new(),
        }
    }

    /// The file at `path`, which must be there.
    #[must_use]
    pub fn file(self, path: &Path) -> Self {
        Self { file: Some(File::Required(path.to_owned())), ..self }
    }

    /// The file at `path`, if it is there.
    #[must_use]
    pub fn file_if_there(self, path: &Path) -> Self {
        Self { file: Some(File::Optional(path.to_owned())), ..self }
    }

    /// A text in place of a file, with its name.
    #[must_use]
    pub fn text(self, name: &str, text: &str) -> Self {
        Self { file: Some(File::Given(name.to_owned(), text.to_owned())), ..self }
    }

    /// Environment variables. Those that do not begin with `TIDEGATE__` serve only as
    /// `{ env = "…" }` of a secret.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// The value of a flag, such as (`--listen`, `admin.listen`, `127.0.0.1:0`).
    #[must_use]
    pub fn flag(mut self, name: &str, setting: &str, text: &str) -> Self {
        let [name, setting, text] = [name, setting, text].map(str::to_owned);
        self.flags.push(Flag { name, setting, text });
        self
    }

    /// Reads everything.
    ///
    /// # Errors
    /// All mistakes that can be told apart: unknown keys, wrong types and values, what is missing,
    /// files that cannot be read.
    pub fn load<T: DeserializeOwned>(self) -> Result<Loaded<T>, Problems> {
        let mut gathered = Gathered::default();
        gathered.add(DEFAULTS, &self.defaults);
        let folder = self.add_file(&mut gathered);
        self.add_loose(&mut gathered);
        let Gathered { tree, sources, mut problems } = gathered;
        if problems.is_empty() {
            let outside = Outside { environment: self.environment, folder };
            match repair::read(&tree, &outside) {
                Ok(settings) => {
                    let in_force = InForce::new(tree, sources);
                    return Ok(Loaded { settings, in_force, folder: outside.folder });
                }
                Err(found) => problems = found,
            }
        }
        Err(Problems::new(problems, sources))
    }

    /// Adds the file; the folder in which it stands.
    fn add_file(&self, gathered: &mut Gathered) -> PathBuf {
        let (path, required) = match &self.file {
            None => return PathBuf::new(),
            Some(File::Given(name, text)) => {
                gathered.add(name, text);
                return PathBuf::new();
            }
            Some(File::Required(path)) => (path, true),
            Some(File::Optional(path)) => (path, false),
        };
        match fs::read_to_string(path) {
            Ok(text) => gathered.add(&path.display().to_string(), &text),
            Err(error) if error.kind() == ErrorKind::NotFound && !required => {}
            Err(error) => gathered.problems.push(Problem {
                title: format!("configuration file {} cannot be read", path.display()),
                place: Place::Top,
                label: Some(error.to_string()),
                help: Some(match error.kind() {
                    ErrorKind::NotFound => "`tidegate init` writes one".to_owned(),
                    _ => "is it a text file that this user may read?".to_owned(),
                }),
            }),
        }
        path.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn add_loose(&self, gathered: &mut Gathered) {
        let mut settings: Vec<(String, &str, &str)> = self
            .environment
            .iter()
            .filter_map(|(name, text)| {
                let setting = name.strip_prefix(PREFIX)?.to_lowercase();
                Some((setting, name.as_str(), text.as_str()))
            })
            .collect();
        settings.sort_by_cached_key(|(setting, ..)| by_number(setting));
        for (setting, name, text) in settings {
            let path: Vec<&str> = setting.split("__").collect();
            gathered.set(&path, text, Place::Environment(Arc::from(name)));
        }
        for Flag { name, setting, text } in &self.flags {
            let path: Vec<&str> = setting.split('.').collect();
            gathered.set(&path, text, Place::Flag(Arc::from(name.as_str())));
        }
    }
}

/// Sorts the second element of a list before the tenth.
fn by_number(setting: &str) -> Vec<(Option<usize>, String)> {
    setting.split("__").map(|part| (part.parse().ok(), part.to_owned())).collect()
}

/// What the layers give together.
struct Gathered {
    tree: Node,
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { tree: Node::table(Place::Top), sources: Vec::new(), problems: Vec::new() }
    }
}

impl Gathered {
    fn add(&mut self, name: &str, text: &str) {
        match document(self.sources.len(), text) {
            Ok(tree) => self.tree.merge(tree),
            Err(problems) => self.problems.extend(problems),
        }
        self.sources.push(Source { name: name.to_owned(), text: Arc::from(text) });
    }

    fn set(&mut self, path: &[&str], text: &str, place: Place) {
        if path.iter().any(|part| part.is_empty()) {
            self.problems.push(Problem {
                title: "the name has an empty part".to_owned(),
                place,
                label: Some(format!("write {PREFIX}SECTION__KEY")),
                help: None,
            });
        } else if let Err(out) = self.tree.set(path, text, &place) {
            let length = out.length;
            self.problems.push(Problem {
                title: "no such element of the list".to_owned(),
                place,
                label: Some(format!(
                    "the list has {length} so far, numbered from 0; {length} adds the next"
                )),
                help: None,
            });
        }
    }
}
