//! Compiles `proto/policyhub` with protox: no protoc is needed to build.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;
use protox::prost_reflect::prost_types::FileDescriptorSet;

const FILES: &[&str] = &[
    "policyhub/v1/cursor.proto",
    "policyhub/v1/refusal.proto",
    "policyhub/v1/policy.proto",
    "policyhub/v1/event.proto",
    "policyhub/v1/schedule.proto",
    "policyhub/v1/policy_service.proto",
    "policyhub/v1/sync_service.proto",
    "policyhub/v1/admin_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Contents are shared between messages, never copied.
        .bytes(".")
        // Nothing is decoded before it was scanned.
        .codec_path("crate::api::codec::BoundedCodec")
        .build_transport(false)
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .compile_fds(descriptors.clone())?;
    let mut bounds = BTreeSet::new();
    for method in descriptors.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method) {
        bounds.insert(bounded(method.input_type(), "REQUEST"));
        bounds.insert(bounded(method.output_type(), "ANSWER"));
    }
    std::fs::write(out("bounds.rs")?, Vec::from_iter(bounds).concat())?;
    write_descriptors(descriptors)
}

/// Writes the descriptor set that reflection serves, without comments and positions.
fn write_descriptors(mut descriptors: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    Ok(std::fs::write(out("descriptors.bin")?, descriptors.encode_to_vec())?)
}

/// The place of a file that is written here.
fn out(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join(name))
}

/// Says which bounds a message of a method has, in Rust.
fn bounded(full_name: &str, bounds: &str) -> String {
    let full_name = full_name.trim_start_matches('.');
    let name = full_name.rsplit('.').next().unwrap_or(full_name);
    format!(
        "impl super::codec::BoundedMessage for {name} {{\n    const NAME: &'static str = {full_name:?};\n    \
         const BOUNDS: super::wire_scan::ScanBounds = super::codec::{bounds};\n}}\n"
    )
}
