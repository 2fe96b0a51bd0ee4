//! The addresses of a listener: one, or a list.

use std::{fmt, net::SocketAddr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use super::section::{Kind, Setting};

const ALLOWED: &str =
    "an IP address and a port, such as \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\", or a list of such";

/// One address or more, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<SocketAddr>);

impl Addresses {
    /// The first, which is there always.
    pub fn first(&self) -> SocketAddr {
        self.0[0]
    }

    /// All of them, in their order.
    pub fn all(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Self {
        Self(vec![address])
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            all => serializer.collect_seq(all),
        }
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ALLOWED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Addresses, E> {
                text.parse::<SocketAddr>().map(Addresses::from).map_err(|_| E::custom("invalid socket address syntax"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut all: Vec<SocketAddr> = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    let Ok(address) = text.parse::<SocketAddr>() else {
                        return Err(A::Error::custom("invalid socket address syntax"));
                    };
                    // Port 0 is another one each time.
                    if address.port() != 0 && all.contains(&address) {
                        return Err(A::Error::custom(format!("{address} is listed twice")));
                    }
                    all.push(address);
                }
                if all.is_empty() {
                    Err(A::Error::custom("invalid list without an address"))
                } else {
                    Ok(Addresses(all))
                }
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

impl Setting for Addresses {
    const KIND: Kind = Kind::Value { name: "address, or list of addresses", allowed: ALLOWED, text: false };
}

impl Setting for Vec<SocketAddr> {
    const KIND: Kind = Kind::Value {
        name: "list of addresses",
        allowed: "a list of IP addresses with ports, such as [\"127.0.0.1:8080\"]",
        text: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(value: &str) -> Result<Addresses, String> {
        let config = Config::from_toml(&format!("listen.public = {value}\ncontrol.listen = '127.0.0.1:1'\n"));
        config.map(|config| config.listen.public).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_one_or_a_list_and_print_as_they_were_written() {
        let one = read("'[::1]:80'").unwrap();
        assert_eq!((one.all().len(), one.to_string()), (1, "[::1]:80".to_owned()));
        let two = read("['0.0.0.0:80', '[::1]:81']").unwrap();
        assert_eq!((two.first().port(), two.to_string()), (80, "0.0.0.0:80, [::1]:81".to_owned()));
        let mut config = Config::default();
        for addresses in [one, two] {
            config.listen.public = addresses;
            assert_eq!(Config::from_toml(&config.effective_toml()).unwrap(), config);
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        let start = "fantail.toml:1: listen.public";
        for (value, why) in [
            ("'here'", ": invalid socket address syntax, expected an IP address and a port, such as"),
            ("['127.0.0.1:80', '127.0.0.1']", "[1]: invalid socket address syntax, expected an IP"),
            ("[]", ": invalid list without an address, expected an IP address"),
            ("['127.0.0.1:80', '127.0.0.1:80']", ": 127.0.0.1:80 is listed twice"),
            ("80", ": invalid type: integer `80`, expected an IP address"),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.starts_with(&format!("{start}{why}")), "{error}");
        }
    }
}
