//! The grammar of AIP-160, as far as lists have use for it: `field operator value`, AND, OR, NOT, parentheses.
//!
//! OR binds tighter than AND, as there. A value without a field, two terms without a word between, and functions are refused.

use super::scanner::{KEYWORDS, Scanner, refused};
use super::typing::{operand, resolve};
use crate::api::shown::shown;
use crate::domain::filter::{Filter, Kind, Listing, Node, Operator, Placement, Restriction};
use crate::domain::limits::{FILTER_MAX_BYTES, FILTER_MAX_DEPTH, FILTER_TERMS_MAX};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// Reads the filter of a list; `namespace` is that of the policies it names.
///
/// # Errors
/// `INVALID_ARGUMENT` that names `filter`, the column, and what would be taken.
pub fn parse_filter<T>(listing: &'static Listing<T>, namespace: Option<&NamespaceId>, text: &str) -> Result<Filter<T>> {
    if text.len() > FILTER_MAX_BYTES {
        return Err(Error::invalid("filter", format!("is {} bytes long, over {FILTER_MAX_BYTES}", text.len())));
    }
    let mut parser = Parser { listing, namespace, scanner: Scanner::new(text), terms: 0 };
    parser.scanner.skip_space();
    if parser.scanner.is_at_end() {
        return Ok(Filter::default());
    }
    let filter = Filter::new(parser.expression(0)?);
    if !parser.scanner.is_at_end() {
        return Err(parser.expected("AND, OR or the end"));
    }
    check_placement(&filter)?;
    Ok(filter)
}

/// Refuses a field that chooses the index where it could not: below OR and NOT, or a second time.
fn check_placement<T>(filter: &Filter<T>) -> Result<()> {
    let is_narrowing = |restriction: &Restriction<T>| restriction.field.placement == Placement::Narrows;
    let mut seen: Vec<&str> = Vec::new();
    for term in filter.terms() {
        let Some(restriction) = term.find(&is_narrowing) else { continue };
        let name = restriction.field.name;
        if !matches!(term, Node::Is(_)) || seen.contains(&name) {
            let rule = format!("{name} can be given once, joined to the rest by AND");
            return Err(refused(restriction.column, rule));
        }
        seen.push(name);
    }
    Ok(())
}

struct Parser<'a, T: 'static> {
    listing: &'static Listing<T>,
    namespace: Option<&'a NamespaceId>,
    scanner: Scanner<'a>,
    terms: usize,
}

impl<T> Parser<'_, T> {
    fn expected(&self, what: &str) -> Error {
        refused(self.scanner.column(), format!("expected {what}, not {}", self.scanner.next_shown()))
    }

    /// Parses `either { AND either }`.
    fn expression(&mut self, depth: usize) -> Result<Node<T>> {
        let first = self.either(depth)?;
        let mut parts = vec![first];
        while self.scanner.keyword("AND") {
            parts.push(self.either(depth)?);
        }
        Ok(joined(parts, Node::All))
    }

    /// Parses `term { OR term }`.
    fn either(&mut self, depth: usize) -> Result<Node<T>> {
        let first = self.term(depth)?;
        let mut parts = vec![first];
        while self.scanner.keyword("OR") {
            parts.push(self.term(depth)?);
        }
        Ok(joined(parts, Node::OneOf))
    }

    /// Parses `[NOT | -] (restriction | "(" expression ")")`.
    fn term(&mut self, depth: usize) -> Result<Node<T>> {
        self.scanner.skip_space();
        if depth > FILTER_MAX_DEPTH {
            return Err(refused(
                self.scanner.column(),
                format!("over {FILTER_MAX_DEPTH} levels of parentheses and NOT"),
            ));
        }
        if self.scanner.keyword("NOT") || self.scanner.eat('-') {
            return Ok(Node::Not(Box::new(self.term(depth + 1)?)));
        }
        let node = if self.scanner.eat('(') {
            let within = self.expression(depth + 1)?;
            if !self.scanner.eat(')') {
                return Err(self.expected("AND, OR or a closing parenthesis"));
            }
            within
        } else {
            Node::Is(self.restriction()?)
        };
        self.scanner.skip_space();
        Ok(node)
    }

    /// Parses `field operator value`.
    fn restriction(&mut self) -> Result<Restriction<T>> {
        let column = self.scanner.column();
        self.terms += 1;
        if self.terms > FILTER_TERMS_MAX {
            return Err(refused(column, format!("over {FILTER_TERMS_MAX} comparisons")));
        }
        let path = self.path()?;
        self.scanner.skip_space();
        if self.scanner.peek() == Some('(') {
            return Err(refused(column, "functions are not taken"));
        }
        let (field, key) = resolve(self.listing, path, column)?;
        let at = self.scanner.column();
        let operator = self.scanner.operator().ok_or_else(|| self.expected("an operator after the field"))?;
        if !field.operators.contains(&operator) {
            return Err(refused(at, format!("{} is no operator of {}", operator.as_str(), field.description())));
        }
        if matches!(field.kind, Kind::Map) && key.is_none() && operator != Operator::Has {
            let rule = format!("{0} takes {1} only with a key: {0}.key {1} \"value\"", field.name, operator.as_str());
            return Err(refused(at, rule));
        }
        self.scanner.skip_space();
        let at = self.scanner.column();
        let given = self.scanner.quoted()?;
        let is_quoted = given.is_some();
        let text = match given {
            Some(text) => text,
            None => self.scanner.bare().to_owned(),
        };
        if !is_quoted && (text.is_empty() || KEYWORDS.contains(&text.as_str())) {
            return Err(refused(at, "expected a value, in quotes if it is a text with spaces or signs"));
        }
        let operand = operand(field, self.namespace, operator, &text, is_quoted)
            .map_err(|rule| refused(at, format!("{} {rule}, not {}", field.name, shown(&text))))?;
        Ok(Restriction { field, key, operator, operand, column })
    }

    /// Parses `name { "." (name | text in quotes) }`.
    fn path(&mut self) -> Result<Vec<String>> {
        if self.scanner.is_at_keyword() || !self.scanner.is_at_name() {
            let what = format!("a field; this list takes {}", self.listing.description());
            return Err(self.expected(&what));
        }
        let first = self.scanner.name();
        let mut path = vec![first.to_owned()];
        while self.scanner.eat('.') {
            let part = match self.scanner.quoted()? {
                Some(part) => part,
                None => self.scanner.name().to_owned(),
            };
            if part.is_empty() {
                return Err(self.expected("a name after the point"));
            }
            path.push(part);
        }
        Ok(path)
    }
}

/// Returns one part as it is, several joined.
fn joined<T>(mut parts: Vec<Node<T>>, join: fn(Vec<Node<T>>) -> Node<T>) -> Node<T> {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}
