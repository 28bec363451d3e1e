//! What is wrong with a version folder, and where: an annotation of a pull request points there.

use std::fmt;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, by its name in the folder; empty: the folder.
    pub file: String,
    /// From 1; 0 without a place.
    pub line: u32,
    /// A lower-case fragment for the author.
    pub why: String,
}

impl Fault {
    /// Of a file.
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
