//! Etags: which resource, in which state. Opaque to whoever holds one.
//!
//! Derived from the row, and kept nowhere. Invariant: two resources never have the same etag, and one resource never has
//! the same one in two states. So who acts under an etag acts on what was read, or not at all.

use std::fmt;

use serde::Serialize;

use super::digest::short_hash;
use super::error::{Error, Result};

/// Longest text that is compared with an etag, in bytes.
const ETAG_MAX_BYTES: usize = 64;

/// An etag, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Etag(String);

impl Etag {
    /// Takes what a caller holds for an etag; `field` is named in the error. Whether it is one shows when it is compared.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what can't be one.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if (1..=ETAG_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(field, "is not one that was handed out"))
    }

    /// Derives the etag of a resource. `parts` say which one it is and how it stands, in an order of their kind.
    #[must_use]
    pub(super) fn derive(kind: &str, parts: &[&[u8]]) -> Self {
        Self(short_hash(std::iter::once(kind.as_bytes()).chain(parts.iter().copied())))
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let etag = |kind, parts: &[&str]| {
            Etag::derive(kind, &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>()).to_string()
        };
        let all = [etag("a", &["bc", ""]), etag("a", &["b", "c"]), etag("ab", &["c", ""]), etag("a", &["bc"])];
        for (number, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 32);
            assert!(all.iter().skip(number + 1).all(|other| other != one), "{all:?}");
        }
        assert_eq!(all[0], etag("a", &["bc", ""]));
    }

    #[test]
    fn an_etag_is_short_and_printable() {
        let (longest, too_long) = ("e".repeat(64), "e".repeat(65));
        for good in ["1", "W/\"x\"", longest.as_str()] {
            assert!(Etag::parse("etag", good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "ä", too_long.as_str()] {
            assert!(Etag::parse("etag", bad).is_err(), "{bad:?}");
        }
    }
}
