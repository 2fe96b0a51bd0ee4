//! Header fields that routes set and remove: which names and values there can be (RFC 9110 §5.1, §5.5).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

use super::{
    error::{Problem, require},
    secret::MASK,
    section::{Kind, Setting},
};

/// Words in a field's name that tell of a secret in its value.
const TELLING: [&str; 7] = ["authorization", "cookie", "key", "token", "secret", "password", "credential"];

/// Header fields by name. Values that may be secrets are shown as `***`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    fn shown(&self) -> BTreeMap<&str, &str> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), if is_telling(name) { MASK } else { value.as_str() }))
            .collect()
    }
}

impl Deref for Fields {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<(String, String)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl Setting for Fields {
    const KIND: Kind = Kind::Value {
        name: "table of strings",
        allowed: "a table of strings, such as { \"X-Env\" = \"prod\" }",
        text: false,
    };
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|word| name.contains(word))
}

/// Fields that belong to one connection, or say where a message ends: the proxy writes them itself (RFC 9110 §7.6.1).
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Whether it is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether nothing but visible ASCII stands in it, with spaces within.
fn is_plain(value: &str) -> bool {
    value.trim_ascii() == value && value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

/// Whether a route may set the field to that, whatever may be told by it.
pub fn is_settable(name: &str, value: &str) -> bool {
    is_token(name) && !is_own(name) && is_plain(value) && value != MASK
}

fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Checks a name under which a field may be looked up.
pub(super) fn check_name(key: &str, name: &str) -> Result<(), Problem> {
    require(is_token(name), key, format!("{name:?} is not the name of a header field, such as \"X-Env\""))
}

/// Checks names of fields that are removed.
pub(super) fn check_removed(key: &str, names: &[String]) -> Result<(), Problem> {
    names.iter().enumerate().try_for_each(|(index, name)| check_changed(&format!("{key}[{index}]"), name))
}

/// Checks fields that are set.
pub(super) fn check_set(key: &str, fields: &BTreeMap<String, String>) -> Result<(), Problem> {
    let mut known: Vec<&str> = Vec::new();
    for (name, value) in fields {
        let key = format!("{key}.{name}");
        check_changed(&key, name)?;
        // SECURITY: whoever saves the listing of `fantail check` as a configuration would send the mask instead.
        require(
            value != MASK || !is_telling(name),
            key.as_str(),
            "is \"***\", which is how secrets are shown, write the secret itself",
        )?;
        // SECURITY: values may be credentials and are not repeated.
        require(
            is_plain(value),
            key.as_str(),
            "has a value that a header field cannot have, expected visible ASCII with spaces within",
        )?;
        let twin = known.iter().find(|known| known.eq_ignore_ascii_case(name));
        require(twin.is_none(), key.as_str(), "has been given before in another spelling")?;
        known.push(name);
    }
    Ok(())
}

fn check_changed(key: &str, name: &str) -> Result<(), Problem> {
    check_name(key, name)?;
    require(
        !is_own(name),
        key,
        format!(
            "\"{name}\" belongs to the connection or says where a message ends, and can be neither set nor removed"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<(), String> {
        check_set("s", &BTreeMap::from([(name.to_owned(), value.to_owned())])).map_err(|problem| problem.reason)
    }

    #[test]
    fn fields_that_may_hold_secrets_are_masked() {
        let fields = [("Authorization", "Bearer hunter2"), ("X-Api-Key", "hunter2"), ("X-Env", "prod")];
        let fields: Fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        for shown in [toml::to_string(&fields).unwrap(), format!("{fields:?}")] {
            assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("prod"), "{shown}");
        }
        assert!(set("X-Api-Key", "***").unwrap_err().contains("write the secret itself"));
        assert_eq!(set("X-Stars", "***"), Ok(()));
    }

    #[test]
    fn header_that_is_plain_may_be_set_and_removed() {
        assert_eq!(set("X-Env", "prod, \t\"a\" ~"), Ok(()));
        assert_eq!(set("Host", ""), Ok(()));
        assert_eq!(check_removed("r", &["Cookie".to_owned(), "x_y".to_owned()]), Ok(()));
    }

    #[test]
    fn header_that_cannot_be_one_is_refused() {
        for name in ["", "X Env", "X-Env:", "Über"] {
            let wrong = Err(format!("{name:?} is not the name of a header field, such as \"X-Env\""));
            assert_eq!(set(name, "a"), wrong);
        }
        for value in ["a\r\nb: c", " a", "a ", "ü", "\0"] {
            let wrong = "has a value that a header field cannot have, expected visible ASCII with spaces within";
            assert_eq!(set("X-Env", value), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn header_of_the_connection_is_refused() {
        let names =
            "Connection Transfer-Encoding Content-Length TE Upgrade Keep-Alive Proxy-Connection Trailer HTTP2-Settings";
        for name in names.split(' ') {
            let wrong = format!(
                "\"{name}\" belongs to the connection or says where a message ends, and can be neither set nor removed"
            );
            assert_eq!(set(name, "a"), Err(wrong.clone()));
            let problem = check_removed("r", &["Cookie".to_owned(), name.to_owned()]).unwrap_err();
            assert_eq!(problem, Problem { key: "r[1]".to_owned(), reason: wrong });
        }
    }

    #[test]
    fn header_in_two_spellings_is_refused() {
        let fields = BTreeMap::from([("X-Env", "a"), ("x-env", "b")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        let problem = check_set("s", &fields).unwrap_err();
        let reason = "has been given before in another spelling".to_owned();
        assert_eq!(problem, Problem { key: "s.x-env".to_owned(), reason });
    }
}
