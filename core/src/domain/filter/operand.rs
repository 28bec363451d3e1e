//! Operators, the values they compare with, and what an item has in a field.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::spelling::quoted;
use crate::domain::time::Micros;

/// How a field is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the operator that `as_str` writes")]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    /// `:`, which asks whether the field has something: a text within, an item, a key, or any value at all.
    Has,
}

impl Operator {
    /// Returns how it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::Has => ":",
        }
    }

    /// Returns whether it holds between two values that compare so.
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Has => false,
        }
    }
}

/// What a restriction compares with, of the type of its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A text, compared byte by byte.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A time.
    Time(Micros),
    /// True or false.
    Truth(bool),
    /// A name of an enum, without its prefix.
    Enum(&'static str),
    /// `*`: any value, only after `:`.
    Any,
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Time(time) => write!(f, "\"{time}\""),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Enum(word) => f.write_str(word),
            Self::Any => f.write_str("*"),
        }
    }
}

/// What an item has in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: of the operators only `!=` holds.
    Unset,
    /// A text.
    Text(Cow<'a, str>),
    /// Several texts.
    Texts(Vec<&'a str>),
    /// A whole number.
    Number(i64),
    /// A time.
    Time(Micros),
    /// True or false.
    Truth(bool),
    /// A name of an enum.
    Enum(&'static str),
    /// Texts by key.
    Map(&'a BTreeMap<String, String>),
}

impl<'a> Value<'a> {
    /// Returns a text that the item has.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Returns a text that is written for the comparison, such as a name.
    #[must_use]
    pub fn written(text: impl fmt::Display) -> Self {
        Self::Text(Cow::Owned(text.to_string()))
    }

    /// Returns a time that may be unset.
    #[must_use]
    pub fn time(time: Option<Micros>) -> Self {
        time.map_or(Self::Unset, Self::Time)
    }

    /// Returns whether the value is as an operator and its operand want it; `key` is that of a map.
    #[must_use]
    pub fn satisfies(&self, operator: Operator, operand: &Operand, key: Option<&str>) -> bool {
        match (self, operand) {
            (Self::Map(map), _) => match key {
                Some(key) => has_entry(map.get(key), operator, operand),
                None => match operand {
                    Operand::Text(key) => map.contains_key(key),
                    Operand::Number(_) | Operand::Time(_) | Operand::Truth(_) | Operand::Enum(_) | Operand::Any => {
                        !map.is_empty()
                    }
                },
            },
            (Self::Unset, _) => operator == Operator::NotEqual,
            (Self::Text(text), Operand::Any) => !text.is_empty(),
            (Self::Texts(texts), Operand::Any) => !texts.is_empty(),
            (Self::Number(_) | Self::Time(_) | Self::Truth(_) | Self::Enum(_), Operand::Any) => true,
            (Self::Text(text), Operand::Text(wanted)) => has_text(text, operator, wanted),
            (Self::Texts(texts), Operand::Text(wanted)) => {
                texts.contains(&wanted.as_str()) == (operator != Operator::NotEqual)
            }
            (Self::Number(number), Operand::Number(wanted)) => operator.holds(number.cmp(wanted)),
            (Self::Time(time), Operand::Time(wanted)) => operator.holds(time.cmp(wanted)),
            (Self::Truth(truth), Operand::Truth(wanted)) => operator.holds(truth.cmp(wanted)),
            (Self::Enum(word), Operand::Enum(wanted)) => operator.holds(word.cmp(wanted)),
            // A value of another type than the operand.
            (
                Self::Text(_) | Self::Texts(_) | Self::Number(_) | Self::Time(_) | Self::Truth(_) | Self::Enum(_),
                Operand::Text(_) | Operand::Number(_) | Operand::Time(_) | Operand::Truth(_) | Operand::Enum(_),
            ) => false,
        }
    }
}

fn has_text(text: &str, operator: Operator, wanted: &str) -> bool {
    match operator {
        Operator::Has => text.contains(wanted),
        other => other.holds(text.cmp(wanted)),
    }
}

/// Returns whether an entry of a map is as wanted: `:` also takes one item of a list whose items are separated by commas.
fn has_entry(entry: Option<&String>, operator: Operator, operand: &Operand) -> bool {
    match (entry, operand) {
        (None, _) => operator == Operator::NotEqual,
        (Some(_), Operand::Any) => true,
        (Some(entry), Operand::Text(wanted)) if operator == Operator::Has => {
            entry == wanted || entry.split(',').any(|item| item.trim() == wanted)
        }
        (Some(entry), Operand::Text(wanted)) => operator.holds(entry.cmp(wanted)),
        (Some(_), Operand::Number(_) | Operand::Time(_) | Operand::Truth(_) | Operand::Enum(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Operand {
        Operand::Text(text.to_owned())
    }

    #[test]
    fn a_value_is_compared_as_its_type_is() {
        let at = |time| Operand::Time(Micros(time));
        for (operator, below, same, above) in [
            (Operator::Equal, false, true, false),
            (Operator::NotEqual, true, false, true),
            (Operator::Less, true, false, false),
            (Operator::AtMost, true, true, false),
            (Operator::Greater, false, false, true),
            (Operator::AtLeast, false, true, true),
        ] {
            let number = |number| Value::Number(number).satisfies(operator, &Operand::Number(5), None);
            assert_eq!((number(4), number(5), number(6)), (below, same, above), "{}", operator.as_str());
            let time = |time| Value::Time(Micros(time)).satisfies(operator, &at(5), None);
            assert_eq!((time(4), time(5), time(6)), (below, same, above), "{}", operator.as_str());
            let unset = Value::Unset.satisfies(operator, &at(5), None);
            assert_eq!(unset, operator == Operator::NotEqual, "{}", operator.as_str());
        }
        assert!(Value::Time(Micros(0)).satisfies(Operator::Has, &Operand::Any, None));
        assert!(!Value::Unset.satisfies(Operator::Has, &Operand::Any, None));
        assert!(!Value::Number(5).satisfies(Operator::Equal, &text("5"), None), "another type is never the same");
    }

    #[test]
    fn texts_are_whole_or_within() {
        let value = Value::text("local:rita");
        assert!(value.satisfies(Operator::Equal, &text("local:rita"), None));
        assert!(!value.satisfies(Operator::Equal, &text("local:ri"), None));
        assert!(value.satisfies(Operator::Has, &text("rita"), None));
        assert!(!Value::text("").satisfies(Operator::Has, &Operand::Any, None));
        let several = Value::Texts(vec!["a", "b"]);
        assert!(
            several.satisfies(Operator::Has, &text("b"), None) && several.satisfies(Operator::Equal, &text("b"), None)
        );
        assert!(!several.satisfies(Operator::NotEqual, &text("b"), None));
        assert!(several.satisfies(Operator::NotEqual, &text("c"), None));
    }

    #[test]
    fn maps_are_asked_by_key() {
        let map = BTreeMap::from([("owner".to_owned(), "a, b".to_owned())]);
        let value = Value::Map(&map);
        let owner = |operator, operand: &Operand| value.satisfies(operator, operand, Some("owner"));
        assert!(
            owner(Operator::Has, &text("b"))
                && owner(Operator::Has, &text("a, b"))
                && owner(Operator::Has, &Operand::Any)
        );
        assert!(!owner(Operator::Equal, &text("b")) && owner(Operator::Equal, &text("a, b")));
        assert!(!value.satisfies(Operator::Has, &Operand::Any, Some("zone")));
        assert!(value.satisfies(Operator::NotEqual, &text("b"), Some("zone")));
        assert!(
            value.satisfies(Operator::Has, &text("owner"), None) && !value.satisfies(Operator::Has, &text("a"), None)
        );
    }
}
