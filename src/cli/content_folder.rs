//! Makes a content of several files of a directory: the tar that the server takes.
//!
//! The same files give the same bytes, wherever and whenever they are read. Nothing is followed: a symbolic link is refused.

use std::fs;
use std::path::Path;

use crate::checks::content_tar::{ContentFile, ContentTarFailure, read as read_tar, write};
use crate::cli::output::text::line;
use crate::client::{CONTENT_MAX_BYTES, PolicyKind, pb};
use crate::domain::limits::CONTENT_FILES_MAX;

/// Deepest nesting of directories: more than any path of a content has parts.
const FOLDER_MAX_DEPTH: usize = 100;

/// Why a directory can't be a content.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be a content: {}{message}", line(directory), if file.is_empty() { String::new() } else { format!("{}: ", line(file)) })]
pub struct FolderFault {
    directory: String,
    /// The file, by its path in the directory; empty: the directory itself.
    pub file: String,
    /// What is wrong, as a lower-case fragment for the author.
    pub message: String,
    /// What it is about.
    pub problem: FolderProblem,
}

/// What keeps a directory from being a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderProblem {
    /// It has no files.
    Empty,
    /// It has too much.
    Limit,
    /// A file in it can't be read, or may not be in it.
    File,
}

/// Reads a directory as a content. Names that begin with a dot are left out.
///
/// # Errors
/// A file can't be read or is none, or there are too many or too large ones.
pub fn read(directory: &Path) -> Result<Vec<u8>, FolderFault> {
    let fault = |(problem, file, message): Problem| {
        let directory = directory.display().to_string();
        FolderFault { directory, file, message, problem }
    };
    let mut files = Vec::new();
    collect(directory, "", 0, &mut files).map_err(fault)?;
    pack(&files).map_err(|failure| {
        let problem = match (files.is_empty(), failure.file.is_empty()) {
            (true, _) => FolderProblem::Empty,
            (false, true) => FolderProblem::Limit,
            (false, false) => FolderProblem::File,
        };
        fault((problem, failure.file, failure.message))
    })
}

/// Makes a content of files, by their paths in it.
///
/// # Errors
/// There are none, too many or too large ones, or a path is not valid.
pub fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ContentTarFailure> {
    write(files.iter().map(|(path, bytes)| ContentFile { path: path.clone(), bytes }).collect())
}

/// Returns whether a file is no part of a content: a part of its path begins with a dot.
pub fn is_left_out(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

/// Returns the kind of the policy whose files a directory has, by their names; `None` when they don't say.
pub fn kind_of(directory: &Path) -> Option<PolicyKind> {
    let mut files = Vec::new();
    collect(directory, "", 0, &mut files).ok()?;
    kind_of_names(files.iter().map(|(path, _)| path.as_str()))
}

/// Returns the kind of the policy whose files a content has, by their names; `None` when they don't say.
pub fn kind_of_content(content: &[u8]) -> Option<PolicyKind> {
    kind_of_names(read_tar(content).ok()?.iter().map(|file| file.path.as_str()))
}

/// Returns a kind that a content of several files may have, as it is sent.
pub fn written_kind(kind: PolicyKind) -> pb::PolicyKind {
    match kind {
        PolicyKind::Cedar => pb::PolicyKind::Cedar,
        PolicyKind::Rego => pb::PolicyKind::Rego,
        _ => pb::PolicyKind::Json,
    }
}

fn kind_of_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<PolicyKind> {
    let has = |end: &str| names.clone().any(|path| path.ends_with(end));
    match (has(".cedar"), has(".rego"), has(".json")) {
        (true, false, _) => Some(PolicyKind::Cedar),
        (false, true, _) => Some(PolicyKind::Rego),
        (false, false, true) => Some(PolicyKind::Json),
        _ => None,
    }
}

/// What is wrong, the file, and a message.
type Problem = (FolderProblem, String, String);

fn collect(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Problem> {
    let limit = |message: String| (FolderProblem::Limit, String::new(), message);
    let unread = |path: &str, why: String| (FolderProblem::File, path.trim_end_matches('/').to_owned(), why);
    let failed = |error: std::io::Error| unread(prefix, format!("failed to read it: {error}"));
    if depth >= FOLDER_MAX_DEPTH {
        return Err(limit(format!("folders are over {FOLDER_MAX_DEPTH} deep")));
    }
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let inside = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_name().to_str().is_none() {
            return Err(unread(&inside, "its name is not UTF-8".to_owned()));
        }
        if is_left_out(&inside) {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            collect(&path, &format!("{inside}/"), depth + 1, files)?;
            continue;
        }
        if !kind.is_file() {
            return Err(unread(&inside, "it is not a regular file: links are not followed".to_owned()));
        }
        if files.len() >= CONTENT_FILES_MAX {
            return Err(limit(format!("over {CONTENT_FILES_MAX} files")));
        }
        let bytes = super::content::read(&path).map_err(|error| match error.is::<super::content::OverLimit>() {
            true => (FolderProblem::Limit, inside.clone(), error.to_string()),
            false => unread(&inside, format!("failed to read it: {}", error.root_cause())),
        })?;
        files.push((inside, bytes));
        let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        if size > CONTENT_MAX_BYTES {
            return Err(limit(format!("content is over {CONTENT_MAX_BYTES} bytes")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("written");
        }
        directory
    }

    #[test]
    fn a_directory_is_the_same_content_everywhere() {
        let files = [("b/c.rego", "package c"), ("a.rego", "package a"), (".git/config", "x")];
        let (one, other) = (directory(&files), directory(&[files[1], files[0]]));
        let content = read(one.path()).expect("a content");
        assert_eq!(content, read(other.path()).expect("a content"));
        let found = crate::checks::content_tar::read(&content).expect("files");
        assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a.rego", "b/c.rego"]);
        assert_eq!(kind_of(one.path()), Some(PolicyKind::Rego));
        assert_eq!(kind_of(directory(&[("a.cedar", ""), ("schema.json", "{}")]).path()), Some(PolicyKind::Cedar));
        assert_eq!(kind_of(directory(&[("a.json", "{}")]).path()), Some(PolicyKind::Json));
        assert_eq!(kind_of(directory(&[("a.txt", "")]).path()), None);
    }

    #[test]
    fn links_and_empty_directories_are_refused() {
        let linked = directory(&[("a.rego", "package a")]);
        std::os::unix::fs::symlink("/etc/passwd", linked.path().join("b.rego")).expect("a link");
        assert!(read(linked.path()).expect_err("a link").to_string().contains("links are not followed"));
        assert!(read(directory(&[]).path()).expect_err("no files").to_string().contains("it has no files"));
    }
}
