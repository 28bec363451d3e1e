//! Runs the server: configuration, wiring, background tasks, shutdown, telemetry.
//!
//! May use every module below; decides nothing about policies. Read `run` from top to bottom for the whole start.

mod backup;
mod backup_check;
mod check_worker;
mod clock;
pub mod config;
mod console;
mod console_code;
mod core_dumps;
mod data_dir;
mod denials;
mod epoch;
mod file_size;
mod https;
mod issuers;
mod key_checkpoint;
mod keys;
pub mod local_checks;
mod metrics;
mod observe;
mod oidc_provider;
mod private_file;
mod refused_clients;
mod replace;
mod restore;
mod revocations;
mod serve;
mod startup_banner;
mod suspected_loss;
mod tasks;
mod telemetry;
mod tls_files;
mod whole_file;
mod wiring;

pub use crate::auth::issuer::DEFAULT_AUDIENCE;
pub use crate::domain::digest::Digest;
pub use backup::{BackupMade, BackupOptions, CopyProgress, backup};
pub use backup_check::{CheckedCopy, LogCheckOutcome};
pub use check_worker::check_worker;
pub use console_code::sign_in_path;
pub use epoch::{BumpDone, EpochState, bump_epoch, epoch_state};
pub use file_size::survive_file_size_limit;
pub use restore::{HighWaterInTheWay, OldDatabase, RestoreOptions, Restored, restore};
pub use serve::{migrate, run};
pub use tasks::issue_token;
pub use whole_file::NameNotFlushed;
