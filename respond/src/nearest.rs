//! The nearest name to a misspelt one.
//!
//! Owns: the words of the hint. Never: the list of names.

/// ` (did you mean `x`?)` where a name is near enough to what was found; else nothing.
pub(crate) fn hint<'n>(found: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .map(|(_, name)| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn only_a_near_name_is_offered() {
        assert_eq!(hint("severty", ["severity", "rule"]), " (did you mean `severity`?)");
        assert_eq!(hint("colour", ["severity", "rule"]), "");
    }
}
