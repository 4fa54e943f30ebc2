//! Compiles the contract: types and services for Rust, and the descriptors from which everything
//! else is derived.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir("proto/stigmer/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Comments become the descriptions of the OpenAPI document.
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    let descriptors = compiler.file_descriptor_set();
    let target = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(target, compiler.encode_file_descriptor_set())?;
    let _ = descriptors.encoded_len();
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
