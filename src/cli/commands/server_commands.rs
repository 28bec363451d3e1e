//! The commands that run on the server's own machine: `serve`, `migrate`, `config check`.
//!
//! Boundary: thin calls of the server module; no RPC, no token.

use clap::{Args, Subcommand};

use crate::cli::arguments::offline;
use crate::cli::output::document::Format;
use crate::server;
use crate::server::config::Settings;

/// Run the server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub serve --data-dir /var/lib/policyhub")]
pub struct Serve {
    #[command(flatten)]
    settings: Settings,
}

/// Bring the database to this version
#[derive(Debug, Args)]
#[command(mut_args(offline), after_help = "Example:\n  policyhub migrate --database-url postgres://hub@db/policyhub")]
pub struct Migrate {
    #[command(flatten)]
    settings: Settings,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommands {
    /// Check the configuration and print what is in force
    Check(ConfigCheck),
}

/// Check the configuration and print what is in force
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub config check --config policyhub.toml")]
pub struct ConfigCheck {
    #[command(flatten)]
    settings: Settings,
}

/// Runs the server until a signal ends it.
pub async fn serve(arguments: Serve) -> anyhow::Result<()> {
    server::run(arguments.settings).await
}

/// Migrates the database.
pub async fn migrate(arguments: Migrate) -> anyhow::Result<()> {
    server::migrate(arguments.settings).await
}

/// Checks the configuration.
pub fn config(output: Format, command: ConfigCommands) -> anyhow::Result<()> {
    let ConfigCommands::Check(arguments) = command;
    output.print_document(&arguments.settings.load()?.summary())
}
