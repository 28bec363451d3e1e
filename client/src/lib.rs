//! The SDK: calls, and the verified watch of an active set.
//!
//! Boundary: needs no server room; builds with `--no-default-features --features client`.
//! Invariant: nothing that came over the wire is handed out as in force before its signatures, digests, names and
//! place in the log were checked.

pub mod active_set;
pub mod archive;
pub mod bundle;
pub mod calls;
pub mod channel;
pub mod durable;
pub mod error;
mod evidence;
pub mod keys;
pub mod listed;
pub mod log;
pub mod offline;
pub mod reconnect;
pub mod refusal;
pub mod retry;
pub mod saved_set;
pub mod target;
#[cfg(feature = "testing")]
pub mod testing;
pub mod watch;
pub mod watcher;

mod cache;
mod exported_rows;
mod guarded;
mod log_check;
mod missing;
mod page_guard;
mod pinned_file;
mod shown_certificate;
mod snapshot;
mod tls_files;

pub use active_set::{ActiveSet, ActiveSetOptions, Change};
pub use archive::{ArchiveCheck, ArchiveError, ArchiveWriter, ImportParts, Part, label_of_item, verify_archive};
pub use bundle::ActivePolicy;
pub use channel::{Client, ClientIdentity};
pub use error::ClientError;
pub use exported_rows::{BrokenExport, ExportedRows};
pub use keys::{log_keys, seal_keys, trusted_keys};
pub use listed::{ListedOptions, ListedSet};
pub use log::{Read, ReadError, read_archive, read_log};
pub use missing::missing_policies;
pub use offline::verify_saved;
pub use page_guard::{EMPTY_PAGES_MAX, EndlessList, LIST_ITEMS_MAX, PageGuard};
pub use pinned_file::{PINNED_FILE_INTERVAL, PinnedFile};
pub use refusal::Refusal;
pub use retry::new_request_id;
pub use saved_set::{SavedVerdict, SetWriter, is_saved_set, verify_set};
pub use target::{Target, TokenSource};
pub use tls_files::TlsFiles;
pub use watch::{WatchError, WatchOptions, watch, watch_pinned};
pub use watcher::{Active, Behind, Keys, State, Status, StoreState, Update, View, Watcher, WatcherOptions};

/// The wire types that calls take and give.
pub use policyhub_core::api::pb;
/// The canonical codes of errors.
pub use tonic::Code;

/// What does not hold.
pub use policyhub_core::domain::audit::{Finding, Findings};
/// Hashes in text and back.
pub use policyhub_core::domain::digest::{hex, unhex};
/// The stable words of errors.
pub use policyhub_core::domain::error::Reason;
/// Places in a log.
pub use policyhub_core::domain::event::{Cursor, Head};
pub use policyhub_core::domain::filter::{Conditions, quoted};
/// Bounds that callers meet.
pub use policyhub_core::domain::limits::{ACTIVATION_TARGETS_MAX, ACTIVE_RELEASES_MAX_BYTES, CONTENT_MAX_BYTES};
/// Names, as callers write them.
pub use policyhub_core::domain::name;
/// The languages of policies, and their media types.
pub use policyhub_core::domain::policy::PolicyKind;
/// Offline verification, as the watch does it.
pub use policyhub_core::signing;
