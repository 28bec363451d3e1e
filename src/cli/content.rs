//! Reads content from a file or stdin, and derives the media type from the file's name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::exit_code::UsageError;
use crate::cli::output::text::line;
use crate::client::CONTENT_MAX_BYTES;

/// The argument that stands for stdin.
const STDIN: &str = "-";

/// A content has too many bytes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OverLimit(String);

/// Returns whether a path stands for stdin.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// Checks that a file or directory can be read, or is stdin, so that a missing file is reported before anything else.
pub fn check(path: &Path) -> Result<(), UsageError> {
    if is_stdin(path) {
        return Ok(());
    }
    let opened = if path.is_dir() { File::open(path) } else { open(path) };
    opened.map(drop).map_err(|error| UsageError(format!("failed to read {}: {error}", shown(path))))
}

/// Opens a regular file. Opening or reading anything else, such as a FIFO or a terminal, might wait forever.
fn open(path: &Path) -> std::io::Result<File> {
    if path.metadata()?.is_file() {
        return File::open(path);
    }
    Err(std::io::Error::other("it is not a regular file; - reads stdin where a command takes it"))
}

/// Reads the exact bytes, at most one more than the limit, which is enough to refuse larger content.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_at_most(path, CONTENT_MAX_BYTES, "content")
}

/// Reads a file or stdin; `what` names it in the error when it has more than `max` bytes.
pub fn read_at_most(path: &Path, max: usize, what: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = if is_stdin(path) {
        bounded(std::io::stdin().lock(), max).context("failed to read stdin")?
    } else {
        let file = open(path).and_then(|file| bounded(file, max));
        file.with_context(|| format!("failed to read {}", shown(path)))?
    };
    anyhow::ensure!(bytes.len() <= max, OverLimit(format!("{what} is over {max} bytes")));
    Ok(bytes)
}

/// Returns a path as one line: its name may be anybody's.
pub fn shown(path: &Path) -> String {
    line(&path.display().to_string())
}

fn bounded(input: impl Read, max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the media type for a file's name; empty when unknown, and then the policy's kind decides.
#[must_use]
pub fn type_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "yaml" | "yml" => "application/yaml",
        "json" => "application/json",
        "cedar" => "application/vnd.cedar",
        "rego" => "application/vnd.openpolicyagent.rego",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::PolicyKind;

    #[test]
    fn a_name_tells_the_type_the_server_knows() {
        for (name, kind) in [
            ("a.yaml", PolicyKind::Yaml),
            ("a.YML", PolicyKind::Yaml),
            ("b/a.json", PolicyKind::Json),
            ("a.cedar", PolicyKind::Cedar),
            ("a.rego", PolicyKind::Rego),
        ] {
            assert_eq!(PolicyKind::of_content_type(type_of(Path::new(name))), kind, "{name}");
        }
        assert_eq!((type_of(Path::new("-")), type_of(Path::new("json"))), ("", ""));
    }

    #[test]
    fn too_much_content_is_refused_here() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("content");
        std::fs::write(&path, vec![b'x'; CONTENT_MAX_BYTES]).expect("written");
        assert_eq!(read(&path).expect("the largest").len(), CONTENT_MAX_BYTES);
        std::fs::write(&path, vec![b'x'; CONTENT_MAX_BYTES + 1]).expect("written");
        assert!(read(&path).is_err());
    }
}
