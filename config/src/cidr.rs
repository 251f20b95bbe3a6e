//! A network of IP addresses.
//!
//! Of our own rather than a crate: all that is asked is "is this peer in that network", and the answer must treat an IPv4
//! peer of a dual-stack listener (`::ffff:10.0.0.1`) as the IPv4 address it is, which address crates leave to the caller.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A network such as `10.0.0.0/8` or `fd00::/8`; an address without a slash is the network of that one address.
///
/// IPv4 addresses written as IPv6 (`::ffff:10.0.0.1`) are IPv4 addresses here, in a network and in a question.
///
/// ```
/// # use adtrack_config::Cidr;
/// let network: Cidr = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()) && !network.contains("11.0.0.1".parse().unwrap()));
/// # Ok::<(), adtrack_config::CidrError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a [`Cidr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CidrError {
    /// What stands before the slash is no IP address.
    #[error("not an IP address")]
    Address,
    /// What stands after the slash is no number, or too large for the address.
    #[error("prefix length must be 0..={0}")]
    Prefix(u8),
    /// Bits are set beyond the prefix, so that two networks may be meant.
    #[error("bits are set beyond the prefix; the network is {0}")]
    HostBits(Cidr),
}

impl Cidr {
    /// Whether `address` is in the network. An IPv6 address is never in an IPv4 network, nor the other way round.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.network
    }
}

/// `address` without the bits beyond `prefix`.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let written: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits_max = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match length {
            None => bits_max,
            Some(length) => length.parse().ok().filter(|n| *n <= bits_max).ok_or(CidrError::Prefix(bits_max))?,
        };
        let network = Self { network: masked(written, prefix), prefix };
        if network.network != written {
            return Err(CidrError::HostBits(network));
        }
        // A mapped network becomes the IPv4 network; a prefix too short for that holds other addresses as well and stays.
        match written.to_canonical() {
            canonical @ IpAddr::V4(_) if written.is_ipv6() && prefix >= 96 => {
                Ok(Self { network: canonical, prefix: prefix - 96 })
            }
            _ => Ok(network),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.3/32", "::ffff:10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
        ] {
            let cidr: Cidr = network.parse().unwrap();
            assert!(cidr.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!cidr.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_reason() {
        for (text, expected) in [
            ("", "not an IP address"),
            ("10.0.0/8", "not an IP address"),
            ("10.0.0.0/33", "prefix length must be 0..=32"),
            ("10.0.0.0/", "prefix length must be 0..=32"),
            ("::/129", "prefix length must be 0..=128"),
            ("10.0.0.1/8", "bits are set beyond the prefix; the network is 10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_network_parses_to_itself(bits in any::<u128>(), prefix in 0u8..=128) {
            let network = masked(IpAddr::V6(bits.into()), prefix);
            let cidr: Cidr = format!("{network}/{prefix}").parse().unwrap();
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
            prop_assert!(prefix == 0 || cidr.contains(network));
        }
    }
}
