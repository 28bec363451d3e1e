//! What a PostgreSQL that answers may still do to a server: settings, locks, limits, rights, and poolers before it.

mod durable;
mod lost_tail;
mod poolers;
mod refusals;
mod roles;
mod tls;
