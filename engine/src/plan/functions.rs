//! Functions beside standard SQL.
//!
//! Owns: `cidr_match`, `in_list`, `window_start`, `window_end`; the others have rooms of their own.
//! Never: what they read from outside:
//! lists and window bounds are handed in.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::types::logical_string;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    Coercion, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignatureClass, Volatility,
};

use super::query::WindowCell;
use super::{baseline, first_seen};
use crate::rule::Lists;
use crate::rule::lists::{Networks, address, network};

/// Names of the two functions that depend on the window.
pub(super) const WINDOW_FUNCTIONS: [&str; 2] = ["window_start", "window_end"];

/// Our functions for one rule.
pub(super) fn own(lists: &Arc<Lists>, window: &Arc<WindowCell>) -> Vec<Arc<ScalarUDF>> {
    let bound = |name, end| WindowBound {
        name,
        end,
        window: Arc::clone(window),
        signature: Signature::nullary(Volatility::Volatile),
    };
    let [start, end] = WINDOW_FUNCTIONS;
    vec![
        Arc::new(ScalarUDF::new_from_impl(CidrMatch { signature: two_texts() })),
        Arc::new(ScalarUDF::new_from_impl(InList {
            lists: Arc::clone(lists),
            signature: two_texts(),
        })),
        baseline::function(),
        first_seen::function(),
        Arc::new(ScalarUDF::new_from_impl(bound(start, false))),
        Arc::new(ScalarUDF::new_from_impl(bound(end, true))),
    ]
}

/// A function of this name that is asked of the past and never of a query. `coerce` says to what its
/// arguments are cast, or what is wrong with them.
pub(super) fn of_the_past(name: &'static str, coerce: Coerce, gives: DataType) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(OfThePast { name, coerce, gives, signature }))
}

type Coerce = fn(&[DataType]) -> Result<Vec<DataType>>;

#[derive(Debug)]
struct OfThePast {
    name: &'static str,
    coerce: Coerce,
    gives: DataType,
    signature: Signature,
}

// There is one of each name.
impl PartialEq for OfThePast {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OfThePast {}

impl Hash for OfThePast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for OfThePast {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        (self.coerce)(given)
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn invoke_with_args(&self, _call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.name;
        exec_err!("{name} is asked of the past, not of a query; this is a mistake of the planner")
    }
}

fn two_texts() -> Signature {
    let text = || Coercion::new_exact(TypeSignatureClass::Native(logical_string()));
    Signature::coercible(vec![text(), text()], Volatility::Immutable)
}

/// An argument: one text for all rows, or one a row.
enum Texts {
    One(Option<String>),
    Each(StringArray),
}

impl Texts {
    fn of(value: &ColumnarValue) -> Result<Self> {
        match value {
            ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
                Some(text) => Ok(Self::One(text.map(str::to_owned))),
                None => exec_err!("a text is needed, found {}", scalar.data_type()),
            },
            ColumnarValue::Array(array) => {
                let array: ArrayRef = match array.data_type() {
                    DataType::Utf8 => Arc::clone(array),
                    _ => cast(array, &DataType::Utf8)?,
                };
                Ok(Self::Each(array.as_string::<i32>().clone()))
            }
        }
    }

    fn at(&self, row: usize) -> Option<&str> {
        match self {
            Self::One(text) => text.as_deref(),
            Self::Each(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}

/// Whether each text passes; null where the text is.
fn judge(texts: &Texts, rows: usize, passes: impl Fn(&str) -> bool) -> ColumnarValue {
    match texts {
        Texts::One(text) => {
            ColumnarValue::Scalar(ScalarValue::Boolean(text.as_deref().map(passes)))
        }
        Texts::Each(_) => {
            let answers: BooleanArray = (0..rows).map(|row| texts.at(row).map(&passes)).collect();
            ColumnarValue::Array(Arc::new(answers))
        }
    }
}

/// `cidr_match(ip, net)`: whether the address lies in the network.
///
/// Null where either is null. A text that is no address, or no network, matches nothing. IPv4
/// inside IPv6 counts as IPv4; an address of the other family is outside.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CidrMatch {
    signature: Signature,
}

impl ScalarUDFImpl for CidrMatch {
    fn name(&self) -> &'static str {
        "cidr_match"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ip, net] = call.args.as_slice() else {
            return exec_err!("cidr_match takes two texts");
        };
        let (ips, nets) = (Texts::of(ip)?, Texts::of(net)?);
        if let Texts::One(net) = &nets {
            let Some(net) = net else {
                return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
            };
            let networks = Networks::new(network(net).into_iter().collect());
            let inside = |ip: &str| address(ip).is_some_and(|ip| networks.contains(ip));
            return Ok(judge(&ips, call.number_rows, inside));
        }
        let answers: BooleanArray = (0..call.number_rows)
            .map(|row| {
                let (ip, net) = (ips.at(row)?, nets.at(row)?);
                let parsed = address(ip).zip(network(net));
                Some(parsed.is_some_and(|(ip, net)| Networks::new(vec![net]).contains(ip)))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}

/// `in_list('name', column)`: whether the list holds the text, or a network with the address.
///
/// Null where the column is.
#[derive(Debug)]
struct InList {
    lists: Arc<Lists>,
    signature: Signature,
}

// Two functions are the same where they read the same lists: sessions compare them.
impl PartialEq for InList {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lists, &other.lists)
    }
}

impl Eq for InList {}

impl Hash for InList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for InList {
    fn name(&self) -> &'static str {
        "in_list"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [name, value] = call.args.as_slice() else {
            return exec_err!("in_list takes a list's name and a column");
        };
        let Texts::One(Some(name)) = Texts::of(name)? else {
            return exec_err!("the name of a list is a text such as 'known-bots'");
        };
        let Some(list) = self.lists.get(&name) else { return exec_err!("no list `{name}`") };
        Ok(judge(&Texts::of(value)?, call.number_rows, |value| list.contains(value)))
    }
}

/// `window_start()` and `window_end()`: the window that the query runs for.
///
/// Volatile only so that planning does not work them out once for all windows.
#[derive(Debug)]
struct WindowBound {
    name: &'static str,
    end: bool,
    window: Arc<WindowCell>,
    signature: Signature,
}

impl PartialEq for WindowBound {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end && Arc::ptr_eq(&self.window, &other.window)
    }
}

impl Eq for WindowBound {}

impl Hash for WindowBound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for WindowBound {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
    }

    fn invoke_with_args(&self, _call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (start, end) = self.window.bounds();
        let bound = if self.end { end } else { start };
        let value = ScalarValue::TimestampMillisecond(Some(bound), Some("UTC".into()));
        Ok(ColumnarValue::Scalar(value))
    }
}
