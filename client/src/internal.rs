//! What the command `policyhub` and the tests of the server need of the SDK and programs do not. Any release may change it.

pub use crate::active_set::{ActiveSet, ActiveSetOptions, SetChange};
pub use crate::archive::{
    ArchiveCheck, ArchiveError, ArchivePart, ArchiveWriter, ImportParts, label_of_item, verify_archive,
};
pub use crate::bundle::ActivePolicy;
pub use crate::channel::RpcClient as Client;
pub use crate::clock::now_seconds;
pub use crate::error::ClientError;
pub use crate::exported_rows::{BrokenExport, ExportedRows};
pub use crate::identity::ClientIdentity;
pub use crate::keys::{log_keys, seal_keys, trusted_keys};
pub use crate::listed::{ListedOptions, ListedSet};
pub use crate::log::{LogRead, ReadError, read_archive, read_log};
pub use crate::missing::missing_policies;
pub use crate::offline::verify_saved;
pub use crate::page_guard::{EMPTY_PAGES_MAX, EndlessList, LIST_ITEMS_MAX, PageGuard};
pub use crate::pinned_file::{PINNED_FILE_INTERVAL, PinnedFile};
pub use crate::refusal::Refusal;
pub use crate::retry::new_request_id;
pub use crate::saved_set::{SavedVerdict, SetWriter, is_saved_set, verify_set};
pub use crate::source::StreamSource;
pub use crate::target::Target;
pub use crate::tls_files::TlsFiles;
pub use crate::token::TokenSource;
pub use crate::watch::{SILENCE_MAX, Watch, WatchError, WatchOptions, watch, watch_pinned};
pub use crate::watcher::{
    Active, Behind, Keys, RECONNECT_MAX, State, Status, StoreState, Update, View, Watcher, WatcherOptions,
    clocks_differ,
};

pub use policyhub_core::api::pb;
pub use policyhub_core::domain::audit::{Finding, Findings};
pub use policyhub_core::domain::digest::{hex, unhex};
pub use policyhub_core::domain::error::Reason;
pub use policyhub_core::domain::event::{Cursor, Head};
pub use policyhub_core::domain::filter::{Conditions, quoted};
pub use policyhub_core::domain::limits::{
    ACTIVATION_TARGETS_MAX, ACTIVE_RELEASES_MAX_BYTES, CONTENT_MAX_BYTES, HEARTBEAT_INTERVAL_MAX,
};
pub use policyhub_core::domain::name;
pub use policyhub_core::domain::policy::PolicyKind;
pub use policyhub_core::signing;
pub use tonic::Code;

/// Returns a policy for tests that show one or keep one: nothing of it was verified.
#[must_use]
pub fn unverified_policy(policy: name::PolicyId, version: i64, content: &[u8]) -> ActivePolicy {
    ActivePolicy {
        policy,
        version,
        label: String::new(),
        digest: signing::digest_of(content),
        content_type: String::new(),
        content: None,
        manifest: String::new(),
        activated: Cursor::NONE,
    }
}

/// Files that are whole or not there.
pub mod durable {
    pub use crate::durable::{read_bounded, replace_file, sync_directory_of};
}
