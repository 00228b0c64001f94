//! An Ethernet address as people write it.
//!
//! In: six hexadecimal bytes between colons or hyphens. Out: the same six bytes, printed with colons.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 48-bit MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// The text is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address; write six hexadecimal bytes, as in 02:00:00:00:00:01")]
pub struct MacError(String);

impl Mac {
    /// An address of a port that was given none: locally administered, and the same after every start.
    pub fn derived(node: &str, port: u32) -> Self {
        // FNV-1a.
        let bytes = node.bytes().chain([0]).chain(port.to_be_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let [_, _, _, a, b, c, d, e] = (hash ^ hash >> 40).to_be_bytes();
        Self([2, a, b, c, d, e])
    }

    /// As the number that table entries carry.
    pub fn to_u64(self) -> u64 {
        self.0
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut parts = text.trim().split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().unwrap_or_default();
            if !matches!(part.len(), 1 | 2) || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(MacError(text.to_owned()));
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| MacError(text.to_owned()))?;
        }
        if parts.next().is_some() {
            Err(MacError(text.to_owned()))
        } else {
            Ok(Self(bytes))
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
