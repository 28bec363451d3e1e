//! What a filter gives to an index: ranges, an exact text, the names of an enum for which it can hold.

use super::operand::{Operand, Operator, Value};
use super::tree::{Filter, Node, Restriction};

/// A half-open range: from a number on, and up to one that is not in it. Times are microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// The lowest number.
    pub start: Option<i64>,
    /// The first number above it.
    pub end: Option<i64>,
}

/// What the indexes of a list find of a filter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Served {
    /// Fields by whose ranges the index is read.
    pub ranges: &'static [&'static str],
    /// Fields whose exact value leads to an index.
    pub texts: &'static [&'static str],
    /// Fields of enums: each name has a part of the index.
    pub enums: &'static [&'static str],
}

impl Range {
    /// Narrows it by one comparison.
    fn narrow(&mut self, operator: Operator, number: i64) {
        let above = number.checked_add(1);
        let (start, end) = match operator {
            Operator::Equal => (Some(number), above),
            Operator::Less => (None, Some(number)),
            Operator::AtMost => (None, above),
            // No number is above the highest one. The filter itself removes what does not match.
            Operator::Greater => (above.or(Some(number)), None),
            Operator::AtLeast => (Some(number), None),
            Operator::NotEqual | Operator::Has => (None, None),
        };
        self.start = self.start.max(start);
        self.end = [self.end, end].into_iter().flatten().min();
    }
}

impl<T> Filter<T> {
    /// Returns the comparisons of a field that have to hold whatever else does.
    fn of_field<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Restriction<T>> {
        self.terms().iter().filter_map(move |term| match term {
            Node::Is(restriction) => Some(restriction).filter(|restriction| restriction.field.name == name),
            Node::All(_) | Node::OneOf(_) | Node::Not(_) => None,
        })
    }

    /// Returns the range that a number or a time has to be in.
    #[must_use]
    pub fn range(&self, name: &str) -> Range {
        let mut range = Range::default();
        for restriction in self.of_field(name) {
            match restriction.operand {
                Operand::Number(number) => range.narrow(restriction.operator, number),
                Operand::Time(time) => range.narrow(restriction.operator, time.0),
                Operand::Text(_) | Operand::Truth(_) | Operand::Enum(_) | Operand::Any => {}
            }
        }
        range
    }

    /// Returns the text that a field has to be.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.of_field(name).filter(|restriction| restriction.operator == Operator::Equal).find_map(|restriction| {
            match &restriction.operand {
                Operand::Text(text) => Some(text.as_str()),
                Operand::Number(_) | Operand::Time(_) | Operand::Truth(_) | Operand::Enum(_) | Operand::Any => None,
            }
        })
    }

    /// Returns those names of an enum for which it can hold, whatever the other fields are.
    #[must_use]
    pub fn enum_values<W: Copy>(&self, name: &str, all: &[W], word: fn(W) -> &'static str) -> Vec<W> {
        let can_hold = |value: &W| self.terms().iter().all(|term| term.holds_for(name, word(*value)) != Some(false));
        all.iter().copied().filter(can_hold).collect()
    }

    /// Returns whether an index finds exactly the items of the filter, so that none of what is read is left out.
    #[must_use]
    pub fn is_served(&self, by: Served) -> bool {
        self.terms().iter().all(|term| match term {
            Node::Is(restriction) if by.ranges.contains(&restriction.field.name) => {
                !matches!(restriction.operator, Operator::NotEqual | Operator::Has)
            }
            Node::Is(restriction) if by.texts.contains(&restriction.field.name) => {
                let exact = self.text(restriction.field.name).map(|text| Operand::Text(text.to_owned()));
                restriction.operator == Operator::Equal && exact.as_ref() == Some(&restriction.operand)
            }
            other => other.find(&|restriction| !by.enums.contains(&restriction.field.name)).is_none(),
        })
    }
}

impl<T> Node<T> {
    /// Returns whether it holds for a name of an enum; none: that depends on other fields.
    fn holds_for(&self, name: &str, word: &'static str) -> Option<bool> {
        match self {
            Self::All(parts) => decide(parts.iter().map(|part| part.holds_for(name, word)), false),
            Self::OneOf(parts) => decide(parts.iter().map(|part| part.holds_for(name, word)), true),
            Self::Not(part) => part.holds_for(name, word).map(|holds| !holds),
            Self::Is(restriction) if restriction.field.name == name => {
                Some(Value::Enum(word).satisfies(restriction.operator, &restriction.operand, None))
            }
            Self::Is(_) => None,
        }
    }
}

/// Returns what parts come to, one of which decides alone when it is `decisive`; none: what is not known decides.
fn decide(parts: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut is_known = true;
    for part in parts {
        match part {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(!decisive)
}
