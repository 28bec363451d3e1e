//! Persistence: the only module that knows a database.
//!
//! There is one write path: `Store::begin` locks a namespace, `WriteTx` changes rows and appends one event, `commit` commits both. Every
//! event is at head + 1 with the hash of the one before; its content is decided elsewhere.

mod authenticated;
mod connection;
mod driver_message;
mod entity;
mod error;
mod files;
mod handle;
mod health;
mod loss;
mod tables;
mod transaction;

pub use connection::database::Database;
pub use connection::migrate::migration_lock;
pub use connection::notification::Wake;
pub use connection::one_wait::{OneWait, check_waited, wait_once};
pub use error::StoreError;
pub use files::backup::{ChainLink, CopyError, CopyState, DatabaseCopy, ExclusiveDatabase, LogEnd};
pub use handle::Store;
pub use loss::epochs::Epochs;
pub use loss::frozen::Frozen;
pub use loss::high_water_marks::RememberedStore;
pub use loss::unverified_restore::UnverifiedRestore;
pub use tables::approvals::ApprovalRow;
pub use tables::archived_rows::{ArchivedRow, ExportedRow, ExportedRowKey, read_row};
pub use tables::audit::{EventIndex, PointerRow, StoredRow, VersionKey};
pub use tables::bindings::LogState;
pub use tables::changed_logs::{ChangedLogs, ChangesAfter};
pub use tables::idempotency::{IdempotencyKey, KeptAnswer};
pub use tables::imports::ImportedCounts;
pub use tables::manifests::{Begins, VERSIONS_PER_SCAN};
pub use tables::pointers::{ActivePart, ActiveRow, ActiveRows};
pub use tables::published::PublishedScope;
pub use tables::row_changes::LoggedRow;
pub use tables::schedules::{DuePage, DueRow, DueSchedule};
pub use tables::subscribers::{Announced, ROWS_PER_STATEMENT, Reported};
pub use tables::version_list::VersionList;
pub use transaction::ledger::decides;
pub use transaction::log_clock::Clocks;
pub use transaction::views::{ReadTx, WriteTx};
