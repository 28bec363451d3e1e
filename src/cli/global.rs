//! The flags of every client command, and the values of a context where they are not given.
//!
//! Precedence: a flag, its variable, the context, the default.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use clap::builder::BoolishValueParser;

use crate::cli::contexts::{Contexts, NamedServer};
use crate::cli::exit_code::UsageError;
use crate::cli::output::document::Format;
use crate::cli::output::terminal_style::Color;
use crate::client::name::NamespaceId;

/// The default server: the default address of `policyhub serve`.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";
/// The namespace that every store has.
const DEFAULT_NAMESPACE: &str = "default";

/// Flags of every client command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every client command")]
pub struct Global {
    /// Context with the server and who asks it, of `policyhub context` [default: the one in use]
    #[arg(long, global = true, env = "POLICYHUB_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Address of the server, http:// or https:// [default: that of the context, else http://127.0.0.1:7070]
    #[arg(long, global = true, env = "POLICYHUB_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token [default: POLICYHUB_TOKEN, unless --token-file is given]
    // The session reads the variable: here it would take precedence over a given --token-file.
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// File with the bearer token [default: POLICYHUB_TOKEN_FILE, else that of the context, else admin.token in
    /// POLICYHUB_DATA_DIR or ./policyhub-data]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the certificate authority of the server [default: those of the system]
    #[arg(long, global = true, env = "POLICYHUB_CA_CERT", value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// PEM file of a client certificate, its chain after it; with it, no token is taken from the data directory
    #[arg(long, global = true, env = "POLICYHUB_CLIENT_CERT", value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of the key of the client certificate
    #[arg(long, global = true, env = "POLICYHUB_CLIENT_KEY", value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Send the token over http:// to a host that is not this machine: only where something else keeps the network secret
    // `serve` has an argument of the same id, which replaces this one there.
    #[arg(long, global = true, env = "POLICYHUB_INSECURE_PLAINTEXT", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub insecure_plaintext: Option<bool>,
    /// Namespace of the policies named [default: that of the context, else default]
    #[arg(long, short, global = true, env = "POLICYHUB_NAMESPACE", value_name = "ID",
        value_parser = |text: &str| NamespaceId::parse("namespace", text))]
    pub namespace: Option<NamespaceId>,
    /// How to print data
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub output: Format,
    /// When to colour what people read; `NO_COLOR` in the environment says never
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// The context in use, once it was looked for.
    #[arg(skip)]
    pub used: Option<NamedServer>,
}

impl Global {
    /// Returns the flags with the current context, if any.
    ///
    /// # Errors
    /// The file of contexts can't be read, the context does not exist, or it has another server than the flag names.
    pub fn in_context(&self) -> anyhow::Result<Self> {
        let named = self.context.as_deref().filter(|name| !name.is_empty());
        let Some((name, context)) = Contexts::load()?.chosen(named)? else { return Ok(self.clone()) };
        match &self.server {
            // Credentials of a context must not be sent to another server.
            Some(server) if *server != context.server => {
                ensure!(
                    named.is_none(),
                    UsageError(format!(
                        "context {name} is of {}, and --server or POLICYHUB_SERVER names {server}: leave one of them out",
                        context.server
                    ))
                );
                Ok(self.clone())
            }
            _ => Ok(Self { used: Some(context), ..self.clone() }),
        }
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        let of_context = self.used.as_ref().map(|context| context.server.as_str());
        self.server.as_deref().or(of_context).unwrap_or(DEFAULT_SERVER)
    }

    /// Returns the namespace to use.
    ///
    /// # Errors
    /// The namespace of the context is not a valid id.
    pub fn namespace(&self) -> anyhow::Result<NamespaceId> {
        self.namespace.clone().map_or_else(|| self.unnamed_namespace(), Ok)
    }

    /// Returns the namespace of a command without `-n`.
    ///
    /// # Errors
    /// The namespace of the context is not a valid id.
    pub fn unnamed_namespace(&self) -> anyhow::Result<NamespaceId> {
        let of_context = self.used.as_ref().and_then(|context| context.namespace.as_deref());
        Ok(NamespaceId::parse("namespace", of_context.unwrap_or(DEFAULT_NAMESPACE))?)
    }

    /// Returns the PEM file of the CA of the server.
    pub fn ca_cert(&self) -> Option<&PathBuf> {
        let of_context = self.used.as_ref().and_then(|context| context.ca_cert.as_ref());
        self.ca_cert.as_ref().or(of_context)
    }

    /// Returns the PEM files of the client certificate and its key.
    pub fn client_identity(&self) -> Option<(&PathBuf, &PathBuf)> {
        let given = self.client_cert.as_ref().zip(self.client_key.as_ref());
        given.or_else(|| self.used.as_ref().and_then(NamedServer::client_identity))
    }

    /// Returns whether a token may be sent over http:// to another machine.
    pub fn insecure_plaintext(&self) -> bool {
        self.insecure_plaintext.or(self.used.as_ref().and_then(|context| context.insecure_plaintext)).unwrap_or(false)
    }
}
