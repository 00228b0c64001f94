//! A device behind a P4Runtime client session.

/// A P4Runtime session as a device.
#[derive(Debug)]
pub struct Session;
