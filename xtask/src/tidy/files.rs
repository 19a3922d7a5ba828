//! The text of files: openings, lengths, names, and what must not stand in them.
//!
//! Owns: checks that look at one file at a time. Never: what code means.

use std::path::{Path, PathBuf};

use super::breach::Breach;
use crate::place;

const LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["util", "common", "helper", "manager", "handler", "processor", "misc", "data"];

/// Servers of package registries, in two parts each so that this file names none of them.
const REGISTRIES: [(&str, &str); 10] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("pypi", ".org"),
    ("files.pythonhosted", ".org"),
    ("registry.npmjs", ".org"),
    ("repo.maven.apache", ".org"),
    ("repo1.maven", ".org"),
    ("proxy.golang", ".org"),
    ("deb.debian", ".org"),
    ("registry-1.docker", ".io"),
];

/// A file that git knows.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Relative to the root.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
}

/// Folders that exist on one machine only.
#[derive(Debug)]
pub(super) struct Machine {
    folders: Vec<String>,
}

impl Machine {
    /// This machine: where the checkout lies, and where tools keep their files.
    pub(super) fn this(root: &Path) -> Self {
        Self::new(root, place::variable("HOME").map(PathBuf::from))
    }

    fn new(root: &Path, home: Option<PathBuf>) -> Self {
        let mut folders = vec![root.to_path_buf()];
        // Beside the checkout lies the rest of somebody's workplace, unless that is a folder that
        // every machine has.
        let parent = root.parent().filter(|parent| is_private(parent));
        folders.extend(parent.map(Path::to_path_buf));
        if let Some(home) = home {
            folders.extend([".cargo", ".rustup", ".cache", ".pyenv"].map(|name| home.join(name)));
        }
        Self { folders: folders.iter().map(|folder| format!("{}/", folder.display())).collect() }
    }
}

/// Whether a folder is not one that every Linux machine has.
fn is_private(folder: &Path) -> bool {
    const EVERYWHERE: [&str; 14] = [
        "", "bin", "boot", "dev", "etc", "lib", "media", "mnt", "opt", "proc", "run", "tmp", "usr",
        "var",
    ];
    let mut parts = folder.iter().skip(1);
    let first = parts.next().map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
    let only = parts.next().is_none();
    let shared = only && ["home", "root", "srv", "src"].contains(&first.as_str());
    !shared && !EVERYWHERE.contains(&first.as_str())
}

/// Checks every file.
pub(super) fn check(tracked: &[Tracked], machine: &Machine) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tracked {
        breaches.extend(check_places(file, machine));
        if file.path.extension().is_some_and(|ending| ending == "rs") {
            breaches.extend(check_source(file));
        }
    }
    breaches
}

fn check_source(file: &Tracked) -> Vec<Breach> {
    let place = file.path.display();
    let stem = file.path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let is_test = stem == "tests"
        || file.path.iter().any(|part| part == "tests" || part == "benches" || part == "examples");
    let mut breaches = Vec::new();
    let opening = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if !is_test && !opening.is_some_and(|line| line.starts_with("//!")) {
        breaches.push(Breach::new(
            &place,
            "does not open with `//!`",
            "say what the module owns and what it never does",
        ));
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.trim_start().starts_with("#[ignore") {
            let mend = "let it run, or remove it; one that needs a part reports that it is missing";
            breaches.push(Breach::new(format!("{place}:{number}"), "a test that never runs", mend));
        }
    }
    let lines = lines_without_tests(&file.text);
    if !is_test && lines > LINES_MAX {
        breaches.push(Breach::new(
            &place,
            format!("{lines} lines without tests, at most {LINES_MAX}"),
            "move what can be understood alone to a file of its own",
        ));
    }
    if stem == "mod" {
        let mend = "name it after the module: `foo.rs` beside the folder `foo/`";
        breaches.push(Breach::new(&place, "is a `mod.rs`", mend));
    }
    if EMPTY_NAMES.contains(&&*stem) || EMPTY_NAMES.iter().any(|name| stem == format!("{name}s")) {
        let mend = "name it after what it owns";
        breaches.push(Breach::new(&place, format!("`{stem}` says nothing"), mend));
    }
    breaches
}

fn check_places(file: &Tracked, machine: &Machine) -> Vec<Breach> {
    // The lock file names the registry by its index, the same on every machine; its sources are
    // checked one by one with the licences.
    if file.path.file_name().is_some_and(|name| name == "Cargo.lock") {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        let place = format!("{}:{number}", file.path.display());
        if let Some(folder) = machine.folders.iter().find(|folder| line.contains(folder.as_str())) {
            breaches.push(Breach::new(
                &place,
                format!("names a folder of this machine, {folder}"),
                "take it from the environment or from the repository's root",
            ));
        }
        if let Some((a, b)) = REGISTRIES.iter().find(|(a, b)| line.contains(&format!("{a}{b}"))) {
            breaches.push(Breach::new(
                &place,
                format!("names the registry server {a}{b}"),
                "leave the choice of a server to the package tool's own settings",
            ));
        }
    }
    breaches
}

/// Lines of a file less its inline test modules, which rustfmt ends with a brace in column one.
fn lines_without_tests(text: &str) -> usize {
    let mut count = 0_usize;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens = line == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if opens {
            for line in lines.by_ref() {
                if line == "}" {
                    break;
                }
            }
        } else {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Machine, REGISTRIES, Tracked, check, lines_without_tests};

    #[track_caller]
    fn finds(path: &str, text: &str, expected: &[&str]) {
        let file = Tracked { path: PathBuf::from(path), text: text.to_owned() };
        let machine = Machine::new(Path::new("/home/ann/src/tidegate"), Some("/home/ann".into()));
        let found: Vec<String> =
            check(&[file], &machine).into_iter().map(|breach| breach.what).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_module_without_an_opening_is_found() {
        finds("engine/src/pane.rs", "//! Panes.\nfn f() {}\n", &[]);
        finds("engine/src/pane.rs", "use std::fmt;\n", &["does not open with `//!`"]);
        finds("engine/src/pane/tests.rs", "use std::fmt;\n", &[]);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(600));
        finds("engine/src/long.rs", &long, &["601 lines without tests, at most 600"]);
        let tested = format!(
            "//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "    fn f() {}\n".repeat(900)
        );
        finds("engine/src/short.rs", &tested, &[]);
        assert_eq!(lines_without_tests(&tested), 1);
    }

    #[test]
    fn a_test_that_never_runs_is_found() {
        let text = "//! Panes.\n    #[ignore = \"slow\"]\n    fn f() {}\n";
        finds("engine/src/pane.rs", text, &["a test that never runs"]);
    }

    #[test]
    fn a_mod_rs_and_a_name_that_says_nothing_are_found() {
        finds("engine/src/plan/mod.rs", "//! Plans.\n", &["is a `mod.rs`"]);
        finds("engine/src/helpers.rs", "//! Helps.\n", &["`helpers` says nothing"]);
    }

    #[test]
    fn a_folder_of_this_machine_is_found() {
        let what = "names a folder of this machine, /home/ann/src/tidegate/";
        finds("docs/start.md", "run\n/home/ann/src/tidegate/x\n", &[what]);
        let what = "names a folder of this machine, /home/ann/.cargo/";
        finds("docs/start.md", "/home/ann/.cargo/bin/x", &[what]);
        finds("rules/probe.yml", "path: /root/.ssh/id_rsa\n", &[]);
    }

    #[test]
    fn what_lies_beside_the_checkout_counts_only_where_it_is_private() {
        let beside = |root: &str| Machine::new(Path::new(root), None).folders;
        assert_eq!(beside("/place/tidegate"), ["/place/tidegate/", "/place/"]);
        assert_eq!(beside("/tmp/tidegate"), ["/tmp/tidegate/"]);
        assert_eq!(beside("/home/tidegate"), ["/home/tidegate/"]);
        assert_eq!(beside("/tidegate"), ["/tidegate/"]);
    }

    #[test]
    fn a_registry_server_is_found() {
        let (name, rest) = REGISTRIES[2];
        let text = format!("index = https://{name}{rest}/simple\n");
        finds("deploy/pip.conf", &text, &[&format!("names the registry server {name}{rest}")]);
        finds("Cargo.lock", &text, &[]);
    }
}
