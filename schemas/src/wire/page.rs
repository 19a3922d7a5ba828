//! The page `docs/records.md`, made from the tables of fields.
//!
//! Owns: its layout. Never: what it says; that is in `table`.

use super::WireKind;
use super::table::{Absent, Column, Shape, Table};

/// The page as Markdown: every field of verdicts, orders, outcomes and dead letters.
#[must_use]
pub fn records_page() -> String {
    let mut page = String::from(
        "# Records\n\nGenerated from `schemas/src/wire/table.rs`; `cargo xtask gen docs` writes it \
         anew. Events have a page of their own: [fields](fields.md).\n\n\
         What leaves the pipeline: `verdicts`, `orders`, `outcomes` and `dead-letter`. As JSON, one \
         object with these names; as Avro, the schemas in `schemas/avro`, in the Confluent wire \
         format with a schema registry and in single-object encoding without one. Readers tell the \
         forms apart by the first byte: `{`, `00`, `C3 01`. In JSON a time is RFC 3339 text in UTC \
         with three decimals, and what is absent is left out. In Avro a value under any name is \
         null, boolean, long, double, string or a list of strings; anything else is JSON text in a \
         record `Json`. **P** marks what can tell who a person is.\n",
    );
    for kind in WireKind::ALL {
        section(&mut page, "##", kind.table());
        let mut inner = Vec::new();
        collect(kind.table(), &mut inner);
        for table in inner {
            section(&mut page, "###", table);
        }
    }
    page
}

/// The records inside a record, each once.
fn collect(table: &'static Table, found: &mut Vec<&'static Table>) {
    for column in table.columns {
        let (Shape::One(inner) | Shape::Many(inner)) = column.shape else { continue };
        if found.iter().all(|known| known.name != inner.name) {
            found.push(inner);
            collect(inner, found);
        }
    }
}

fn section(page: &mut String, level: &str, table: &Table) {
    page.push_str(&format!(
        "\n{level} {}\n\n{}\n\n| field | Avro type | absent | meaning | OpenTelemetry | ECS | OCSF | |\n\
         |---|---|---|---|---|---|---|---|\n",
        table.name, table.doc
    ));
    for column in table.columns {
        page.push_str(&row(column));
    }
}

fn row(column: &Column) -> String {
    let personal = if column.personal { "P" } else { "" };
    let code = |name: &str| if name.is_empty() { String::new() } else { format!("`{name}`") };
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} | {personal} |\n",
        column.name,
        type_name(column.shape),
        match column.absent {
            Absent::Never => "never",
            Absent::Null => "null",
            Absent::Empty => "empty",
        },
        column.doc,
        code(column.otel),
        code(column.ecs),
        code(column.ocsf)
    )
}

fn type_name(shape: Shape) -> String {
    match shape {
        Shape::Text => "string".to_owned(),
        Shape::Whole => "long".to_owned(),
        Shape::Flag => "boolean".to_owned(),
        Shape::Time => "timestamp-millis".to_owned(),
        Shape::Texts => "array of string".to_owned(),
        Shape::Values => "map of any value".to_owned(),
        Shape::One(table) => table.name.to_owned(),
        Shape::Many(table) => format!("array of {}", table.name),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    #[test]
    fn the_page_says_what_the_tables_of_fields_say() {
        expect_file!["../../../docs/records.md"].assert_eq(&super::records_page());
    }
}
