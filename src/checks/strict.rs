//! What JSON and YAML contents may hold alike: the rules that keep one meaning for every reader.
//!
//! Both parsers build values only through here, so neither is more lenient than the other.

use serde_json::{Map, Number, Value};

use crate::domain::limits::{DOCUMENT_MAX_DEPTH, DOCUMENT_MAX_INTEGER};

/// The first magnitude a double no longer keeps apart from its neighbour, 2⁵³.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// An integer within ±(2⁵³−1) (RFC 8259 §6).
pub(super) fn integer(number: i128) -> Result<Value, String> {
    match i64::try_from(number) {
        Ok(small) if (-DOCUMENT_MAX_INTEGER..=DOCUMENT_MAX_INTEGER).contains(&small) => Ok(Value::from(small)),
        _ => Err(beyond(&number.to_string())),
    }
}

/// A finite number within ±(2⁵³−1). Every double beyond that is an integer, and an integer literal that does not fit
/// 64 bits arrives here as a double: both are refused as one.
pub(super) fn float(number: f64) -> Result<Value, String> {
    if number.abs() >= FIRST_INEXACT {
        return Err(beyond(&number.to_string()));
    }
    Number::from_f64(number).map(Value::Number).ok_or_else(|| "number is not finite".to_owned())
}

pub(super) fn beyond(number: &str) -> String {
    format!("number beyond ±{DOCUMENT_MAX_INTEGER}, where readers differ: {number}")
}

/// Whether a list or map that lies inside `parents` others may be there.
pub(super) fn depth(parents: usize) -> Result<(), String> {
    if parents < DOCUMENT_MAX_DEPTH { Ok(()) } else { Err(too_deep()) }
}

pub(super) fn too_deep() -> String {
    format!("nested deeper than {DOCUMENT_MAX_DEPTH} levels")
}

/// Refuses a key that the map already has.
pub(super) fn new_key(map: &Map<String, Value>, key: &str) -> Result<(), String> {
    if map.contains_key(key) { Err(format!("duplicate key {key:?}")) } else { Ok(()) }
}
