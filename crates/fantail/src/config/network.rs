//! A network: an address and how many of its bits count.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting},
    text,
};

const EXPECTED: &str = "expected an address or a network, such as \"10.0.0.0/8\" or \"::1\"";

/// The bits before an IPv4 address in its IPv6 form.
const MAPPED: u8 = 96;

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its bits beyond `bits` are 0, and it is no IPv4 address in IPv6 form.
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address belongs to it; an IPv4 address in IPv6 form counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.bits) == self.address
    }

    /// The first address of the network that has so many bits in common with this one.
    pub fn around(address: IpAddr, bits: u8) -> IpAddr {
        cut(address, bits)
    }
}

/// The address with all but its first bits 0.
fn cut(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let beyond = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & !beyond).into()
        }
        IpAddr::V6(v6) => {
            let beyond = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & !beyond).into()
        }
    }
}

/// How many bits an address has.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let wrong = || format!("\"{written}\" is not a network, {EXPECTED}");
        let (address, bits) = written.split_once('/').map_or((written, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = width(address);
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| format!("\"{written}\" has no number from 0 to {most} behind its \"/\""))?,
            Some(_) => return Err(wrong()),
        };
        let network = Self { address: cut(address, bits), bits };
        if network.address != address {
            return Err(format!("\"{written}\" has bits beyond the first {bits}, did you mean \"{network}\"?"));
        }
        let canonical = network.address.to_canonical();
        Ok(if canonical.is_ipv4() && address.is_ipv6() && bits >= MAPPED {
            Self { address: canonical, bits: bits - MAPPED }
        } else {
            network
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if self.bits == width(self.address) { Ok(()) } else { write!(f, "/{}", self.bits) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Vec<Network> {
    const KIND: Kind = Kind::Value {
        name: "list of networks",
        allowed: "a list of networks, such as [\"10.0.0.0/8\", \"::1\"]",
        text: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn network_contains_what_shares_its_first_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::1", "::1", "::2"),
            ("fc00::/7", "fdff::1", "fe00::"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ] {
            assert!(contains(network, inside), "{inside} in {network}");
            assert!(!contains(network, outside), "{outside} in {network}");
            assert_eq!(network.parse::<Network>().unwrap().to_string(), network);
        }
    }

    #[test]
    fn network_in_ipv6_form_is_the_ipv4_one() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("10.0.0.0/8", "::ffff:11.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert_eq!("::ffff:10.0.0.0/104".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn network_that_is_none_is_refused() {
        let none = "is not a network, expected an address or a network, such as \"10.0.0.0/8\" or \"::1\"";
        for (text, why) in [
            ("loopback", none),
            ("10.0.0/8", none),
            ("10.0.0.0/+8", none),
            ("10.0.0.0/", "has no number from 0 to 32 behind its \"/\""),
            ("10.0.0.0/33", "has no number from 0 to 32 behind its \"/\""),
            ("::/129", "has no number from 0 to 128 behind its \"/\""),
            ("10.1.2.3/8", "has bits beyond the first 8, did you mean \"10.0.0.0/8\"?"),
        ] {
            assert_eq!(text.parse::<Network>(), Err(format!("\"{text}\" {why}")));
        }
    }
}
