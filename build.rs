//! Compiles `proto/` with protox: no protoc is needed to build.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const FILES: &[&str] = &[
    "policyhub/v1/policy.proto",
    "policyhub/v1/event.proto",
    "policyhub/v1/policy_service.proto",
    "policyhub/v1/sync_service.proto",
    "policyhub/v1/admin_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Contents are shared between messages, never copied.
        .bytes(".")
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .compile_fds(descriptors.clone())?;
    // Reflection serves the same set, without comments and positions.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
