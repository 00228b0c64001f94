//! The `nicproxy` binary.
fn main() {}
