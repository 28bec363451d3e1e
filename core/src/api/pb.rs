//! The types generated from `proto/policyhub/v1`, and their descriptors.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

tonic::include_proto!("policyhub.v1");
include!(concat!(env!("OUT_DIR"), "/bounds.rs"));

/// The file descriptor set of the services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
