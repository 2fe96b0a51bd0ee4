//! Signed URLs: `/sub/orders?exp=1700000000&sub=42&sig=…`. The signature is the HMAC with SHA-256 of what stands before
//! `&sig=`: the path, `?exp=` and the time in seconds, and `&sub=` and whom it is about, if that is told. Everything as it is
//! in the URL. Other parameters may be added, and are not vouched for.

use std::sync::Arc;
use std::time::Duration;

use fantail_hub::Millis;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::LONGEST_SUBJECT;
use super::algorithm::{hex, hmac, same, unhex};
use super::denial::Denial;
use crate::config::Algorithm;

/// What need not be encoded in a URL (RFC 3986 §2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const HMAC: Algorithm = Algorithm::Hs256;
const BYTES: usize = 32;

/// What a signed URL vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// Whom it is about.
    pub subject: Option<Arc<str>>,
    /// From when on it is not believed.
    pub ends: Millis,
}

impl SignedUrl {
    /// What the URL of this path and query vouches for, if it was signed with one of these secrets and is good at this moment.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn judge(path: &str, query: &str, secrets: &[Vec<u8>], now: Millis) -> Result<Self, Denial> {
        let ends = one(query, "exp")?.ok_or(Denial::Missing("a signed URL, with exp and sig"))?;
        let signature = one(query, "sig")?.ok_or(Denial::Missing("a signed URL, with exp and sig"))?;
        let subject = one(query, "sub")?;
        let given: [u8; BYTES] = unhex(signature).ok_or(Denial::Unsigned("sig is not 64 hexadecimal digits"))?;
        let text = text(path, ends, subject);
        let is_ours = |secret: &Vec<u8>| hmac(HMAC, secret, text.as_bytes()).is_some_and(|own| same(&own, &given));
        if !secrets.iter().any(is_ours) {
            return Err(Denial::Unsigned("sig is another"));
        }
        let seconds = ends.parse().map_err(|_| Denial::Unsigned("exp is not a number of seconds"))?;
        let ends = Millis(0).plus(Duration::from_secs(seconds));
        if now >= ends {
            return Err(Denial::UrlExpired);
        }
        let subject = subject.map(|text| percent_decode_str(text).decode_utf8().map(Arc::<str>::from));
        let subject = subject.transpose().map_err(|_| Denial::Unsigned("sub is not UTF-8"))?;
        if subject.as_ref().is_some_and(|subject| subject.len() > LONGEST_SUBJECT) {
            return Err(Denial::Unsigned("sub has more than 255 bytes"));
        }
        Ok(Self { subject: subject.filter(|subject| !subject.is_empty()), ends })
    }
}

/// A path that is good until `ends`, in seconds since the epoch, and about `subject`.
pub fn sign(secret: &[u8], path: &str, ends: u64, subject: Option<&str>) -> String {
    let subject = subject.map(|subject| utf8_percent_encode(subject, UNRESERVED).to_string());
    let text = text(path, &ends.to_string(), subject.as_deref());
    let signature = hmac(HMAC, secret, text.as_bytes()).unwrap_or_default();
    format!("{text}&sig={}", hex(&signature))
}

/// What is signed.
fn text(path: &str, ends: &str, subject: Option<&str>) -> String {
    match subject {
        Some(subject) => format!("{path}?exp={ends}&sub={subject}"),
        None => format!("{path}?exp={ends}"),
    }
}

/// The value of a parameter, as it is.
///
/// SECURITY: one that is there twice could be read in two ways.
fn one<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, Denial> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Denial::Unsigned("exp, sub and sig may each be there once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn secret(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn judge(url: &str) -> Result<SignedUrl, Denial> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        SignedUrl::judge(path, query, &[secret("new"), secret("old")], NOW)
    }

    #[test]
    fn signed_url_is_good_for_its_path_its_time_and_whom_it_is_about() {
        let plain = sign(b"new", "/sub/a", 1_700_000_060, None);
        // printf %s '/sub/a?exp=1700000060' | openssl dgst -sha256 -hmac new
        assert_eq!(judge(&plain).unwrap(), SignedUrl { subject: None, ends: Millis(1_700_000_060_000) });
        let about = sign(b"old", "/sub/a%20b", 1_700_000_060, Some("j\u{fc}rg & co"));
        assert!(about.contains("&sub=j%C3%BCrg%20%26%20co&sig="), "{about}");
        assert_eq!(judge(&about).unwrap().subject.as_deref(), Some("j\u{fc}rg & co"));
        assert!(judge(&format!("{about}&last=5&token=x")).is_ok(), "other parameters are free");
        assert!(judge(&plain.replace("sig=", "lastEventId=x&sig=")).is_ok(), "wherever they stand");
        let (rest, digits) = plain.split_once("sig=").unwrap();
        assert!(judge(&format!("{rest}sig={}", digits.to_ascii_uppercase())).is_ok());
    }

    #[test]
    fn signed_url_that_was_changed_is_refused() {
        let url = sign(b"new", "/sub/a", 1_700_000_060, Some("42"));
        for (changed, denial) in [
            (url.replace("/sub/a?", "/sub/b?"), Denial::Unsigned("sig is another")),
            (url.replace("/sub/a?", "/sub/%61?"), Denial::Unsigned("sig is another")),
            (url.replace("exp=1700000060", "exp=1700000061"), Denial::Unsigned("sig is another")),
            (url.replace("sub=42", "sub=43"), Denial::Unsigned("sig is another")),
            (url.replace("&sub=42", ""), Denial::Unsigned("sig is another")),
            (format!("{url}&sub=43"), Denial::Unsigned("exp, sub and sig may each be there once")),
            (format!("{url}&exp=1"), Denial::Unsigned("exp, sub and sig may each be there once")),
            (url.replace("&sig=", "&sig=0"), Denial::Unsigned("sig is not 64 hexadecimal digits")),
            (format!("{}\u{fc}", &url[..url.len() - 2]), Denial::Unsigned("sig is not 64 hexadecimal digits")),
            ("/sub/a".to_owned(), Denial::Missing("a signed URL, with exp and sig")),
            ("/sub/a?exp=1".to_owned(), Denial::Missing("a signed URL, with exp and sig")),
            (sign(b"other", "/sub/a", 1_700_000_060, None), Denial::Unsigned("sig is another")),
            (sign(b"new", "/sub/a", 1_700_000_000, None), Denial::UrlExpired),
            (
                sign(b"new", "/sub/a", 1_700_000_060, Some(&"x".repeat(256))),
                Denial::Unsigned("sub has more than 255 bytes"),
            ),
        ] {
            assert_eq!(judge(&changed), Err(denial), "{changed}");
        }
        let odd = format!("/sub/a?exp=1e9&sig={}", "0".repeat(64));
        assert!(judge(&odd).is_err());
    }
}
