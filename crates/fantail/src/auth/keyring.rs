//! The keys of a configuration.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use thiserror::Error;

use super::algorithm::fits;
use super::der;
use super::jwk::{KeySet, KeySetError};
use super::key::Key;
use crate::config::{Access, Algorithm, BASE64, Secret};

/// Why the keys of a configuration cannot be used. Says nothing of secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A secret that says it is in base64, and is not.
    #[error("{0}: begins with \"base64:\", but what follows is not valid base64")]
    Base64(&'static str),
    /// There is no key in a file.
    #[error(
        "public_key: there is no public key in the file, expected a block BEGIN PUBLIC KEY; of a certificate \
         \"openssl x509 -pubkey -noout -in FILE\" prints it"
    )]
    NoKey,
    /// A file with a private key.
    #[error(
        "public_key: the file has a private key, which is not needed here; \"openssl pkey -pubout -in FILE\" prints the public one"
    )]
    Private,
    /// A key of a sort that is not known.
    #[error(
        "public_key: key {0} of the file is of a sort that is not known, expected RSA from 2048 bits, P-256, P-384 or Ed25519"
    )]
    Sort(usize),
    /// A key for another algorithm.
    #[error("algorithm: \"{algorithm}\" is not for key {at} of public_key")]
    Algorithm {
        /// Which key of the file, from 1.
        at: usize,
        /// What was set.
        algorithm: Algorithm,
    },
    /// Certificates that cannot be used.
    #[error("jwks_ca: there is no certificate in the file that could be used, expected a block BEGIN CERTIFICATE")]
    Authority,
    /// A URL that names no server.
    #[error("jwks_url: the host is not a name or an address")]
    Host,
    /// A file that is no key set.
    #[error("jwks_file: {0}")]
    KeySet(#[from] KeySetError),
}

/// The keys that stand in the configuration itself; none where they are to be fetched.
///
/// # Errors
/// [`KeyError`] names the setting.
pub fn keys(access: &Access) -> Result<Vec<Key>, KeyError> {
    if let Some(file) = &access.public_key {
        return pem(file.text(), access.algorithm);
    }
    if let Some(file) = &access.jwks_file {
        return Ok(KeySet::parse(file.text(), access.algorithm)?.keys);
    }
    let algorithm = access.algorithm.unwrap_or(Algorithm::Hs256);
    Ok(secrets(access)?.iter().map(|secret| Key::secret(algorithm, secret)).collect())
}

/// The secrets of the configuration, the present one first.
///
/// # Errors
/// [`KeyError::Base64`].
pub fn secrets(access: &Access) -> Result<Vec<Vec<u8>>, KeyError> {
    let given = [("secret", &access.secret), ("previous_secret", &access.previous_secret)];
    given
        .into_iter()
        .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
        .map(|(name, secret)| bytes(secret).ok_or(KeyError::Base64(name)))
        .collect()
}

fn bytes(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    match text.strip_prefix(BASE64) {
        Some(base64) => STANDARD.decode(base64).or_else(|_| STANDARD_NO_PAD.decode(base64)).ok(),
        None => Some(text.as_bytes().to_vec()),
    }
}

fn pem(text: &[u8], algorithm: Option<Algorithm>) -> Result<Vec<Key>, KeyError> {
    let blocks = std::str::from_utf8(text).ok().and_then(der::blocks).ok_or(KeyError::NoKey)?;
    if blocks.iter().any(|(label, _)| label.ends_with("PRIVATE KEY")) {
        return Err(KeyError::Private);
    }
    let keys =
        blocks.iter().filter(|(label, _)| label.ends_with("PUBLIC KEY")).enumerate().map(|(index, (label, der))| {
            let at = index + 1;
            let read = match *label {
                "PUBLIC KEY" => der::public_key(der),
                "RSA PUBLIC KEY" => der::rsa_key(der).map(|material| (Algorithm::Rs256, material)),
                _ => None,
            };
            let (usual, material) = read.ok_or(KeyError::Sort(at))?;
            let chosen = algorithm.unwrap_or(usual);
            if !fits(usual, chosen) {
                return Err(KeyError::Algorithm { at, algorithm: chosen });
            }
            Ok(Key { algorithm: chosen, name: None, material })
        });
    let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn secret(text: &str) -> Option<Secret> {
        crate::config::Config::from_toml(&format!("control.key = {text:?}")).unwrap().control.key
    }

    #[test]
    fn secrets_are_their_text_or_bytes_in_base64() {
        let access =
            Access { secret: secret("base64:aGVsbG8="), previous_secret: secret("hello"), ..Access::default() };
        assert_eq!(secrets(&access).unwrap(), [b"hello", b"hello"]);
        assert_eq!(keys(&access).unwrap().len(), 2);
        let access = Access { secret: secret("base64:?"), ..Access::default() };
        assert_eq!(secrets(&access), Err(KeyError::Base64("secret")));
    }

    #[test]
    fn pem_key_has_one_algorithm() {
        let algorithms = |algorithm| pem(ED.as_bytes(), algorithm).map(|keys| keys[0].algorithm);
        assert_eq!(algorithms(None), Ok(Algorithm::EdDsa));
        assert_eq!(algorithms(Some(Algorithm::EdDsa)), Ok(Algorithm::EdDsa));
        let error = KeyError::Algorithm { at: 1, algorithm: Algorithm::Es256 };
        assert_eq!(algorithms(Some(Algorithm::Es256)), Err(error));
        assert_eq!(pem(b"", None), Err(KeyError::NoKey));
        assert_eq!(pem(ED.replace("MCow", "MCox").as_bytes(), None), Err(KeyError::Sort(1)));
        assert_eq!(pem(ED.replace("PUBLIC", "PRIVATE").as_bytes(), None), Err(KeyError::Private));
    }
}
