//! Arguments that several commands share: those of every change, and the settings of commands that work on the server's files.

use std::sync::LazyLock;

use clap::{Arg, Args};

use crate::client::new_request_id;
use crate::server::config::Settings;

/// The settings that a command uses which works on the files of a server without serving.
const OFFLINE_SETTINGS: [&str; 7] =
    ["config", "data_dir", "database_url", "keys_dir", "extra_keys_dirs", "log_format", "log_level"];

/// Hides from the help of such a command what only `serve` uses. The setting is still accepted, so that one environment and one
/// file work for both.
pub fn offline(argument: Arg) -> Arg {
    static SETTINGS: LazyLock<clap::Command> = LazyLock::new(|| Settings::augment_args(clap::Command::new("")));
    let id = argument.get_id();
    let is_setting = SETTINGS.get_arguments().any(|setting| setting.get_id() == id);
    let is_used = OFFLINE_SETTINGS.iter().any(|used| id == used);
    argument.hide(is_setting && !is_used)
}

/// The flag of every call that changes something.
#[derive(Debug, Clone, Args)]
pub struct RequestIdArgument {
    /// Idempotency key, at most 64 printable ASCII characters [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub request_id: Option<String>,
}

/// Flags of every mutation that can be rehearsed.
#[derive(Debug, Clone, Args)]
pub struct MutationArguments {
    #[command(flatten)]
    request_id: RequestIdArgument,
    /// Check and answer as it would; change nothing
    #[arg(long, visible_alias = "dry-run")]
    pub validate_only: bool,
}

impl RequestIdArgument {
    /// Returns the given id, or a new one.
    pub fn given_or_new(&self) -> String {
        self.request_id.clone().unwrap_or_else(new_request_id)
    }
}

impl MutationArguments {
    /// Returns whether the caller chose the id.
    pub fn has_request_id(&self) -> bool {
        self.request_id.request_id.is_some()
    }

    /// Returns the given id, or a new one.
    #[must_use]
    pub fn request_id(&self) -> String {
        self.request_id.given_or_new()
    }
}

/// Parses an idempotency key.
pub fn request_id(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 printable ASCII characters without spaces".to_owned())
    }
}
