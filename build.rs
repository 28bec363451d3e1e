//! Compiles the health checking protocol of gRPC with protox: no protoc is needed to build. The contract itself is compiled by
//! `core/build.rs`.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/grpc");
    let mut descriptors = protox::compile(["grpc/health/v1/health.proto"], ["proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds(descriptors.clone())?;
    // What reflection serves, without comments and positions.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    Ok(std::fs::write(out.join("health.bin"), descriptors.encode_to_vec())?)
}
