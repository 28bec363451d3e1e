//! How it is written: the generated wire types, and the only conversions between them and the domain.
//!
//! Boundary: knows prost and tonic's `Status`; never a socket, never the store.

mod cursor;
pub mod pb;

#[cfg(feature = "server")]
pub mod page;
#[cfg(feature = "server")]
pub mod request;
#[cfg(feature = "server")]
pub mod response;
#[cfg(feature = "server")]
pub mod status;
#[cfg(feature = "server")]
pub mod time;
