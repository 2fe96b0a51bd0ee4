//! Public keys as PEM files have them: `SubjectPublicKeyInfo` (RFC 5280 §4.1) and `RSAPublicKey` (RFC 8017 §A.1.1) in DER.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::Material;
use crate::config::Algorithm;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The blocks of a PEM file (RFC 7468), with what they are called; nothing where one is not whole.
pub(super) fn blocks(text: &str) -> Option<Vec<(&str, Vec<u8>)>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, body) = begun.split_once("-----")?;
        let (body, behind) = body.split_once(&format!("-----END {label}-----"))?;
        let base64: String = body.split_ascii_whitespace().collect();
        blocks.push((label, STANDARD.decode(base64).ok()?));
        rest = behind;
    }
    Some(blocks)
}

/// The key of a `SubjectPublicKeyInfo`, and the usual algorithm of its sort.
pub(super) fn public_key(der: &[u8]) -> Option<(Algorithm, Material)> {
    let (mut info, rest) = take(der, SEQUENCE)?;
    let (mut algorithm, bits) = take(info, SEQUENCE)?;
    info = bits;
    let (object, parameters) = take(algorithm, OBJECT)?;
    algorithm = parameters;
    let (bits, behind) = take(info, BIT_STRING)?;
    // The number of bits that are not used.
    let key = bits.strip_prefix(&[0])?;
    if !rest.is_empty() || !behind.is_empty() {
        return None;
    }
    match object {
        RSA => Some((Algorithm::Rs256, rsa_key(key)?)),
        EC => {
            let (curve, _) = take(algorithm, OBJECT)?;
            let (usual, length) = match curve {
                P256 => (Algorithm::Es256, 65),
                P384 => (Algorithm::Es384, 97),
                _ => return None,
            };
            (key.len() == length && key[0] == 4).then(|| (usual, Material::Point(key.into())))
        }
        ED25519 => (key.len() == 32).then(|| (Algorithm::EdDsa, Material::Point(key.into()))),
        _ => None,
    }
}

/// The key of an `RSAPublicKey`.
pub(super) fn rsa_key(der: &[u8]) -> Option<Material> {
    let (numbers, rest) = take(der, SEQUENCE)?;
    let (modulus, numbers) = take(numbers, INTEGER)?;
    let (exponent, behind) = take(numbers, INTEGER)?;
    (rest.is_empty() && behind.is_empty())
        .then(|| Material::Rsa { modulus: positive(modulus).into(), exponent: positive(exponent).into() })
}

/// A number without zeros in front.
pub(super) fn positive(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// The contents of a value with this tag, and what comes behind it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], mut rest) = der.split_first_chunk()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        // As many bytes of length as a file of 1 MiB needs.
        let bytes = usize::from(first & 0x7f);
        if bytes == 0 || bytes > 3 {
            return None;
        }
        let (digits, behind) = rest.split_at_checked(bytes)?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = behind;
    }
    if found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl genpkey -algorithm ed25519 | openssl pkey -pubout`, and the same for P-256.
    const ED: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn public_key_of_a_pem_file_is_read() {
        let text = format!("a comment\n{ED}\n{ED}");
        let found = blocks(&text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "PUBLIC KEY");
        let (usual, material) = public_key(&found[0].1).unwrap();
        assert_eq!(usual, Algorithm::EdDsa);
        assert!(matches!(material, Material::Point(point) if point.len() == 32));
    }

    #[test]
    fn public_key_that_is_cut_or_followed_is_none() {
        let der = blocks(ED).unwrap().remove(0).1;
        for end in 0..der.len() {
            assert!(public_key(&der[..end]).is_none(), "{end}");
        }
        assert!(public_key(&[&der[..], &[0]].concat()).is_none());
        for text in ["-----BEGIN PUBLIC KEY-----\n", &ED.replace("END", "AND"), &ED.replace("MCow", "M?ow")] {
            assert!(blocks(text).is_none(), "{text}");
        }
        assert_eq!(blocks("no key").unwrap(), []);
    }

    #[test]
    fn take_of_lengths_beyond_the_text_is_nothing() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x84, 0, 0, 0, 0],
            &[0x30, 0x83, 0xff, 0xff, 0xff, 0],
            &[0x30, 5, 1],
        ] {
            assert_eq!(take(der, SEQUENCE), None, "{der:?}");
        }
        assert_eq!(take(&[0x30, 0x81, 1, 7, 8], SEQUENCE), Some((&[7][..], &[8][..])));
        assert_eq!(take(&[0x31, 0], SEQUENCE), None);
        assert_eq!(positive(&[0, 0, 1, 0]), [1, 0]);
    }
}
