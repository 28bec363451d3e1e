//! The fields of a query and of a form (`application/x-www-form-urlencoded`, WHATWG URL §5.1), read strictly.
//!
//! Invariant: a field that comes twice or is not UTF-8 is refused, so that two readers never see two values.

use percent_encoding::percent_decode_str;

use crate::domain::{Error, Result};

/// Most fields of a query or a form.
const FIELDS_MAX: usize = 64;

/// The fields, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Parses the text of a query or of a form.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if fields.len() == FIELDS_MAX {
                return Err(Error::invalid("fields", format!("are more than {FIELDS_MAX}")));
            }
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(Error::invalid("fields", "have a name that comes twice"));
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    /// Returns the value of a field; empty when it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// Leaves a field out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(field, _)| field != name);
        self
    }

    /// Returns the value of a field that holds an integer.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn number(&self, name: &str) -> Result<i64> {
        self.get(name).parse().map_err(|_| Error::invalid(name, "must be an integer"))
    }

    /// Returns a field that is an integer; 0 when it is absent or empty.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is none.
    pub fn number_or_zero(&self, name: &str) -> Result<i64> {
        if self.get(name).is_empty() { Ok(0) } else { self.number(name) }
    }
}

fn decode(text: &str) -> Result<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    Ok(decoded.map_err(|_| Error::invalid("fields", "are not UTF-8"))?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_once_and_as_text() {
        let fields = Fields::parse("a=1+2&b=%26%3D%C3%A4&c&&d=x=y").expect("fields");
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c"), fields.get("d")), ("1 2", "&=ä", "", "x=y"));
        assert_eq!(fields.get("e"), "");
        assert_eq!((fields.clone().without("a").get("a"), fields.clone().without("b").get("a")), ("", "1 2"));
        assert!(fields.number("a").is_err() && fields.number("e").is_err());
        assert_eq!(Fields::parse("n=-12").expect("a field").number("n").expect("a number"), -12);
        let many = "a&".repeat(2);
        for bad in ["a=%FF", "a=1&a=2", &many, &(0..65).map(|each| format!("f{each}&")).collect::<String>()] {
            assert!(Fields::parse(bad).is_err(), "{bad}");
        }
    }
}
