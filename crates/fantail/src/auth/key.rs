//! A key that checks signatures: what it is, and the one algorithm that it is for.
//!
//! SECURITY: the algorithm belongs to the key. A token is checked only with keys whose algorithm it names, so that a public key
//! can never be taken for the secret of an HMAC.

use std::fmt;

use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};

use super::algorithm::{curve, hmac, rsa, same};
use crate::config::Algorithm;

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub(super) algorithm: Algorithm,
    /// What tokens call it.
    pub(super) name: Option<Box<str>>,
    pub(super) material: Material,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    Secret(Box<[u8]>),
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// A point, as its curve writes it.
    Point(Box<[u8]>),
}

impl Key {
    /// A secret.
    pub fn secret(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self { algorithm, name: None, material: Material::Secret(bytes.into()) }
    }

    /// Whether `signature` is one of `text` that was made with it.
    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(secret) => {
                hmac(self.algorithm, secret, text).is_some_and(|expected| same(&expected, signature))
            }
            Material::Rsa { modulus, exponent } => rsa(self.algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, text, signature).is_ok()
            }),
            Material::Point(point) => curve(self.algorithm)
                .is_some_and(|algorithm| UnparsedPublicKey::new(algorithm, point).verify(text, signature).is_ok()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).field("name", &self.name).finish_non_exhaustive()
    }
}
