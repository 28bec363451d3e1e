//! Why a configuration is refused: always with the key, and the file and line when one is at fault.
//!
//! Never with the value of a URL: it may hold a password.

use std::path::PathBuf;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read config file {}: {error}", path.display())]
    Unreadable {
        /// The file named by `--config`.
        path: PathBuf,
        /// What the file system said.
        error: std::io::Error,
    },
    /// The file is not TOML, has a key that does not exist, or a value of the wrong type.
    #[error("read config file {}, line {line}: {message}", path.display())]
    Malformed {
        /// The file named by `--config`.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser said, without the text of the line.
        message: String,
    },
    /// A value is out of range, or two don't go together.
    #[error("use config key {key}: {problem}")]
    Invalid {
        /// The key, as in the file.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}
