//! What a function takes, in words of the rule language.
//!
//! Owns: reading the planner's answer to arguments of a wrong kind. Never: planning.

/// A call whose arguments the function does not take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused<'t> {
    name: &'t str,
    /// Kinds of the arguments, as the planner calls them.
    given: Vec<&'t str>,
    /// What the function takes, as the planner writes it: `lower(String)`.
    takes: Vec<&'t str>,
}

impl<'t> Refused<'t> {
    /// Reads the planner's message on a call of `name`; none where it is about something else, or
    /// where a function of ours has said what is wrong.
    pub(super) fn of(name: &'t str, text: &'t str) -> Option<Self> {
        if text.contains("coercion failed with") {
            return None;
        }
        let (_, rest) = text.split_once("given name and argument types '")?;
        let (call, rest) = rest.split_once('\'')?;
        let given = call.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
        let takes = rest
            .split_once("Candidate functions:")
            .map_or("", |(_, takes)| takes)
            .lines()
            .map(str::trim)
            .take_while(|line| !line.starts_with("backtrace"))
            .filter(|line| line.starts_with(name))
            .collect();
        Some(Self { name, given: arguments(given), takes })
    }

    pub(super) fn message(&self) -> String {
        let kinds: Vec<&str> = self.given.iter().map(|kind| plain(kind)).collect();
        let given = match kinds.as_slice() {
            [] => "nothing".to_owned(),
            [one] => (*one).to_owned(),
            [before @ .., last] => format!("{} and {last}", before.join(", ")),
        };
        format!("`{}` does not take {given}", self.name)
    }

    pub(super) fn hint(&self) -> String {
        if self.name.starts_with("array_") || self.name.starts_with("list_") {
            return format!("the list comes first, such as `{}(roles, 'admin')`", self.name);
        }
        let said = |takes: &&str| {
            let kinds = takes.strip_prefix(self.name)?.strip_prefix('(')?.strip_suffix(')')?;
            let kinds: Option<Vec<&str>> = arguments(kinds).into_iter().map(known).collect();
            Some(format!("`{}` of {}", self.name, kinds?.join(", ")))
        };
        let mut takes: Vec<String> = self.takes.iter().filter_map(said).collect();
        takes.dedup();
        match takes.as_slice() {
            [] => format!("see what `{}` takes in DataFusion's list of functions", self.name),
            takes => format!("there is {}", takes.join(", or ")),
        }
    }
}

/// Splits at commas that stand outside brackets.
fn arguments(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let outside = |letter: char| {
        match letter {
            '(' | '<' => depth += 1,
            ')' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    };
    text.split(outside).map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn plain(kind: &str) -> &str {
    known(kind).unwrap_or(kind)
}

fn known(kind: &str) -> Option<&'static str> {
    let starts = |names: &[&str]| names.iter().any(|name| kind.starts_with(name));
    Some(match kind {
        _ if starts(&["Int", "UInt", "Float", "Decimal", "Numeric"]) => "a number",
        _ if starts(&["Utf8", "LargeUtf8", "String"]) => "a text",
        "Boolean" => "true or false",
        _ if starts(&["List", "LargeList", "array"]) => "a list",
        _ if starts(&["Timestamp", "Date"]) => "a time",
        "Any" | "element" => "any value",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::Refused;

    fn of(name: &str, text: &str) -> Option<(String, String)> {
        Refused::of(name, text).map(|refused| (refused.message(), refused.hint()))
    }

    #[test]
    fn what_is_given_and_what_is_taken_is_said_in_words() {
        let text = "Function 'cidr_match' requires String. No function matches the given name and \
                    argument types 'cidr_match(Int32, List(non-null Utf8, 3))'. You might need to \
                    add explicit type casts.\n\tCandidate functions:\n\tcidr_match(String, String)";
        assert_eq!(
            of("cidr_match", text),
            Some((
                "`cidr_match` does not take a number and a list".to_owned(),
                "there is `cidr_match` of a text, a text".to_owned()
            ))
        );
    }

    #[test]
    fn an_answer_about_another_function_is_none() {
        let text = "given name and argument types 'lower(Int32)'.";
        assert_eq!(of("upper", text), None);
        assert_eq!(of("lower", "unknown column"), None);
        let known = of("lower", text).map(|(_, hint)| hint);
        let list = "see what `lower` takes in DataFusion's list of functions";
        assert_eq!(known.as_deref(), Some(list));
    }
}
