//! The file of the high-water marks: a JSON document with all, and a line for each later save with what changed.
//!
//! So a save costs what changed, however many logs there are. Each save is synced. A last line that is not whole is of a save that a crash
//! interrupted, and that nobody relied on.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::files::json_file::read_file;
use crate::store::loss::seen_heads::SeenHeads;

/// Heads in lines after the document up to which it is not written anew; with more heads in the document, as many as it has.
pub(in crate::store) const LINES_MIN: usize = 1_000;

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct HighWaterFile {
    pub(in crate::store) store: String,
    pub(in crate::store) heads: SeenHeads,
}

/// The store of such a file, without its heads.
#[derive(Debug, Deserialize)]
struct HighWaterStore {
    store: String,
}

/// What is to be saved.
#[derive(Debug)]
pub(in crate::store) enum HighWaterSave {
    Whole(HighWaterFile),
    Changes(SeenHeads),
}

/// Appends a line to a file that is there.
pub(in crate::store) fn append(path: &Path, heads: &SeenHeads) -> io::Result<()> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, heads)?;
    let mut file = File::options().append(true).open(path)?;
    file.write_all(&line)?;
    file.sync_data()
}

/// Reads of which store a file is; none when there is no such file. It does not parse the heads.
///
/// # Errors
/// It can't be read, or its document is not whole.
pub(in crate::store) fn read_store(path: &Path) -> io::Result<Option<String>> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let document = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Some(serde_json::from_slice::<HighWaterStore>(document)?.store))
}

/// Reads a file; none when there is no such file.
///
/// # Errors
/// It can't be read, or the document or a line before the last is not whole.
pub(in crate::store) fn read(path: &Path) -> io::Result<Option<HighWaterFile>> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    let mut file: HighWaterFile = serde_json::from_slice(lines.next().unwrap_or_default())?;
    while let Some(line) = lines.next() {
        match serde_json::from_slice::<SeenHeads>(line) {
            Ok(heads) => file.heads.extend(heads),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Cursor;
    use crate::domain::name::NamespaceId;
    use crate::store::files::json_file::write_json;
    use crate::store::loss::seen_heads::SeenHead;

    fn heads(heads: &[(&str, i64)]) -> SeenHeads {
        let head = |(id, revision): &(&str, i64)| {
            let hash = Some([7; 32]);
            let seen = SeenHead { cursor: Cursor { epoch: 2, revision: *revision }, hash };
            (NamespaceId::parse("namespace", id).expect("an id"), seen)
        };
        heads.iter().map(head).collect()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("high-water.json");
        assert!(read(&path).expect("no file is no error").is_none());
        assert!(append(&path, &heads(&[("a", 5)])).is_err(), "there is no file to append to");
        write_json(&path, &HighWaterFile { store: "s".to_owned(), heads: heads(&[("a", 5), ("b", 1)]) })
            .expect("a file");
        let kept = || read(&path).expect("a file").expect("the file").heads;
        assert_eq!(kept(), heads(&[("a", 5), ("b", 1)]));
        append(&path, &heads(&[("a", 6)])).expect("a line");
        append(&path, &heads(&[("a", 7), ("c", 1)])).expect("a line");
        assert_eq!(kept(), heads(&[("a", 7), ("b", 1), ("c", 1)]));
        let whole = std::fs::read(&path).expect("the file");
        let line_before = whole.iter().rposition(|byte| *byte == b'\n').expect("a line");
        for cut in line_before..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("a file");
            assert_eq!(kept(), heads(&[("a", 6), ("b", 1)]), "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_and_one_of_an_older_release_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("high-water.json");
        std::fs::write(&path, r#"{"store":"s","heads":{"a":{"epoch":2,"revision":5}}}"#).expect("a file");
        let before = read(&path).expect("a file of a release before").expect("the file");
        let [(_, seen)] = before.heads.into_iter().collect::<Vec<_>>().try_into().expect("one");
        assert_eq!(seen, SeenHead { cursor: Cursor { epoch: 2, revision: 5 }, hash: None });
        for broken in ["{\"store\":", "", "{\"store\":\"s\",\"heads\":{}}\n{\"a\n{}"] {
            std::fs::write(&path, broken).expect("a file");
            assert!(read(&path).is_err(), "{broken:?}");
        }
    }
}
