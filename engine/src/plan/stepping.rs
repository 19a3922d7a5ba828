//! `sequence` as a fold: what one event means for it, as a number.
//!
//! Owns: the number's form, and the expression that gives it. Never: depths.
//!
//! The number is the event's time in milliseconds times 256, and a bit for each condition that it
//! meets. Times of events lie within ten thousand years, so that it fits.

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, cast, lit, when};

/// Conditions that panes hold at most.
pub(crate) const CONDITIONS_MAX: usize = 8;

const BITS: i64 = 256;

/// The expression for the arguments: a time and conditions.
pub(super) fn steps(arguments: &[Expr]) -> Result<Option<Expr>> {
    let Some((time, conditions)) = arguments.split_first() else { return Ok(None) };
    let mut number = cast(time.clone(), DataType::Int64) * lit(BITS);
    for (place, condition) in conditions.iter().enumerate() {
        let bit = when(condition.clone(), lit(1_i64 << place)).otherwise(lit(0_i64))?;
        number = number + bit;
    }
    Ok(Some(number))
}

/// When an event happened, and which conditions it met.
pub(crate) fn read(event: i64) -> (i64, u8) {
    let met = u8::try_from(event.rem_euclid(BITS)).unwrap_or_default();
    (event.div_euclid(BITS), met)
}

/// The number of an event.
#[cfg(test)]
pub(crate) fn event(time: i64, met: u8) -> i64 {
    time * BITS + i64::from(met)
}

#[cfg(test)]
mod tests {
    use super::{event, read};

    #[test]
    fn a_number_reads_back_before_and_after_the_epoch() {
        for (time, met) in [(0, 0), (-1, 255), (253_402_300_799_999, 7), (-62_135_596_800_000, 1)] {
            assert_eq!(read(event(time, met)), (time, met));
        }
    }
}
