//! The types generated from `proto/grpc/health/v1`, and their descriptors.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

tonic::include_proto!("grpc.health.v1");

/// The file descriptor set of the service, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/health.bin"));
