//! The layers that every call passes before its handler; `server/wiring.rs` lists them in their order.
//!
//! Boundary: a layer sees the caller, the RPC and bytes, never a decoded message.

mod admit;
mod answers;
mod authenticate;
mod database_wait;
mod deadline;
mod in_flight;
mod inflate;
mod memory_budget;
mod message_prefix;
mod open_streams;
mod read_stream_slot;
mod ready_service;
mod request_body;
mod transport_errors;
mod whole_body;

pub use admit::AdmitLayer;
pub use answers::AnswersLayer;
pub(super) use answers::POLICY_ANSWER_MAX_BYTES;
pub use authenticate::AuthenticateLayer;
pub use database_wait::DatabaseWaitLayer;
pub(super) use deadline::CallDeadline;
pub use deadline::DeadlineLayer;
pub(super) use in_flight::LARGEST_ANSWER_BYTES;
pub use in_flight::{IN_FLIGHT_MAX_BYTES, IN_FLIGHT_MIN_BYTES, InFlight, InFlightCounts, Reserved};
pub(super) use message_prefix::MESSAGE_PREFIX_BYTES;
pub use open_streams::OpenStreamsLayer;
pub(super) use read_stream_slot::ReadStreamSlot;
pub use request_body::RequestBodyLayer;
pub(super) use transport_errors::COMPRESSED;
pub use transport_errors::rewrite_transport_error;
