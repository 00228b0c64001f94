//! Addresses as people and old clients write them.
//!
//! In: text from objects and configuration. Out: canonical addresses: decimal octets may have leading zeros (S08) and
//! an IPv4-mapped IPv6 address is the IPv4 address, so two spellings of one address are always equal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why a text is not an address or a prefix. Trying again does not help: the object has to be mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither IPv4 nor IPv6.
    #[error("{text:?} is not an IP address")]
    NotAnAddress {
        /// As written.
        text: String,
    },
    /// No `/` or no length that fits the family behind it.
    #[error("{text:?} is not an IP prefix")]
    NotAPrefix {
        /// As written.
        text: String,
    },
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Reads an address; white space around it is ignored.
pub fn parse(text: &str) -> Result<IpAddr, AddressError> {
    let bare = text.trim();
    let found = match bare.rsplit_once(':') {
        None => octets(bare).map(IpAddr::V4),
        Some((front, tail)) if tail.contains('.') => octets(tail).and_then(|v4| {
            let v6: Ipv6Addr = format!("{front}:{v4}").parse().ok()?;
            Some(IpAddr::V6(v6))
        }),
        Some(_) => bare.parse().ok().map(IpAddr::V6),
    };
    found
        .map(|address| address.to_canonical())
        .ok_or_else(|| AddressError::NotAnAddress {
            text: text.to_owned(),
        })
}

/// Reads a prefix such as `10.0.0.0/8`; bits behind the prefix are cleared.
pub fn parse_net(text: &str) -> Result<IpNet, AddressError> {
    let wrong = || AddressError::NotAPrefix {
        text: text.to_owned(),
    };
    let (address, length) = text.trim().split_once('/').ok_or_else(wrong)?;
    let address = parse(address).map_err(|_| wrong())?;
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let length = length.parse().map_err(|_| wrong())?;
    Ok(IpNet::new(address, length).map_err(|_| wrong())?.trunc())
}

fn octets(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() {
            0
        } else {
            digits.parse().ok()?
        };
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_leading_zeros_are_decimal() {
        for (given, expected) in [
            ("010.001.000.009", "10.1.0.9"),
            (" 10.0.0.1 ", "10.0.0.1"),
            ("0000.0.0.0", "0.0.0.0"),
            ("fd00:0000:0:0::0001", "fd00::1"),
            ("::ffff:010.0.0.1", "10.0.0.1"),
            ("64:ff9b::192.000.2.33", "64:ff9b::c000:221"),
        ] {
            assert_eq!(parse(given).unwrap().to_string(), expected, "{given}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "None",
            "1.2.3",
            "1.2.3.4.5",
            "256.0.0.1",
            "1.2.3.+4",
            "1.2.3.4/8",
            "::g",
            "1..2.3",
            "10.0.0.1%eth0",
            "fe80::1%eth0",
            "0x7f.0.0.1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "/8",
            "10.0.0.0/",
        ] {
            assert!(parse_net(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_are_cut() {
        assert_eq!(parse_net("010.1.2.3/08").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse_net(" fd00::1/64").unwrap().to_string(), "fd00::/64");
    }
}
