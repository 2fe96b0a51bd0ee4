//! What a token says, and whether it is good at this moment and for us (RFC 7519 §4.1).

use std::sync::Arc;
use std::time::Duration;

use fantail_hub::Millis;
use serde_json::{Map, Value};

use super::LONGEST_SUBJECT;
use super::denial::Denial;
use super::grants::{Grants, Pattern};
use crate::config::Access;

/// What a token has to say.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What `iss` must be, if anything.
    pub issuer: Option<String>,
    /// What `aud` must be, or hold one of, if anything.
    pub audience: Vec<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The claim with the channels that may be subscribed to.
    pub subscribe: String,
    /// The claim with the channels that may be published to.
    pub publish: String,
}

impl Rules {
    /// Those of a configuration.
    pub fn new(access: &Access) -> Self {
        Self {
            issuer: access.issuer.clone(),
            audience: access.audience.clone(),
            leeway: access.leeway.get(),
            subscribe: access.subscribe_claim.clone(),
            publish: access.publish_claim.clone(),
        }
    }
}

/// What a token says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whom it is about.
    pub subject: Option<Arc<str>>,
    /// From when on it is not believed.
    pub ends: Millis,
    /// The channels that may be subscribed to.
    pub subscribe: Grants,
    /// The channels that may be published to.
    pub publish: Grants,
}

impl Claims {
    /// What the claims of a token say, whose signature was good.
    ///
    /// # Errors
    /// [`Denial`].
    pub(super) fn judge(claims: &Map<String, Value>, rules: &Rules, now: Millis) -> Result<Self, Denial> {
        let ends = moment(claims, "exp")?.ok_or(Denial::Endless)?.plus(rules.leeway);
        if now >= ends {
            return Err(Denial::Expired);
        }
        if moment(claims, "nbf")?.is_some_and(|begins| now.plus(rules.leeway) < begins) {
            return Err(Denial::Early);
        }
        if let Some(issuer) = &rules.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Denial::Issuer);
        }
        if !rules.audience.is_empty() {
            let expected =
                |value: &Value| value.as_str().is_some_and(|one| rules.audience.iter().any(|own| own == one));
            let meant = match claims.get("aud") {
                Some(Value::Array(all)) => all.iter().any(expected),
                Some(one) => expected(one),
                None => false,
            };
            if !meant {
                return Err(Denial::Audience);
            }
        }
        Ok(Self {
            subject: subject(claims)?,
            ends,
            subscribe: grants(claims, &rules.subscribe)?,
            publish: grants(claims, &rules.publish)?,
        })
    }
}

fn wrong(claim: &str, expected: &'static str) -> Denial {
    Denial::Claim { claim: claim.to_owned(), expected }
}

/// A time in seconds, perhaps with a fraction.
fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<Millis>, Denial> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or_else(|| wrong(name, "a number of seconds"))?;
    #[expect(clippy::cast_sign_loss, reason = "what is beyond either end stays there")]
    let millis = (seconds * 1000.0) as u64;
    Ok(Some(Millis(millis)))
}

fn subject(claims: &Map<String, Value>) -> Result<Option<Arc<str>>, Denial> {
    let text = match claims.get("sub") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.as_str().into(),
        // Not as the standard has it, and common.
        Some(Value::Number(number)) => Arc::from(number.to_string()),
        Some(_) => return Err(wrong("sub", "a string")),
    };
    let text: Arc<str> = text;
    match text.len() {
        0 => Ok(None),
        1..=LONGEST_SUBJECT => Ok(Some(text)),
        _ => Err(wrong("sub", "a string of at most 255 bytes")),
    }
}

/// The patterns of a claim, which is found by its whole name or else by its parts.
fn grants(claims: &Map<String, Value>, name: &str) -> Result<Grants, Denial> {
    const PATTERNS: &str = "a list of patterns such as [\"orders.*\", \"user.42.**\"]";
    let mut value = claims.get(name);
    if value.is_none() {
        let mut parts = name.split('.');
        value = parts.next().and_then(|first| claims.get(first));
        for part in parts {
            value = value.and_then(|value| value.get(part));
        }
    }
    let pattern = |value: &Value| value.as_str().and_then(Pattern::parse).ok_or_else(|| wrong(name, PATTERNS));
    match value {
        None | Some(Value::Null) => Ok(Grants::default()),
        Some(Value::Array(all)) => all.iter().map(pattern).collect(),
        Some(one) => pattern(one).map(|one| Grants::from_iter([one])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    fn judge(claims: &str, access: &str) -> Result<Claims, Denial> {
        let access: Access = toml::from_str(access).unwrap();
        Claims::judge(&super::super::json::object(claims.as_bytes())?, &Rules::new(&access), NOW)
    }

    fn denial(claims: &str, access: &str) -> Denial {
        judge(claims, access).unwrap_err()
    }

    #[test]
    fn claims_are_good_between_two_moments_with_some_leeway() {
        for (claims, expected) in [
            ("{}", Err(Denial::Endless)),
            ("{\"exp\":1700000001}", Ok(())),
            ("{\"exp\":1699999970.5}", Ok(())),
            ("{\"exp\":1699999970}", Err(Denial::Expired)),
            ("{\"exp\":-1e300}", Err(Denial::Expired)),
            ("{\"exp\":1e300}", Ok(())),
            ("{\"exp\":1700000100,\"nbf\":1700000030}", Ok(())),
            ("{\"exp\":1700000100,\"nbf\":1700000031}", Err(Denial::Early)),
            ("{\"exp\":\"1700000100\"}", Err(wrong("exp", "a number of seconds"))),
            ("{\"exp\":1700000100,\"nbf\":null}", Err(wrong("nbf", "a number of seconds"))),
        ] {
            assert_eq!(judge(claims, "").map(drop), expected, "{claims}");
        }
        assert_eq!(judge("{\"exp\":1700000001}", "leeway = '1s'").unwrap().ends, Millis(1_700_000_002_000));
        assert_eq!(denial("{\"exp\":1700000000}", "leeway = '0'"), Denial::Expired);
    }

    #[test]
    fn claims_of_another_issuer_or_for_another_audience_are_refused() {
        let rules = "issuer = 'a'\naudience = ['x', 'y']";
        let with = |more: &str| judge(&format!("{{\"exp\":1700000100{more}}}"), rules).map(drop);
        assert_eq!(with(",\"iss\":\"a\",\"aud\":\"y\""), Ok(()));
        assert_eq!(with(",\"iss\":\"a\",\"aud\":[\"z\",\"x\"]"), Ok(()));
        for issuer in ["", ",\"iss\":\"A\"", ",\"iss\":[\"a\"]", ",\"iss\":null"] {
            assert_eq!(with(&format!("{issuer},\"aud\":\"x\"")), Err(Denial::Issuer), "{issuer}");
        }
        for audience in ["", ",\"aud\":\"z\"", ",\"aud\":[]", ",\"aud\":{\"x\":1}", ",\"aud\":[[\"x\"]]"] {
            assert_eq!(with(&format!(",\"iss\":\"a\"{audience}")), Err(Denial::Audience), "{audience}");
        }
    }

    #[test]
    fn claims_name_channels_and_whom_they_are_about() {
        let claims =
            judge("{\"exp\":1700000100,\"sub\":\"42\",\"subscribe\":[\"a.*\",\"b\"],\"publish\":\"c\"}", "").unwrap();
        assert_eq!(claims.subject.as_deref(), Some("42"));
        assert!(claims.subscribe.cover("a.1") && claims.subscribe.cover("b") && !claims.subscribe.cover("c"));
        assert!(claims.publish.cover("c") && !claims.publish.cover("b"));
        let nothing = judge("{\"exp\":1700000100,\"sub\":7}", "").unwrap();
        assert_eq!(nothing.subject.as_deref(), Some("7"));
        assert!(!nothing.subscribe.cover("a") && !nothing.publish.cover("a"));
        let long = "x".repeat(256);
        for (more, claim) in [
            ("\"sub\":{}".to_owned(), "sub"),
            (format!("\"sub\":\"{long}\""), "sub"),
            ("\"subscribe\":[\"a\",1]".to_owned(), "subscribe"),
            ("\"subscribe\":{\"a\":1}".to_owned(), "subscribe"),
            ("\"publish\":[\"user-*\"]".to_owned(), "publish"),
        ] {
            let denial = denial(&format!("{{\"exp\":1700000100,{more}}}"), "");
            assert!(matches!(&denial, Denial::Claim { claim: named, .. } if named == claim), "{more}: {denial}");
        }
    }

    #[test]
    fn claims_of_other_names_are_found_whole_or_by_parts() {
        let access = "subscribe_claim = 'mercure.subscribe'\npublish_claim = 'https://a.example/publish'";
        let text = "{\"exp\":1700000100,\"mercure\":{\"subscribe\":[\"a\"]},\"https://a.example/publish\":[\"b\"]}";
        let claims = judge(text, access).unwrap();
        assert!(claims.subscribe.cover("a") && claims.publish.cover("b"));
    }
}
