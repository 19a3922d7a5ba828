//! Whose object was answered, as the application tells it.
//!
//! Owns: which field of the log says it. Never: guesses; an object whose tenant nobody tells has
//! none.

use arrow::array::{Array, AsArray, StringBuilder};
use schemas::Field;

use crate::columns::{Building, Columns, JoinError};

/// The longest name of a tenant; what is longer is something else.
const TENANT_BYTES_MAX: usize = 256;

/// Fills `object_tenant` from the field of this name in `attrs`, which ingest keeps for names that
/// it does not know. `-` and nothing say nothing.
pub(crate) fn join(name: &str, columns: &mut Columns) -> Result<(), JoinError> {
    let Some(attrs) = columns.present(Field::Attrs) else { return Ok(()) };
    let wrong = || JoinError::Type { field: Field::Attrs.name() };
    let attrs = attrs.as_map_opt().ok_or_else(wrong)?;
    let names = attrs.keys().as_string_opt::<i32>().ok_or_else(wrong)?;
    let values = attrs.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    let mut tenants: Building<StringBuilder> = Building::default();
    let ends = attrs.value_offsets();
    for (row, span) in ends.windows(2).enumerate() {
        let [start, end] = span else { continue };
        let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
        let mut entries = place(*start)..place(*end);
        let found = entries.find(|entry| names.value(*entry) == name && values.is_valid(*entry));
        let Some(tenant) = found.map(|entry| values.value(entry)) else { continue };
        if attrs.is_valid(row) && !matches!(tenant, "" | "-") && tenant.len() <= TENANT_BYTES_MAX {
            tenants.put(row, tenant);
        }
    }
    Ok(tenants.fill(Field::ObjectTenant, columns)?)
}

#[cfg(test)]
mod tests {
    use runtime::metrics::Metrics;
    use schemas::{BatchBuilder, Event, event_at};

    use crate::context::ContextCell;
    use crate::joiner::{JoinOptions, Joiner};
    use crate::metrics::EnrichMetrics;

    /// What the log said is the tenant, and its fields.
    type Row<'r> = (Option<&'static str>, &'r [(&'static str, &'static str)]);

    fn joined(rows: &[Row<'_>]) -> Vec<String> {
        let options = JoinOptions { object_key: [0; 16], learn_routes: false };
        let metrics = EnrichMetrics::new(&Metrics::new());
        let joiner = Joiner::new(ContextCell::default(), options, metrics);
        let joiner = joiner.with_object_tenant("x_tenant");
        let mut builder = BatchBuilder::default();
        for (given, attrs) in rows {
            let attrs = attrs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            builder.push(&Event {
                object_tenant: given.map(Into::into),
                attrs: Some(attrs.collect()).filter(|attrs: &Vec<_>| !attrs.is_empty()),
                ..Event::default()
            });
        }
        let batch = joiner.enrich(&builder.finish().unwrap()).unwrap();
        let tenant = |row| event_at(&batch, row).object_tenant.as_deref().unwrap_or("?").to_owned();
        (0..rows.len()).map(tenant).collect()
    }

    #[test]
    fn the_named_field_of_the_log_says_whose_object_it_was() {
        let told = joined(&[
            (None, &[("a", "b"), ("x_tenant", "acme")]),
            (None, &[]),
            (None, &[("x_tenant", "-")]),
            (None, &[("x_tenant", "")]),
            (Some("log"), &[("x_tenant", "acme")]),
            (None, &[("y", "z")]),
            (None, &[("x_tenant", "globex")]),
        ]);
        assert_eq!(told, ["acme", "?", "?", "?", "log", "?", "globex"]);
        assert_eq!(joined(&[(None, &[]), (None, &[])]), ["?", "?"]);
    }
}
