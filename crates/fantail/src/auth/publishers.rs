//! The applications that may publish: whom a key or a certificate belongs to, and the channels that it may publish to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::algorithm::{hex, same, unhex};
use super::grants::{Grants, Pattern};
use super::peer::PeerNames;
use crate::config;

/// What our keys begin with, so that whoever finds one knows what it is.
const MARK: &str = "fantail_";

/// Whoever may publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// What it is called.
    pub name: Arc<str>,
    /// Where it may publish.
    pub grants: Grants,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Publishers {
    /// By the SHA-256 of their keys.
    keys: Vec<([u8; 32], Publisher)>,
    /// By a name of their certificates.
    certificates: Vec<(String, Publisher)>,
}

impl Publishers {
    /// Those of a configuration.
    pub fn new(keys: &[config::Key]) -> Self {
        let mut all = Self::default();
        for key in keys {
            // Checked when the configuration was read.
            let grants = key.channels.iter().filter_map(|text| Pattern::parse(text)).collect();
            let publisher = Publisher { name: key.name.as_str().into(), grants };
            if let Some(name) = &key.certificate {
                all.certificates.push((name.clone(), publisher));
            } else if let Some(hash) = key.sha256.as_deref().and_then(unhex) {
                all.keys.push((hash, publisher));
            }
        }
        all
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty()
    }

    /// Whose certificate has one of these names, else whose key this is.
    pub fn find(&self, names: Option<&PeerNames>, key: Option<&[u8]>) -> Option<&Publisher> {
        names.and_then(|names| self.by_names(names)).or_else(|| self.by_key(key?))
    }

    /// Takes as long for each.
    fn by_key(&self, given: &[u8]) -> Option<&Publisher> {
        let given = Sha256::digest(given);
        let mut found = None;
        for (hash, publisher) in &self.keys {
            if same(hash, &given) {
                found = Some(publisher);
            }
        }
        found
    }

    fn by_names(&self, names: &PeerNames) -> Option<&Publisher> {
        self.certificates.iter().find(|(name, _)| names.0.contains(name)).map(|(_, publisher)| publisher)
    }
}

/// A key that nobody had before; nothing where the system has no randomness.
pub fn fresh_key() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The digits by which the configuration knows a key.
pub fn digest(key: &str) -> String {
    hex(&Sha256::digest(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn publishers(keys: &[(&str, &str)]) -> Publishers {
        let table = |(setting, channels): &(&str, &str)| {
            format!("[[key]]\nname = 'of {channels}'\n{setting}\nchannels = ['{channels}']\n")
        };
        let text = keys.iter().map(table).collect::<Vec<_>>().concat();
        Publishers::new(&Config::from_toml(&text).unwrap().key)
    }

    #[test]
    fn publisher_is_known_by_its_key() {
        let (one, two) = (fresh_key().unwrap(), fresh_key().unwrap());
        assert!(one != two && one.len() == MARK.len() + 43 && one.starts_with(MARK));
        // printf test | sha256sum
        assert_eq!(digest("test"), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        let upper = digest(&two).to_ascii_uppercase();
        let all =
            publishers(&[(&format!("sha256 = '{}'", digest(&one)), "a.*"), (&format!("sha256 = '{upper}'"), "b")]);
        assert_eq!(&*all.by_key(one.as_bytes()).unwrap().name, "of a.*");
        let second = all.by_key(two.as_bytes()).unwrap();
        assert!(second.grants.cover("b") && !second.grants.cover("a.1"));
        for wrong in ["", &one[..one.len() - 1], &digest(&one)] {
            assert_eq!(all.by_key(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(!all.is_empty() && publishers(&[]).is_empty());
    }

    #[test]
    fn publisher_is_known_by_a_name_of_its_certificate() {
        let all = publishers(&[("certificate = 'orders.internal'", "orders.**")]);
        let names = |names: &[&str]| PeerNames(names.iter().map(|name| (*name).to_owned()).collect());
        assert!(all.by_names(&names(&["x", "orders.internal"])).unwrap().grants.cover("orders.1"));
        for other in [&[][..], &["orders"], &["Orders.internal", "*.internal"]] {
            assert_eq!(all.by_names(&names(other)), None);
        }
        assert!(all.by_key(b"orders.internal").is_none());
    }
}
