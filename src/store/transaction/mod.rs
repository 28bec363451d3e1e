//! Transactions: one snapshot for a read, one locked namespace for a write.

pub mod append;
pub mod begin;
pub mod commit;
pub mod event_time;
pub mod joint_writes;
pub mod ledger;
pub mod log_clock;
pub mod log_facts;
pub mod row_writes;
pub mod views;
