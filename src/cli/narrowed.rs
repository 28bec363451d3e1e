//! The flag of every list that narrows it beyond the flags of its command.

use clap::Args;

/// What a list is narrowed by.
#[derive(Debug, Clone, Default, Args)]
pub struct Narrowed {
    /// Only those for which this filter holds (AIP-160), beside what the other flags ask for; `docs/writing-a-client.md` says how it
    /// is written
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
}
