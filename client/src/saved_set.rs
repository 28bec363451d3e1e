//! An active set in a folder, with what proves it: `set.json`, and for each policy `POLICY/content` and `POLICY/manifest.jws`.
//!
//! What is read back is not believed but verified, as a page of ListActive is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::durable::read_bounded;
use super::listed::{ListedOptions, ListedSet};
use policyhub_core::api::pb;
use policyhub_core::domain::digest::Digest;
use policyhub_core::domain::event::{Cursor, Position};
use policyhub_core::domain::limits::{CONTENT_MAX_BYTES, STATEMENT_MAX_BYTES};
use policyhub_core::domain::name::{NamespaceId, PolicyId, PolicyName, VersionName};
use policyhub_core::signing::{KeySet, read_checkpoint};

/// The file beside the policies' folders. No id of a policy has a dot.
const SET_FILE: &str = "set.json";
const CONTENT_FILE: &str = "content";
const MANIFEST_FILE: &str = "manifest.jws";
/// The format of this version.
const FORMAT: u32 = 1;
/// Largest `set.json`: 10,000 policies are a tenth of it.
const SET_FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Describes a saved set, as it was answered.
#[derive(Debug, Serialize, Deserialize)]
struct SavedFile {
    format: u32,
    namespace: NamespaceId,
    /// The policies asked for; empty: all.
    policies: BTreeSet<PolicyId>,
    cursor: Cursor,
    /// Compact JWS; empty for a set of the past.
    checkpoint: String,
    /// Base64; empty when all policies were asked for.
    set_proof: String,
    active: Vec<SavedBundle>,
}

/// A policy of the set. Its manifest is in a file of its own.
#[derive(Debug, Serialize, Deserialize)]
struct SavedBundle {
    policy: PolicyId,
    version: i64,
    label: String,
    digest: Digest,
    size_bytes: i64,
    content_type: String,
    activation: Cursor,
}

/// A folder that is being written.
#[derive(Debug)]
pub struct SetWriter {
    root: PathBuf,
    namespace: NamespaceId,
    policies: BTreeSet<PolicyId>,
    active: Vec<SavedBundle>,
}

/// Reports what the verification of a folder found.
#[derive(Debug)]
pub struct SavedVerdict {
    /// Says whose set it is.
    pub namespace: NamespaceId,
    /// The policies asked for; empty: all.
    pub policies: BTreeSet<PolicyId>,
    /// Says where the log stood.
    pub cursor: Cursor,
    /// Says how many policies it names.
    pub count: usize,
    /// Says until when its checkpoint says that it is the newest, Unix time; 0 when it has none.
    pub proven_until_seconds: i64,
    /// Everything that does not hold, one text each; empty: the set is whole and genuine.
    pub findings: Vec<String>,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn cursor_of(from: Option<pb::Cursor>) -> io::Result<Cursor> {
    let from = from.ok_or_else(|| invalid("answer has no cursor"))?;
    Ok(Cursor { epoch: from.epoch, revision: from.revision })
}

/// Returns whether a folder holds a saved set.
#[must_use]
pub fn is_saved_set(root: &Path) -> bool {
    root.join(SET_FILE).is_file()
}

impl SetWriter {
    /// Begins a set of these policies (empty: all) in a folder that is there and empty.
    #[must_use]
    pub fn new(root: &Path, namespace: NamespaceId, policies: BTreeSet<PolicyId>) -> Self {
        Self { root: root.to_owned(), namespace, policies, active: Vec::new() }
    }

    /// Adds a bundle with its content. Its names become paths: only well-formed ids of this namespace are taken.
    ///
    /// # Errors
    /// A bundle that can't be saved, or a file that can't be written.
    pub fn add(&mut self, bundle: &pb::Bundle) -> io::Result<()> {
        let name = VersionName::parse("name", &bundle.name).map_err(|_| invalid("answer has a name that can't be"))?;
        let PolicyName { namespace, policy } = name.policy;
        if namespace != self.namespace || !(self.policies.is_empty() || self.policies.contains(&policy)) {
            return Err(invalid(format!("answer has {policy} of {namespace}, which nobody asked for")));
        }
        let folder = self.root.join(policy.as_str());
        fs::create_dir(&folder)?;
        fs::write(folder.join(CONTENT_FILE), &bundle.content)?;
        fs::write(folder.join(MANIFEST_FILE), &bundle.manifest)?;
        self.active.push(SavedBundle {
            policy,
            version: bundle.version,
            label: bundle.label.clone(),
            digest: Digest::parse("digest", &bundle.digest).map_err(|_| invalid("answer has no digest"))?,
            size_bytes: bundle.size_bytes,
            content_type: bundle.content_type.clone(),
            activation: cursor_of(bundle.activation)?,
        });
        Ok(())
    }

    /// Writes what proves the set, of the last answer. How many policies there are.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn finish(self, last: &pb::ListActiveResponse) -> io::Result<usize> {
        let count = self.active.len();
        let file = SavedFile {
            format: FORMAT,
            namespace: self.namespace,
            policies: self.policies,
            cursor: cursor_of(last.cursor)?,
            checkpoint: last.checkpoint.clone(),
            set_proof: STANDARD.encode(&last.set_proof),
            active: self.active,
        };
        fs::write(self.root.join(SET_FILE), serde_json::to_vec_pretty(&file)?)?;
        Ok(count)
    }
}

/// Verifies a folder that [`SetWriter`] wrote: each bundle, the checkpoint, and that they are exactly what it proves. `wanted`:
/// the policies that it must be a set of; empty: all of the namespace. Whoever has the folder can make a part of a whole set,
/// and what proves the part, without any key: so a part is what is wanted, or a finding.
///
/// # Errors
/// Fails when there is no saved set, or it can't be read at all.
pub fn verify_set(
    root: &Path,
    keys: &KeySet,
    wanted: &BTreeSet<PolicyId>,
    now_seconds: i64,
) -> io::Result<SavedVerdict> {
    let text = read_bounded(&root.join(SET_FILE), SET_FILE_MAX_BYTES)?;
    let file: SavedFile = serde_json::from_slice(&text)?;
    if file.format != FORMAT {
        return Err(invalid(format!("{SET_FILE} has format {}", file.format)));
    }
    let checkpoint = read_checkpoint(&file.checkpoint, keys).ok();
    let mut verdict = SavedVerdict {
        namespace: file.namespace.clone(),
        policies: file.policies.clone(),
        cursor: file.cursor,
        count: file.active.len(),
        proven_until_seconds: checkpoint.map_or(0, |checkpoint| checkpoint.exp),
        findings: unknown_files(root, &file.active)?,
    };
    verdict.findings.extend(other_choice(&file, wanted));
    let options = ListedOptions { policies: file.policies.clone(), has_content: true, is_past: false };
    let mut set = ListedSet::new(file.namespace.clone(), keys.clone(), options);
    for saved in &file.active {
        let page = read_bundle(root, &file.namespace, saved).and_then(|bundle| {
            let part = pb::ListActiveResponse {
                bundles: vec![bundle],
                next_page_token: "more".to_owned(),
                ..Default::default()
            };
            set.take(&part, now_seconds).map_err(|refusal| refusal.to_string())
        });
        if let Err(finding) = page {
            verdict.findings.push(format!("{}: {finding}", saved.policy));
            set.begin();
        }
    }
    if file.checkpoint.is_empty() {
        verdict
            .findings
            .push("it has no checkpoint: nothing proves that it is whole (of the past there is none)".to_owned());
    } else if verdict.findings.is_empty() {
        let set_proof = STANDARD.decode(&file.set_proof).map_err(|_| invalid(format!("set_proof of {SET_FILE}")))?;
        let cursor = Some(Position::from(file.cursor).into());
        let checkpoint = file.checkpoint;
        let last = pb::ListActiveResponse { cursor, checkpoint, set_proof: set_proof.into(), ..Default::default() };
        verdict.findings.extend(set.take(&last, now_seconds).err().map(|refusal| refusal.to_string()));
    }
    Ok(verdict)
}

/// Returns whether a folder is a set of other policies than those wanted, or of a choice that nothing is in force of.
fn other_choice(file: &SavedFile, wanted: &BTreeSet<PolicyId>) -> Option<String> {
    let listed = |policies: &BTreeSet<PolicyId>| {
        let ids: Vec<&str> = policies.iter().map(PolicyId::as_str).collect();
        if ids.is_empty() { "all policies".to_owned() } else { ids.join(", ") }
    };
    if file.policies != *wanted {
        let (found, wanted) = (listed(&file.policies), listed(wanted));
        return Some(format!("it is a set of {found}, not of {wanted}: nothing is proven of any other policy"));
    }
    let is_of_nothing = !file.policies.is_empty() && file.active.is_empty();
    is_of_nothing.then(|| format!("it is a set of {}, of which nothing is in force", listed(&file.policies)))
}

/// Returns what is in the folder and belongs to no policy of the set.
fn unknown_files(root: &Path, active: &[SavedBundle]) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        if let Some(saved) = active.iter().find(|saved| name == saved.policy.as_str()) {
            findings.extend(strangers_beside(root, saved)?);
        } else if name != SET_FILE {
            findings.push(format!("{}: is not part of the set", name.display()));
        }
    }
    findings.sort();
    Ok(findings)
}

/// Returns what is in the folder of a policy beside its two files. What is no folder is found when the files are read.
fn strangers_beside(root: &Path, saved: &SavedBundle) -> io::Result<Vec<String>> {
    let folder = root.join(saved.policy.as_str());
    let mut findings = Vec::new();
    if !folder.is_dir() {
        return Ok(findings);
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name != CONTENT_FILE && name != MANIFEST_FILE {
            findings.push(format!("{}/{}: is not part of the set", saved.policy, name.display()));
        }
    }
    Ok(findings)
}

/// Returns a bundle as a server would answer it; or what is wrong with its files.
fn read_bundle(root: &Path, namespace: &NamespaceId, saved: &SavedBundle) -> Result<pb::Bundle, String> {
    let policy = PolicyId::parse("policy", saved.policy.as_str()).map_err(|_| "is no id of a policy".to_owned())?;
    let folder = root.join(policy.as_str());
    let read = |file: &str, limit: usize| {
        read_bounded(&folder.join(file), limit as u64).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{file} is missing"),
            _ => format!("{file} can't be read: {error}"),
        })
    };
    let content = read(CONTENT_FILE, CONTENT_MAX_BYTES)?;
    let manifest = read(MANIFEST_FILE, 2 * STATEMENT_MAX_BYTES)?;
    Ok(pb::Bundle {
        name: format!("{}/policies/{}/versions/{}", namespace.name(), saved.policy, saved.version),
        version: saved.version,
        label: saved.label.clone(),
        digest: saved.digest.to_string(),
        size_bytes: saved.size_bytes,
        content_type: saved.content_type.clone(),
        content,
        manifest: String::from_utf8_lossy(&manifest).trim_end().to_owned(),
        activation: Some(saved.activation.into()),
        preview: false,
    })
}
