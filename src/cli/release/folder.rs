//! One version folder of a repository: `<policy>/v<semver>/`, and what its `metadata.json` says of the content beside it.
//!
//! Boundary: pure; git's listing and the contents of files come as arguments, and are untrusted until validated. Errors are
//! lower-case fragments for the author.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::cli::content_folder;
use crate::cli::names::policy_name;
use crate::cli::output::text;
use crate::cli::release::fault::Fault;
use crate::client::name::{NamespaceId, PolicyId, VersionRef};
use crate::client::signing::digest_of;
use crate::client::{PolicyKind, pb};
use crate::domain::Error;
use crate::domain::annotations::Annotations;
use crate::domain::digest::Digest;
use crate::domain::label::Label;
use crate::domain::policy::is_of_several_files;
use crate::domain::version::Requirement;

/// The file that says which version a folder holds.
pub const METADATA: &str = "metadata.json";
/// Most characters of a name in `metadata.json` that a message shows.
const KEY_SHOWN_CHARS: usize = 64;
/// The byte order mark that some editors write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why the language of several files is not known.
const KINDLESS: &str = "the names of its files do not say their language: *.cedar, *.rego, or *.json alone";

/// The kind of an entry in a git tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Link,
    Submodule,
}

/// One entry of a git tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    pub kind: EntryKind,
    /// Id of the git object.
    pub id: String,
    pub size: u64,
    /// Path, relative to the folder of the policies.
    pub path: Vec<u8>,
}

/// A version of a policy, by its label: `pricing@v1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderVersion {
    pub policy: PolicyId,
    pub label: Label,
}

/// The content of a version that is sent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    pub content_type: &'static str,
    /// The language of the policy, when it must be made.
    pub kind: PolicyKind,
    /// The other members of `metadata.json`.
    pub annotations: Annotations,
    /// The member `requires` of `metadata.json`.
    pub requires: Vec<Requirement>,
    /// Names of members of `metadata.json` that are not valid as annotations.
    left_out: Vec<String>,
}

/// The members of `metadata.json` that have a meaning; the others become annotations.
#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    version: String,
    #[serde(default)]
    requires: Option<Vec<Requirement>>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

impl FolderVersion {
    /// Parses the names of the folders.
    ///
    /// # Errors
    /// A name is not valid.
    pub fn parse(policy: &str, version: &str) -> Result<Self, String> {
        let policy = PolicyId::parse("policy", policy).map_err(|error| said(&error))?;
        match VersionRef::parse("version", version) {
            Ok(VersionRef::Label(label)) => Ok(Self { policy, label }),
            Ok(_) => Err("the folder must be named v and a SemVer, such as v1.2.0".to_owned()),
            Err(error) => Err(said(&error)),
        }
    }

    /// Parses `pricing@v1.2.0`.
    pub fn parse_written(text: &str) -> Option<Self> {
        let (policy, version) = text.split_once('@')?;
        Self::parse(policy, version).ok()
    }

    /// Returns the path of the folder, from the top of the repository; `top` is the folder of the policies.
    pub fn path(&self, top: &str) -> String {
        format!("{top}/{}/v{}", self.policy, self.label)
    }

    /// Compares by policy, then by SemVer precedence; labels that differ only in build metadata compare by their text.
    pub fn order(&self, other: &Self) -> Ordering {
        let by_text = || self.label.to_string().cmp(&other.label.to_string());
        self.policy.cmp(&other.policy).then_with(|| {
            match (self.label.is_higher_than(&other.label), other.label.is_higher_than(&self.label)) {
                (true, _) => Ordering::Greater,
                (_, true) => Ordering::Less,
                _ => by_text(),
            }
        })
    }
}

impl fmt::Display for FolderVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@v{}", self.policy, self.label)
    }
}

/// Returns what is wrong with a name, without the name of the field: here it is the name of a folder.
fn said(error: &Error) -> String {
    error.violations.first().map_or_else(|| error.message.clone(), |violation| violation.description.clone())
}

/// Returns the names of the policy and version folders that a path lies in, or is. The name of a version folder begins with v and a
/// digit; the author may keep anything else in the folder of a policy.
pub fn folder_of(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = path.split(|byte| *byte == b'/');
    let (policy, version) = (parts.next()?, parts.next()?);
    is_version_name(version).then_some((policy, version))
}

/// Returns whether a folder of this name is that of a version.
pub fn is_version_name(name: &[u8]) -> bool {
    matches!(name, [b'v', b'0'..=b'9', ..])
}

/// Returns a path as it may be printed, from the top of the repository.
pub fn shown(top: &str, path: &[u8]) -> String {
    let gap = if path.is_empty() { "" } else { "/" };
    text::line(&format!("{top}{gap}{}", String::from_utf8_lossy(path)))
}

impl Definition {
    /// Parses `metadata.json` and checks that it agrees with the name of the folder. The content may be anything.
    ///
    /// # Errors
    /// `metadata.json` is not valid, or names another version; or several files do not say their language.
    pub fn of(key: &FolderVersion, metadata: &[u8], content: &[u8], content_type: &'static str) -> Result<Self, Fault> {
        let in_metadata = |line: usize, why: String| Fault::of(METADATA, u32::try_from(line).unwrap_or(0), why);
        let metadata = metadata.strip_prefix(BYTE_ORDER_MARK).unwrap_or(metadata);
        let said: Metadata = serde_json::from_slice(metadata)
            .map_err(|error| in_metadata(error.line(), format!("{METADATA}: {error}")))?;
        if said.name != key.policy.as_str() {
            let name = text::line(&said.name);
            let why = format!("{METADATA} names policy {name:?}, its folder {:?}", key.policy.as_str());
            return Err(in_metadata(0, why));
        }
        if said.version != key.label.to_string() {
            let version = text::line(&said.version);
            let why = format!("{METADATA} names version {version:?}, its folder {:?}", key.label.to_string());
            return Err(in_metadata(0, why));
        }
        let kind = if is_of_several_files(content_type) {
            content_folder::kind_of_content(content).ok_or_else(|| Fault::from(KINDLESS.to_owned()))?
        } else {
            PolicyKind::of_content_type(content_type)
        };
        let (annotations, left_out) = annotated(said.others);
        let (digest, size, requires) = (digest_of(content), content.len() as u64, said.requires.unwrap_or_default());
        Ok(Self { digest, size, content_type, kind, annotations, requires, left_out })
    }

    /// Returns the kind as it is sent: only the media type of several files does not say it.
    fn written_kind(&self) -> pb::PolicyKind {
        match is_of_several_files(self.content_type) {
            true => content_folder::written_kind(self.kind),
            false => pb::PolicyKind::Unspecified,
        }
    }

    /// Returns the draft request for this definition, which also creates a missing policy.
    pub fn draft(&self, namespace: &NamespaceId, key: &FolderVersion, content: Vec<u8>) -> pb::DraftRequest {
        pb::DraftRequest {
            parent: policy_name(namespace, &key.policy),
            content: content.into(),
            content_type: self.content_type.to_owned(),
            kind: self.written_kind().into(),
            label: key.label.to_string(),
            annotations: BTreeMap::from(self.annotations.clone()).into_iter().collect(),
            requires: self.requires.iter().map(written).collect(),
            allow_missing: true,
            ..Default::default()
        }
    }

    /// Returns the message about members of `metadata.json` that are not kept with the version; `None` when all are.
    pub fn left_out_of(&self, key: &FolderVersion) -> Option<String> {
        let names = self.left_out.join(", ");
        let why = "not kept as annotations, since names or values do not fit (see docs/release.md)";
        (!names.is_empty()).then(|| format!("{key}: {why}: {names}"))
    }
}

/// Returns a requirement as it is sent.
pub fn written(requirement: &Requirement) -> pb::Requirement {
    let Requirement { policy, version_req } = requirement;
    pb::Requirement { policy: policy.to_string(), version_req: version_req.to_string() }
}

/// Returns the members of `metadata.json` that are valid annotations, and the names of those that are not. An invalid member does
/// not stop the release: it may be older than annotations.
fn annotated(members: BTreeMap<String, serde_json::Value>) -> (Annotations, Vec<String>) {
    let (mut annotations, mut left_out) = (Annotations::default(), Vec::new());
    for (key, value) in members {
        if value.is_null() {
            continue;
        }
        if !annotations.try_insert(&key, &value_of(&value)) {
            left_out.push(text::shortened(&key, KEY_SHOWN_CHARS));
        }
    }
    (annotations, left_out)
}

/// Returns a member of `metadata.json` as text: a text as it is, a list of texts and numbers with commas between them, anything
/// else as JSON without spaces.
fn value_of(value: &serde_json::Value) -> String {
    use serde_json::Value;
    let scalar = |value: &Value| match value {
        Value::String(text) if !text.contains(',') => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let as_json = || {
        let mut value = value.clone();
        // An annotation must be the same text in every release, whatever order the members have in the file.
        value.sort_all_objects();
        value.to_string()
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            items.map_or_else(as_json, |items| items.join(","))
        }
        _ => as_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_annotations_as_far_as_it_fits() {
        let members = serde_json::json!({
            "owner": "team-a", "categories": ["pricing", "eu"], "tier": 1, "draft": false, "contact": {"b": 2, "a": [1]},
            "odd": ["a,b"], "gone": null, "not a key": "x", "long": "v".repeat(4_096),
        });
        let (annotations, left_out) = annotated(serde_json::from_value(members).expect("an object"));
        let expected = [
            ("categories", "pricing,eu"),
            ("contact", r#"{"a":[1],"b":2}"#),
            ("draft", "false"),
            ("odd", r#"["a,b"]"#),
            ("owner", "team-a"),
            ("tier", "1"),
        ];
        assert_eq!(annotations.iter().collect::<Vec<_>>(), expected);
        assert_eq!(left_out, ["long", "not a key"]);
    }

    #[test]
    fn versions_are_in_the_order_of_semver() {
        let key = |text: &str| FolderVersion::parse_written(text).expect(text);
        let mut keys = ["p@v1.10.0", "p@v1.9.0", "p@v1.9.0-rc.1", "o@v9.0.0", "p@v1.9.0+b", "p@v1.9.0+a"].map(key);
        keys.sort_by(FolderVersion::order);
        let sorted = ["o@v9.0.0", "p@v1.9.0-rc.1", "p@v1.9.0", "p@v1.9.0+a", "p@v1.9.0+b", "p@v1.10.0"];
        assert_eq!(keys.map(|key| key.to_string()), sorted);
        for bad in ["p", "p@1.0.0", "p@latest", "p@vlatest", "p@vv1.0.0", "P@v1.0.0", "@v1.0.0", "p@v1.0.0@v1.0.0"] {
            assert!(FolderVersion::parse_written(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_path_lies_in_a_version_folder_or_not() {
        let of = |path: &'static str| folder_of(path.as_bytes()).map(|(policy, version)| [policy, version]);
        for path in ["p/v1", "p/v1/metadata.json", "p/v1/a/b"] {
            assert_eq!(of(path), Some([&b"p"[..], b"v1"]), "{path}");
        }
        for path in ["p", "p/README", "p/vendor/v1/x", "p/values.yaml", "p/vv1.0.0", "p/v", "p/V1/x", ""] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
