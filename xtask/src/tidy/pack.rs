//! The rule pack: every rule brings its tests.
//!
//! Owns: that each file has some. Never: whether they pass; `tidegate rules test` says that.

use std::path::Path;

use super::breach::Breach;
use super::files::Tracked;

/// Checks every rule file.
pub(super) fn check(tracked: &[Tracked]) -> Vec<Breach> {
    let rules = tracked.iter().filter(|file| is_rule(&file.path));
    let untested = rules.filter(|rule| !has_tests(&rule.text));
    untested
        .map(|rule| {
            Breach::new(
                rule.path.display(),
                "is a rule without a test",
                "add `tests:` with one that fires and one that stays quiet",
            )
        })
        .collect()
}

fn is_rule(path: &Path) -> bool {
    let yaml = path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
    yaml && path.starts_with("rules") && !path.starts_with("rules/lists")
}

/// Whether `tests:` stands at the top level and has an item, below it or in brackets behind it.
fn has_tests(text: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("tests:"));
    let Some(head) = lines.next() else { return false };
    if head.trim_end().trim_end_matches(']').ends_with('}') {
        return true;
    }
    let mut below =
        lines.take_while(|line| line.trim().is_empty() || line.starts_with([' ', '-', '#']));
    below.any(|line| line.trim_start().starts_with("- "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::files::Tracked;
    use super::check;

    fn untested(path: &str, text: &str) -> bool {
        !check(&[Tracked { path: PathBuf::from(path), text: text.to_owned() }]).is_empty()
    }

    #[test]
    fn a_rule_without_a_test_is_found() {
        assert!(!untested("rules/auth/spray.yml", "title: x\ntests:\n  - name: fires\n"));
        assert!(!untested("rules/auth/spray.yml", "title: x\ntests: [{name: fires}]\n"));
        assert!(untested("rules/auth/spray.yml", "title: x\n"));
        assert!(untested("rules/auth/spray.yml", "title: x\ntests: []\nwhy: y\n"));
        assert!(untested("rules/auth/spray.yml", "tests:\nattack:\n  - T1110\n"));
    }

    #[test]
    fn lists_and_other_folders_hold_no_rules() {
        assert!(!untested("rules/lists/agents.yml", "a: b\n"));
        assert!(!untested("deploy/compose.yml", "a: b\n"));
    }
}
