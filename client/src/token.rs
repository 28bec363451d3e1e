//! Where bearer tokens come from: a text, a file, a program or a function.
//!
//! Invariant: a token is never shown, nor is it part of an error. It is asked for when a connection is made, so that it may be
//! renewed under a running process.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tonic::Code;

use super::error::ClientError;

/// Longest token that is taken from a file, a program or a function.
const TOKEN_MAX_BYTES: u64 = 64 * 1024;
/// Sets how long a program or a function may take to give a token. Longer: a connection waits for a program that hangs.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Says what a function that gives tokens may fail with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Function = Arc<dyn Fn() -> BoxFuture<'static, Result<String, BoxError>> + Send + Sync>;

/// Says where the bearer token comes from. It is asked for each time a connection is made, and again after a call that was
/// UNAUTHENTICATED.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum TokenSource {
    /// There is none: a client certificate says who asks, or the server has no authentication.
    #[default]
    None,
    /// It is this one.
    Text(String),
    /// It is what the file holds, without white space around it.
    File(PathBuf),
    /// It is what a program prints: see [`TokenSource::program`].
    #[non_exhaustive]
    Program {
        /// The program.
        program: OsString,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
    /// It is what a function answers within 15 s: see [`TokenSource::function`].
    Function(TokenFunction),
}

/// A function that gives tokens.
#[derive(Clone)]
pub struct TokenFunction(Function);

impl TokenSource {
    /// Takes each token from a function, such as one that asks an identity provider and keeps its answer.
    ///
    /// ```
    /// # use policyhub_client::TokenSource;
    /// let source = TokenSource::function(|| async { Ok(std::env::var("CI_JOB_JWT")?) });
    /// ```
    pub fn function<F, T>(function: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self::Function(TokenFunction(Arc::new(move || Box::pin(function()))))
    }

    /// Takes each token from what a program prints, which must end with status 0 within 15 s.
    pub fn program<A: Into<OsString>>(program: impl Into<OsString>, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::Program { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Returns whether another token may come from here than the last time.
    pub(super) fn may_change(&self) -> bool {
        !matches!(self, Self::None | Self::Text(_))
    }

    /// Asks for the token.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when a file can't be read, a program can't be started, or the token can't be used; UNAVAILABLE when a program or
    /// a function fails or takes too long.
    pub(super) async fn token(&self) -> Result<Option<String>, ClientError> {
        let asking = async {
            match self {
                Self::None => Ok(None),
                Self::Text(token) => Ok(Some(token.clone())),
                Self::File(path) => read_file(path).await.map(Some),
                Self::Program { program, arguments } => run(program, arguments).await.map(Some),
                Self::Function(TokenFunction(function)) => {
                    function().await.map(Some).map_err(|error| away(format!("no token: {error}")))
                }
            }
        };
        let late = || away(format!("no token came within {} s", TOKEN_TIMEOUT.as_secs()));
        let token = tokio::time::timeout(TOKEN_TIMEOUT, asking).await.map_err(|_| late())??;
        if token.as_ref().is_some_and(|token| token.len() as u64 > TOKEN_MAX_BYTES) {
            return Err(failed(format!("the token has more than {TOKEN_MAX_BYTES} bytes")));
        }
        if token.as_ref().is_some_and(|token| token.trim().is_empty()) {
            return Err(failed(format!("the token is empty: {self:?}")));
        }
        Ok(token.map(|token| token.trim().to_owned()))
    }
}

/// Returns the error for a token that somebody has to mend before another try can help.
fn failed(message: String) -> ClientError {
    ClientError::local(Code::FailedPrecondition, message)
}

/// Returns the error for a token whose source is away: another try may help.
fn away(message: String) -> ClientError {
    ClientError::local(Code::Unavailable, message)
}

async fn read_file(path: &Path) -> Result<String, ClientError> {
    let read = async { read_bounded(tokio::fs::File::open(path).await?).await };
    read.await.map_err(|error| failed(format!("failed to read token file {}: {error}", path.display())))
}

/// Runs a program and answers what it prints. What it says on its standard error goes where this process's goes.
async fn run(program: &OsString, arguments: &[OsString]) -> Result<String, ClientError> {
    let shown = program.to_string_lossy();
    let cannot = |error: std::io::Error| failed(format!("failed to run {shown} for a token: {error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let printed = match child.stdout.take() {
        Some(stdout) => read_bounded(stdout).await.map_err(cannot)?,
        None => String::new(),
    };
    let status = child.wait().await.map_err(cannot)?;
    if !status.success() {
        return Err(away(format!("{shown} gave no token: it ended with {status}")));
    }
    Ok(printed)
}

async fn read_bounded(from: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(TOKEN_MAX_BYTES + 1).read_to_string(&mut text).await?;
    Ok(text)
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // Arguments may hold secrets.
            Self::Program { program, .. } => f.debug_tuple("Program").field(program).finish_non_exhaustive(),
            Self::Function(_) => f.write_str("Function(…)"),
        }
    }
}

impl fmt::Debug for TokenFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFunction(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> TokenSource {
        TokenSource::program("sh", ["-c", script])
    }

    #[tokio::test]
    async fn a_token_comes_from_each_source() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.token");
        std::fs::write(&file, "secret\n").expect("written");
        let function = TokenSource::function(|| async { Ok("secret".to_owned()) });
        for source in [TokenSource::Text(" secret".into()), TokenSource::File(file), program("echo secret"), function] {
            assert_eq!(source.token().await.expect("a token").as_deref(), Some("secret"), "{source:?}");
            assert!(!format!("{source:?}").contains("secret") || matches!(source, TokenSource::Program { .. }));
        }
        assert_eq!(TokenSource::None.token().await.expect("none is needed"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_ends_with_its_time() {
        let hangs = TokenSource::function(std::future::pending);
        let error = hangs.token().await.expect_err("no token");
        assert!(error.message.contains("15 s"), "{}", error.message);
    }

    #[tokio::test]
    async fn a_source_that_fails_is_named_and_its_token_is_not() {
        let fails = TokenSource::function(|| async { Err("the provider is away".into()) });
        for (source, code, said) in [
            (TokenSource::File("no/such/file".into()), Code::FailedPrecondition, "no/such/file"),
            (program("echo secret; exit 3"), Code::Unavailable, "exit status: 3"),
            (program("true"), Code::FailedPrecondition, "is empty"),
            (TokenSource::Text(" ".to_owned()), Code::FailedPrecondition, "is empty"),
            (TokenSource::program("no-such-program", [""; 0]), Code::FailedPrecondition, "no-such-program"),
            (fails, Code::Unavailable, "the provider is away"),
            (TokenSource::Text("x".repeat(65_537)), Code::FailedPrecondition, "65536 bytes"),
        ] {
            let error = source.token().await.expect_err("no token");
            assert_eq!(error.code, code, "{source:?}");
            assert!(error.message.contains(said) && !error.message.contains("secret"), "{}", error.message);
        }
    }
}
