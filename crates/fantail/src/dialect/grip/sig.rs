//! `Grip-Sig`, by which an application knows that a proxy of its own stands before it; and the tokens by which that proxy
//! knows the application. Both are JWTs (RFC 7519) of one key, signed with HMAC and SHA-256.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use fantail_hub::Millis;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::Sha256;
use thiserror::Error;

/// How long a signature is good for.
const VALID: Duration = Duration::from_hours(1);
/// How long one is used again.
const REUSED: Duration = Duration::from_mins(1);
/// By how much the clocks of both sides may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// Keys are taken as libraries take them, with or without padding.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// What our own signatures are about: each application gets them, and none of them may publish with one.
const SUBJECT: &str = "grip-sig";

/// Signs and checks with one key.
pub struct Signer {
    mac: Hmac<Sha256>,
    issuer: String,
    /// The last signature, and when it was made.
    last: Mutex<Option<(Millis, HeaderValue)>>,
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It says so, but is not.
    #[error("the key begins with \"base64:\", but what follows is not valid base64")]
    Base64,
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SigError {
    /// It has not three parts of base64url and JSON.
    #[error("it is not a JWT")]
    Malformed,
    /// Only HS256 is understood.
    #[error("it is not signed with HS256")]
    Algorithm,
    /// Another key.
    #[error("it was signed with another key")]
    Signature,
    /// It has no end.
    #[error("it has no \"exp\"")]
    Endless,
    /// Its time is over, or has not come.
    #[error("it is not valid at this time")]
    Time,
    /// It is a `Grip-Sig` of ours.
    #[error("it is a Grip-Sig, which says who asks and not who may publish")]
    Ours,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    sub: Option<serde_json::Value>,
}

impl Signer {
    /// With a key as GRIP's libraries take it: the text itself, or `base64:` and bytes.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(key: &str, issuer: &str) -> Result<Self, KeyError> {
        let bytes = match key.strip_prefix("base64:") {
            Some(base64) => KEY.decode(base64).map_err(|_| KeyError::Base64)?,
            None => key.as_bytes().to_vec(),
        };
        // HMAC takes keys of any length (RFC 2104 §3).
        let mac = Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_| KeyError::Base64)?;
        Ok(Self { mac, issuer: issuer.to_owned(), last: Mutex::default() })
    }

    /// The value of `Grip-Sig` at this moment. Made anew about once a minute.
    pub fn sign(&self, now: Millis) -> HeaderValue {
        let mut last = self.last.lock();
        if let Some((made, value)) = &*last
            && now.since(*made) < REUSED
            && now >= *made
        {
            return value.clone();
        }
        let claims = serde_json::json!({ "iss": self.issuer, "exp": now.plus(VALID).0 / 1000, "sub": SUBJECT });
        let claims = claims.to_string();
        let token = self.issue(r#"{"typ":"JWT","alg":"HS256"}"#, &claims);
        // base64url and dots.
        let value = HeaderValue::try_from(token).unwrap_or(HeaderValue::from_static(""));
        *last = Some((now, value.clone()));
        value
    }

    /// A token with this header and these claims, both in JSON.
    pub fn issue(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.mac.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether a token was signed with the key by somebody else and is valid at this moment. Who that was does not matter: it
    /// had the key.
    ///
    /// # Errors
    /// [`SigError`]. SECURITY: the signature is compared in constant time, before anything of the claims is believed.
    pub fn check(&self, token: &[u8], now: Millis) -> Result<(), SigError> {
        let token = std::str::from_utf8(token).map_err(|_| SigError::Malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(SigError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(SigError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| SigError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| SigError::Malformed)?;
        if header.alg != "HS256" {
            return Err(SigError::Algorithm);
        }
        let mac = self.mac.clone().chain_update(signed);
        mac.verify_slice(&decode(signature)?).map_err(|_| SigError::Signature)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| SigError::Malformed)?;
        let exp = claims.exp.ok_or(SigError::Endless)?;
        let at = |moment: Millis| moment.0 as f64 / 1000.0;
        if at(now.minus(LEEWAY)) >= exp || claims.nbf.is_some_and(|nbf| at(now.plus(LEEWAY)) < nbf) {
            return Err(SigError::Time);
        }
        if claims.sub.is_some_and(|sub| sub == SUBJECT) {
            return Err(SigError::Ours);
        }
        Ok(())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn signer(key: &str) -> Signer {
        Signer::new(key, "fantail").unwrap()
    }

    /// A token of any content, signed as it should be.
    fn token(key: &str, header: &str, claims: &str) -> String {
        signer(key).issue(header, claims)
    }

    #[test]
    fn check_of_a_token_that_others_made() {
        // The example of RFC 7515 appendix A.1, whose key is given there as bytes.
        let key = "base64:AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T+1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==";
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9\
                     leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(signer(key).check(token.as_bytes(), Millis(1_300_819_379_000)), Ok(()));
        assert_eq!(signer(key).check(token.as_bytes(), Millis(1_300_819_411_000)), Err(SigError::Time));
        assert_eq!(signer("other").check(token.as_bytes(), Millis(1_300_819_379_000)), Err(SigError::Signature));
    }

    #[test]
    fn sign_is_good_for_an_hour_used_again_for_a_minute_and_never_for_publishing() {
        let signer = signer("changeme");
        let first = signer.sign(NOW);
        assert_eq!(signer.sign(NOW.plus(Duration::from_secs(59))), first);
        assert_ne!(signer.sign(NOW.plus(REUSED)), first);
        assert_eq!(signer.check(first.as_bytes(), NOW.plus(Duration::from_mins(59))), Err(SigError::Ours));
        assert_eq!(signer.check(first.as_bytes(), NOW.plus(Duration::from_mins(61))), Err(SigError::Time));
        let claims = first.to_str().unwrap().split('.').nth(1).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(claims).unwrap(), br#"{"exp":1700003600,"iss":"fantail","sub":"grip-sig"}"#);
        assert!(first.to_str().unwrap().starts_with("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."));
    }

    #[test]
    fn check_refuses_what_is_not_signed_or_not_valid() {
        let hs256 = r#"{"alg":"HS256"}"#;
        let check = |token: &str| signer("k").check(token.as_bytes(), NOW);
        assert_eq!(check(&token("k", hs256, r#"{"iss":"x","exp":1700000060}"#)), Ok(()));
        assert_eq!(check(&token("k", hs256, r#"{"exp":1700000060.5}"#)), Ok(()));
        assert_eq!(check(&token("k", r#"{"alg":"none"}"#, r#"{"exp":1700000060}"#)), Err(SigError::Algorithm));
        assert_eq!(check(&token("k", r#"{"alg":"HS512"}"#, r#"{"exp":1700000060}"#)), Err(SigError::Algorithm));
        assert_eq!(check(&token("l", hs256, r#"{"exp":1700000060}"#)), Err(SigError::Signature));
        assert_eq!(check(&token("k", hs256, r#"{"iss":"x"}"#)), Err(SigError::Endless));
        assert_eq!(check(&token("k", hs256, r#"{"exp":1699999960}"#)), Err(SigError::Time));
        assert_eq!(check(&token("k", hs256, r#"{"exp":1700009999,"nbf":1700000040}"#)), Err(SigError::Time));
        let good = token("k", hs256, r#"{"exp":1700000060}"#);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        assert_eq!(check(&format!("{signed}.")), Err(SigError::Signature));
        assert_eq!(check(&format!("{signed}.{}", &signature[..20])), Err(SigError::Signature));
        for malformed in ["", "a.b", "..", "a.b.c", &good.replace('.', "-")] {
            assert_eq!(check(malformed), Err(SigError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn key_in_base64_is_its_bytes() {
        let token = token("hello", r#"{"alg":"HS256"}"#, r#"{"exp":1700000060}"#);
        assert_eq!(signer("base64:aGVsbG8=").check(token.as_bytes(), NOW), Ok(()));
        assert_eq!(Signer::new("base64:?", "x").unwrap_err(), KeyError::Base64);
        assert!(!format!("{:?}", signer("hello")).contains("hello"));
    }
}
