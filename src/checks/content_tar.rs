//! Reads and writes contents of several files: a tar of format ustar, with one form for the same files.
//!
//! The reader is strict: what two readers of tars could understand differently is refused, by the name of the entry. It allocates no
//! more than the content has. Files are in the byte order of their paths, and nothing but path and bytes of a file is kept.

use std::collections::BTreeSet;
use std::io;

use crate::domain::limits::{CONTENT_FILES_MAX, CONTENT_MAX_BYTES, CONTENT_PATH_MAX_BYTES};

/// The end of the name of a file with tests of Rego.
pub const REGO_TESTS_END: &str = "_test.rego";

/// Bytes of a block: headers are of this size, and contents are padded to it.
const BLOCK_BYTES: usize = 512;
/// Zero blocks at the end of a tar.
const END_BLOCKS: usize = 2;
/// The permissions of each entry: nobody executes a policy.
const FILE_MODE: u32 = 0o644;
/// Characters of a path that a message shows.
const PATH_SHOWN_CHARS: usize = 100;

/// One file of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFile<'a> {
    /// Its path: relative, with slashes, normalised. Empty for a content that is one file.
    pub path: String,
    /// Its exact bytes.
    pub bytes: &'a [u8],
}

/// Why a content of several files can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentTarFailure {
    /// The path of the file, as far as it may be shown; empty when it is about the whole.
    pub file: String,
    /// What is wrong, as a lower-case fragment for the author.
    pub message: String,
}

impl ContentTarFailure {
    fn new(path: &str, message: impl Into<String>) -> Self {
        let shown = path.chars().take(PATH_SHOWN_CHARS).map(|each| if each.is_control() { '\u{fffd}' } else { each });
        Self { file: shown.collect(), message: message.into() }
    }
}

/// Reads the files of a content, in the byte order of their paths.
///
/// # Errors
/// The content is not such a tar, or has no file, too many, or one that may not be in it.
pub fn read(content: &[u8]) -> Result<Vec<ContentFile<'_>>, ContentTarFailure> {
    let mut archive = tar::Archive::new(content);
    let (mut files, mut end) = (Vec::new(), 0);
    // Raw: an entry that changes the next one is refused like any other that is no file.
    for entry in archive.entries().map_err(not_a_tar)?.raw(true) {
        if files.len() == CONTENT_FILES_MAX {
            return Err(ContentTarFailure::new("", format!("over {CONTENT_FILES_MAX} files")));
        }
        let entry = entry.map_err(not_a_tar)?;
        let path = check_header(entry.header())?;
        let cut_off = || ContentTarFailure::new(&path, "the tar ends before this file does");
        let from = usize::try_from(entry.raw_file_position()).map_err(|_| cut_off())?;
        let size = usize::try_from(entry.header().entry_size().map_err(not_a_tar)?).map_err(|_| cut_off())?;
        let to = from.checked_add(size).ok_or_else(cut_off)?;
        end = to.checked_next_multiple_of(BLOCK_BYTES).ok_or_else(cut_off)?;
        let (bytes, padding) = (content.get(from..to), content.get(to..end));
        let (bytes, padding) = bytes.zip(padding).ok_or_else(cut_off)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ContentTarFailure::new(&path, "bytes that belong to no file follow it"));
        }
        files.push(ContentFile { path, bytes });
    }
    let rest = content.get(end..).unwrap_or_default();
    if rest.len() < END_BLOCKS * BLOCK_BYTES || rest.iter().any(|byte| *byte != 0) {
        return Err(ContentTarFailure::new("", "not a tar: it does not end with zero blocks, or has bytes after them"));
    }
    check_paths(&files)?;
    Ok(files)
}

fn not_a_tar(error: impl std::fmt::Display) -> ContentTarFailure {
    ContentTarFailure::new("", format!("not a tar: {error}"))
}

/// Returns the files of a content that should have several. One that can't be read so, and any other content, is one file without a path.
#[must_use]
pub fn files_or_whole(content: &[u8], has_several_files: bool) -> Vec<ContentFile<'_>> {
    let files = if has_several_files { read(content).ok() } else { None };
    files.unwrap_or_else(|| vec![ContentFile { path: String::new(), bytes: content }])
}

/// Writes files as a content. The same files give the same bytes, in whatever order they come.
///
/// # Errors
/// A path or the number of files is not valid, or the content would be over its limit.
pub fn write(mut files: Vec<ContentFile<'_>>) -> Result<Vec<u8>, ContentTarFailure> {
    files.sort_by(|one, other| one.path.cmp(&other.path));
    if files.len() > CONTENT_FILES_MAX {
        return Err(ContentTarFailure::new("", format!("over {CONTENT_FILES_MAX} files")));
    }
    check_paths(&files)?;
    let mut archive = tar::Builder::new(Vec::new());
    for file in &files {
        let failed = |error: io::Error| ContentTarFailure::new(&file.path, error.to_string());
        let mut header = tar::Header::new_ustar();
        header.set_path(&file.path).map_err(failed)?;
        header.set_size(file.bytes.len() as u64);
        header.set_mode(FILE_MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, file.bytes).map_err(failed)?;
    }
    let content = archive.into_inner().map_err(|error| ContentTarFailure::new("", error.to_string()))?;
    if content.len() > CONTENT_MAX_BYTES {
        return Err(ContentTarFailure::new("", format!("content is over {CONTENT_MAX_BYTES} bytes as a tar")));
    }
    Ok(content)
}

/// Checks what a header says beside path and size, and returns the path.
fn check_header(header: &tar::Header) -> Result<String, ContentTarFailure> {
    let path = header.path_bytes();
    let refused = |why: &str| Err(ContentTarFailure::new(&String::from_utf8_lossy(&path), why));
    let Some(ustar) = header.as_ustar() else {
        return refused("the entry is not of format ustar");
    };
    if header.entry_type() != tar::EntryType::Regular {
        return refused("the entry is not a regular file");
    }
    let Ok(path) = std::str::from_utf8(&path) else {
        return refused("the path is not UTF-8");
    };
    let zero = [header.uid(), header.gid(), header.mtime()].into_iter().all(|number| number.is_ok_and(|it| it == 0));
    let device = [ustar.device_major(), ustar.device_minor()];
    let no_device = device.into_iter().all(|number| number.is_ok_and(|it| it == 0))
        || (ustar.dev_major == [0; 8] && ustar.dev_minor == [0; 8]);
    let nameless = ustar.username_bytes().is_empty() && ustar.groupname_bytes().is_empty();
    if !zero || !no_device || !nameless || header.mode().ok() != Some(FILE_MODE) || header.link_name_bytes().is_some() {
        return refused("the entry has an owner, a time, a link, a device or other permissions than 0644");
    }
    Ok(path.to_owned())
}

/// Checks that paths are valid, in their order, and different on every file system.
fn check_paths(files: &[ContentFile<'_>]) -> Result<(), ContentTarFailure> {
    if files.is_empty() {
        return Err(ContentTarFailure::new("", "it has no files"));
    }
    let mut folded = BTreeSet::new();
    let mut before: Option<&str> = None;
    for file in files {
        let path = file.path.as_str();
        check_path(path).map_err(|why| ContentTarFailure::new(path, why))?;
        if before.is_some_and(|before| before >= path) {
            return Err(ContentTarFailure::new(path, "it is there twice, or not in the byte order of the paths"));
        }
        before = Some(path);
        if !folded.insert(path.to_lowercase()) {
            return Err(ContentTarFailure::new(path, "another path differs from it in upper and lower case alone"));
        }
    }
    for file in files {
        let folded_path = file.path.to_lowercase();
        let mut folders = folded_path.match_indices('/').filter_map(|(end, _)| folded_path.get(..end));
        if folders.any(|folder| folded.contains(folder)) {
            return Err(ContentTarFailure::new(&file.path, "the folder of it is a file too"));
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    if path.len() > CONTENT_PATH_MAX_BYTES {
        return Err(format!("the path is over {CONTENT_PATH_MAX_BYTES} bytes"));
    }
    if path.chars().any(|each| each.is_control() || each == '\\') {
        return Err("the path has a control character or a backslash".to_owned());
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the path is not relative and normalised".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
