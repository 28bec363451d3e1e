//! Describes what is wrong with a version folder, and where: an annotation of a pull request points there.

use std::fmt;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Name of the file in the folder; empty: the folder itself.
    pub file: String,
    /// Line number from 1; 0 when unknown.
    pub line: u32,
    /// A lower-case fragment for the author.
    pub why: String,
    /// Whether something is too much.
    pub is_over_limit: bool,
}

impl Fault {
    /// Returns a fault at a line of a file.
    pub fn of(file: &str, line: u32, why: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, why: why.into(), is_over_limit: false }
    }

    /// Returns a fault of a file, or of the files of a content, that is too much.
    pub fn over_limit(file: &str, why: impl Into<String>) -> Self {
        Self { is_over_limit: true, ..Self::of(file, 0, why) }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::of("", 0, why)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
