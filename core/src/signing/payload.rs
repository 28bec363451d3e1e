//! What the tokens say. Fields are written in the order they have here, once, and signed as those bytes.
//!
//! Reading ignores members it does not know, so that a later release may add some, and refuses repeated ones. Nothing is
//! ever written again from what was read: the bytes are the document.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::VerifyError;
use super::object;
use crate::domain::adopted::Adopted;
use crate::domain::annotations::Annotations;
use crate::domain::digest::{ActiveSetRoot, Digest, Hash, hex, unhex};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::template::TemplateSource;
use crate::domain::version::Requirement;

/// The manifest of a bundle or of a preview: what these bytes are and who answers for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Id of the store.
    pub store: String,
    /// The tenant.
    #[serde(deserialize_with = "namespace_id")]
    pub namespace: NamespaceId,
    /// The policy.
    #[serde(deserialize_with = "policy_id")]
    pub policy: PolicyId,
    /// Its number, from 1.
    pub version: i64,
    /// Its SemVer, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
    /// Media type of the content.
    pub content_type: String,
    /// Who drafted it.
    pub author: String,
    /// Who published it; for a preview, who asked.
    pub publisher: String,
    /// What the author said of it by name, in order of the names; absent when that is nothing.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// What must be active for it to be active; absent when that is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "object::list")]
    pub requires: Vec<Requirement>,
    /// Who wrote it before it came to a store, and when, as its author says; absent when it was made in one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub adopted: Option<Adopted>,
    /// The template that the content was made from; absent when its author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub template: Option<TemplateSource>,
    /// When it was signed, in seconds since the Unix epoch.
    pub iat: i64,
    /// Where it was imported from; absent when it was made here. Author and publisher are that store's word then.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub origin: Option<Origin>,
}

/// The manifest that an imported version came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Id of the store that signed it.
    pub store: String,
    /// What the namespace was called there.
    pub namespace: String,
    /// Digest of the manifest, compact JWS.
    pub manifest: Digest,
}

/// The statement of an activation: at (epoch, revision) these policies point to these digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Id of the store.
    pub store: String,
    /// The tenant.
    #[serde(deserialize_with = "namespace_id")]
    pub namespace: NamespaceId,
    /// The epoch of the store.
    pub epoch: i64,
    /// The event's place in the log of the namespace, from 1.
    pub revision: i64,
    /// `ACTIVATE`, `ROLLBACK` or `DEACTIVATE`. For people: what changes is in `changes`.
    pub kind: String,
    /// Every pointer that moves.
    #[serde(deserialize_with = "object::list")]
    pub changes: Vec<StatementChange>,
    /// Who moved them.
    pub actor: String,
    /// Digest of the reason's text.
    pub reason_digest: Digest,
    /// Hash of the event before, written as 64 lower-case hex digits.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub prev: Hash,
    /// Root of the active set after the changes; none in a statement that was signed before roots were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_set_root: Option<ActiveSetRoot>,
    /// When it was signed, in seconds since the Unix epoch.
    pub iat: i64,
}

/// One pointer that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementChange {
    /// The policy.
    #[serde(deserialize_with = "policy_id")]
    pub policy: PolicyId,
    /// The version in force from here on; 0: none.
    pub version: i64,
    /// Digest of that version; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The version in force until here; 0: none.
    pub previous: i64,
}

/// A checkpoint: the head of the namespace's log, as of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Id of the store.
    pub store: String,
    /// The tenant.
    #[serde(deserialize_with = "namespace_id")]
    pub namespace: NamespaceId,
    /// The epoch of the store.
    pub epoch: i64,
    /// Revision of the head; 0 for an empty log.
    pub revision: i64,
    /// Hash of the head, written as 64 lower-case hex digits.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub head_hash: Hash,
    /// Root of everything active.
    pub active_set_root: ActiveSetRoot,
    /// When it was signed, in seconds since the Unix epoch.
    pub iat: i64,
    /// When it stops proving anything, in seconds since the Unix epoch.
    pub exp: i64,
}

impl Manifest {
    /// Returns the bytes to sign.
    pub fn to_bytes(&self) -> crate::domain::Result<Vec<u8>> {
        write(self)
    }

    /// Reads signed bytes; `PayloadMalformed` when they are not a manifest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        let manifest: Self = read(bytes)?;
        if manifest.version < 1 { Err(VerifyError::PayloadMalformed) } else { Ok(manifest) }
    }
}

impl Statement {
    /// Returns the bytes to sign.
    pub fn to_bytes(&self) -> crate::domain::Result<Vec<u8>> {
        write(self)
    }

    /// Reads signed bytes; `PayloadMalformed` when they are not a statement, or when a change names a version without
    /// its digest or the other way round.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        let statement: Self = read(bytes)?;
        let placed = statement.epoch >= 0 && statement.revision >= 1;
        let consistent = statement.changes.iter().all(|change| {
            change.version >= 0 && change.previous >= 0 && (change.version == 0) == change.digest.is_none()
        });
        if placed && consistent { Ok(statement) } else { Err(VerifyError::PayloadMalformed) }
    }
}

impl Checkpoint {
    /// Returns the bytes to sign.
    pub fn to_bytes(&self) -> crate::domain::Result<Vec<u8>> {
        write(self)
    }

    /// Reads signed bytes; `PayloadMalformed` when they are not a checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        let checkpoint: Self = read(bytes)?;
        let placed = checkpoint.epoch >= 0 && checkpoint.revision >= 0;
        if placed { Ok(checkpoint) } else { Err(VerifyError::PayloadMalformed) }
    }
}

fn write(payload: &impl Serialize) -> crate::domain::Result<Vec<u8>> {
    serde_json::to_vec(payload).map_err(|error| crate::domain::Error::internal(format!("payload: {error}")))
}

fn read<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, VerifyError> {
    object::read(bytes).map_err(|_| VerifyError::PayloadMalformed)
}

// The ids' own readers take any text, as befits rows; a signed document is held to the grammar.
fn namespace_id<'de, D: Deserializer<'de>>(input: D) -> Result<NamespaceId, D::Error> {
    NamespaceId::parse("namespace", &String::deserialize(input)?).map_err(de::Error::custom)
}

fn policy_id<'de, D: Deserializer<'de>>(input: D) -> Result<PolicyId, D::Error> {
    PolicyId::parse("policy", &String::deserialize(input)?).map_err(de::Error::custom)
}

fn write_hash<S: Serializer>(hash: &Hash, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(&hex(hash))
}

fn read_hash<'de, D: Deserializer<'de>>(input: D) -> Result<Hash, D::Error> {
    let hash = unhex(&String::deserialize(input)?).and_then(|bytes| bytes.try_into().ok());
    hash.ok_or_else(|| de::Error::custom("a hash is 64 lower-case hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::digest_of;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            store: "s".to_owned(),
            namespace: NamespaceId::parse("namespace", "default").expect("an id"),
            epoch: 1,
            revision: 42,
            head_hash: [0xab; 32],
            active_set_root: ActiveSetRoot::default(),
            iat: 100,
            exp: 200,
        }
    }

    fn changed(from: &str, to: &str) -> Result<Checkpoint, VerifyError> {
        let bytes = checkpoint().to_bytes().expect("bytes");
        let text = String::from_utf8(bytes).expect("utf-8");
        assert!(text.contains(from), "{from} is not in {text}");
        Checkpoint::from_bytes(text.replace(from, to).as_bytes())
    }

    #[test]
    fn unknown_members_are_ignored_and_the_rest_is_strict() {
        assert_eq!(changed(r#""iat""#, r#""later":{"a":[1]},"iat""#), Ok(checkpoint()));
        for (from, to) in [
            (r#""epoch":1"#, r#""epoch":1,"epoch":1"#),
            (r#""epoch":1"#, r#""epoch":-1"#),
            (r#""epoch":1"#, r#""epoch":1.0"#),
            (r#""epoch":1"#, r#""epoch":"1""#),
            (r#""epoch":1"#, r#""epoch":9223372036854775808"#),
            (r#""epoch":1,"#, ""),
            (r#""default""#, r#""Default""#),
            (r#""default""#, r#""a/../b""#),
            ("0000", "000"),
            ("0000", "00000"),
            ("0000", "000A"),
            ("abab", "ABab"),
            ("abab", "ab"),
            ("abab", "ababab"),
            ("abab", "+bab"),
            ("abab", "äab"),
        ] {
            assert_eq!(changed(from, to), Err(VerifyError::PayloadMalformed), "{from} to {to}");
        }
    }

    #[test]
    fn a_change_has_a_version_and_its_digest_or_neither() {
        let statement = |change: &str| {
            let digest = digest_of(b"");
            let hash = hex(&[0; 32]);
            let text = format!(
                r#"{{"store":"s","namespace":"n","epoch":1,"revision":1,"kind":"ACTIVATE","changes":[{change}],"actor":"a","reason_digest":"{digest}","prev":"{hash}","iat":1}}"#
            );
            Statement::from_bytes(text.as_bytes()).is_ok()
        };
        let digest = digest_of(b"x");
        assert!(statement(&format!(r#"{{"policy":"p","version":2,"digest":"{digest}","previous":1}}"#)));
        assert!(statement(r#"{"policy":"p","version":0,"previous":1}"#));
        assert!(!statement(r#"{"policy":"p","version":2,"previous":1}"#));
        assert!(!statement(&format!(r#"{{"policy":"p","version":0,"digest":"{digest}","previous":1}}"#)));
        assert!(!statement(r#"["p",0,null,1]"#));
    }
}
