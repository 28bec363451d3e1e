//! Who asked: the identity that authorization, approvals and the log speak of.
//!
//! Made by `auth` from a verified credential and by nothing else. It says who, never what they may do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The short name of the built-in issuer.
pub const LOCAL_ISSUER_NAME: &str = "local";
/// Longest subject (OpenID Connect Core §2, `sub`).
pub const SUBJECT_MAX_CHARS: usize = 255;

/// An authenticated caller. Subjects are unique within their issuer only, so the two always go together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Principal {
    /// The short name the server's config gives the issuer (`local` for the built-in one), not the `iss` URL.
    /// It holds no colon, so that the first colon of an actor always ends it.
    pub issuer: String,
    /// The issuer's own, unchanging name for the caller (`sub`, RFC 7519 §4.1.2).
    pub subject: String,
}

impl Principal {
    /// The one-line form kept in events and compared by role bindings: `local:admin`.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("{}:{}", self.issuer, self.subject)
    }

    /// Whether a text can be a subject: 1 to 255 printable ASCII characters, no space at either end. Anything wider
    /// lets two callers look alike in a log.
    #[must_use]
    pub fn is_subject(text: &str) -> bool {
        (1..=SUBJECT_MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && text.trim() == text
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.issuer, self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actor_names_issuer_and_subject() {
        let principal = Principal { issuer: LOCAL_ISSUER_NAME.to_owned(), subject: "system:job:7".to_owned() };
        assert_eq!(principal.actor(), "local:system:job:7");
        assert_eq!(principal.to_string(), principal.actor());
    }

    #[test]
    fn subjects_are_short_printable_ascii() {
        let longest = "a".repeat(255);
        for good in ["admin", "auth0|12", "CN=Ann Example", "a@b.c", longest.as_str()] {
            assert!(Principal::is_subject(good), "{good:?} must be a subject");
        }
        let too_long = "a".repeat(256);
        for bad in ["", " ", " admin", "admin ", "ad\nmin", "ad\u{0}min", "\u{430}dmin", "\u{202e}a", too_long.as_str()]
        {
            assert!(!Principal::is_subject(bad), "{bad:?} must not be a subject");
        }
    }
}
