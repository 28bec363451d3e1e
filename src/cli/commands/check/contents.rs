//! Finds and reads the contents that the paths of `policyhub check` name.
//!
//! Invariant: what can't be read becomes a fault of its path, so that all others are checked.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::checks::content_tar::REGO_TESTS_END;
use crate::cli::content_folder::{FolderFault, FolderProblem};
use crate::cli::local_check::{ContentFault, Contents, LocalContent};
use crate::cli::release::{DEFINITION, EntryKind, Fault, FolderVersion, METADATA, TreeEntry, files, is_version_name};
use crate::cli::{content, content_folder};
use crate::client::PolicyKind;
use crate::client::name::PolicyId;
use crate::domain::annotations::Annotations;
use crate::domain::limits::RELEASE_METADATA_MAX_BYTES;
use crate::domain::policy::FILES_CONTENT_TYPE;
use crate::domain::report::LIMITS_CHECK;

/// The policy of a content whose name is no id.
const UNNAMED: &str = "content";

const LINK: &str = "is a symbolic link: it is not followed";

/// What the command line says of contents that are in no version folder.
#[derive(Debug)]
struct Said<'a> {
    policy: Option<&'a PolicyId>,
    kind: Option<PolicyKind>,
    /// The policy of a content whose name is no id.
    unnamed: PolicyId,
}

/// Reads the contents of paths, each once. Returns notes for people besides.
///
/// # Errors
/// Never: what can't be read is among the contents.
pub fn read(
    paths: &[PathBuf],
    policy: Option<&PolicyId>,
    kind: Option<PolicyKind>,
) -> anyhow::Result<(Contents, Vec<String>)> {
    let said = Said { policy, kind, unnamed: PolicyId::parse("policy", UNNAMED)? };
    let (mut contents, mut notes, mut folders) = (Contents::default(), Vec::new(), BTreeSet::new());
    for path in paths {
        match version_folders(path) {
            Ok(found) if found.versions.is_empty() && found.unreadable.is_empty() => {
                contents.all.extend(of_path(path, &said, &mut notes));
            }
            Ok(found) => {
                let new = found.versions.into_iter().filter(|folder| folders.insert(folder.clone()));
                contents.all.extend(new.map(|folder| of_version_folder(&folder, &said)));
                let unreadable = found.unreadable.into_iter();
                contents.all.extend(
                    unreadable.map(|(path, why)| at_fault(&path, &said, ContentFault::unreadable(format!("{why:#}")))),
                );
            }
            Err(error) => contents.all.push(at_fault(path, &said, ContentFault::unreadable(format!("{error:#}")))),
        }
    }
    Ok((contents, notes))
}

fn at_fault(path: &Path, said: &Said<'_>, fault: ContentFault) -> LocalContent {
    let policy = said.policy.cloned().or_else(|| named(path)).unwrap_or_else(|| said.unnamed.clone());
    LocalContent::at_fault(path.display().to_string(), policy, None, fault)
}

/// Returns the policy that the name of a content says; `None` when it is no id.
fn named(path: &Path) -> Option<PolicyId> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_ascii_lowercase();
    PolicyId::parse("policy", &stem).ok()
}

/// What was found at a path.
#[derive(Debug, Default)]
struct Found {
    versions: Vec<PathBuf>,
    /// Directories that may have version folders, and why they can't be read.
    unreadable: Vec<(PathBuf, anyhow::Error)>,
}

/// Returns the version folders that a path is, lies in, or has one or two levels below it; none: it is a content by itself.
fn version_folders(path: &Path) -> anyhow::Result<Found> {
    let mut found = Found::default();
    if path.symlink_metadata().is_err() {
        return Ok(found);
    }
    if let Some(folder) = path.ancestors().find(|folder| is_version(folder)) {
        let inside = path.strip_prefix(folder)?.components().next().and_then(|part| part.as_os_str().to_str());
        let is_of_it = |name: &str| name == METADATA || name.split('.').next() == Some(DEFINITION);
        // Anything else below it is no part of a version, and what is above may only be named like one.
        if inside.is_none_or(is_of_it) {
            found.versions.push(folder.to_owned());
            return Ok(found);
        }
    }
    if !path.is_dir() {
        return Ok(found);
    }
    let below = directories(path)?;
    found.versions.extend(below.iter().filter(|path| is_version(path)).cloned());
    for directory in below.into_iter().filter(|path| !is_version(path)) {
        let is_link = directory.is_symlink();
        match directories(&directory) {
            // Any other link is left alone, as by a release; its target may not even exist.
            Ok(inside) if is_link && inside.iter().any(|path| is_version(path)) => {
                found.unreadable.push((directory, anyhow::anyhow!(LINK)));
            }
            _ if is_link => {}
            Ok(inside) => found.versions.extend(inside.into_iter().filter(|path| is_version(path))),
            Err(why) => found.unreadable.push((directory, why)),
        }
    }
    found.versions.sort();
    Ok(found)
}

/// Returns whether a path is a version folder, or a link in place of one, which a release refuses.
fn is_version(path: &Path) -> bool {
    let has_name = path.file_name().is_some_and(|name| is_version_name(name.as_bytes()));
    has_name && (path.is_symlink() || path.join(METADATA).is_file() || has_definition(path))
}

fn has_definition(path: &Path) -> bool {
    let names = fs::read_dir(path).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.into_iter().any(|name| name.split('.').next() == Some(DEFINITION))
}

/// Returns the directories in a directory, and the links.
fn directories(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("failed to read {}", path.display()))? {
        let entry = entry.with_context(|| format!("failed to read {}", path.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Reads a folder `<policy>/v<semver>`, as a release does.
fn of_version_folder(folder: &Path, said: &Said<'_>) -> LocalContent {
    let path = folder.display().to_string();
    match version_key(folder) {
        Ok(key) => read_version(folder, &key)
            .unwrap_or_else(|fault| LocalContent::at_fault(path, key.policy.clone(), Some(key.label.clone()), fault)),
        Err(why) => LocalContent::at_fault(path, said.unnamed.clone(), None, ContentFault::unreadable(why)),
    }
}

fn version_key(folder: &Path) -> Result<FolderVersion, String> {
    if folder.is_symlink() {
        return Err(LINK.to_owned());
    }
    let absolute = fs::canonicalize(folder).map_err(|error| format!("failed to read it: {error}"))?;
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default().to_owned()
    };
    FolderVersion::parse(&name(absolute.parent()), &name(Some(&absolute)))
}

fn read_version(folder: &Path, key: &FolderVersion) -> Result<LocalContent, ContentFault> {
    let of_folder = |fault: Fault| {
        let found = if fault.is_over_limit { too_much(fault.why) } else { ContentFault::unreadable(fault.why) };
        ContentFault { file: fault.file, line: fault.line, ..found }
    };
    let in_file = |file: &str| {
        let file = file.to_owned();
        move |error: anyhow::Error| ContentFault { file, ..of_error(&error) }
    };
    let entries = entries(folder).map_err(|error| of_error(&error))?;
    let entries: Vec<&TreeEntry> = entries.iter().collect();
    let files = files(&folder.display().to_string(), b"", &entries).map_err(of_folder)?;
    let metadata = content::read_at_most(&folder.join(METADATA), RELEASE_METADATA_MAX_BYTES, METADATA)
        .map_err(in_file(METADATA))?;
    let name = &files.definition_name;
    let path = folder.join(name);
    let content = match files.are_several() {
        true => content_folder::read(&path).map_err(|fault| {
            let gap = if fault.file.is_empty() { "" } else { "/" };
            ContentFault { file: format!("{name}{gap}{}", fault.file), ..of_folder_fault(fault) }
        })?,
        false => content::read(&path).map_err(in_file(name))?,
    };
    let definition = files.described(key, &metadata, &content).map_err(of_folder)?;
    Ok(LocalContent {
        path: path.display().to_string(),
        policy: key.policy.clone(),
        said_kind: None,
        kind: Some(definition.kind),
        content_type: definition.content_type.to_owned(),
        content: content.into(),
        label: Some(key.label.clone()),
        annotations: definition.annotations,
        requires: definition.requires,
        fault: None,
    })
}

fn of_error(error: &anyhow::Error) -> ContentFault {
    let message = format!("{error:#}");
    if error.is::<content::OverLimit>() { too_much(message) } else { ContentFault::unreadable(message) }
}

fn of_folder_fault(fault: FolderFault) -> ContentFault {
    let FolderFault { file, message, problem, .. } = fault;
    let found = match problem {
        FolderProblem::Limit => too_much(message),
        FolderProblem::Empty | FolderProblem::File => ContentFault::unreadable(message),
    };
    ContentFault { file, ..found }
}

fn too_much(message: String) -> ContentFault {
    let hint = "make several policies of it".to_owned();
    ContentFault { check: LIMITS_CHECK, hint, ..ContentFault::unreadable(message) }
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

/// Reads a content that is in no version folder; `None` for a directory without files, which has nothing to check.
fn of_path(path: &Path, said: &Said<'_>, notes: &mut Vec<String>) -> Option<LocalContent> {
    let shown = path.display();
    let is_directory = path.is_dir();
    let is_absent = !content::is_stdin(path) && path.symlink_metadata().is_err();
    let content = match is_directory {
        true => match content_folder::read(path) {
            Err(fault) if fault.problem == FolderProblem::Empty => {
                notes.push(format!("nothing to check in {shown}: it has no files"));
                return None;
            }
            read => read.map_err(of_folder_fault),
        },
        false => content::read(path).map_err(|error| ContentFault { is_usage: is_absent, ..of_error(&error) }),
    };
    let content = match content {
        Ok(content) => content,
        Err(fault) => return Some(at_fault(path, said, fault)),
    };
    if !is_directory && shown.to_string().ends_with(REGO_TESTS_END) {
        notes.push(format!(
            "the tests in {shown} are not run: they run with their policy, when the directory is checked"
        ));
    }
    let content_type = if is_directory { FILES_CONTENT_TYPE } else { content::type_of(path) };
    let kind = if is_directory {
        content_folder::kind_of_content(&content)
    } else {
        Some(PolicyKind::of_content_type(content_type)).filter(|_| !content_type.is_empty())
    };
    let policy = said.policy.cloned().or_else(|| named(path)).unwrap_or_else(|| {
        notes.push(format!(
            "{shown} is checked as policy {UNNAMED}: its name is no id of a policy; --policy says another"
        ));
        said.unnamed.clone()
    });
    Some(LocalContent {
        path: shown.to_string(),
        policy,
        said_kind: said.kind,
        kind,
        content_type: content_type.to_owned(),
        content: content.into(),
        label: None,
        annotations: Annotations::default(),
        requires: Vec::new(),
        fault: None,
    })
}
