//! What the server of Policy Hub and its clients share: the rules ([`domain`]), the signatures ([`signing`]) and the wire
//! types ([`api`]).
//!
//! Any release may change any of it. Programs use the package `policyhub-client`, which shows what is kept.
#![warn(missing_docs)]

pub mod api;
pub mod domain;
pub mod signing;
