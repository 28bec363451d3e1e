//! Manages contexts: named servers, each with a namespace and credentials, in a file of the user.
//!
//! Boundary: a context has the paths of token and key files, never their contents. Invariant: the file is written atomically.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::cli::exit_code::UsageError;
use crate::client::durable::{read_bounded, replace_file};

/// Largest file of contexts that is read.
const CONTEXTS_MAX_BYTES: u64 = 1024 * 1024;
/// Longest name of a context.
const NAME_MAX_CHARS: usize = 64;

/// A server, with the namespace and the credentials to use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedServer {
    /// Address of the server.
    pub server: String,
    /// Namespace to use.
    pub namespace: Option<String>,
    /// File with the bearer token.
    pub token_file: Option<PathBuf>,
    /// PEM file of the CA of the server.
    pub ca_cert: Option<PathBuf>,
    /// PEM file of a client certificate.
    pub client_cert: Option<PathBuf>,
    /// PEM file of the client key.
    pub client_key: Option<PathBuf>,
    /// Whether a token may be sent over http:// to another machine.
    pub insecure_plaintext: Option<bool>,
}

impl NamedServer {
    /// Returns the PEM files of the client certificate and its key.
    pub fn client_identity(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.client_cert.as_ref().zip(self.client_key.as_ref())
    }
}

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// Name of the current context.
    pub current: Option<String>,
    /// The contexts by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, NamedServer>,
}

impl Contexts {
    /// Reads the file; without a file there are no contexts.
    ///
    /// # Errors
    /// The file can't be read, or is not valid.
    pub fn load() -> anyhow::Result<Self> {
        path().map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("failed to read the contexts in {}", path.display());
        let bytes = match read_bounded(path, CONTEXTS_MAX_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.with_context(failed)?,
        };
        toml::from_str(std::str::from_utf8(&bytes).with_context(failed)?).with_context(failed)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// There is no home directory, or the disk fails.
    pub fn save(&self) -> anyhow::Result<()> {
        let path = path().context("there is no place for contexts: set XDG_CONFIG_HOME or HOME to an absolute path")?;
        let failed = || format!("failed to write the contexts to {}", path.display());
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(failed)?;
        }
        replace_file(&path, toml::to_string(self).with_context(failed)?.as_bytes()).with_context(failed)
    }

    /// Returns the context of this name, or the current one.
    ///
    /// # Errors
    /// No context has this name.
    pub fn chosen(mut self, named: Option<&str>) -> anyhow::Result<Option<(String, NamedServer)>> {
        let Some(name) = named.map(str::to_owned).or_else(|| self.current.take()) else { return Ok(None) };
        self.check_is_there(&name)?;
        Ok(self.contexts.remove_entry(&name))
    }

    /// Checks that a context exists.
    ///
    /// # Errors
    /// No context has this name; the error lists the existing ones.
    pub fn check_is_there(&self, name: &str) -> Result<(), UsageError> {
        if self.contexts.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let there = match names.as_slice() {
            [] => "there are none; make one with `policyhub context set NAME --server URL`".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        Err(UsageError(format!("there is no context {name}: {there}")))
    }
}

/// Returns the path of the file (XDG Base Directory Specification): relative paths count as unset.
fn path() -> Option<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")))?;
    Some(config.join("policyhub").join("contexts.toml"))
}

/// Parses the name of a context.
pub fn context_name(text: &str) -> Result<String, String> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=NAME_MAX_CHARS).contains(&text.len()) && text.bytes().all(is_letter) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 of A-Z, a-z, 0-9, -, _ and .".to_owned())
    }
}

/// Returns the absolute path of a file, so that it is found from every directory.
///
/// # Errors
/// The current directory does not exist.
pub fn from_everywhere(path: &Path) -> anyhow::Result<PathBuf> {
    ensure!(!path.as_os_str().is_empty(), UsageError("a path is empty".to_owned()));
    std::path::absolute(path).with_context(|| format!("failed to find {}", path.display()))
}
