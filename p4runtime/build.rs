//! Generates the client and server stubs of the P4Runtime service over the messages of `p4runtime-proto`; requests to
//! write are `wire::WriteRequest`, the same message in another form.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/proto");
    let mut set = protox::compile(["p4/v1/p4runtime.proto"], ["proto/proto"])?;
    // Only the service: the messages are those of p4runtime-proto.
    set.file.retain(|file| {
        file.package() == "p4.v1"
            || file.package() == "p4.config.v1"
            || file.package() == "google.rpc"
    });
    tonic_prost_build::configure()
        .build_transport(true)
        .extern_path(".p4.config.v1", "::p4runtime_proto::p4::config::v1")
        .extern_path(".p4.v1", "::p4runtime_proto::p4::v1")
        .extern_path(".p4.v1.WriteRequest", "crate::wire::WriteRequest")
        .extern_path(".google.rpc", "::p4runtime_proto::google::rpc")
        .compile_fds(set)?;
    Ok(())
}
