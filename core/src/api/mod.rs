//! How it is written: the generated wire types, and the only conversions between them and the domain.
//!
//! Boundary: knows prost and tonic's `Status`; never a socket, never the store.

pub mod codec;
mod cursor;
#[cfg(feature = "server")]
pub mod filter;
mod message_shape;
pub mod pb;
pub mod wire_scan;

#[cfg(feature = "server")]
pub mod page;
#[cfg(feature = "server")]
pub mod request;
#[cfg(feature = "server")]
pub mod response;
#[cfg(feature = "server")]
mod shown;
#[cfg(feature = "server")]
pub mod status;
#[cfg(feature = "server")]
pub mod time;
