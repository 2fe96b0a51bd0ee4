//! JSON web key sets (RFC 7517): the public keys of whoever signs tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use super::algorithm::{fits, named};
use super::der::positive;
use super::key::{Key, Material};
use crate::config::Algorithm;

/// Keys that a set may have.
const MOST: usize = 256;
/// The shortest modulus that is believed, in bytes.
const SHORTEST_MODULUS: usize = 256;

/// The keys of a set that tokens can be signed with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    /// The keys.
    pub keys: Vec<Key>,
    /// How many of the set are for something else, or of a sort that is not known.
    pub passed_over: usize,
}

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// It is not even an object with a list.
    #[error("it is not a JSON web key set: {0}")]
    Malformed(String),
    /// There is nothing that could be used.
    #[error("none of its {0} keys can check a token: RSA keys from 2048 bits, P-256, P-384 and Ed25519 can")]
    Nothing(usize),
    /// There are too many.
    #[error("it has {0} keys, at most {MOST} are allowed")]
    TooMany(usize),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of a set's text. A key that says no algorithm has `default`, where that fits it, else the usual one of its sort.
    /// Secrets are passed over: what is handed out is none.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn parse(text: &[u8], default: Option<Algorithm>) -> Result<Self, KeySetError> {
        let set: Set = serde_json::from_slice(text).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        let all = set.keys.len();
        if all > MOST {
            return Err(KeySetError::TooMany(all));
        }
        let keys: Vec<Key> =
            set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.key(default)).collect();
        if keys.is_empty() { Err(KeySetError::Nothing(all)) } else { Ok(Self { passed_over: all - keys.len(), keys }) }
    }
}

impl Jwk {
    fn key(self, default: Option<Algorithm>) -> Option<Key> {
        if self.purpose.as_ref().is_some_and(|purpose| purpose != "sig")
            || self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|one| one == "verify"))
        {
            return None;
        }
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let (usual, material) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                let modulus = positive(&n);
                if modulus.len() < SHORTEST_MODULUS {
                    return None;
                }
                (Algorithm::Rs256, Material::Rsa { modulus: modulus.into(), exponent: positive(&e).into() })
            }
            ("EC", Some("P-256")) => (Algorithm::Es256, point(&bytes(&self.x)?, &bytes(&self.y)?, 32)?),
            ("EC", Some("P-384")) => (Algorithm::Es384, point(&bytes(&self.x)?, &bytes(&self.y)?, 48)?),
            ("OKP", Some("Ed25519")) => {
                let point = bytes(&self.x)?;
                (Algorithm::EdDsa, (point.len() == 32).then(|| Material::Point(point.into()))?)
            }
            _ => return None,
        };
        let algorithm = match &self.alg {
            Some(name) => named(name).filter(|algorithm| fits(usual, *algorithm))?,
            None => default.filter(|algorithm| fits(usual, *algorithm)).unwrap_or(usual),
        };
        Some(Key { algorithm, name: self.kid.map(String::into_boxed_str), material })
    }
}

/// A point, uncompressed.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Material> {
    (x.len() == length && y.len() == length).then(|| Material::Point([&[4], x, y].concat().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 7515 §A.3 and RFC 8037 §A.2.
    const P256: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn parse(keys: &str, default: Option<Algorithm>) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes(), default)
    }

    #[test]
    fn key_set_takes_what_can_check_a_token_and_passes_over_the_rest() {
        let rsa = format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, "x".repeat(341) + "w");
        let others = [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            format!("{{{ED},\"use\":\"enc\"}}"),
            format!("{{{P256},\"alg\":\"HS256\"}}"),
            format!("{{{P256},\"alg\":\"RS256\"}}"),
            format!("{{{P256},\"key_ops\":[\"sign\"]}}"),
            r#"{"kty":"RSA","n":"AAAA","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-521"}"#.to_owned(),
            "7".to_owned(),
        ];
        let sound = [
            format!("{{{P256},\"kid\":\"a\"}}"),
            format!("{{{ED},\"use\":\"sig\",\"alg\":\"EdDSA\"}}"),
            format!("{{{rsa}}}"),
            format!("{{{rsa},\"alg\":\"PS384\",\"key_ops\":[\"verify\"]}}"),
        ];
        let set = parse(&[&sound[..], &others[..]].concat().join(","), Some(Algorithm::Rs512)).unwrap();
        assert_eq!(set.passed_over, others.len());
        let told: Vec<_> = set.keys.iter().map(|key| (key.name.as_deref(), key.algorithm)).collect();
        assert_eq!(
            told,
            [
                (Some("a"), Algorithm::Es256),
                (None, Algorithm::EdDsa),
                (None, Algorithm::Rs512),
                (None, Algorithm::Ps384)
            ]
        );
    }

    #[test]
    fn key_set_without_a_key_that_can_be_used_is_an_error() {
        assert_eq!(parse(r#"{"kty":"oct","k":"c2VjcmV0"}"#, None), Err(KeySetError::Nothing(1)));
        assert_eq!(parse("", None), Err(KeySetError::Nothing(0)));
        assert!(matches!(KeySet::parse(b"<html>", None), Err(KeySetError::Malformed(_))));
        assert_eq!(parse(&["1"; MOST + 1].join(","), None), Err(KeySetError::TooMany(MOST + 1)));
    }
}
