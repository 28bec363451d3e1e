//! Reads and writes `delivered.json`: in this program's form, or in one of the forms of the tool that users migrate from.
//!
//! Boundary: pure, bytes to values and back; `state` knows where the file lies and writes it.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::release::folder::FolderVersion;
use crate::client::name::NamespaceId;
use crate::domain::digest::Digest;

/// Version of the format of `delivered.json`.
const FORMAT: u32 = 1;
/// Tells the user what to do with a file that can't be read.
const REMEDY: &str = "it can't be read; restore it from git, or remove it: then the server is asked for everything";

/// A version that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveredVersion {
    /// The number that the server assigned.
    pub version: i64,
    /// Digest of the content that the server has.
    pub digest: Digest,
    /// The commit whose release recorded it.
    pub commit: String,
    /// Git's id of the folder at that time: a changed folder has another id.
    pub tree: String,
    /// When the server published it, in RFC 3339; empty in entries from before this was recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Set while it is published but not yet activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<DeliveredActivation>,
}

/// State of the activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveredActivation {
    Pending,
}

/// The content of `delivered.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveredDocument {
    format: u32,
    namespace: NamespaceId,
    versions: BTreeMap<String, DeliveredVersion>,
}

/// The form of the tool that users migrate from. Only the names of its deliveries are read: they were made to another server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    #[serde(rename = "_metadata")]
    _metadata: Option<Value>,
    #[serde(default)]
    deliveries: BTreeMap<String, Value>,
}

/// The versions that were delivered, by `policy@vlabel`.
pub type Delivered = BTreeMap<String, DeliveredVersion>;

/// The parsed content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeliveredFile {
    /// The versions that were delivered to this server.
    pub versions: Delivered,
    /// Number of deliveries in a file of the tool that users migrate from.
    pub foreign: Option<usize>,
}

/// Parses a file.
///
/// # Errors
/// The text has none of the forms, or the file is of another namespace.
pub fn parse(bytes: &[u8], namespace: &NamespaceId) -> anyhow::Result<DeliveredFile> {
    if let Ok(Foreign { deliveries, .. }) = serde_json::from_slice(bytes) {
        return Ok(DeliveredFile { versions: Delivered::new(), foreign: Some(deliveries.len()) });
    }
    let document: DeliveredDocument = serde_json::from_slice(bytes).context(REMEDY)?;
    ensure!(document.format == FORMAT, "it has format {}; this program knows {FORMAT}", document.format);
    if document.namespace != *namespace {
        bail!("it is that of namespace {}, not {namespace}: one folder of policies, one namespace", document.namespace);
    }
    if let Some(odd) = document.versions.keys().find(|key| FolderVersion::parse_written(key).is_none()) {
        bail!("it names {odd:?}, which is no version");
    }
    Ok(DeliveredFile { versions: document.versions, foreign: None })
}

/// Returns the bytes of a file, sorted, so that diffs are small.
pub fn to_bytes(namespace: &NamespaceId, versions: Delivered) -> anyhow::Result<Vec<u8>> {
    let document = DeliveredDocument { format: FORMAT, namespace: namespace.clone(), versions };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Merges two files that concurrent releases wrote.
pub fn merged(one: Delivered, other: Delivered) -> Delivered {
    let mut all = one;
    for (name, entry) in other {
        match all.get(&name) {
            // A version that one of them activated is no longer pending.
            Some(there) if there.activation.is_none() => {}
            _ => _ = all.insert(name, entry),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> NamespaceId {
        NamespaceId::parse("namespace", "default").expect("an id")
    }

    #[test]
    fn the_forms_of_the_other_tool_are_read_and_nothing_else_is() {
        let foreign = |text: &str| parse(text.as_bytes(), &namespace()).map(|written| written.foreign).ok();
        assert_eq!(foreign("{}"), Some(Some(0)));
        assert_eq!(foreign(r#"{"_metadata": {"version": 1}, "deliveries": {}}"#), Some(Some(0)));
        assert_eq!(foreign(r#"{"_metadata": {}, "deliveries": {"p/v1.0.0": {"at": "x"}, "q": 1}}"#), Some(Some(2)));
        for text in
            ["", "[]", "null", r#"{"deliveries": []}"#, r#"{"deliveries": {}, "format": 1}"#, r#"{"versions": {}}"#]
        {
            assert_eq!(foreign(text), None, "{text}");
        }
        let own = to_bytes(&namespace(), Delivered::new()).expect("bytes");
        assert_eq!(parse(&own, &namespace()).expect("its own"), DeliveredFile::default());
    }

    #[test]
    fn two_files_become_one() {
        let entry = |version, activation| DeliveredVersion {
            version,
            digest: Digest::from_sha256(&[0; 32]),
            commit: String::new(),
            tree: String::new(),
            time: String::new(),
            activation,
        };
        let (waits, done) = (Some(DeliveredActivation::Pending), None);
        let of = |entries: &[(&str, DeliveredVersion)]| -> Delivered {
            entries.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect()
        };
        let one = of(&[("a", entry(1, waits)), ("b", entry(2, done)), ("c", entry(3, waits))]);
        let other = of(&[("a", entry(1, done)), ("b", entry(2, waits)), ("d", entry(4, done))]);
        let all = of(&[("a", entry(1, done)), ("b", entry(2, done)), ("c", entry(3, waits)), ("d", entry(4, done))]);
        assert_eq!(merged(one, other), all);
    }
}
