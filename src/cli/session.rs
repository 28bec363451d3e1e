//! Holds what every client command needs: the connection, the namespace and the format.
//!
//! Boundary: reads the token and certificate files; a token is never printed.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli::global::Global;
use crate::cli::output::document::Format;
use crate::cli::typed_commands::TypedCommands;
use crate::client::name::NamespaceId;
use crate::client::{Client, Target, TlsFiles, TokenSource};
use crate::server::config::DATA_DIR;

/// File of the operator's token in a data directory.
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// An open connection with its settings.
#[derive(Debug)]
pub struct Session {
    /// The client of the server.
    pub client: Client,
    /// How the server was connected to; used to reopen a stream.
    pub target: Target,
    /// Namespace of the named policies.
    pub namespace: NamespaceId,
    /// How commands are typed to go on after this one.
    pub commands: TypedCommands,
    /// Output format.
    pub output: Format,
}

impl Session {
    /// Connects to the server that the flags and the environment name.
    ///
    /// # Errors
    /// A file can't be read, or the connection fails.
    pub async fn open(global: &Global) -> anyhow::Result<Self> {
        let (target, namespace) = (target(global)?, global.namespace()?);
        let client = target.connect().await.context("failed to connect")?;
        Ok(Self { client, target, namespace, commands: TypedCommands::after(global)?, output: global.output })
    }
}

/// Returns the server and the credentials from the flags and the environment.
///
/// # Errors
/// A file can't be read.
pub fn target(global: &Global) -> anyhow::Result<Target> {
    let check = |path: &PathBuf| fs::read(path).map(drop).with_context(|| format!("failed to read {}", path.display()));
    // Each connection reads these files; a missing one is reported now, before anything else.
    let identity = global.client_identity();
    let (cert, key) = identity.unzip();
    [global.ca_cert(), cert, key].into_iter().flatten().try_for_each(check)?;
    let identity = identity.map(|(cert, key)| (cert.clone(), key.clone()));
    let tls_files = TlsFiles::new(global.ca_cert().cloned(), identity);
    let token = token(global, &Environment::read());
    let target = Target::new(global.server()).with_token(token).with_tls_files(tls_files);
    Ok(target.with_insecure_plaintext(global.insecure_plaintext()))
}

/// The token settings of the environment. An empty variable counts as unset.
#[derive(Debug, Default)]
struct Environment {
    token: Option<String>,
    token_file: Option<PathBuf>,
    data_dir: Option<PathBuf>,
}

impl Environment {
    fn read() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            token: std::env::var_os("POLICYHUB_TOKEN").and_then(|token| token.into_string().ok()),
            token_file: path("POLICYHUB_TOKEN_FILE"),
            data_dir: path("POLICYHUB_DATA_DIR"),
        }
    }
}

/// Returns the bearer token that calls would carry; none when there is none.
///
/// # Errors
/// Its file can't be read.
pub fn bearer_token(global: &Global) -> anyhow::Result<Option<String>> {
    match token(global, &Environment::read()) {
        TokenSource::Text(token) => Ok(Some(token)),
        TokenSource::File(path) => {
            let read = fs::read_to_string(&path);
            Ok(Some(read.with_context(|| format!("failed to read {}", path.display()))?))
        }
        _ => Ok(None),
    }
}

/// Returns the token source: flags before the environment, a token before a file, then the context, else the token file of the data
/// directory if it exists.
fn token(global: &Global, environment: &Environment) -> TokenSource {
    for (token, file) in [(&global.token, &global.token_file), (&environment.token, &environment.token_file)] {
        if let Some(token) = token.as_ref().filter(|token| !token.is_empty()) {
            return TokenSource::Text(token.clone());
        }
        if let Some(path) = file {
            return TokenSource::File(path.clone());
        }
    }
    // A client certificate identifies the caller: a token would replace that identity.
    if global.client_cert.is_some() {
        return TokenSource::None;
    }
    // The token of a local server must not be sent to the server of a context.
    if let Some(context) = &global.used {
        return context.token_file.clone().map_or(TokenSource::None, TokenSource::File);
    }
    let data_dir = environment.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR));
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    // Without that file no token is sent: the server says whether it needs one.
    if path.exists() { TokenSource::File(path) } else { TokenSource::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn a_token_comes_from_flag_file_or_data_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("some.token");
        fs::write(directory.path().join(ADMIN_TOKEN_FILE), "from-data\n").expect("written");
        let mut global = crate::cli::Cli::try_parse_from(["policyhub", "active"]).expect("a line").global;
        let mut environment = Environment { data_dir: Some(directory.path().to_owned()), ..Environment::default() };
        let from = |global: &Global, environment: &Environment| match token(global, environment) {
            TokenSource::None => None,
            TokenSource::Text(token) => Some(token),
            TokenSource::File(path) => Some(path.display().to_string()),
            other => panic!("the command knows no {other:?}"),
        };
        let path = |name: &str| Some(directory.path().join(name).display().to_string());
        assert_eq!(from(&global, &environment), path(ADMIN_TOKEN_FILE));
        environment.token_file = Some(file.clone());
        assert_eq!(from(&global, &environment), path("some.token"));
        environment.token = Some("from-environment".to_owned());
        assert_eq!(from(&global, &environment).as_deref(), Some("from-environment"));
        global.token_file = Some(file);
        assert_eq!(from(&global, &environment), path("some.token"), "a flag beats the environment");
        global.token = Some("from-flag".to_owned());
        assert_eq!(from(&global, &environment).as_deref(), Some("from-flag"));
        let nowhere = Environment { data_dir: Some(directory.path().join("absent")), ..Environment::default() };
        (global.token, global.token_file) = (None, None);
        assert_eq!(from(&global, &nowhere), None);
    }
}
