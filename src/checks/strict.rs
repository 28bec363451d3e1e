//! The rules that JSON and YAML contents share, so that a content has one meaning for every reader.
//!
//! Both parsers build all values through this module, so neither is more lenient than the other.

use serde_json::{Map, Number, Value};

use crate::domain::limits::{DOCUMENT_MAX_DEPTH, DOCUMENT_MAX_INTEGER};

/// How the message about a key begins that the map already has.
pub(super) const DUPLICATE_KEY: &str = "duplicate key";
/// The smallest magnitude at which a double can't be told from its neighbour, 2⁵³.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// Returns an integer within ±(2⁵³−1) (RFC 8259 §6), or an error.
pub(super) fn integer(number: i128) -> Result<Value, String> {
    match i64::try_from(number) {
        Ok(small) if (-DOCUMENT_MAX_INTEGER..=DOCUMENT_MAX_INTEGER).contains(&small) => Ok(Value::from(small)),
        _ => Err(beyond(&number.to_string())),
    }
}

/// Returns a finite number within ±(2⁵³−1), or an error. Every larger double is an integer, and an integer literal that does not
/// fit in 64 bits arrives here as a double: both are refused as integers.
pub(super) fn float(number: f64) -> Result<Value, String> {
    if number.abs() >= FIRST_INEXACT {
        return Err(beyond(&number.to_string()));
    }
    Number::from_f64(number).map(Value::Number).ok_or_else(|| "number is not finite".to_owned())
}

pub(super) fn beyond(number: &str) -> String {
    format!("number beyond ±{DOCUMENT_MAX_INTEGER}, where readers differ: {number}")
}

/// Checks that a list or map that is inside `parents` others is not nested too deeply.
pub(super) fn check_depth(parents: usize) -> Result<(), String> {
    if parents < DOCUMENT_MAX_DEPTH { Ok(()) } else { Err(too_deep()) }
}

pub(super) fn too_deep() -> String {
    format!("nested deeper than {DOCUMENT_MAX_DEPTH} levels")
}

/// Checks that the map does not have the key yet.
pub(super) fn check_new_key(map: &Map<String, Value>, key: &str) -> Result<(), String> {
    if map.contains_key(key) { Err(format!("{DUPLICATE_KEY} {key:?}")) } else { Ok(()) }
}
