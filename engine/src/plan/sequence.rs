//! `sequence(event_time, condition, …)`: how far a group came through steps in their order.
//!
//! Owns: what it means, as an aggregate of DataFusion. Never: windows; it sees one window's rows.
//!
//! The depth is the greatest *d* for which the first *d* conditions were met in their order: there
//! are times t₁ ≤ … ≤ t_d at which events of the group met them. Events of the same millisecond
//! count in either order, and one event may meet several conditions, so that the depth does not
//! depend on the order in which events arrive. More events never make it less. An event without a
//! time counts for nothing, and neither does a condition that is null.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, SetMonotonicity, Signature, Volatility,
};

/// Its name in SQL.
pub(super) const NAME: &str = "sequence";

/// Conditions at most: one bit each of a signed number.
const CONDITIONS_MAX: usize = 62;

/// The function.
pub(super) fn function() -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Sequence { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sequence {
    signature: Signature,
}

impl AggregateUDFImpl for Sequence {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [time, conditions @ ..] = given else {
            return plan_err!("sequence takes a time and conditions: sequence(event_time, a, b)");
        };
        if !matches!(time, DataType::Timestamp(..)) {
            return plan_err!("sequence takes a time first, such as event_time, and not {time}");
        }
        if conditions.len() < 2 || conditions.len() > CONDITIONS_MAX {
            let found = conditions.len();
            return plan_err!("sequence takes 2 to {CONDITIONS_MAX} conditions, found {found}");
        }
        let is_condition = |of: &DataType| matches!(of, DataType::Boolean | DataType::Null);
        if let Some((place, of)) = conditions.iter().enumerate().find(|(_, of)| !is_condition(of)) {
            let place = place + 1;
            return plan_err!("condition {place} of sequence is {of}, not true or false");
        }
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let flags = std::iter::repeat_n(DataType::Boolean, conditions.len());
        Ok(std::iter::once(time).chain(flags).collect())
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _of: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn accumulator(&self, given: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let conditions = given.exprs.len().saturating_sub(1);
        Ok(Box::new(Steps { conditions, met: BTreeMap::new() }))
    }

    fn state_fields(&self, given: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |what: &str| {
            let of = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
            Arc::new(Field::new(format!("{}[{what}]", given.name), of, true))
        };
        Ok(vec![list("times"), list("met")])
    }

    fn set_monotonicity(&self, _of: &DataType) -> SetMonotonicity {
        SetMonotonicity::Increasing
    }
}

/// Which conditions were met when: a bit each.
#[derive(Debug)]
struct Steps {
    conditions: usize,
    met: BTreeMap<i64, i64>,
}

impl Steps {
    fn see(&mut self, time: i64, met: i64) {
        if met != 0 {
            *self.met.entry(time).or_default() |= met;
        }
    }

    fn depth(&self) -> i64 {
        let mut depth = 0;
        for met in self.met.values() {
            while depth < self.conditions && met >> depth & 1 == 1 {
                depth += 1;
            }
        }
        i64::try_from(depth).unwrap_or(i64::MAX)
    }
}

impl Accumulator for Steps {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [times, conditions @ ..] = values else {
            return exec_err!("sequence takes a time and conditions");
        };
        let times = cast(times, &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let flags: Vec<_> = conditions.iter().filter_map(|array| array.as_boolean_opt()).collect();
        if flags.len() != self.conditions {
            return exec_err!("a condition of sequence is not true or false");
        }
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let met =
                flags.iter().enumerate().filter(|(_, met)| met.is_valid(row) && met.value(row));
            let met = met.fold(0, |bits, (place, _)| bits | 1 << place);
            self.see(times.value(row), met);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.depth())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.met.len() * 3 * size_of::<i64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |values: Vec<ScalarValue>| {
            ScalarValue::List(ScalarValue::new_list(&values, &DataType::Int64, true))
        };
        let whole = |value: &i64| ScalarValue::Int64(Some(*value));
        Ok(vec![
            list(self.met.keys().map(whole).collect()),
            list(self.met.values().map(whole).collect()),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [times, met] = states else { return exec_err!("sequence keeps two lists") };
        let (times, met) = (times.as_list::<i32>(), met.as_list::<i32>());
        for (times, met) in times.iter().zip(met.iter()) {
            let (Some(times), Some(met)) = (times, met) else { continue };
            let (times, met) = (times.as_primitive::<Int64Type>(), met.as_primitive::<Int64Type>());
            for (time, met) in times.values().iter().zip(met.values()) {
                self.see(*time, *met);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::Steps;

    fn depth(conditions: usize, events: &[(i64, i64)]) -> i64 {
        let mut steps = Steps { conditions, met: BTreeMap::new() };
        events.iter().for_each(|(time, met)| steps.see(*time, *met));
        steps.depth()
    }

    #[test]
    fn steps_count_in_their_order() {
        assert_eq!(depth(3, &[(1, 0b001), (2, 0b010), (3, 0b100)]), 3);
        assert_eq!(depth(3, &[(3, 0b001), (2, 0b010), (1, 0b100)]), 1);
        assert_eq!(depth(3, &[(1, 0b100), (2, 0b010)]), 0, "the first was never met");
        assert_eq!(depth(3, &[(1, 0b001), (1, 0b010), (9, 0b100)]), 3, "the same moment");
        assert_eq!(depth(2, &[(1, 0b011)]), 2, "one event may meet both");
    }

    /// Tries every choice of one time a condition.
    fn naive(conditions: usize, events: &[(i64, i64)], from: i64, step: usize) -> i64 {
        if step == conditions {
            return 0;
        }
        let met = events.iter().filter(|(time, met)| *time >= from && met >> step & 1 == 1);
        met.map(|(time, _)| 1 + naive(conditions, events, *time, step + 1)).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn the_depth_is_that_of_the_best_choice_of_times(
            conditions in 2_usize..5,
            events in prop::collection::vec((0_i64..6, 0_i64..32), 0..7),
        ) {
            prop_assert_eq!(depth(conditions, &events), naive(conditions, &events, i64::MIN, 0));
        }
    }
}
