//! The Rust SDK of Policy Hub: calls about policies, and a runtime's verified view of those in force.
//!
//! A service holds the active policies of a namespace with a [`Watcher`]. It believes nothing but what is signed and newer than
//! what it has, and goes on with the last good set through outages and restarts:
//!
//! ```no_run
//! use policyhub_client::{Client, TokenSource};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder()
//!     .endpoint("https://hub:7070")
//!     .token(TokenSource::File("/var/run/secrets/hub.token".into()))
//!     .build()?;
//! let mut watcher = client.namespace("shop")?.watcher()
//!     .subscriber_id("shop-1")
//!     .directory("/var/lib/shop/policies")
//!     .open()?;
//! let view = watcher.view(); // clone it into whatever decides: view.active(), view.status()
//! loop {
//!     let update = watcher.next().await;
//!     match update.active.get("pricing") {
//!         Some(_) => watcher.accept().await,
//!         None => watcher.reject("pricing is needed here").await,
//!     }
//! }
//! # }
//! ```
//!
//! What releases policies uses a [`Client`] and its [`Namespace`]s.
//!
//! # Features
//! - `pb`: the messages of the contract, and every call of it with them (`RpcClient`).
//! - `opentelemetry`: calls carry the `traceparent` of the current span.
//! - `testing`: a signed hub in memory, for tests of what is built on this.
//!
//! Invariant: nothing that came over the wire is handed out as in force before its signatures, digests, names and place in the log
//! were checked.
#![warn(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod active_set;
mod archive;
mod bundle;
mod cache;
mod calls;
mod changes;
mod channel;
mod client;
mod connections;
mod durable;
mod error;
mod evidence;
mod exported_rows;
mod guarded;
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
pub use changes::{Abandon, Activate, Approve, Deactivate, Draft, Move, Publish, Reject, Rollback, Stage};
pub use channel::ClientIdentity;
#[cfg(feature = "pb")]
pub use channel::RpcClient;
pub use client::{Client, ClientBuilder};
pub use error::ClientError;
pub use model::{Activated, CheckFinding, Convergence, Moved, PolicyInfo, VersionChanged, VersionInfo};
pub use namespace::{ListOptions, Namespace};
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
pub use policyhub_core::domain::name::{NamespaceId, PolicyId};
pub use policyhub_core::domain::policy::PolicyKind;
pub use policyhub_core::domain::version::VersionState;
pub use policyhub_core::signing::KeySet;
/// The canonical codes of errors.
pub use tonic::Code;
