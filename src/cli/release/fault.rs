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
}

impl Fault {
    /// Returns a fault at a line of a file.
    pub fn of(file: &str, line: u32, why: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, why: why.into() }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self { file: String::new(), line: 0, why }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
