//! The table of a list: by which fields it can be filtered, and in which orders it can be read.

use std::fmt::Write as _;

use super::operand::{Operator, Value};

/// The operators of numbers.
const ORDERED: &[Operator] =
    &[Operator::Equal, Operator::NotEqual, Operator::Less, Operator::AtMost, Operator::Greater, Operator::AtLeast];
/// The operators of times, which may be unset.
const TIMES: &[Operator] = &[
    Operator::Equal,
    Operator::NotEqual,
    Operator::Less,
    Operator::AtMost,
    Operator::Greater,
    Operator::AtLeast,
    Operator::Has,
];
/// The operators of what is the same or not.
const EQUALITY: &[Operator] = &[Operator::Equal, Operator::NotEqual];
/// The operators of texts, and of the entries of maps.
const TEXTS: &[Operator] = &[Operator::Equal, Operator::NotEqual, Operator::Has];

/// The names of an enum.
#[derive(Debug, Clone, Copy)]
pub struct EnumNames {
    /// Holds what stands before each name in the proto, and may be left out.
    pub prefix: &'static str,
    /// Every name, without it.
    pub all: fn() -> Vec<&'static str>,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A time by RFC 3339.
    Time,
    /// True or false.
    Truth,
    /// A name of an enum.
    Enum(EnumNames),
    /// A policy, by id or by name.
    Policy,
    /// Several texts.
    List,
    /// Texts by key.
    Map,
}

impl Kind {
    /// Returns its name in the documentation.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Time => "time",
            Self::Truth => "bool",
            Self::Enum(_) => "enum",
            Self::Policy => "policy",
            Self::List => "list",
            Self::Map => "map",
        }
    }
}

/// Says where in a filter a field may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Anywhere.
    Anywhere,
    /// Once, joined to the rest by AND: it chooses the index that the list is read from.
    Narrows,
}

/// A field that a list can be filtered by.
#[derive(Debug)]
pub struct Field<T: 'static> {
    /// Its name: the path in the resource, or a word that the documentation of the list explains.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The operators that it takes.
    pub operators: &'static [Operator],
    /// Says where it may stand.
    pub placement: Placement,
    /// Reads what an item has in it.
    pub read: for<'a> fn(&'a T) -> Value<'a>,
}

impl<T> Field<T> {
    const fn new(
        name: &'static str,
        kind: Kind,
        operators: &'static [Operator],
        read: for<'a> fn(&'a T) -> Value<'a>,
    ) -> Self {
        Self { name, kind, operators, placement: Placement::Anywhere, read }
    }

    /// Makes a field of texts.
    pub const fn text(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Text, TEXTS, read)
    }

    /// Makes a field of numbers.
    pub const fn number(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Number, ORDERED, read)
    }

    /// Makes a field of times.
    pub const fn time(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Time, TIMES, read)
    }

    /// Makes a field that is true or false.
    pub const fn truth(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Truth, EQUALITY, read)
    }

    /// Makes a field of an enum.
    pub const fn enumeration(name: &'static str, words: EnumNames, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Enum(words), EQUALITY, read)
    }

    /// Makes a field of policies.
    pub const fn policy(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Policy, EQUALITY, read)
    }

    /// Makes a field of several texts.
    pub const fn list(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::List, &[Operator::Has], read)
    }

    /// Makes a field of texts by key.
    pub const fn map(name: &'static str, read: for<'a> fn(&'a T) -> Value<'a>) -> Self {
        Self::new(name, Kind::Map, TEXTS, read)
    }

    /// Makes it a field that takes `=` alone, once, joined to the rest by AND.
    #[must_use]
    pub const fn narrowing(self) -> Self {
        Self { operators: &[Operator::Equal], placement: Placement::Narrows, ..self }
    }

    /// Describes it in the words of the documentation: `kind (enum; = !=)`.
    #[must_use]
    pub fn description(&self) -> String {
        let mut text = format!("{} ({};", self.name, self.kind.as_str());
        for operator in self.operators {
            let _ = write!(text, " {}", operator.as_str());
        }
        text.push(')');
        text
    }
}

/// An order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Says how it is asked for (AIP-132): `revision desc`.
    pub text: &'static str,
    /// Says whether it is the reverse of that of the index.
    pub is_descending: bool,
}

impl Order {
    /// Makes an order that rises.
    #[must_use]
    pub const fn ascending(text: &'static str) -> Self {
        Self { text, is_descending: false }
    }

    /// Makes an order that falls; the text ends with ` desc`.
    #[must_use]
    pub const fn descending(text: &'static str) -> Self {
        Self { text, is_descending: true }
    }
}

/// Holds what a list can be asked for.
#[derive(Debug)]
pub struct Listing<T: 'static> {
    /// The message that asks for it.
    pub request: &'static str,
    /// The fields of its filter.
    pub fields: &'static [Field<T>],
    /// Its orders: the first one is the default. Each is one of an index.
    pub orders: &'static [Order],
}

impl<T> Listing<T> {
    /// Describes what its filter takes.
    #[must_use]
    pub fn description(&self) -> String {
        self.fields.iter().map(Field::description).collect::<Vec<_>>().join(", ")
    }

    /// Describes the orders it takes.
    #[must_use]
    pub fn orders_description(&self) -> String {
        let quoted: Vec<String> = self.orders.iter().map(|order| format!("{:?}", order.text)).collect();
        if quoted.is_empty() { "none but its own".to_owned() } else { quoted.join(" or ") }
    }
}
