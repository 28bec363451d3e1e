//! Converts YAML scalars by the core schema of YAML 1.2.2 §10.3.2, and nothing of YAML 1.1.
//!
//! So `yes`, `on`, `1_000`, `12:30:45` and `2001-12-14` are text, `0o17` is 15 and `017` is 17. Quoted scalars are always text.
//! Non-finite numbers have no JSON form and are refused.

use serde_json::Value;

use super::strict;

/// Returns the value of an untagged plain scalar.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Value::Null),
        "true" | "True" | "TRUE" => Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => Ok(Value::Bool(false)),
        _ => number(text).unwrap_or_else(|| Ok(Value::String(text.to_owned()))),
    }
}

/// Returns the value of a scalar with a tag of the core schema; `suffix` is `str`, `int` and so on.
pub(super) fn tagged(suffix: &str, text: &str) -> Result<Value, String> {
    let misfit = || Err(format!("tag !!{suffix} does not fit the value"));
    if suffix == "str" {
        return Ok(Value::String(text.to_owned()));
    }
    match (suffix, plain(text)?) {
        ("null", value @ Value::Null) | ("bool", value @ Value::Bool(_)) => Ok(value),
        ("int", value @ Value::Number(_)) if value.is_i64() => Ok(value),
        ("float", Value::Number(number)) => number.as_f64().map_or_else(misfit, strict::float),
        _ => misfit(),
    }
}

/// Returns the number; `None` when the text is no number.
fn number(text: &str) -> Option<Result<Value, String>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all_digits = |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    // Radix prefixes have no sign in the core schema.
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && all_digits(digits, radix)
        {
            return Some(
                i128::from_str_radix(digits, radix).map_or_else(|_| Err(strict::beyond(text)), strict::integer),
            );
        }
    }
    if all_digits(unsigned, 10) {
        if text.starts_with('-') && unsigned.bytes().all(|digit| digit == b'0') {
            // As in JSON: an integer can't keep the sign of zero.
            return Some(strict::float(-0.0));
        }
        return Some(text.parse::<i128>().map_or_else(|_| Err(strict::beyond(text)), strict::integer));
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Err(format!("{text} is not finite, and JSON has no such number")));
    }
    if !is_float(unsigned) {
        return None;
    }
    Some(text.parse::<f64>().map_or_else(|_| Err(strict::beyond(text)), strict::float))
}

/// Matches `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(unsigned: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some_digit = !whole.is_empty() || !fraction.is_empty();
    some_digit && digits(whole) && digits(fraction) && exponent.is_none_or(|power| !power.is_empty() && digits(power))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("~", json!(null)),
            ("Null", json!(null)),
            ("TRUE", json!(true)),
            ("-17", json!(-17)),
            ("+17", json!(17)),
            ("+0", json!(0)),
            ("-0", json!(-0.0)),
            ("017", json!(17)),
            ("0o17", json!(15)),
            ("0xFf", json!(255)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-1.5e3", json!(-1500.0)),
            ("1e3", json!(1000.0)),
            ("9007199254740991", json!(9_007_199_254_740_991_i64)),
        ] {
            assert_eq!(plain(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_yaml_1_1_made_of_text_stays_text() {
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "tRUE",
            "nULL",
            "1_000",
            "0b1",
            "-0x1",
            "12:30:45",
            "2001-12-14",
            "1.2.3",
            ".",
            "-",
            "+",
            "e3",
            "1e",
            "1e+",
            ".e1",
            "infinity",
            "nan",
            "0x",
            "0o8",
            "١",
            "1 ",
        ] {
            assert_eq!(plain(text), Ok(json!(text)), "{text}");
        }
    }

    #[test]
    fn numbers_that_readers_lose_are_refused() {
        let long = "9".repeat(400);
        for text in [
            ".inf",
            "-.INF",
            "+.Inf",
            ".nan",
            "9007199254740992",
            "-9007199254740992",
            "0xFFFFFFFFFFFFFFFF",
            "1e400",
            &long,
        ] {
            assert!(plain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn core_tags_decide_or_refuse() {
        assert_eq!(tagged("str", "1"), Ok(json!("1")));
        assert_eq!(tagged("int", "1"), Ok(json!(1)));
        assert_eq!(tagged("float", "1"), Ok(json!(1.0)));
        assert_eq!(tagged("str", ".nan"), Ok(json!(".nan")));
        for (suffix, text) in
            [("int", "1.5"), ("int", "x"), ("bool", "yes"), ("null", "x"), ("float", "x"), ("map", "x")]
        {
            assert!(tagged(suffix, text).is_err(), "{suffix} {text}");
        }
    }
}
