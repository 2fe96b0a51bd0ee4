//! The address of a listener that may be switched off.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting},
    text,
};

/// How "nowhere" is written.
const OFF: &str = "off";

/// Where a listener is, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// There is none.
    Off,
    /// There.
    At(SocketAddr),
}

impl Address {
    /// The address, if there is a listener.
    pub fn socket(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::At(address)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if written == OFF {
            return Ok(Self::Off);
        }
        written.parse().map(Self::At).map_err(|_| "invalid socket address syntax".to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str(OFF),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Address {
    const KIND: Kind = Kind::Value {
        name: "address, or `off`",
        allowed: "an IP address and a port, such as \"127.0.0.1:8081\", or \"off\"",
        text: true,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_one_or_off() {
        for text in ["off", "127.0.0.1:8081", "[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("none".parse::<Address>().is_err() && "127.0.0.1".parse::<Address>().is_err());
    }
}
