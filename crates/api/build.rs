//! Compiles the contract: types and services for Rust, and the descriptors from which everything
//! else is derived.

use std::path::PathBuf;

use prost_types::FileDescriptorProto;
use prost_types::method_options::IdempotencyLevel;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir("proto/stigmer/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    let descriptors = compiler.file_descriptor_set();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Comments become the descriptions of the OpenAPI document. No program needs them.
    std::fs::write(out.join("documented.bin"), compiler.encode_file_descriptor_set())?;
    compiler.include_source_info(false);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    std::fs::write(out.join("methods.rs"), methods(&descriptors.file))?;
    let mut types = tonic_prost_build::Config::new();
    // By its name a message finds its shape.
    types.enable_type_names();
    // Servers and clients look at a message before they decode it.
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::Guarded")
        .compile_fds_with_config(descriptors, types)?;
    Ok(())
}

/// The methods as a table, so that whoever asks for one need not decode all descriptors first.
fn methods(files: &[FileDescriptorProto]) -> String {
    let mut lines = Vec::new();
    for file in files {
        for service in &file.service {
            for method in &service.method {
                let (package, service, name) = (file.package(), service.name(), method.name());
                let level = method.options.as_ref().map(|options| options.idempotency_level());
                let level = match level {
                    Some(IdempotencyLevel::NoSideEffects) => "NoSideEffects",
                    Some(IdempotencyLevel::Idempotent) => "Idempotent",
                    Some(IdempotencyLevel::IdempotencyUnknown) | None => "Unknown",
                };
                let (streams_in, streams_out) =
                    (method.client_streaming(), method.server_streaming());
                lines.push(format!(
                    "Method {{ package: {package:?}, service: {service:?}, name: {name:?}, \
                     path: \"/{package}.{service}/{name}\", streams_in: {streams_in}, \
                     streams_out: {streams_out}, level: Level::{level} }},\n"
                ));
            }
        }
    }
    lines.sort();
    format!("&[{}]", lines.concat())
}
