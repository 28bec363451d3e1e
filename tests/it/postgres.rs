//! Faults of a PostgreSQL that answers: settings, locks, limits, privileges, and poolers in front of it.

mod durable;
mod lost_tail;
mod poolers;
mod refusals;
mod roles;
mod tls;
