//! How it is spoken: thin handlers — decode, call, encode — and the middleware that every call passes.
//!
//! Never sees the store. A handler that needs a decision is in the wrong module.

mod admin;
pub mod admit;
pub mod answers;
mod archives;
pub mod authenticate;
mod authority;
mod bindings;
mod connection;
pub mod database_wait;
pub mod deadline;
mod encode;
pub mod frames;
mod handler;
mod health;
pub mod health_pb;
pub mod in_flight;
mod inflate;
pub mod jitter;
mod log_checks;
pub mod long_reads;
mod memory_budget;
mod message_prefix;
pub mod open_streams;
mod policy;
pub mod protocol;
mod read_stream;
mod reconnect_delay;
pub mod request_body;
mod runs;
mod signing_key;
mod status_message;
mod subscribers;
mod sync;
pub mod taken;
pub mod transport_errors;
mod watch_open;
mod watch_stream;
mod whole_body;

pub use admin::AdminHandler;
pub use authority::Recheck;
pub use connection::{Connection, Ending, OpenWatch, STREAMS_PER_CONNECTION_MAX, network_of};
pub use encode::Wire;
pub use handler::{Clock, Handler};
pub use health::HealthHandler;
pub use policy::PolicyHandler;
pub use sync::{SyncHandler, WatchSettings};
