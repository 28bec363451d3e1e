//! How it is written: the generated wire types, and the only conversions between them and the domain.
//!
//! Boundary: knows prost and tonic's `Status`; never a socket, never the store.

pub mod pb;
