//! The log as a whole: read, verified, exported, imported, one file per verb.

mod bump_epoch;
mod compare_imports;
mod compare_rows;
mod export_archive;
mod export_rows;
mod import_items;
mod import_namespace;
mod import_source;
mod list_events;
mod list_events_at;
mod list_imported_events;
mod log_audits;
mod log_progress;
mod lost_revocations;
mod own_checks;
mod source_log;
mod source_log_cache;
mod thaw_namespace;
mod use_cases;
mod verify_log;

pub use bump_epoch::{EpochBump, EpochBumpOutcome, bump_epoch};
pub use export_archive::ArchiveExport;
pub use export_rows::RowExport;
pub use log_audits::LastLogCheck;
pub use log_progress::LogProgress;
pub use own_checks::{AuditPosition, AuditStep};
pub use use_cases::Archive;
