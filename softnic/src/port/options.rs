//! How interfaces are opened.
//!
//! In: choices of the user. Out: the same as values, with what is best for most as defaults.

/// How received frames are handed over by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ring {
    /// Each frame at once (TPACKET_V2).
    #[default]
    Frames,
    /// In blocks (TPACKET_V3): less work under load, up to a millisecond later otherwise.
    Blocks,
}

/// How an interface is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketOptions {
    /// Queues, each with a thread: at least 1.
    pub queues: u16,
    /// How received frames come.
    pub ring: Ring,
    /// Whether unfinished frames go through the program as they are.
    pub offload: bool,
}

impl Default for PacketOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            ring: Ring::default(),
            offload: true,
        }
    }
}

/// How the interface is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapOptions {
    /// Queues, each with a thread: at least 1.
    pub queues: u16,
    /// Whether unfinished frames go through the program as they are.
    pub offload: bool,
}

impl Default for TapOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            offload: true,
        }
    }
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// As [`XdpMode::Native`] where the driver has it, else as [`XdpMode::Generic`].
    #[default]
    Automatic,
    /// In the driver; without copies where the driver can.
    Native,
    /// Behind the driver: every driver has it.
    Generic,
    /// In the driver, without copies or not at all.
    ZeroCopy,
}

/// How an interface is opened with AF_XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpOptions {
    /// Queues, each with a socket and a thread; 0: as many as the interface has.
    pub queues: u16,
    /// How the program is attached.
    pub mode: XdpMode,
}
