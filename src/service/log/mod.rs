//! The logs of namespaces: how they are read and proven, and the only way to write them.

mod active_sets;
mod binding_cache;
mod idempotency;
mod key_poller;
mod mutate;
mod pointer_past;
mod positions;
mod reader;
mod role_cache;
mod role_proofs;
mod row_check;
mod signed_event;
mod versions;
mod write;
mod writer;

pub use binding_cache::ROLES_RECHECK_INTERVAL;
pub use idempotency::IdempotentCall;
pub use key_poller::{KeyPoller, warn_if_rows_differ};
pub use mutate::Conclusion;
pub use positions::{invalid_position, position_gone};
pub use reader::LogReader;
pub use role_cache::RoleCache;
pub use role_proofs::{bindings_digest, prove_bindings, prove_chained_bindings, prove_revision};
pub use signed_event::sign_event;
pub use write::Write;
pub use writer::LogWriter;
