//! Connections: how they are opened, pooled and bounded, and which may be used.

pub mod bounded;
pub mod causes;
pub mod database;
pub mod durable_settings;
pub mod migrate;
pub mod notification;
pub mod notify;
pub mod one_wait;
pub mod open;
pub mod own_store;
pub mod pooler;
pub mod pools;
pub mod postgres_pools;
pub mod postgres_session;
pub mod postgres_tls;
pub mod reuse;
pub mod system_identity;
pub mod timeout;
