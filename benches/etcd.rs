//! The few messages of etcd's API that a put and a watch need, and the start of its server.
//!
//! Boundary: field numbers as in etcd's `rpc.proto`, and nothing else.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use prost::Message as _;

use super::certificate::ServerCertificate;
use super::plan::BenchCall;
use super::process::{Core, Process, command, free_address, get};

const KEY: &[u8] = b"bench";

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(int64, tag = "3")]
    start_revision: i64,
}

/// Revision of the first put into an empty store.
pub const FIRST_REVISION: i64 = 2;

/// Starts a store of one member with etcd's defaults, with TLS for its clients when a certificate is given; it flushes each write to disk,
/// as ours does.
pub fn start(dir: &Path, certificate: Option<&ServerCertificate>) -> Result<(Process, SocketAddr)> {
    let (clients, peers, metrics) = (free_address()?, free_address()?, free_address()?);
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let log = dir.join("log");
    let mut command = command(Core::Server, "etcd");
    command.arg("--data-dir").arg(dir.join("etcd")).args(["--log-level", "error"]);
    for name in ["--listen-client-urls", "--advertise-client-urls"] {
        command.arg(name).arg(format!("{scheme}://{clients}"));
    }
    command.arg("--listen-metrics-urls").arg(format!("http://{metrics}"));
    if let Some(certificate) = certificate {
        command.arg("--cert-file").arg(&certificate.file).arg("--key-file").arg(&certificate.key_file);
    }
    for name in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
        command.arg(name).arg(format!("http://{peers}"));
    }
    command.arg("--initial-cluster").arg(format!("default=http://{peers}"));
    let mut process = Process::start(command, &log)?;
    process.wait_for(&log, || get(metrics, "/health")?.contains("true").then_some(()))?;
    Ok((process, clients))
}

/// Returns a call that writes the key.
pub fn put_call(value: Vec<u8>) -> BenchCall {
    let body = PutRequest { key: KEY.to_vec(), value }.encode_to_vec();
    BenchCall { path: "/etcdserverpb.KV/Put".to_owned(), body, ..BenchCall::default() }
}

/// Returns a call that watches the key from a revision on: the state at that revision comes first.
pub fn watch_call(start_revision: i64) -> BenchCall {
    let create = Some(WatchCreateRequest { key: KEY.to_vec(), start_revision });
    let body = WatchRequest { create }.encode_to_vec();
    // The watch ends when its request stream does.
    BenchCall { path: "/etcdserverpb.Watch/Watch".to_owned(), body, open: true, ..BenchCall::default() }
}
