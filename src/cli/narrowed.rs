//! The filter flag of every list command.

use clap::Args;

/// What a list is narrowed by.
#[derive(Debug, Clone, Default, Args)]
pub struct Narrowed {
    /// Only items for which this AIP-160 filter holds, such as 'kind = JSON'; combined with the other flags by AND
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
}
