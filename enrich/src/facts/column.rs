//! One column of a table of facts.
//!
//! Owns: its distinct values, and the ways of gathering them that cost least. Never: which rows.
//!
//! Most columns say few different things: a flag, a source, an owner. Their rows are codes, and a
//! batch that has one of them throughout, as live batches of one deploy do, gets a slice of an
//! array that was made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, UInt32Array};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field as ArrowField};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use schemas::{BATCH_ROWS_MAX, Field};

use super::Picked;

/// Distinct values of a column that is held as codes.
const FEW_MAX: usize = 128;

/// Events in a batch from which on a whole batch of one value is worth being made and kept.
const KEPT_ROWS_MIN: usize = 256;

/// A column and how its rows are held.
#[derive(Debug)]
pub(super) struct Column {
    field: Field,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Few(Few),
    Many(ArrayRef),
}

#[derive(Debug)]
struct Few {
    /// Which of `distinct` each row has.
    codes: Vec<u8>,
    distinct: ArrayRef,
    /// A whole batch of one of them, made when it was needed last.
    kept: Mutex<Option<(u8, ArrayRef)>>,
}

impl Column {
    /// None for a column that no row has.
    pub(super) fn new(field: Field, values: &ArrayRef) -> Option<Self> {
        if values.null_count() == values.len() {
            return None;
        }
        let values = match few(values) {
            Some(few) => Values::Few(few),
            None => Values::Many(Arc::clone(values)),
        };
        Some(Self { field, values })
    }

    pub(super) fn field(&self) -> Field {
        self.field
    }

    /// The values of the picked rows; none where all of them are absent.
    pub(super) fn picked(&self, picked: &Picked) -> Result<Option<ArrayRef>, ArrowError> {
        let few = match &self.values {
            Values::Few(few) => few,
            Values::Many(values) => return gathered(values, &picked.indices).map(Some),
        };
        let Some(code) = few.only_code(picked) else {
            let rows = picked.indices.values().iter();
            let codes = rows.map(|row| u32::from(few.code(*row))).collect();
            let codes = UInt32Array::new(codes, picked.indices.nulls().cloned());
            return gathered(&few.distinct, &codes).map(Some);
        };
        if few.distinct.is_null(usize::from(code)) {
            return Ok(None);
        }
        few.throughout(code, picked.indices.len()).map(Some)
    }
}

/// The column as codes, if it has few values.
fn few(values: &ArrayRef) -> Option<Few> {
    // A column that cannot be compared is gathered as it is.
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())]).ok()?;
    let rows = converter.convert_columns(&[Arc::clone(values)]).ok()?;
    let mut known: HashMap<Vec<u8>, u8> = HashMap::new();
    let mut firsts: Vec<u32> = Vec::new();
    let mut codes = Vec::with_capacity(values.len());
    for (place, row) in (0_u32..).zip(rows.iter()) {
        if let Some(code) = known.get(row.as_ref()) {
            codes.push(*code);
            continue;
        }
        if firsts.len() == FEW_MAX {
            return None;
        }
        let code = u8::try_from(firsts.len()).ok()?;
        known.insert(row.as_ref().to_vec(), code);
        firsts.push(place);
        codes.push(code);
    }
    let distinct = take(values, &UInt32Array::from(firsts), None).ok()?;
    Some(Few { codes, distinct, kept: Mutex::default() })
}

impl Few {
    #[inline]
    fn code(&self, row: u32) -> u8 {
        usize::try_from(row).ok().and_then(|row| self.codes.get(row)).copied().unwrap_or(0)
    }

    /// The code that all picked rows have, if each event has a row and they have one.
    fn only_code(&self, picked: &Picked) -> Option<u8> {
        if !picked.complete {
            return None;
        }
        let first = self.code(*picked.indices.values().first()?);
        let same = self.distinct.len() == 1
            || picked.indices.values().iter().all(|row| self.code(*row) == first);
        same.then_some(first)
    }

    /// As many rows of one value.
    fn throughout(&self, code: u8, rows: usize) -> Result<ArrayRef, ArrowError> {
        let repeated = |rows| {
            let codes = UInt32Array::from(vec![u32::from(code); rows]);
            gathered(&self.distinct, &codes)
        };
        if rows > BATCH_ROWS_MAX {
            return repeated(rows);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((of, whole)) if *of == code => Ok(whole.slice(0, rows)),
            _ if rows < KEPT_ROWS_MIN => repeated(rows),
            _ => {
                let whole = repeated(BATCH_ROWS_MAX)?;
                let slice = whole.slice(0, rows);
                *kept = Some((code, whole));
                Ok(slice)
            }
        }
    }
}

/// The values at these places.
fn gathered(values: &ArrayRef, places: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    let lists = values.as_list_opt::<i32>();
    let texts = lists.and_then(|lists| lists.values().as_string_opt::<i32>());
    match (lists, texts, values.data_type()) {
        (Some(lists), Some(texts), DataType::List(item)) => {
            gathered_lists(lists, texts, Arc::clone(item), places)
        }
        _ => take(values, places, None),
    }
}

/// Lists of texts, each copied as a whole; Arrow's own gather goes item by item.
fn gathered_lists(
    lists: &ListArray,
    texts: &StringArray,
    item: Arc<ArrowField>,
    places: &UInt32Array,
) -> Result<ArrayRef, ArrowError> {
    let (list_ends, text_ends) = (lists.value_offsets(), texts.value_offsets());
    let end = |ends: &[i32], place: usize| ends.get(place).copied().unwrap_or(0);
    let mut out_lists = Vec::with_capacity(places.len() + 1);
    let mut out_texts = Vec::with_capacity(places.len() + 1);
    let mut out_bytes = Vec::with_capacity(places.len() * 8);
    out_lists.push(0);
    out_texts.push(0);
    let mut present = Vec::with_capacity(places.len());
    for place in places {
        let place = place.and_then(|place| usize::try_from(place).ok());
        let place = place.filter(|place| lists.is_valid(*place));
        present.push(place.is_some());
        if let Some(place) = place {
            let (first, last) = (wide(end(list_ends, place)), wide(end(list_ends, place + 1)));
            let (from, to) = (end(text_ends, first), end(text_ends, last));
            let moved = narrow(out_bytes.len())? - from;
            let ends = text_ends.get(first + 1..=last).unwrap_or(&[]);
            out_texts.extend(ends.iter().map(|end| end + moved));
            out_bytes
                .extend_from_slice(texts.value_data().get(wide(from)..wide(to)).unwrap_or(&[]));
        }
        out_lists.push(narrow(out_texts.len() - 1)?);
    }
    let offsets = |ends: Vec<i32>| OffsetBuffer::new(ScalarBuffer::from(ends));
    let texts = StringArray::try_new(offsets(out_texts), Buffer::from_vec(out_bytes), None)?;
    let nulls = present.contains(&false).then(|| present.into());
    Ok(Arc::new(ListArray::try_new(item, offsets(out_lists), Arc::new(texts), nulls)?))
}

/// Offsets of Arrow are never negative.
fn wide(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

fn narrow(length: usize) -> Result<i32, ArrowError> {
    i32::try_from(length).map_err(|_too_long| ArrowError::OffsetOverflowError(length))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use proptest::prelude::{prop, prop_assert_eq, proptest};
    use schemas::{BATCH_ROWS_MAX, Event};

    use super::super::{Facts, Picks};
    use crate::columns::Columns;
    use crate::facts::finish;

    fn row(kind: u16) -> Event<'static> {
        let list = |n: u16| (0..n % 4).map(|item| format!("scope-{n}-{item}").into()).collect();
        Event {
            route: Some(format!("/route-{kind}").into()),
            owner: (!kind.is_multiple_of(3)).then(|| "team".into()),
            route_login: Some(kind.is_multiple_of(2)),
            route_scopes: (!kind.is_multiple_of(5)).then(|| list(kind)),
            deploy_age_s: Some(i64::from(kind)),
            ..Event::default()
        }
    }

    /// Joins the picked rows of a table of `rows` rows to a batch without columns.
    fn joined(rows: u16, picks: &[Option<u16>]) -> Vec<Event<'static>> {
        let facts = Facts::new((0..rows).map(row));
        let mut builder = schemas::BatchBuilder::default();
        picks.iter().for_each(|_| builder.push(&Event::default()));
        let mut columns = Columns::of(&finish(&mut builder)).unwrap();
        let mut picked = Picks::with_capacity(picks.len());
        picks.iter().for_each(|pick| picked.push(pick.map(u32::from)));
        facts.fill(picked, &mut columns).unwrap();
        let batch = columns.into_batch().unwrap();
        (0..picks.len()).map(|at| schemas::event_at(&batch, at).into_owned()).collect()
    }

    proptest! {
        #[test]
        fn each_event_gets_the_row_that_was_picked(
            rows in 1..400_u16,
            picks in prop::collection::vec(prop::option::weighted(0.9, 0..400_u16), 1..300),
            throughout in prop::bool::ANY,
        ) {
            let mut picks: Vec<Option<u16>> =
                picks.into_iter().map(|pick| pick.map(|pick| pick % rows)).collect();
            if throughout {
                picks = vec![Some(picks[0].unwrap_or(0)); picks.len()];
            }
            let expected: Vec<Event<'_>> =
                picks.iter().map(|pick| pick.map(row).unwrap_or_default()).collect();
            prop_assert_eq!(joined(rows, &picks), expected);
        }
    }

    #[test]
    fn a_value_that_holds_throughout_is_right_in_batches_of_any_size() {
        let facts = Facts::new([row(1), row(2)]);
        for rows in [1, BATCH_ROWS_MAX, 1, 300, BATCH_ROWS_MAX + 1] {
            for pick in [0_u32, 1] {
                let mut builder = schemas::BatchBuilder::default();
                (0..rows).for_each(|_| builder.push(&Event::default()));
                let mut columns = Columns::of(&finish(&mut builder)).unwrap();
                let mut picks = Picks::with_capacity(rows);
                (0..rows).for_each(|_| picks.push(Some(pick)));
                facts.fill(picks, &mut columns).unwrap();
                let batch = columns.into_batch().unwrap();
                let routes = batch.column_by_name("route").unwrap().as_string::<i32>();
                let expected = format!("/route-{}", pick + 1);
                assert_eq!((routes.len(), routes.value(rows - 1)), (rows, expected.as_str()));
            }
        }
    }
}
