//! The JSON check: what passes is what any JSON parser finds, within the limits; a failure has a position.

use policyhub::checks::parse;
use policyhub::domain::limits::{DOCUMENT_MAX_DEPTH, DOCUMENT_MAX_INTEGER};
use policyhub::domain::policy::PolicyKind;
use serde_json::Value;

use super::texts;

pub fn check(input: &[u8]) {
    match parse(PolicyKind::Json, input) {
        Ok(document) => {
            let value = document.expect("JSON is parsed").value;
            assert_eq!(serde_json::from_slice::<Value>(input).ok().as_ref(), Some(&value), "another reader differs");
            sound(&value, DOCUMENT_MAX_DEPTH);
            let again = parse(PolicyKind::Json, value.to_string().as_bytes()).expect("written again, it passes");
            assert_eq!(again.expect("parsed").value, value);
        }
        Err(failure) => placed(input, &failure),
    }
}

/// Checks that the value is within the limits at every depth.
pub fn sound(value: &Value, depth_left: usize) {
    match value {
        Value::Array(list) => list.iter().for_each(|part| sound(part, deeper(depth_left))),
        Value::Object(map) => map.values().for_each(|part| sound(part, deeper(depth_left))),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => assert!((-DOCUMENT_MAX_INTEGER..=DOCUMENT_MAX_INTEGER).contains(&whole), "{whole}"),
            None => {
                assert!(number.as_f64().is_some_and(|float| float.abs() <= DOCUMENT_MAX_INTEGER as f64), "{number}")
            }
        },
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn deeper(depth_left: usize) -> usize {
    depth_left.checked_sub(1).expect("too deep")
}

/// Checks that a failure names an existing line and fits into a report.
pub fn placed(input: &[u8], failure: &policyhub::checks::ParseFailure) {
    assert!(!failure.message.is_empty());
    assert!(failure.line >= 1 && failure.column >= 1, "{failure:?}");
    assert!(failure.line as usize <= input.len() + 1 && failure.column as usize <= input.len() + 2, "{failure:?}");
    assert!(failure.pointer.len() <= 1_024 && failure.message.chars().count() <= 500, "{failure:?}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    let mut all = texts(&[
        r#"{"rules":[{"id":"r-1","when":{"role":"user"},"max":10.5,"on":true,"note":null}],"v":-7}"#,
        r#"["\u00e9\ud83d\ude00\n", 9007199254740991, -9007199254740992, 1e3, 1E-400, -0.0]"#,
        r#"{"a":1,"\u0061":2}"#,
        "\u{feff}{}",
        &deep,
        &format!("[{deep}]"),
        "[1,\n 2,\n x]",
        "\"\\ud800\"",
        " null ",
    ]);
    all.push(b"\"\xff\"".to_vec());
    all.push(b"{}\0".to_vec());
    all
}
