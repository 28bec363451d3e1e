//! Finds the contents that the paths of `policyhub check` name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;

use crate::checks::OtherPolicy;
use crate::cli::exit_code::UsageError;
use crate::cli::release::{DEFINITION, EntryKind, FolderVersion, METADATA, TreeEntry, files, is_version_name};
use crate::cli::{content, content_folder};
use crate::client::PolicyKind;
use crate::client::name::PolicyId;
use crate::client::signing::digest_of;
use crate::domain::annotations::Annotations;
use crate::domain::label::Label;
use crate::domain::limits::RELEASE_METADATA_MAX_BYTES;
use crate::domain::policy::{FILES_CONTENT_TYPE, is_of_several_files};
use crate::domain::version::Requirement;

/// The policy of a content whose name is no id.
const UNNAMED: &str = "content";

/// One content to check.
#[derive(Debug)]
pub struct Checked {
    /// The path of the file or directory that holds it, as it was given.
    pub path: String,
    pub policy: PolicyId,
    /// The language; `None`: only the policy says it.
    pub kind: Option<PolicyKind>,
    pub content_type: String,
    pub content: Bytes,
    pub label: Option<Label>,
    pub annotations: Annotations,
    pub requires: Vec<Requirement>,
}

/// All contents of a call.
#[derive(Debug)]
pub struct Contents {
    pub all: Vec<Checked>,
}

impl Contents {
    /// Reads the contents of paths, each once.
    ///
    /// # Errors
    /// A path can't be read, or its name does not say what it holds.
    pub fn read(paths: &[PathBuf], policy: Option<&PolicyId>, kind: Option<PolicyKind>) -> anyhow::Result<Self> {
        let mut folders = BTreeSet::new();
        let mut all = Vec::new();
        for path in paths {
            let versions = version_folders(path)?;
            for folder in versions.iter().filter(|folder| folders.insert((*folder).clone())) {
                all.push(of_version_folder(folder)?);
            }
            if versions.is_empty() {
                all.push(of_path(path, policy, kind)?);
            }
        }
        Ok(Self { all })
    }

    /// Returns the content of a policy, as if it were active: the one with the highest label.
    pub fn of_policy(&self, policy: &PolicyId) -> Option<OtherPolicy> {
        let order = |one: &&Checked, other: &&Checked| match (&one.label, &other.label) {
            (Some(one), Some(other)) if one.is_higher_than(other) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) if other.is_higher_than(one) => std::cmp::Ordering::Less,
            (one, other) => one.is_some().cmp(&other.is_some()),
        };
        let found = self.all.iter().filter(|content| content.policy == *policy).max_by(order)?;
        Some(OtherPolicy {
            kind: found.kind.unwrap_or(PolicyKind::Opaque),
            has_several_files: is_of_several_files(&found.content_type),
            version: 1,
            label: found.label.clone(),
            digest: digest_of(&found.content),
            content: Some(found.content.clone()),
        })
    }
}

/// Returns the version folders that a path is, lies in, or has one or two levels below it; none: it is a content by itself.
fn version_folders(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(folder) = path.ancestors().find(|folder| is_version(folder)) {
        let inside = path.strip_prefix(folder)?.components().next().and_then(|part| part.as_os_str().to_str());
        let is_of_it = |name: &str| name == METADATA || name.split('.').next() == Some(DEFINITION);
        return Ok(inside.is_none_or(is_of_it).then(|| folder.to_owned()).into_iter().collect());
    }
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let below = directories(path)?;
    let mut found: Vec<PathBuf> = below.iter().filter(|path| is_version(path)).cloned().collect();
    for directory in below {
        found.extend(directories(&directory)?.into_iter().filter(|path| is_version(path)));
    }
    found.sort();
    Ok(found)
}

fn is_version(path: &Path) -> bool {
    path.file_name().is_some_and(|name| is_version_name(name.as_bytes())) && path.join(METADATA).is_file()
}

/// Returns the directories in a directory. Links are not followed.
fn directories(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("failed to read {}", path.display()))? {
        let entry = entry.with_context(|| format!("failed to read {}", path.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Reads a folder `<policy>/v<semver>`, as a release does.
fn of_version_folder(folder: &Path) -> anyhow::Result<Checked> {
    let shown = folder.display();
    let absolute = fs::canonicalize(folder).with_context(|| format!("failed to read {shown}"))?;
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    };
    let key = FolderVersion::parse(&name(absolute.parent()), &name(Some(&absolute)))
        .map_err(|why| anyhow::anyhow!("{shown}: {why}"))?;
    let entries = entries(folder)?;
    let entries: Vec<&TreeEntry> = entries.iter().collect();
    let fault = |fault: crate::cli::release::Fault| match fault.file.as_str() {
        "" => anyhow::anyhow!("{shown}: {fault}"),
        file => anyhow::anyhow!("{shown}/{file}: {fault}"),
    };
    let files = files(&shown.to_string(), b"", &entries).map_err(fault)?;
    let metadata = content::read_at_most(&folder.join(METADATA), RELEASE_METADATA_MAX_BYTES, METADATA)?;
    let path = folder.join(&files.definition_name);
    let content = if files.are_several() { content_folder::read(&path)? } else { content::read(&path)? };
    let definition = files.described(&key, &metadata, &content).map_err(fault)?;
    Ok(Checked {
        path: path.display().to_string(),
        policy: key.policy,
        kind: Some(definition.kind),
        content_type: definition.content_type.to_owned(),
        content: content.into(),
        label: Some(key.label),
        annotations: definition.annotations,
        requires: definition.requires,
    })
}

fn entries(folder: &Path) -> anyhow::Result<Vec<TreeEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("failed to read {}", folder.display()))?;
        let metadata = entry.metadata().with_context(|| format!("failed to read {}", entry.path().display()))?;
        let kind = match metadata.file_type() {
            kind if kind.is_symlink() => EntryKind::Link,
            kind if kind.is_dir() => EntryKind::Directory,
            _ => EntryKind::File,
        };
        let path = entry.file_name().as_bytes().to_vec();
        found.push(TreeEntry { kind, id: String::new(), size: metadata.len(), path });
    }
    Ok(found)
}

fn of_path(path: &Path, policy: Option<&PolicyId>, kind: Option<PolicyKind>) -> anyhow::Result<Checked> {
    let is_directory = path.is_dir();
    content::check(path)?;
    let content_type = if is_directory { FILES_CONTENT_TYPE } else { content::type_of(path) };
    let by_name = if is_directory {
        content_folder::kind_of(path)
    } else {
        Some(PolicyKind::of_content_type(content_type)).filter(|_| !content_type.is_empty())
    };
    let content = if is_directory { content_folder::read(path) } else { content::read(path) };
    let content = content.map_err(|error| anyhow::anyhow!("{}: {error:#}", path.display()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_ascii_lowercase();
    let named = PolicyId::parse("policy", &stem).or_else(|_| PolicyId::parse("policy", UNNAMED));
    let kind = kind.or(by_name);
    if kind.is_none() && policy.is_none() {
        let shown = path.display();
        return Err(UsageError(format!(
            "{shown}: its name does not say what it holds: --kind yaml, --kind json, --kind cedar, --kind rego or --kind opaque"
        ))
        .into());
    }
    Ok(Checked {
        path: path.display().to_string(),
        policy: policy.cloned().map_or(named, Ok)?,
        kind,
        content_type: content_type.to_owned(),
        content: content.into(),
        label: None,
        annotations: Annotations::default(),
        requires: Vec::new(),
    })
}
