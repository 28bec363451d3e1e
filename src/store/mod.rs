//! What is recorded: the only room that knows a database.
//!
//! One write path: `Store::begin` locks a namespace, `WriteTx` changes rows and appends one event, `commit` makes it so.
//! Every event stands at head + 1 with the hash of the one before; what it says was decided elsewhere.

mod approvals;
mod audit;
mod backup;
mod bindings;
mod bounded;
mod connect;
mod connection_guard;
mod contents;
mod doubt;
mod durability;
mod entity;
mod epoch;
mod error;
mod events;
mod foreign;
mod guard;
mod health;
mod idempotency;
mod imports;
mod incarnation;
mod keys;
mod manifests;
mod memory;
mod meta;
mod migrate;
mod namespaces;
mod notify;
mod obstacle;
mod one_wait;
mod pointers;
mod policies;
mod pooler;
mod postgres_session;
mod postgres_tls;
mod refusal;
mod reports;
mod revocations;
mod rights;
mod rows;
mod runs;
mod subscribers;
mod tagged;
mod transaction;
mod versions;

pub use approvals::ApprovalRow;
pub use audit::{EventIndex, PointerRow, StoredRow, VersionKey};
pub use backup::{ChainLink, CopyError, CopyState, DatabaseCopy, ExclusiveDatabase, LogEnd};
pub use bindings::LogState;
pub use connect::{Database, Store};
pub use epoch::Epochs;
pub use error::StoreError;
pub use foreign::{ExportedRow, ForeignRow, RowKey, read_row};
pub use idempotency::{IdempotencyKey, KeptAnswer};
pub use imports::ImportedCounts;
pub use manifests::{Begins, VERSIONS_PER_SCAN};
pub use memory::remembered_store;
pub use migrate::migration_lock;
pub use notify::Wake;
pub use one_wait::{OneWait, check_waited, wait_once};
pub use pointers::ActiveRow;
pub use subscribers::{Announced, ROWS_PER_STATEMENT, Reported};
pub use transaction::{ReadTx, WriteTx};
