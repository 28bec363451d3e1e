//! Policy Hub: a policy control plane. Start at `docs/ARCHITECTURE.md`.
#![warn(missing_docs)]

pub mod api;
pub mod domain;
