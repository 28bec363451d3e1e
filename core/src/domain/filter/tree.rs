//! A filter: restrictions joined by AND, OR and NOT.

use std::fmt;

use super::field::Field;
use super::operand::{Operand, Operator};

/// Compares a field with a value.
#[derive(Debug)]
pub struct Restriction<T: 'static> {
    /// Its row in the table of the list.
    pub field: &'static Field<T>,
    /// The key, of a map.
    pub key: Option<String>,
    /// Says how it compares.
    pub operator: Operator,
    /// Holds what it compares with: of the field's type.
    pub operand: Operand,
    /// Says where it begins in the text, in characters from 1, for errors.
    pub column: usize,
}

/// A part of a filter.
#[derive(Debug)]
pub enum Node<T: 'static> {
    /// All of its parts hold.
    All(Vec<Node<T>>),
    /// It holds when one of its parts holds.
    OneOf(Vec<Node<T>>),
    /// Its part does not hold.
    Not(Box<Node<T>>),
    /// A comparison.
    Is(Restriction<T>),
}

/// Says which items a list holds: those for which every term holds. Without terms, all of them.
#[derive(Debug)]
pub struct Filter<T: 'static> {
    terms: Vec<Node<T>>,
}

impl<T> Default for Filter<T> {
    fn default() -> Self {
        Self { terms: Vec::new() }
    }
}

impl<T> Filter<T> {
    /// Makes a filter of a tree. What its root joins by AND becomes its terms.
    #[must_use]
    pub fn new(root: Node<T>) -> Self {
        let mut terms = Vec::new();
        flatten(root, &mut terms);
        Self { terms }
    }

    /// Returns the parts that all have to hold.
    #[must_use]
    pub fn terms(&self) -> &[Node<T>] {
        &self.terms
    }

    /// Returns whether it holds for every item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns whether an item belongs to the list.
    #[must_use]
    pub fn keeps(&self, item: &T) -> bool {
        self.terms.iter().all(|term| term.holds(item))
    }
}

fn flatten<T>(node: Node<T>, terms: &mut Vec<Node<T>>) {
    match node {
        Node::All(parts) => parts.into_iter().for_each(|part| flatten(part, terms)),
        other => terms.push(other),
    }
}

impl<T> Restriction<T> {
    /// Returns whether it holds for an item.
    #[must_use]
    pub fn holds(&self, item: &T) -> bool {
        (self.field.read)(item).satisfies(self.operator, &self.operand, self.key.as_deref())
    }
}

impl<T> Node<T> {
    /// Returns whether it holds for an item.
    #[must_use]
    pub fn holds(&self, item: &T) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(item)),
            Self::OneOf(parts) => parts.iter().any(|part| part.holds(item)),
            Self::Not(part) => !part.holds(item),
            Self::Is(restriction) => restriction.holds(item),
        }
    }

    /// Returns the first restriction in it that is as asked.
    pub fn find(&self, is_asked: &dyn Fn(&Restriction<T>) -> bool) -> Option<&Restriction<T>> {
        match self {
            Self::All(parts) | Self::OneOf(parts) => parts.iter().find_map(|part| part.find(is_asked)),
            Self::Not(part) => part.find(is_asked),
            Self::Is(restriction) => is_asked(restriction).then_some(restriction),
        }
    }
}

impl<T> fmt::Display for Restriction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.name)?;
        if let Some(key) = &self.key {
            write!(f, ".{}", super::spelling::quoted(key))?;
        }
        write!(f, " {} {}", self.operator.as_str(), self.operand)
    }
}

/// Writes it in the language that it is read from, each part that has parts in parentheses.
impl<T> fmt::Display for Node<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Is(restriction) => return fmt::Display::fmt(restriction, f),
            Self::Not(part) => return write!(f, "NOT {}", Nested(part)),
            Self::All(parts) => (parts, " AND "),
            Self::OneOf(parts) => (parts, " OR "),
        };
        join(f, parts, word)
    }
}

/// Writes the terms, joined by AND; an empty text without any.
impl<T> fmt::Display for Filter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.terms.as_slice() {
            [only] => fmt::Display::fmt(only, f),
            terms => join(f, terms, " AND "),
        }
    }
}

fn join<T>(f: &mut fmt::Formatter<'_>, parts: &[Node<T>], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        fmt::Display::fmt(&Nested(part), f)?;
    }
    Ok(())
}

/// A part within another one.
struct Nested<'a, T: 'static>(&'a Node<T>);

impl<T> fmt::Display for Nested<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.0, Node::Is(_)) { fmt::Display::fmt(self.0, f) } else { write!(f, "({})", self.0) }
    }
}
