//! The configured rules of an issuer: its name, the audience of its tokens, and their form.
//!
//! Pinned at the start: nothing in a token changes them.

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use crate::domain::principal::{LOCAL_ISSUER_NAME, NAME_MAX_CHARS, Principal, SYSTEM_ISSUER_NAME};
use crate::domain::{Error, Result};

/// Names that no issuer may have, because they are prefixes of members and actors with another meaning.
const RESERVED_NAMES: [&str; 4] = ["group", "spiffe", LOCAL_ISSUER_NAME, SYSTEM_ISSUER_NAME];
/// Claims that already have a meaning.
const RESERVED_CLAIMS: [&str; 7] = ["iss", "aud", "exp", "nbf", "iat", "jti", "cnf"];

/// An algorithm that tokens may be signed with (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in the registry")]
pub enum TokenAlgorithm {
    EdDSA,
    ES256,
    RS256,
    PS256,
}

impl TokenAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::EdDSA, Self::ES256, Self::RS256, Self::PS256];

    /// Returns the name in headers and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word)
    }

    pub(super) fn library(self) -> Algorithm {
        match self {
            Self::EdDSA => Algorithm::EdDSA,
            Self::ES256 => Algorithm::ES256,
            Self::RS256 => Algorithm::RS256,
            Self::PS256 => Algorithm::PS256,
        }
    }
}

/// The rules for the tokens of one trusted issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRules {
    /// The short name, which is the prefix of its principals.
    pub name: String,
    /// `iss` of its tokens, compared exactly.
    pub issuer: String,
    /// `aud` that its tokens must have.
    pub audience: String,
    /// The algorithms that its keys may have.
    pub algorithms: Vec<TokenAlgorithm>,
    /// Whether `typ` may be `JWT`, for issuers that do not know RFC 9068. Then only `aud` keeps the issuer's other tokens out.
    pub allow_typ_jwt: bool,
    /// The claim that names the caller.
    pub subject_claim: String,
    /// The claim that names the caller's groups.
    pub groups_claim: Option<String>,
}

impl IssuerRules {
    /// Refuses rules that could let one caller be taken for another.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn check(&self) -> Result<()> {
        let word =
            |text: &str| (1..=NAME_MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !Principal::is_issuer_name(&self.name) || RESERVED_NAMES.contains(&self.name.as_str()) {
            let rule = "must be 1 to 64 of a-z, 0-9 and -, and not group, spiffe, local or system";
            return Err(Error::invalid("name", rule));
        }
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err(Error::invalid("issuer", "must say its iss and the aud of its tokens"));
        }
        if self.algorithms.is_empty() {
            return Err(Error::invalid("algorithms", "must name one at least"));
        }
        for claim in std::iter::once(&self.subject_claim).chain(&self.groups_claim) {
            if !word(claim) || RESERVED_CLAIMS.contains(&claim.as_str()) {
                return Err(Error::invalid("claims", "must be of claims that mean nothing else"));
            }
        }
        if self.groups_claim.as_deref().is_some_and(|claim| claim == self.subject_claim || claim == "sub") {
            return Err(Error::invalid("groups_claim", "must not be the claim that says who"));
        }
        Ok(())
    }

    pub(super) fn is_local(&self) -> bool {
        self.name == LOCAL_ISSUER_NAME
    }
}
