//! A secret, which no log, error message or configuration listing prints.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::section::{Kind, Setting};

/// What is shown in the place of a secret.
pub(super) const MASK: &str = "***";

/// A non-empty secret; `Debug` and `Serialize` show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Hidden)
    }
}

/// SECURITY: serde's own errors quote a value of the wrong type, so every plain type is answered here without it.
struct Hidden;

const NOT_A_STRING: &str = "expected a string in quotes (the value is not shown)";

impl Visitor<'_> for Hidden {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        match text {
            "" => Err(E::custom("must not be empty; leave it out for none")),
            // SECURITY: whoever saves the listing of `fantail check` as a configuration would get a key everybody knows.
            MASK => Err(E::custom("\"***\" is how secrets are shown, write the secret itself")),
            text => Ok(Secret(text.to_owned())),
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }
}

impl Setting for Secret {
    const KIND: Kind = Kind::Value { name: "secret", allowed: "a string", text: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Holder {
        key: Secret,
    }

    #[test]
    fn secret_when_shown_is_masked() {
        let holder: Holder = toml::from_str("key = 'hunter2'").unwrap();
        assert_eq!(holder.key.expose(), "hunter2");
        assert_eq!(format!("{holder:?}"), "Holder { key: *** }");
        assert_eq!(toml::to_string(&holder).unwrap(), "key = \"***\"\n");
    }

    #[test]
    fn secret_of_wrong_type_is_refused_without_showing_it() {
        for value in ["12345", "1.2345", "true", "1979-12-31"] {
            let error = toml::from_str::<Holder>(&format!("key = {value}")).unwrap_err();
            assert!(!error.message().contains(value), "{}", error.message());
        }
    }

    #[test]
    fn secret_that_is_empty_or_the_mask_is_refused() {
        let error = toml::from_str::<Holder>("key = ''").unwrap_err();
        assert_eq!(error.message(), "must not be empty; leave it out for none");
        let error = toml::from_str::<Holder>("key = '***'").unwrap_err();
        assert_eq!(error.message(), "\"***\" is how secrets are shown, write the secret itself");
    }
}
