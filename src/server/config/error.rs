//! The errors of an invalid configuration: with the key, and the file and line where that applies.
//!
//! An error never contains the value of a URL, which may hold a password.

use std::path::PathBuf;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read config file {}: {error}", path.display())]
    Unreadable {
        /// The file named by `--config`.
        path: PathBuf,
        /// The error of the file system.
        error: std::io::Error,
    },
    /// The file is not TOML, has a key that does not exist, or a value of the wrong type.
    #[error("read config file {}, line {line}: {message}", path.display())]
    Malformed {
        /// The file named by `--config`.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// The parser's message, without the text of the line.
        message: String,
    },
    /// A value is out of range, or two values are not allowed together.
    #[error("use config key {key}: {problem}")]
    Invalid {
        /// The key, as in the file.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}
