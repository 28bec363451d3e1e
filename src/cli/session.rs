//! What every client command needs: the connection, the namespace and the format.
//!
//! Boundary: reads the token and certificate files; a token is never printed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::args::Global;
use super::output::Format;
use crate::client::Client;
use crate::client::name::NamespaceId;

/// Data directory of a server started without flags.
pub const DEFAULT_DATA_DIR: &str = "./policyhub-data";
/// The operator's token in a data directory.
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// A connected command.
#[derive(Debug)]
pub struct Session {
    /// The server.
    pub client: Client,
    /// Where the policies named lie.
    pub namespace: NamespaceId,
    /// How to print.
    pub output: Format,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// A file that can't be read, or the error of the connection.
    pub async fn open(global: &Global) -> anyhow::Result<Self> {
        let token = token(global, std::env::var_os("POLICYHUB_DATA_DIR").map(PathBuf::from))?;
        let tls_ca = match &global.ca_cert {
            Some(path) => Some(fs::read(path).with_context(|| format!("failed to read {}", path.display()))?),
            None => None,
        };
        let client = Client::connect(&global.server, token, tls_ca).await.context("failed to connect")?;
        Ok(Self { client, namespace: global.namespace.clone(), output: global.output })
    }
}

/// The token given, else that of the file given, else that of the data directory when it has one.
fn token(global: &Global, data_dir: Option<PathBuf>) -> anyhow::Result<Option<String>> {
    if let Some(token) = global.token.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(token.clone()));
    }
    if let Some(path) = &global.token_file {
        return read(path).map(Some);
    }
    let path = data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)).join(ADMIN_TOKEN_FILE);
    // Without a local server there is none: the server says whether it needs one.
    if path.exists() { read(&path).map(Some) } else { Ok(None) }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read token file {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn a_token_comes_from_flag_file_or_data_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("some.token");
        fs::write(&file, "from-file\n").expect("written");
        fs::write(directory.path().join(ADMIN_TOKEN_FILE), "from-data\n").expect("written");
        let mut global = crate::cli::Cli::try_parse_from(["policyhub", "active"]).expect("a line").global;
        (global.token, global.token_file) = (None, None);
        let data = Some(directory.path().to_owned());
        assert_eq!(token(&global, data.clone()).expect("token").as_deref(), Some("from-data"));
        global.token_file = Some(file);
        assert_eq!(token(&global, data.clone()).expect("token").as_deref(), Some("from-file"));
        global.token = Some("from-flag".to_owned());
        assert_eq!(token(&global, data).expect("token").as_deref(), Some("from-flag"));
        (global.token, global.token_file) = (None, None);
        assert_eq!(token(&global, Some(directory.path().join("absent"))).expect("none"), None);
        global.token_file = Some(directory.path().join("absent"));
        assert!(token(&global, None).is_err(), "a file that was asked for must be there");
    }
}
