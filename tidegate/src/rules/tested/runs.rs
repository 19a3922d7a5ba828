//! What the ways of one test came to, said once where they agree.
//!
//! Owns: which ways agree, and the report of a failure. Never: running a test, comparing episodes.

use std::fmt::Write;

/// One way through one state.
pub(super) struct Run {
    pub(super) state: &'static str,
    pub(super) way: &'static str,
    /// The episodes that closed, in an order of their own.
    pub(super) outcome: Vec<String>,
    /// What differs from what was expected. The way `whole` is held to more than the others, such
    /// as to when an episode opens.
    pub(super) differs: Vec<String>,
    /// Expected and closed episodes on one axis.
    pub(super) timeline: String,
}

/// What to report: nothing where no run differs from what was expected; one text for each outcome.
/// Where there is more than one, each names the ways that came to it.
pub(super) fn failures(runs: &[Run]) -> Vec<String> {
    if runs.iter().all(|run| run.differs.is_empty()) {
        return Vec::new();
    }
    let mut groups: Vec<Vec<&Run>> = Vec::new();
    for run in runs {
        let like =
            groups.iter_mut().find(|of| of.first().is_some_and(|r| r.outcome == run.outcome));
        match like {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    let alone = groups.len() == 1;
    groups.iter().filter_map(|group| report(group, alone)).collect()
}

fn report(group: &[&Run], alone: bool) -> Option<String> {
    let shown = group.iter().find(|run| !run.differs.is_empty())?;
    let mut text = String::new();
    if !alone {
        line(&mut text, &format!("  the ways disagree; {}:", named(group)));
    }
    for difference in &shown.differs {
        line(&mut text, &format!("  {difference}"));
    }
    // Runs of one outcome may still differ in what only the way `whole` is asked.
    let like = |run: &&&Run| run.way == shown.way && run.state != shown.state;
    for other in group.iter().filter(like).filter(|run| run.differs.is_empty()) {
        line(&mut text, &format!("  with state in {} it is as expected", other.state));
    }
    text.push_str(&shown.timeline);
    Some(text)
}

/// `whole, killed with state in panes; whole with state in rows`.
fn named(group: &[&Run]) -> String {
    let mut states: Vec<&str> = group.iter().map(|run| run.state).collect();
    states.dedup();
    let of = |state: &&str| {
        let mine = group.iter().filter(|run| run.state == *state);
        let ways: Vec<&str> = mine.map(|run| run.way).collect();
        format!("{} with state in {state}", ways.join(", "))
    };
    states.iter().map(of).collect::<Vec<_>>().join("; ")
}

fn line(text: &mut String, part: &str) {
    let written = writeln!(text, "{part}");
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{Run, failures};

    fn run(state: &'static str, way: &'static str, outcome: &str, differs: &[&str]) -> Run {
        Run {
            state,
            way,
            outcome: vec![outcome.to_owned()],
            differs: differs.iter().map(|text| (*text).to_owned()).collect(),
            timeline: format!("line of {outcome}\n"),
        }
    }

    #[track_caller]
    fn check(runs: &[Run], expected: &Expect) {
        expected.assert_eq(&failures(runs).join("--\n"));
    }

    #[test]
    fn what_all_ways_agree_on_is_said_once() {
        check(
            &[
                run("panes", "whole", "a", &["opens late", "two too many"]),
                run("panes", "killed", "a", &["two too many"]),
                run("rows", "whole", "a", &["opens late", "two too many"]),
            ],
            &expect![[r#"
                  opens late
                  two too many
                line of a
            "#]],
        );
        check(&[run("rows", "whole", "a", &[]), run("rows", "killed", "a", &[])], &expect![""]);
    }

    #[test]
    fn ways_that_disagree_are_named() {
        check(
            &[
                run("panes", "whole", "a", &[]),
                run("panes", "killed", "b", &["none closed"]),
                run("rows", "whole", "a", &[]),
                run("rows", "killed", "b", &["none closed"]),
            ],
            &expect![[r#"
                  the ways disagree; killed with state in panes; killed with state in rows:
                  none closed
                line of b
            "#]],
        );
        check(
            &[run("panes", "whole", "a", &["opens late"]), run("rows", "whole", "a", &[])],
            &expect![[r#"
                  opens late
                  with state in rows it is as expected
                line of a
            "#]],
        );
    }
}
