//! Compiles the `.proto` files with protox: out come the message types (no service: this crate knows no gRPC)
//! and the descriptor set that the text and JSON forms work from.

use std::error::Error;
use std::path::PathBuf;

use prost_types::FileDescriptorSet;

const FILES: [&str; 3] = [
    "p4/v1/p4runtime.proto",
    "p4/config/v1/p4info.proto",
    "google/rpc/code.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut set = protox::compile(FILES, ["proto"])?;

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut config = prost_build::Config::new();
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .btree_map(["."]);
    config.compile_fds(messages_only(set.clone()))?;

    for file in &mut set.file {
        file.source_code_info = None;
    }
    std::fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&set),
    )?;
    Ok(())
}

fn messages_only(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut set.file {
        file.service.clear();
    }
    set
}
