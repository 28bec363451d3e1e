//! What is true: ids, versions, lifecycle decisions, activations, limits, errors.
//!
//! Pure, synchronous and total. Never sees a clock, I/O, tokio, tonic, sea-orm or ring.

pub mod access;
pub mod adopted;
pub mod annotations;
pub mod approval;
pub mod audit;
pub mod binding;
pub mod bundle;
pub mod causes;
pub mod changed_guardrails;
pub mod command;
pub mod convergence;
pub mod counted_noun;
pub mod denial;
pub mod digest;
pub mod error;
pub mod etag;
pub mod event;
mod event_kind;
pub mod filter;
pub mod fleet;
pub mod guardrail;
pub mod import;
pub mod key;
pub mod label;
pub mod lifecycle;
pub mod limits;
pub mod listing;
pub mod name;
pub mod outcome;
pub mod pointed_policy;
pub mod policy;
pub mod policy_runtimes;
pub mod principal;
pub mod quota;
pub mod report;
pub mod revocation;
pub mod revoked_credentials;
pub mod row;
pub mod row_mac;
pub mod run;
pub mod schedule;
pub mod side_by_side;
pub mod spiffe;
pub mod subscriber;
pub mod template;
pub mod time;
pub mod version;
pub mod watch_message;

pub use error::{Error, Reason, Result};
