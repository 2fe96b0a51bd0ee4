//! JSON web tokens in their compact form (RFC 7515 §3.1, RFC 7519), as far as they are signed.
//!
//! SECURITY: nothing of the claims is looked at before the signature was found good. The header chooses among keys that there
//! are, and nothing else: `none`, keys within the token and URLs of keys have no meaning here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fantail_hub::Millis;
use serde_json::Value;

use super::algorithm::{hmac, named};
use super::claims::{Claims, Rules};
use super::denial::Denial;
use super::json;
use super::key::Key;
use crate::config::Algorithm;

/// A token that was taken apart, and that is not believed yet.
#[derive(Debug)]
pub struct Token<'a> {
    /// What was signed.
    text: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    /// The key that it says it was signed with.
    key: Option<String>,
}

impl<'a> Token<'a> {
    /// Takes a token apart that has at most `most` bytes.
    ///
    /// # Errors
    /// What about it is no token.
    pub fn parse(token: &'a [u8], most: usize) -> Result<Self, Denial> {
        if token.len() > most {
            return Err(Denial::TooLarge(token.len(), most));
        }
        let parts = "three parts of base64url with dots between them are expected";
        let token = std::str::from_utf8(token).map_err(|_| Denial::Malformed(parts))?;
        let (text, signature) = token.rsplit_once('.').ok_or(Denial::Malformed(parts))?;
        let (header, claims) = text.split_once('.').ok_or(Denial::Malformed(parts))?;
        let header = json::object(&decode(header)?)?;
        if header.contains_key("crit") {
            return Err(Denial::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Denial::Malformed("it has no \"alg\""))?;
        let key = match header.get("kid") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return Err(Denial::Malformed("its \"kid\" is not a string")),
        };
        Ok(Self { text, claims, signature: decode(signature)?, algorithm: algorithm.to_owned(), key })
    }

    /// Whether one of these keys may be the one that it was signed with.
    ///
    /// # Errors
    /// Why none is.
    pub fn find<'k>(&self, keys: &'k [Key]) -> Result<Vec<&'k Key>, Denial> {
        let called = |key: &&Key| match (&key.name, &self.key) {
            (Some(name), Some(asked)) => **name == **asked,
            _ => true,
        };
        let mut found: Vec<&Key> = keys.iter().filter(called).collect();
        if let (true, Some(asked)) = (found.is_empty(), &self.key) {
            return Err(Denial::UnknownKey(asked.clone()));
        }
        let algorithm = named(&self.algorithm);
        found.retain(|key| Some(key.algorithm) == algorithm);
        if found.is_empty() { Err(Denial::Algorithm(self.algorithm.clone())) } else { Ok(found) }
    }

    /// What it says, if it was signed with one of these keys and is good at this moment.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn judge(&self, keys: &[Key], rules: &Rules, now: Millis) -> Result<Claims, Denial> {
        let found = self.find(keys)?;
        if !found.iter().any(|key| key.has_signed(self.text.as_bytes(), &self.signature)) {
            return Err(Denial::Signature);
        }
        Claims::judge(&json::object(&decode(self.claims)?)?, rules, now)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::Malformed("a part of it is not base64url"))
}

/// A token with these claims, in JSON, that is signed with a secret; nothing for an algorithm that has none.
pub fn issue(algorithm: Algorithm, secret: &[u8], claims: &str) -> Option<String> {
    let header = format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac(algorithm, secret, text.as_bytes())?;
    Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::KeySet;
    use crate::config::Access;

    const NOW: Millis = Millis(1_700_000_000_000);
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const GOOD: &str = r#"{"exp":1700000060,"sub":"42","subscribe":["a"]}"#;

    fn judge(token: &str, keys: &[Key], now: Millis) -> Result<Claims, Denial> {
        Token::parse(token.as_bytes(), 8 << 10)?.judge(keys, &Rules::new(&Access::default()), now)
    }

    fn secret(algorithm: Algorithm) -> Key {
        Key::secret(algorithm, SECRET)
    }

    /// Signed as it should be, whatever its header says.
    fn token(header: &str, claims: &str, algorithm: Algorithm, secret: &[u8]) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac(algorithm, secret, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn public(keys: &str) -> Vec<Key> {
        KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes(), None).unwrap().keys
    }

    #[test]
    fn token_of_each_hmac_is_believed_with_its_key_alone() {
        let all = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];
        for algorithm in all {
            let token = issue(algorithm, SECRET, GOOD).unwrap();
            let claims = judge(&token, &[secret(algorithm)], NOW).unwrap();
            assert_eq!((claims.subject.as_deref(), claims.subscribe.cover("a")), (Some("42"), true));
            assert_eq!(judge(&token, &[Key::secret(algorithm, b"another")], NOW), Err(Denial::Signature));
            for other in all.into_iter().filter(|other| *other != algorithm) {
                assert_eq!(judge(&token, &[secret(other)], NOW), Err(Denial::Algorithm(algorithm.to_string())));
            }
            let old = Key::secret(algorithm, b"old");
            assert!(judge(&token, &[old, secret(algorithm)], NOW).is_ok(), "while a key is exchanged");
        }
    }

    /// The examples of RFC 7515 §A.2 and §A.3 and RFC 8037 §A.4, whose claims are another matter: what is told of them is that
    /// the signature was good.
    #[test]
    fn token_that_others_made_is_believed_with_their_public_keys() {
        let p256 = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let es256 = format!("eyJhbGciOiJFUzI1NiJ9.{joe}.{signature}");
        let early = Millis(1_300_819_379_000);
        assert!(judge(&es256, &public(p256), early).is_ok());
        assert_eq!(judge(&es256, &public(p256), NOW), Err(Denial::Expired));
        let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(
            judge(eddsa, &public(ed), NOW),
            Err(Denial::Malformed("a part is no JSON")),
            "its payload is a sentence"
        );
        let forged = eddsa.replace(".RXh", ".RXi");
        assert_eq!(judge(&forged, &public(ed), NOW), Err(Denial::Signature));
        assert_eq!(judge(&es256, &public(ed), early), Err(Denial::Algorithm("ES256".to_owned())));
    }

    #[test]
    fn token_that_takes_a_public_key_for_a_secret_is_refused() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let keys = public(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"k"}}"#));
        let bytes = URL_SAFE_NO_PAD.decode(x).unwrap();
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"k"}"#] {
            let confused = token(header, GOOD, Algorithm::Hs256, &bytes);
            assert_eq!(judge(&confused, &keys, NOW), Err(Denial::Algorithm("HS256".to_owned())));
        }
        let lying = token(r#"{"alg":"EdDSA"}"#, GOOD, Algorithm::Hs256, &bytes);
        assert_eq!(judge(&lying, &keys, NOW), Err(Denial::Signature));
    }

    #[test]
    fn token_that_is_not_signed_is_refused() {
        for none in ["none", "None", "nOnE", ""] {
            let text = format!(
                "{}.{}.",
                URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{none}"}}"#)),
                URL_SAFE_NO_PAD.encode(GOOD)
            );
            assert_eq!(judge(&text, &[secret(Algorithm::Hs256)], NOW), Err(Denial::Algorithm(none.to_owned())));
        }
        let good = issue(Algorithm::Hs256, SECRET, GOOD).unwrap();
        let (text, signature) = good.rsplit_once('.').unwrap();
        for cut in ["", &signature[..4], &signature[..40]] {
            assert_eq!(judge(&format!("{text}.{cut}"), &[secret(Algorithm::Hs256)], NOW), Err(Denial::Signature));
        }
    }

    #[test]
    fn token_that_is_malformed_is_refused_before_its_key_is_looked_for() {
        let keys = [secret(Algorithm::Hs256)];
        let sign = |header: &str| token(header, GOOD, Algorithm::Hs256, SECRET);
        for (token, denial) in [
            (sign(r#"{"alg":"HS256","crit":["x"],"x":1}"#), Denial::Critical),
            (sign(r#"{"alg":"HS256","alg":"HS256"}"#), Denial::Twice("alg".to_owned())),
            (sign(r#"{"typ":"JWT"}"#), Denial::Malformed("it has no \"alg\"")),
            (sign(r#"{"alg":["HS256"]}"#), Denial::Malformed("it has no \"alg\"")),
            (sign(r#"{"alg":"HS256","kid":7}"#), Denial::Malformed("its \"kid\" is not a string")),
            (sign("[]"), Denial::Malformed("a part is no JSON object")),
            (
                token(r#"{"alg":"HS256"}"#, r#"{"exp":1700000060,"exp":1}"#, Algorithm::Hs256, SECRET),
                Denial::Twice("exp".to_owned()),
            ),
            ("a.b.c".to_owned(), Denial::Malformed("a part of it is not base64url")),
            ("x".repeat(8193), Denial::TooLarge(8193, 8192)),
        ] {
            assert_eq!(judge(&token, &keys, NOW), Err(denial), "{token}");
        }
        for parts in ["", "a", "a.b", "\u{fc}"] {
            assert!(matches!(judge(parts, &keys, NOW), Err(Denial::Malformed(_))), "{parts:?}");
        }
        let good = issue(Algorithm::Hs256, SECRET, GOOD).unwrap();
        for wrong in [format!("{good}="), good.replacen('.', "=.", 1), format!(" {good}"), format!("{good}.x")] {
            assert!(judge(&wrong, &keys, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn token_with_a_key_of_its_own_or_an_unknown_one_is_refused() {
        let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k"}"#;
        let header = format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"eA"}},"kid":"other","k":{ed}}}"#);
        let own = token(&header, GOOD, Algorithm::Hs256, b"x");
        assert_eq!(judge(&own, &public(ed), NOW), Err(Denial::UnknownKey("other".to_owned())));
        assert_eq!(judge(&own, &[secret(Algorithm::Hs256)], NOW), Err(Denial::Signature), "a secret has no name");
    }
}
