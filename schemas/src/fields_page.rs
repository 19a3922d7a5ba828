//! The page `docs/fields.md`, made from the table of columns.
//!
//! Owns: its layout. Never: what it says; that is in [`Field`].

use std::fmt::Write;

use crate::field::{Field, Kind, Section, Spec};

/// The page as Markdown: every column with type, meaning, and its name in OpenTelemetry, ECS, OCSF.
#[must_use]
pub fn fields_page() -> String {
    let mut page = String::from(
        "# Fields\n\nGenerated from `schemas/src/field.rs`; `cargo xtask gen` writes it anew.\n\n\
         One flat record an event. Absent is null, and null never means \"none\". Sizes and counts \
         are never negative. **P** marks what can tell who a person is.\n",
    );
    for (section, title) in [
        (Section::Access, "AccessEvent: read from the log"),
        (Section::Enriched, "EnrichedEvent adds: joined at event time"),
    ] {
        page.push_str("\n## ");
        page.push_str(title);
        page.push_str("\n\n| field | SQL type | meaning | OpenTelemetry | ECS | OCSF | |\n|---|---|---|---|---|---|---|\n");
        for spec in Field::ALL.iter().map(|field| field.spec()).filter(|s| s.section == section) {
            row(&mut page, spec);
        }
    }
    page
}

fn row(page: &mut String, spec: &Spec) {
    let personal = if spec.personal { "P" } else { "" };
    let code = |name: &str| if name.is_empty() { String::new() } else { format!("`{name}`") };
    let written = writeln!(
        page,
        "| `{}` | {} | {} | {} | {} | {} | {personal} |",
        spec.name,
        sql_type(spec.kind),
        spec.doc,
        code(spec.otel),
        code(spec.ecs),
        code(spec.ocsf)
    );
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn sql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Code => "Utf8",
        Kind::Count | Kind::Number => "Int64",
        Kind::Status => "Int32",
        Kind::Flag => "Boolean",
        Kind::Time => "Timestamp(ms, UTC)",
        Kind::List => "List(Utf8)",
        Kind::Map => "Map(Utf8, Utf8)",
        Kind::Ratio => "Float64",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    #[test]
    fn the_page_says_what_the_table_of_columns_says() {
        expect_file!["../../docs/fields.md"].assert_eq(&super::fields_page());
    }
}
