//! Who asked: the identity that authorization, approvals and the log speak of.
//!
//! Made by `auth` from a verified credential and by nothing else. It says who, never what they may do.
//! The three forms of a member never meet: an issuer's name has no colon, and is none of the words `group` and `spiffe`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The short name of the built-in issuer.
pub const LOCAL_ISSUER_NAME: &str = "local";
/// The issuer of callers with a client certificate: `spiffe:` and the rest of a SPIFFE ID is that ID.
pub const SPIFFE_ISSUER_NAME: &str = "spiffe";
/// The issuer of the server itself, where it acts for somebody who is not there. No credential has it.
pub const SYSTEM_ISSUER_NAME: &str = "system";
/// Longest short name of an issuer, and longest name of a claim.
pub const NAME_MAX_CHARS: usize = 64;
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
    /// Groups the issuer says the caller is in, as the issuer names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// A caller: who, and by what it was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Identifies the caller.
    pub principal: Principal,
    /// Holds the credential that was presented.
    pub credential: Credential,
}

/// Holds the credential that authenticated a caller, kept so that a stream can be asked again whether it still does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token.
    Token {
        /// Its `jti`; empty when it has none.
        id: String,
        /// RFC 7638 thumbprint of the key that signed it.
        key_id: String,
        /// `iat`; 0 when it has none.
        issued_at_seconds: i64,
        /// `exp`.
        expires_at_seconds: i64,
    },
    /// A client certificate.
    Certificate {
        /// The authority of its trust domain that its chain led to.
        authority: String,
        /// `notBefore`.
        issued_at_seconds: i64,
        /// `notAfter`, the earliest of its chain.
        expires_at_seconds: i64,
    },
}

impl Principal {
    /// Returns a caller in no group.
    #[must_use]
    pub fn new(issuer: &str, subject: &str) -> Self {
        Self { issuer: issuer.to_owned(), subject: subject.to_owned(), groups: Vec::new() }
    }

    /// Returns every name by which a role binding may mean the caller: its own and that of each of its groups.
    pub fn members(&self) -> impl Iterator<Item = String> + '_ {
        let groups = self.groups.iter().map(|group| format!("group:{}:{group}", self.issuer));
        std::iter::once(self.actor()).chain(groups)
    }

    /// Returns the one-line form kept in events and compared by role bindings: `local:admin`.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("{}:{}", self.issuer, self.subject)
    }

    /// Returns whether a text can be the short name of an issuer.
    #[must_use]
    pub fn is_issuer_name(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=NAME_MAX_CHARS).contains(&text.len()) && text.bytes().all(allowed)
    }

    /// Returns whether a text can be a subject: 1 to 255 printable ASCII characters, no space at either end. Anything wider
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

/// Prefixes identities of other stores. No issuer of this store has a slash in its name.
const IMPORTED_PREFIX: &str = "imported/";

/// Returns an identity of another store, as this one tells of it: never a name that this store gives anybody, whose issuers have no
/// slash. Empty stays empty: nobody did it.
#[must_use]
pub fn imported_identity(store: &str, identity: &str) -> String {
    if identity.is_empty() { String::new() } else { format!("{IMPORTED_PREFIX}{store}/{identity}") }
}

/// Returns who that is in a store that had exported it: what came back through imports, the name there once more. Any other name stays
/// what it is.
#[must_use]
pub fn identity_in<'a>(store: &str, identity: &'a str) -> &'a str {
    let (mut found, mut rest) = (identity, identity);
    while let Some((from, inner)) = rest.strip_prefix(IMPORTED_PREFIX).and_then(|rest| rest.split_once('/')) {
        if from == store {
            found = inner;
        }
        rest = inner;
    }
    found
}

/// Returns whether a name is one of another store.
#[must_use]
pub fn is_imported_identity(identity: &str) -> bool {
    identity.starts_with(IMPORTED_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_is_who_left() {
        let who = |identity| identity_in("here", identity);
        assert_eq!(who("local:ann"), "local:ann");
        assert_eq!(who("imported/here/local:ann"), "local:ann");
        assert_eq!(who("imported/there/imported/here/local:ann"), "local:ann");
        assert_eq!(who("imported/there/local:ann"), "imported/there/local:ann");
        assert_eq!(who("imported/here/imported/there/local:ann"), "imported/there/local:ann");
        assert_eq!(who("imported/heretic/local:ann"), "imported/heretic/local:ann");
    }

    #[test]
    fn the_actor_names_issuer_and_subject() {
        let mut principal = Principal::new(LOCAL_ISSUER_NAME, "system:job:7");
        assert_eq!(principal.actor(), "local:system:job:7");
        assert_eq!(principal.to_string(), principal.actor());
        principal.groups.push("ops".to_owned());
        assert_eq!(principal.members().collect::<Vec<_>>(), ["local:system:job:7", "group:local:ops"]);
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
