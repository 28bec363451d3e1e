//! Makes findings of the errors of regorus, which are texts: a place, the line of the source with a caret, and the message.

use super::texts::TextFile;
use crate::checks::parse_failure::shortened;
use crate::domain::report::{CheckFinding, Severity};

/// What stands before the place in the text of an error.
const PLACE: &str = "--> ";
/// What stands before the message in the text of an error.
const MESSAGE: &str = "error: ";

/// Returns the finding of an error. `path` is the file it is about when the error does not say one of `files`.
pub(super) fn finding(files: &[TextFile], path: &str, error: &anyhow::Error) -> CheckFinding {
    let text = error.to_string();
    let place = text.lines().find_map(|line| place_of(line, files));
    let (file, line, column) = place.unwrap_or((path, 0, 0));
    CheckFinding::new(Severity::Error, message_of(&text)).in_file(file).at_place(line, column)
}

/// Returns the message alone: the place is said beside it, and the source is with the reader.
pub(super) fn message_of(text: &str) -> String {
    let message = text.lines().find_map(|line| line.strip_prefix(MESSAGE));
    shortened(message.unwrap_or_else(|| text.trim()).lines().next().unwrap_or_default())
}

fn place_of<'a>(line: &str, files: &'a [TextFile]) -> Option<(&'a str, u32, u32)> {
    let mut parts = line.strip_prefix(PLACE)?.rsplitn(3, ':');
    let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let path = parts.next()?;
    let file = files.iter().find(|file| file.path == path)?;
    Some((file.path.as_str(), line, column))
}
