//! The Rust SDK of Policy Hub.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
// Boundary: the names below are the interface; `internal` is not. Invariant: nothing that came over the wire is handed out as in
// force before its signatures, digests, names and cursor in the log were checked.

mod active_set;
mod archive;
mod bundle;
mod cache;
mod calls;
mod changes;
mod channel;
mod client;
mod clock;
mod connections;
mod durable;
mod error;
mod evidence;
mod exported_rows;
mod guarded;
mod identity;
mod keys;
mod listed;
mod log;
mod log_check;
mod missing;
mod model;
mod namespace;
mod offline;
mod page_guard;
mod pages;
mod pinned_file;
mod reconnect;
mod refusal;
mod retry;
mod saved_set;
mod shown_certificate;
mod snapshot;
mod source;
mod target;
mod tls_files;
mod token;
mod trace;
mod watch;
mod watcher;

#[doc(hidden)]
pub mod internal;
#[cfg(feature = "testing")]
pub mod testing;

pub use bundle::ActivePolicy;
pub use changes::{
    AbandonCall, ActivateCall, ApproveCall, DeactivateCall, DraftCall, Move, PublishCall, RejectCall, RollbackCall,
    StageCall,
};
#[cfg(feature = "pb")]
pub use channel::RpcClient;
pub use client::{Client, ClientBuilder};
pub use error::ClientError;
pub use identity::ClientIdentity;
pub use model::{ActivationResult, ConvergenceInfo, FindingInfo, MovedPolicy, PolicyInfo, VersionInfo, VersionResult};
pub use namespace::{ListOptions, NamespaceClient};
pub use pages::Pages;
pub use pinned_file::PinnedFile;
pub use retry::new_request_id;
pub use token::{TokenFunction, TokenSource};
pub use watcher::{
    Active, Behind, Keys, Offer, Offers, State, Status, StoreState, Update, View, Watcher, WatcherBuilder,
};

#[cfg(feature = "pb")]
pub use policyhub_core::api::pb;
pub use policyhub_core::domain::digest::Digest;
pub use policyhub_core::domain::error::{FieldViolation, Reason};
pub use policyhub_core::domain::event::{Cursor, Fingerprint, Position};
pub use policyhub_core::domain::filter::quoted;
pub use policyhub_core::domain::name::{NamespaceId, PolicyId};
pub use policyhub_core::domain::policy::PolicyKind;
pub use policyhub_core::domain::version::VersionState;
pub use policyhub_core::signing::KeySet;
/// The canonical codes of errors.
pub use tonic::Code;
