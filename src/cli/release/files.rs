//! The files of a version folder: `metadata.json`, and the content beside it, which is one file or a folder of several.
//!
//! Boundary: pure; listings and the contents of files come as arguments, from git or from the disk, and are untrusted until validated.
//! `release`, `adopt` and `check` share this rule.

use std::path::Path;

use crate::checks;
use crate::cli::content::type_of;
use crate::cli::content_folder;
use crate::cli::output::text;
use crate::cli::release::fault::Fault;
use crate::cli::release::folder::{Definition, EntryKind, FolderVersion, METADATA, TreeEntry, shown};
use crate::client::{CONTENT_MAX_BYTES, PolicyKind};
use crate::domain::limits::{CONTENT_FILES_MAX, RELEASE_METADATA_MAX_BYTES};
use crate::domain::policy::{FILES_CONTENT_TYPE, is_of_several_files};

/// Name of the content: of a file before its extension, or of a folder of several files.
pub const DEFINITION: &str = "policy-definition";
const EXTENSIONS: &[&str] = &["yaml", "yml", "json", "cedar", "rego"];

/// The files of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    metadata_id: String,
    parts: Vec<Part>,
    /// Name of the definition's file, or of the folder of its files.
    pub definition_name: String,
    content_type: &'static str,
}

/// One file of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Path in the folder of the content; of no meaning for a content of one file.
    path: String,
    /// Id of the git object.
    id: String,
}

/// Finds the files of a version among all entries below its folder. `prefix` is the folder's path with a slash at its end; `top` is
/// the folder of the policies. A listing of a disk may leave out what is in the folder of a content.
///
/// # Errors
/// A file is missing, or must not be there.
pub fn files(top: &str, prefix: &[u8], entries: &[&TreeEntry]) -> Result<Files, Fault> {
    if let Some(odd) = entries.iter().find(|entry| matches!(entry.kind, EntryKind::Link | EntryKind::Submodule)) {
        let what = if odd.kind == EntryKind::Link { "symbolic link" } else { "submodule" };
        return Err(format!("{} is a {what}: neither is followed", shown(top, &odd.path)).into());
    }
    let here = entries.iter().filter_map(|entry| {
        let name = std::str::from_utf8(entry.path.strip_prefix(prefix)?).ok()?;
        Some((name, *entry))
    });
    let (mut metadata, mut definitions) = (None, Vec::new());
    for (name, entry) in here {
        if name == METADATA && entry.kind == EntryKind::File {
            metadata = Some(entry);
        } else if is_definition(name, entry.kind) {
            definitions.push((name, entry));
        }
    }
    let metadata = metadata.ok_or_else(|| format!("{METADATA} is missing"))?;
    let (name, definition) = match definitions.as_slice() {
        [one] => *one,
        [] => {
            return Err(format!(
                "{DEFINITION}.yaml, .yml, .json, .cedar or .rego, or a folder {DEFINITION}, is missing"
            )
            .into());
        }
        [(first, _), (second, _), ..] => {
            return Err(Fault::of(second, 0, format!("both {first} and {second} are there: one must go")));
        }
    };
    bounded(METADATA, metadata.size, RELEASE_METADATA_MAX_BYTES)?;
    let metadata_id = metadata.id.clone();
    if definition.kind == EntryKind::Directory {
        let parts = parts(&[prefix, DEFINITION.as_bytes(), b"/"].concat(), entries)?;
        return Ok(Files { metadata_id, parts, definition_name: name.to_owned(), content_type: FILES_CONTENT_TYPE });
    }
    bounded(name, definition.size, CONTENT_MAX_BYTES)?;
    let parts = vec![Part { path: String::new(), id: definition.id.clone() }];
    Ok(Files { metadata_id, parts, definition_name: name.to_owned(), content_type: type_of(Path::new(name)) })
}

fn is_definition(name: &str, kind: EntryKind) -> bool {
    match kind {
        EntryKind::Directory => name == DEFINITION,
        _ => name.split_once('.').is_some_and(|(stem, rest)| stem == DEFINITION && EXTENSIONS.contains(&rest)),
    }
}

/// Returns the files in the folder of a content, which are bounded before one is read.
fn parts(folder: &[u8], entries: &[&TreeEntry]) -> Result<Vec<Part>, Fault> {
    let (mut parts, mut size) = (Vec::new(), 0_u64);
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Some(path) = entry.path.strip_prefix(folder) else { continue };
        let path = std::str::from_utf8(path).map_err(|_| {
            Fault::of(DEFINITION, 0, format!("{:?} is not named in UTF-8", String::from_utf8_lossy(path)))
        })?;
        if content_folder::is_left_out(path) {
            continue;
        }
        parts.push(Part { path: path.to_owned(), id: entry.id.clone() });
        size = size.saturating_add(entry.size);
    }
    if parts.len() > CONTENT_FILES_MAX {
        return Err(Fault::over_limit(DEFINITION, format!("{DEFINITION} has over {CONTENT_FILES_MAX} files")));
    }
    bounded(DEFINITION, size, CONTENT_MAX_BYTES)?;
    Ok(parts)
}

fn bounded(name: &str, size: u64, limit: usize) -> Result<(), Fault> {
    let fault = || Fault::over_limit(name, format!("{name} has {size} bytes, over {limit}"));
    if size > limit as u64 { Err(fault()) } else { Ok(()) }
}

impl Files {
    /// Returns whether the content is a folder of several files.
    pub fn are_several(&self) -> bool {
        is_of_several_files(self.content_type)
    }

    /// Returns the ids of the objects to read: that of the metadata, then those of the content.
    pub fn ids(&self) -> Vec<&str> {
        [self.metadata_id.as_str()].into_iter().chain(self.content_ids()).collect()
    }

    /// Returns the ids of the objects of the content.
    pub fn content_ids(&self) -> Vec<&str> {
        self.parts.iter().map(|part| part.id.as_str()).collect()
    }

    /// Returns the content that the objects of `content_ids` make, in their order: for several files, what `draft DIR` makes of them.
    ///
    /// # Errors
    /// The files can't be a content.
    pub fn content(&self, mut objects: Vec<Vec<u8>>) -> Result<Vec<u8>, Fault> {
        if !self.are_several() {
            return Ok(objects.pop().unwrap_or_default());
        }
        let files: Vec<(String, Vec<u8>)> = self.parts.iter().map(|part| part.path.clone()).zip(objects).collect();
        content_folder::pack(&files).map_err(|failure| {
            let gap = if failure.file.is_empty() { "" } else { "/" };
            let why = format!("{DEFINITION}{gap}{} can't be a content: {}", failure.file, failure.message);
            Fault::of(&format!("{DEFINITION}{gap}{}", failure.file), 0, text::line(&why))
        })
    }

    /// Returns the path of the definition, from the top of the repository.
    pub fn path(&self, top: &str, key: &FolderVersion) -> String {
        format!("{}/{}", key.path(top), self.definition_name)
    }

    /// Parses the files of a version and checks that they agree with the name of their folder.
    ///
    /// # Errors
    /// A file is not valid, or names another version.
    pub fn read(&self, key: &FolderVersion, metadata: &[u8], content: &[u8]) -> Result<Definition, Fault> {
        let described = self.described(key, metadata, content)?;
        // The server checks several files, and languages whose parsers this program may not have.
        let kind = PolicyKind::of_content_type(self.content_type);
        if matches!(kind, PolicyKind::Json | PolicyKind::Yaml)
            && let Err(failure) = checks::parse(kind, content)
        {
            let place = if failure.line == 0 { String::new() } else { format!(" at line {}", failure.line) };
            let why = format!("{DEFINITION} does not parse{place}: {}", text::line(&failure.message));
            return Err(Fault::of(&self.definition_name, failure.line, why));
        }
        Ok(described)
    }

    /// Parses `metadata.json` and checks that it agrees with the name of the folder. The content may be anything.
    ///
    /// # Errors
    /// `metadata.json` is not valid, or names another version.
    pub fn described(&self, key: &FolderVersion, metadata: &[u8], content: &[u8]) -> Result<Definition, Fault> {
        Definition::of(key, metadata, content, self.content_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryKind, path: &str, size: u64) -> TreeEntry {
        TreeEntry { kind, id: format!("id of {path}"), size, path: path.as_bytes().to_vec() }
    }

    #[test]
    fn a_folder_of_files_is_bounded_before_it_is_read() {
        let found = |inside: Vec<TreeEntry>| {
            let mut all = vec![
                entry(EntryKind::File, "p/metadata.json", 1),
                entry(EntryKind::Directory, "p/policy-definition", 0),
            ];
            all.extend(inside);
            files("policies", b"p/", &all.iter().collect::<Vec<_>>()).map_err(|fault| fault.why)
        };
        let file = |name: &str, size| entry(EntryKind::File, &format!("p/policy-definition/{name}"), size);
        let two = found(vec![file("a.rego", 1), file(".keep", 9), file("b/.c/d.rego", 9), file("b/c.rego", 1)]);
        let expected = ["id of p/policy-definition/a.rego", "id of p/policy-definition/b/c.rego"];
        assert_eq!(two.expect("files").content_ids(), expected);
        let many = |count: usize| (0..count).map(|number| file(&format!("{number}.rego"), 1)).collect();
        assert!(found(many(CONTENT_FILES_MAX)).is_ok());
        assert!(found(many(CONTENT_FILES_MAX + 1)).expect_err("too many").contains("has over 256 files"));
        let limit = CONTENT_MAX_BYTES as u64;
        assert!(found(vec![file("a.rego", limit)]).is_ok());
        assert!(
            found(vec![file("a.rego", limit), file("b.rego", 1)]).expect_err("too large").contains("1048577 bytes")
        );
        let both = found(vec![entry(EntryKind::File, "p/policy-definition.json", 1)]);
        assert!(both.expect_err("two").contains("both policy-definition and policy-definition.json are there"));
    }
}
