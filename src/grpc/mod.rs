//! The RPCs: layers that every call passes, and thin handlers that decode, call a use case, and encode.
//!
//! This module never sees the store. A handler that makes a decision is in the wrong module.

mod admin;
mod frame_message;
mod handler;
mod health;
pub mod health_pb;
mod middleware;
mod policy;
mod read;
mod streams;
mod sync;
mod unreachable_stream;
mod watch;

pub use admin::AdminHandler;
pub use handler::{Clock, Handler};
pub use health::HealthHandler;
pub use middleware::{
    AdmitLayer, AnswersLayer, AuthenticateLayer, DatabaseWaitLayer, DeadlineLayer, IN_FLIGHT_MAX_BYTES,
    IN_FLIGHT_MIN_BYTES, InFlight, InFlightCounts, OpenStreamsLayer, RequestBodyLayer, rewrite_transport_error,
};
pub use policy::PolicyHandler;
pub use streams::StreamRoutes;
pub use sync::SyncHandler;
pub use watch::{Recheck, WatchEncoder, WatchHandler, WatchSettings};
