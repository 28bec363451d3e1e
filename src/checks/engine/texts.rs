//! The texts that an engine looks at, and what their names say.

use serde::{Deserialize, Serialize};

/// One text of a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    /// Its path; empty for a content that is one file.
    pub path: String,
    /// The text.
    pub text: String,
}

/// Returns whether a file of this path is the schema of a Cedar policy set.
pub(in crate::checks) fn is_cedar_schema(path: &str) -> bool {
    has_extension(path, "cedarschema") || file_name(path) == "schema.json"
}

pub(in crate::checks) fn has_extension(path: &str, extension: &str) -> bool {
    file_name(path).rsplit_once('.').is_some_and(|(stem, rest)| !stem.is_empty() && rest == extension)
}

pub(in crate::checks) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
