//! Digests: `sha256:` and 64 lower-case hex digits of exact bytes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result};

/// A digest in its written form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A hash of the event chain, 32 bytes.
pub type Hash = [u8; 32];

/// The root of an active set: what a statement or a checkpoint signs of all that is in force. Written as 64 lower-case hex
/// digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActiveSetRoot(pub self::Hash);

impl ActiveSetRoot {
    /// Takes the written form; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let hash = unhex(text).and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or_else(|| Error::invalid(field, "must be 64 lower-case hex digits"))
    }
}

impl fmt::Display for ActiveSetRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl From<ActiveSetRoot> for String {
    fn from(root: ActiveSetRoot) -> Self {
        root.to_string()
    }
}

impl TryFrom<String> for ActiveSetRoot {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse("active_set_root", &text)
    }
}

impl Digest {
    /// Returns the digest of exact bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::from_sha256(&Sha256::digest(bytes))
    }

    /// Returns the written form of a SHA-256.
    #[must_use]
    pub fn from_sha256(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(hash)))
    }

    /// Takes the written form; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let well_formed = text.strip_prefix("sha256:").is_some_and(|digits| {
            digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid_text(field, text, "must be sha256: and 64 lower-case hex digits"))
        }
    }

    /// Returns the SHA-256 that is written here.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`: it was made of other than 32 bytes.
    pub fn to_sha256(&self) -> Result<Hash> {
        let digits = self.0.strip_prefix("sha256:").and_then(unhex);
        digits.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| Error::invalid("digest", "is no SHA-256"))
    }

    /// Returns the written form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes of a short hash: 128 bits, so that nobody finds two lists of parts with one hash.
const SHORT_HASH_BYTES: usize = 16;

/// Returns the first 128 bits of the SHA-256 of some parts, in lower-case hex. Each part counts with its length, so that no two lists of
/// parts hash the same bytes. It names things, and proves nothing: whatever is signed is hashed in `signing`.
#[must_use]
pub fn short_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(hash.finalize().get(..SHORT_HASH_BYTES).unwrap_or_default())
}

/// Writes bytes in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// The bytes that lower-case hex stands for, or `None` when the text is anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    // The library takes upper case too: one value must have one text.
    hex::decode(text).ok().filter(|bytes| hex(bytes) == text)
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse("digest", &text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
