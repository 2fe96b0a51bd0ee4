//! How signatures are made and checked, and comparing in constant time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{self, RsaParameters, VerificationAlgorithm};
use sha2::{Sha256, Sha384, Sha512};

use crate::config::Algorithm;

/// Compares in a time that depends on the lengths alone.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y))) == 0
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// So many bytes of hexadecimal digits; nothing for other texts.
pub(super) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let [high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Whether a key that is usual for one algorithm can be used for another.
pub(super) fn fits(usual: Algorithm, other: Algorithm) -> bool {
    if usual == Algorithm::Rs256 { rsa(other).is_some() } else { other == usual }
}

/// The HMAC of a text; nothing for what is no HMAC.
pub(super) fn hmac(algorithm: Algorithm, secret: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    // HMAC takes keys of any length (RFC 2104 §3).
    Some(match algorithm {
        Algorithm::Hs256 => {
            Hmac::<Sha256>::new_from_slice(secret).ok()?.chain_update(text).finalize().into_bytes().to_vec()
        }
        Algorithm::Hs384 => {
            Hmac::<Sha384>::new_from_slice(secret).ok()?.chain_update(text).finalize().into_bytes().to_vec()
        }
        Algorithm::Hs512 => {
            Hmac::<Sha512>::new_from_slice(secret).ok()?.chain_update(text).finalize().into_bytes().to_vec()
        }
        _ => return None,
    })
}

/// The parameters of RSA.
pub(super) fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// What checks the signatures of keys that are points of a curve.
pub(super) fn curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
        _ => return None,
    })
}

/// The algorithm that a token names.
pub(super) fn named(name: &str) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_is_equality() {
        assert!(same(b"", b"") && same(b"abc", b"abc"));
        for (a, b) in [("abc", "abd"), ("abc", "ab"), ("", "a"), ("bbc", "abc")] {
            assert!(!same(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn named_knows_its_algorithms_and_none_of_the_others() {
        for algorithm in Algorithm::ALL {
            assert_eq!(named(algorithm.as_str()), Some(algorithm));
            let ways = [algorithm.is_hmac(), rsa(algorithm).is_some(), curve(algorithm).is_some()];
            assert_eq!(ways.iter().filter(|way| **way).count(), 1, "{algorithm} is checked in one way");
            assert_eq!(hmac(algorithm, b"k", b"t").is_some(), algorithm.is_hmac());
        }
        for name in ["none", "None", "NONE", "", "hs256", "ES512", "ES256K", "HS256 "] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
