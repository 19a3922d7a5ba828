//! Rule files: any text gives a rule that runs, or mistakes that each have a place.

use engine::plan::{compile, explain};
use engine::rule::{Level, Lists, Problem, Settings, SourceFile, load};
use engine::ruleset::Ruleset;

const PATH: &str = "x/a.yml";

/// The bytes are a rule file.
pub(crate) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let file = SourceFile { path: PATH.to_owned(), text };
    let (rules, problems) = load(std::slice::from_ref(&file), &Settings::default());
    problems.iter().for_each(|problem| placed(problem, &file));
    let refused = problems.iter().any(|problem| problem.level == Level::Error);
    assert!(refused || rules.len() == 1, "neither a rule nor a mistake");
    let (compiled, problems) = compile(&rules, &Lists::default());
    problems.iter().for_each(|problem| placed(problem, &file));
    let refused = problems.iter().any(|problem| problem.level == Level::Error);
    assert!(refused || compiled.len() == rules.len(), "neither compiled nor a mistake");
    for rule in &compiled {
        assert!(!explain(rule).to_string().is_empty());
    }
    let ruleset = Ruleset::new(compiled).expect("what compiles runs");
    assert!(ruleset.len() <= 1);
}

/// The bytes are a list; the first says of which kind.
pub(crate) fn check_list(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let path = if kind % 2 == 0 { "lists/l.txt" } else { "lists/l.csv" };
    let text = String::from_utf8_lossy(rest).into_owned();
    let file = SourceFile { path: path.to_owned(), text };
    let (lists, problems) = Lists::load(std::slice::from_ref(&file));
    problems.iter().for_each(|problem| placed(problem, &file));
    let list = lists.get("l").expect("the list");
    assert_eq!(list.is_empty(), !problems.is_empty(), "an empty list is said");
    for word in file.text.split_whitespace().take(64) {
        // Whatever is asked for, the answer is yes or no.
        std::hint::black_box(list.contains(word));
    }
}

fn placed(problem: &Problem, file: &SourceFile) {
    assert_eq!(problem.path, file.path);
    let line = file.text.split('\n').nth(problem.line.wrapping_sub(1));
    let line = line.unwrap_or_else(|| panic!("no line {}", problem.line));
    assert!(problem.column >= 1 && problem.width >= 1);
    // One past the end is where something is missing.
    assert!(problem.column <= line.chars().count() + 1, "beyond its line: {problem:?}");
    assert!(!problem.message.is_empty());
    assert!(problem.render(false).contains(PATH) || file.path != PATH);
}
